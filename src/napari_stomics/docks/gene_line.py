"""A line that finds a name by a part of it."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QStringListModel, Qt, Signal
from qtpy.QtWidgets import QCompleter, QLineEdit


class GeneLine(QLineEdit):
    """Type a part of a gene's name, choose from what contains it."""

    chosen = Signal(str)
    """A name that exists."""

    def __init__(self) -> None:
        super().__init__()
        self.setPlaceholderText("show another gene: part of its name")
        self.setAccessibleName("Gene shown")
        self.setClearButtonEnabled(True)
        self._names: list[str] = []
        self._model = QStringListModel(self)
        completer = QCompleter(self._model, self)
        completer.setFilterMode(Qt.MatchFlag.MatchContains)
        completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        completer.setMaxVisibleItems(12)
        completer.activated.connect(self._on_activated)
        self.setCompleter(completer)
        self.returnPressed.connect(self._on_return)

    def set_names(self, names: Sequence[str]) -> None:
        """Offer these names."""
        if list(names) != self._names:
            self._names = list(names)
            self._model.setStringList(self._names)
            self.clear()

    def _on_activated(self, name: str) -> None:
        self.chosen.emit(name)

    def _on_return(self) -> None:
        """Take the best of what contains the text, if nothing was chosen from the list."""
        text = self.text().strip().lower()
        hits = sorted((n for n in self._names if text and text in n.lower()), key=len)
        exact = [n for n in hits if n.lower() == text]
        if hits:
            self.setText((exact or hits)[0])
            self.chosen.emit(self.text())
