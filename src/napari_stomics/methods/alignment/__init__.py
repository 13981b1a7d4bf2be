"""Methods of alignment."""
