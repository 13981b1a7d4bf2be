"""Methods that score domains."""
