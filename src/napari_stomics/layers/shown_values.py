"""The values by which a section is coloured at the moment, spot by spot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.layers.features import find_match, is_numeric, values_of
from napari_stomics.layers.tags import tag, tagged

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_stomics.data.study import Study

_ID = "id"


class ShownValues:
    """Looks up what is to be seen of some spots.

    Parameters
    ----------
    viewer, study
        The viewer, and the study that it shows.
    section
        Name of the section.
    ids
        (n,) the spots, in the order in which they are counted here.
    """

    def __init__(self, viewer: ViewerModel, study: Study, section: str, ids: NDArray[Any]) -> None:
        self._viewer = viewer
        self._part = study.section(section)
        self.ids = np.asarray(ids, dtype=object)
        own = self._part.ids
        row = {name: i for i, name in enumerate(own)}
        self._rows = np.array([row[name] for name in self.ids], np.intp)
        labels = self._part.labels()
        self._labels = np.full(len(own), "", object) if labels is None else labels
        self._read: tuple[Any, Any] = (None, None)

    def labels(self, indices: NDArray[np.intp]) -> list[str]:
        """Annotation of some spots, empty for none."""
        return [str(label) for label in self._labels[self._rows[indices]]]

    def of(self, indices: NDArray[np.intp]) -> tuple[str, list[Any]]:
        """Return the name of what is shown, and its values of some spots; None where unknown.

        That of the topmost visible layer of the section's spots that has values.
        """
        nothing: list[Any] = [None] * len(indices)
        for layer in reversed(tagged(self._viewer, section=self._part.name)):
            if not layer.visible:
                continue
            name, values = self._values(layer)
            if name:
                return name, [_plain(v) for v in values[self._rows[indices]]]
        return "", nothing

    def _values(self, layer: Any) -> tuple[str, Any]:
        """Name and values by the section's rows of one layer; empty where it has none."""
        role = tag(layer)["role"]
        if role == "overview":  # a picture: the values are those its spots are coloured by
            spots = next(iter(tagged(self._viewer, section=self._part.name, role="spots")), None)
            return self._coloured(None if spots is None else tag(spots).get("colour"))
        if role == "spots":
            return self._coloured(tag(layer).get("colour"))
        features = getattr(layer, "features", None)
        if role != "result" or features is None or len(features) != len(self._rows):
            return "", None
        names = [str(c) for c in features.columns if c != _ID]
        if not names or list(features.get(_ID, ())) != list(self.ids):
            return "", None
        values = np.empty(len(self._part.ids), object)
        values[self._rows] = features[names[-1]].to_numpy(dtype=object)
        return names[-1], values

    def _coloured(self, colour: dict[str, Any] | None) -> tuple[str, Any]:
        if not colour:
            return "", None
        key = (colour["key"], colour["modality"], colour["kind"])
        if self._read[0] != key:
            try:
                found = values_of(self._part, find_match(self._part, *key))
            except UserError:
                return "", None
            if not is_numeric(found):
                found = found.astype(object).where(found.notna(), "")
            self._read = (key, found.to_numpy(dtype=object))
        return str(colour["key"]), self._read[1]


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)
