"""Steps, recipes and the log of runs."""
