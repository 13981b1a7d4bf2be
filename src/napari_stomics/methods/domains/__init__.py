"""Methods of domains."""
