"""SpatialData in and out."""
