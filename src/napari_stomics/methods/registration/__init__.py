"""Methods of registration."""
