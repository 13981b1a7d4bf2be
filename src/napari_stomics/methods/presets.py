"""Published systems as named presets of our methods: a new one is a row here."""

from napari_stomics.core.presets import Preset

PRESETS: tuple[Preset, ...] = ()
"""Every built-in preset, in the order in which they are offered after the methods."""
