"""Methods of prediction."""
