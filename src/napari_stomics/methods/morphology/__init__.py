"""Methods of morphology."""
