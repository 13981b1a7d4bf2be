"""Small reversible changes of a study; a committed result is a list of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_stomics.data.study import Study

_ABSENT = object()


class Change(ABC):
    """One change of a study that remembers what it replaced."""

    @abstractmethod
    def apply(self, study: Study) -> None:
        """Make the change."""

    @abstractmethod
    def revert(self, study: Study) -> None:
        """Put back what was there before :meth:`apply`."""


@dataclass
class SetTableEntry(Change):
    """Set one entry of a table's ``obs``, ``obsm``, ``var`` or ``uns``.

    Attributes
    ----------
    table
        Name of the table element.
    slot
        ``obs``, ``obsm`` or ``uns``.
    key
        Name of the entry.
    value
        What to store, in the order of the table's rows.
    """

    table: str
    slot: str
    key: str
    value: Any
    _before: Any = field(default=_ABSENT, init=False, repr=False)

    def apply(self, study: Study) -> None:
        """Set the entry."""
        slot = getattr(study.sdata.tables[self.table], self.slot)
        self._before = slot.get(self.key, _ABSENT)
        slot[self.key] = self.value

    def revert(self, study: Study) -> None:
        """Restore the former entry, or remove it if there was none."""
        slot = getattr(study.sdata.tables[self.table], self.slot)
        if self._before is _ABSENT:
            del slot[self.key]
        else:
            slot[self.key] = self._before


@dataclass
class SetElement(Change):
    """Add an element, or replace the one of that name."""

    name: str
    element: Any
    _before: Any = field(default=_ABSENT, init=False, repr=False)

    def apply(self, study: Study) -> None:
        """Put the element in."""
        self._before = study.sdata.get(self.name, _ABSENT)
        if self._before is not _ABSENT:
            del study.sdata[self.name]
        study.sdata[self.name] = self.element

    def revert(self, study: Study) -> None:
        """Take it out, or put the former one back."""
        del study.sdata[self.name]
        if self._before is not _ABSENT:
            study.sdata[self.name] = self._before


@dataclass
class SetSectionTable(Change):
    """Say in a section's record which table holds a modality."""

    section: str
    modality: str
    table: str
    _before: str | None = field(default=None, init=False, repr=False)

    def apply(self, study: Study) -> None:
        """Set it."""
        tables = study.record.sections[self.section].tables
        self._before = tables.get(self.modality)
        tables[self.modality] = self.table

    def revert(self, study: Study) -> None:
        """Put back what was there."""
        tables = study.record.sections[self.section].tables
        if self._before is None:
            tables.pop(self.modality, None)
        else:
            tables[self.modality] = self._before


@dataclass
class Call(Change):
    """A change that other functions make and take back."""

    do: Callable[[Study], None]
    undo: Callable[[Study], None]

    def apply(self, study: Study) -> None:
        """Make it."""
        self.do(study)

    def revert(self, study: Study) -> None:
        """Take it back."""
        self.undo(study)


def apply_all(study: Study, changes: Sequence[Change]) -> None:
    """Apply changes in order; if one fails, those before it are taken back."""
    done: list[Change] = []
    try:
        for change in changes:
            change.apply(study)
            done.append(change)
    except Exception:
        revert_all(study, done)
        raise
    study.sync()


def revert_all(study: Study, changes: Sequence[Change]) -> None:
    """Take changes back, the last first."""
    for change in reversed(changes):
        change.revert(study)
    study.sync()
