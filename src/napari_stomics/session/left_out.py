"""Features that a fusion is to leave out, as chosen in the plane."""

from __future__ import annotations

from collections.abc import Iterable

from psygnal import Signal


class LeftOut:
    """Names of features that the next fusion leaves out, by modality; free of Qt and napari."""

    changed = Signal()
    """A list was changed."""

    def __init__(self) -> None:
        self._names: dict[str, tuple[str, ...]] = {}

    def of(self, modality: str) -> tuple[str, ...]:
        """Names that are left out of a modality."""
        return self._names.get(modality, ())

    def add(self, modality: str, names: Iterable[str]) -> None:
        """Leave more features out."""
        self._set(modality, dict.fromkeys((*self.of(modality), *names)))

    def remove(self, modality: str, names: Iterable[str]) -> None:
        """Use features again."""
        gone = set(names)
        self._set(modality, [name for name in self.of(modality) if name not in gone])

    def clear(self) -> None:
        """Use every feature again."""
        if self._names:
            self._names.clear()
            self.changed.emit()

    @property
    def text(self) -> str:
        """All names by comma, as the parameter of a fusion takes them."""
        return ", ".join(name for names in self._names.values() for name in names)

    def _set(self, modality: str, names: Iterable[str]) -> None:
        new = tuple(names)
        if new != self.of(modality):
            self._names[modality] = new
            self.changed.emit()
