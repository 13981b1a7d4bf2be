"""Methods that find markers of domains."""
