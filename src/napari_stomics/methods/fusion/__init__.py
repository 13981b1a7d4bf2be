"""Methods of fusion."""
