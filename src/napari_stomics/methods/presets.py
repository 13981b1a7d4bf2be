"""Published systems as named presets of our methods: a new one is a row of its task's table."""

from napari_stomics.core.presets import Preset
from napari_stomics.methods.alignment.preset_rows import PRESET_ROWS as ALIGNMENT
from napari_stomics.methods.fusion.preset_rows import ROWS as FUSION
from napari_stomics.methods.mapping.preset_rows import ROWS as MAPPING

PRESETS: tuple[Preset, ...] = tuple(Preset(**row) for row in (*ALIGNMENT, *MAPPING, *FUSION))
"""Every built-in preset, in the order in which they are offered after the methods."""
