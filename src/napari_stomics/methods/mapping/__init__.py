"""Mapping of single cells without positions into a section."""
