"""Outlines that tests share."""

LEFT_HALF = ((120.0, 60.0), (240.0, 60.0), (240.0, 300.0), (120.0, 300.0))
"""Round the three left columns of the grid of :mod:`tests.layers.studies`."""
