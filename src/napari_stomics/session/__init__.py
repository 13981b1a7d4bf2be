"""State per viewer, free of Qt."""
