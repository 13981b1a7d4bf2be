"""Find a gene, protein or annotation by a part of its name and colour the spots by it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import QLabel, QLineEdit, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from napari_stomics.core.jobs import JobContext
from napari_stomics.docks.colour_range import ColourRange
from napari_stomics.docks.jobs import Job
from napari_stomics.docks.legend import Legend
from napari_stomics.docks.messages import describe_failure
from napari_stomics.docks.name_combo import NameCombo
from napari_stomics.docks.workbench import Workbench, told_to_user

if TYPE_CHECKING:
    from napari_stomics.data.study import Study
    from napari_stomics.layers.colour import Colouring, Match

_ALL = "All sections"
_SEARCH_DELAY_MS = 80
_WHAT = ("key", "kind", "modality")
_MOST = 100
"""Names listed at most: whoever wants more types another letter."""


class Painted(NamedTuple):
    """One section's spots with the colours found for them."""

    section: str
    values: Colouring
    ahead: Any = None


class ColourPanel(QWidget):
    """Type-ahead search, colour range and legend.

    Parameters
    ----------
    bench
        The viewer's workbench.
    """

    def __init__(self, bench: Workbench, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._bench = bench
        self.where = NameCombo()
        self.where.setToolTip("Sections whose spots are coloured.")
        self.text = SearchLine()
        self.found = QListWidget()
        self.note = QLabel()
        self.note.setWordWrap(True)
        self.range = ColourRange()
        self.legend = Legend()
        self._painted: list[Painted] = []
        self._job: Job | None = None
        self._wanted: tuple[float, float] | None = None
        self._delay = _timer(self, _SEARCH_DELAY_MS, self.search)
        self._build()
        self._connect()

    def _build(self) -> None:
        self.found.setFixedHeight(112)
        self.found.setUniformItemSizes(True)
        self.found.setAccessibleName("Names found")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        for widget in (self.where, self.text, self.found, self.note, self.range, self.legend):
            column.addWidget(widget)
        for widget in (self.note, self.range, self.legend):
            widget.hide()

    def _connect(self) -> None:
        self.text.textChanged.connect(self._delay.start)
        self.text.moved.connect(self._move_row)
        self.text.returnPressed.connect(self._colour_chosen)
        self.where.currentTextChanged.connect(self.search)
        self.found.itemClicked.connect(self._on_chosen)
        self.found.itemActivated.connect(self._on_chosen)
        self.range.limits_changed.connect(self._on_limits)
        self.range.reset_wanted.connect(self._on_reset)
        self.range.colormap_changed.connect(self._on_colormap)

    # -- searching ---------------------------------------------------------------------------

    def refresh(self) -> None:
        """List the sections anew, and show what their spots are coloured by already."""
        names = self._bench.session.section_names
        self.where.set_names(([_ALL] if len(names) > 1 else []) + names)
        self.where.setVisible(len(names) > 1)
        self._painted = []
        self.range.hide()
        self.legend.show_entries([])
        self.search()
        self._take_over()

    def sections(self) -> list[str]:
        """Sections that are coloured: those that have spots and values."""
        record = self._bench.session.study.record
        chosen = self.where.currentText()
        names = list(record.sections) if chosen in ("", _ALL) else [chosen]
        return [n for n in names if n in record.sections and record.sections[n].tables]

    def search(self) -> None:
        """Fill the list with what matches the text."""
        from napari_stomics.layers.features import search_features

        study, text = self._bench.session.study, self.text.text()
        seen: dict[Match, None] = {}
        self.found.clear()
        with told_to_user("Search"):
            for name in self.sections():
                seen.update(dict.fromkeys(search_features(study, name, text, limit=_MOST)))
        for match in list(_best_first(seen, text))[:_MOST]:
            item = QListWidgetItem(match.label, self.found)
            item.setData(Qt.ItemDataRole.UserRole, match)
        if text and not seen:
            self._say("Nothing of that name.")
        else:
            self._say("" if self.sections() else "No section has spots with values.")

    def _say(self, text: str) -> None:
        self.note.setText(text)
        self.note.setVisible(bool(text))

    # -- colouring ---------------------------------------------------------------------------

    def colour(self, match: Match, limits: tuple[float, float] | None = None) -> None:
        """Colour the chosen sections' spots by a match, on one common range, in the background."""
        study, names = self._bench.session.study, self.sections()
        layers = {name: self._spots(name) for name in names}
        look = self.range.colormap
        self._start(
            match,
            lambda ctx: _paint_all(study, layers, match, look, limits, ctx),
            self.show_painted,
        )

    def _start(
        self,
        match: Match,
        work: Callable[[JobContext], list[Painted]],
        show: Callable[[Match, list[Painted]], None],
    ) -> None:
        self._wanted = None
        self._job = self._bench.runner.start(
            work,
            title=f"Colour by {match.key}",
            kind="colour",
            on_done=partial(_answer, self._bench, self._bench.session.study, match, show),
            on_failed=partial(_complain, self, match),
            owner=self,
            threads=1,
        )

    def show_painted(self, match: Match, painted: list[Painted]) -> None:
        """Give the layers the colours that were worked out for them."""
        from napari_stomics.layers.colour import apply_colouring, clear_colouring

        shown = []
        for each in painted:
            layer = self._spots(each.section)
            if layer is not None:
                apply_colouring(layer, each.values, each.ahead)
                shown.append(each)
        without = [n for n in self.sections() if n not in {each.section for each in painted}]
        for name in without:
            layer = self._spots(name)
            if layer is not None:
                clear_colouring(layer)
        self._painted = [each._replace(ahead=None) for each in shown]
        self._say(f"{match.key} is not in {', '.join(without)}." if without else "")
        self._show_values(match)

    def _show_values(self, match: Match) -> None:
        numeric = [each.values for each in self._painted if each.values.numeric]
        if numeric:
            self.range.show_values(match.key, [v.values for v in numeric], numeric[0].limits)
            self.range.set_colormap(numeric[0].colormap)
        self.range.setVisible(bool(numeric))
        entries = dict(entry for each in self._painted for entry in each.values.legend)
        self.legend.show_entries(list(entries.items()))

    def _spots(self, section: str) -> Any | None:
        from napari_stomics.layers.section import find_section

        found = find_section(self._bench.viewer, section)
        return None if found is None else found.colourable

    def _take_over(self) -> None:
        """Show the range and the legend of what is coloured already, and change nothing."""
        from napari_stomics.layers.features import Match

        study, coloured = self._bench.session.study, self._coloured()
        if coloured:
            first = next(iter(coloured.values()))
            same = [n for n, c in coloured.items() if all(c[k] == first[k] for k in _WHAT)]
            match = Match(first["key"], first["kind"], first["modality"])
            look, limits = first["colormap"], first["limits"] and tuple(first["limits"])
            self._start(
                match,
                lambda ctx: _worked_out(study, same, match, look, limits),
                self._adopt,
            )

    def _coloured(self) -> dict[str, dict[str, Any]]:
        """What the spots of each section are coloured by, where they are."""
        from napari_stomics.layers.tags import tag

        layers = {name: self._spots(name) for name in self.sections()}
        found = {n: tag(q).get("colour") for n, q in layers.items() if q is not None}
        return {name: colour for name, colour in found.items() if colour}

    def _adopt(self, match: Match, painted: list[Painted]) -> None:
        self._painted = painted
        self._show_values(match)

    # -- slots -------------------------------------------------------------------------------

    def on_layer_removed(self) -> None:
        """Forget sections whose spots the user removed."""
        self._painted = [each for each in self._painted if self._spots(each.section) is not None]
        if not self._painted:
            self.range.hide()
            self.legend.show_entries([])

    def _move_row(self, step: int) -> None:
        count = self.found.count()
        if count:
            self.found.setCurrentRow(min(max(self.found.currentRow() + step, 0), count - 1))

    def _colour_chosen(self) -> None:
        if self._delay.isActive():
            self._delay.stop()
            self.search()
        self._on_chosen(self.found.item(max(self.found.currentRow(), 0)))

    def _on_chosen(self, item: QListWidgetItem | None) -> None:
        if item is not None:
            self.colour(item.data(Qt.ItemDataRole.UserRole))

    def _on_limits(self, limits: tuple[float, float]) -> None:
        from napari_stomics.layers.colour import set_limits
        from napari_stomics.layers.tags import tag

        numeric = [each for each in self._painted if each.values.numeric]
        layers = {each.section: self._spots(each.section) for each in numeric}
        present = [layer for layer in layers.values() if layer is not None]
        with told_to_user("Colour range"):
            if any(tag(layer).get("companion") is not None for layer in present):
                self._paint_limits(numeric, layers, limits)
                return
            for layer in present:
                set_limits(layer, limits)

    def _paint_limits(
        self, numeric: list[Painted], layers: dict[str, Any], limits: tuple[float, float]
    ) -> None:
        """Paint many spots in another range; one painting at a time, the last wish next."""
        if self._job is not None and self._job.is_active:
            self._wanted = limits
            return
        found = [e._replace(values=replace(e.values, limits=limits)) for e in numeric]
        match = numeric[0].values.match
        self._start(match, lambda ctx: _ahead(found, layers, ctx), self.show_painted)

    def on_job_ended(self, job: Job) -> None:
        """Paint the range that was chosen while a painting was under way."""
        wanted, self._wanted = (self._wanted, None) if job is self._job else (None, self._wanted)
        if job is self._job:
            self._job = None
            if wanted is not None:
                self._on_limits(wanted)

    def _on_reset(self) -> None:
        if self._painted:
            self.colour(self._painted[0].values.match)

    def _on_colormap(self, name: str) -> None:
        if self._painted:
            self.colour(self._painted[0].values.match, self.range.limits)


class SearchLine(QLineEdit):
    """A line to type in, whose arrow keys go through the list below."""

    moved = Signal(int)
    """Steps down the list."""

    def __init__(self) -> None:
        super().__init__()
        self.setPlaceholderText("part of a gene, protein or annotation")
        self.setToolTip("Type a part of a name; arrow keys choose, Enter colours.")
        self.setClearButtonEnabled(True)

    def keyPressEvent(self, event: Any) -> None:
        """Leave the arrows up and down to the list."""
        steps = {Qt.Key.Key_Down: 1, Qt.Key.Key_Up: -1}
        if event.key() in steps:
            self.moved.emit(steps[event.key()])
        else:
            super().keyPressEvent(event)


def _answer(
    bench: Workbench,
    study: Study,
    match: Match,
    show: Callable[[Match, list[Painted]], None],
    painted: list[Painted],
) -> None:
    """Show what a job worked out, unless another study is open by now."""
    if bench.session.study is study:
        show(match, painted)


def _complain(panel: ColourPanel, match: Match, error: BaseException) -> None:
    panel._say(describe_failure(error, f"Colour by {match.key}"))


def _paint_all(
    study: Study,
    layers: dict[str, Any],
    match: Match,
    colormap: str,
    limits: tuple[float, float] | None,
    ctx: JobContext,
) -> list[Painted]:
    """Colours of each section that has the feature; numbers share one range."""
    found = _worked_out(study, list(layers), match, colormap, limits)
    return _ahead(found, layers, ctx)


def _worked_out(
    study: Study,
    names: list[str],
    match: Match,
    colormap: str,
    limits: tuple[float, float] | None,
) -> list[Painted]:
    from napari_stomics.layers.colour import colourings

    values = colourings(study, names, match, colormap=colormap, limits=limits)
    return [Painted(name, each) for name, each in values.items()]


def _ahead(found: list[Painted], layers: dict[str, Any], ctx: JobContext) -> list[Painted]:
    """Paint what stands for layers with many spots."""
    from napari_stomics.layers.colour import paint_ahead

    out = []
    for each in found:
        ctx.step(None)
        layer = layers.get(each.section)
        out.append(each._replace(ahead=None if layer is None else paint_ahead(layer, each.values)))
    return out


def _best_first(matches: Iterable[Match], text: str) -> list[Match]:
    """Order what several sections found: whole names, then beginnings, annotations first."""
    wanted = text.strip().lower()
    order = {"obs": 0, "obsm": 1, "feature": 2}

    def rank(match: Match) -> tuple[int, int, int]:
        low = match.key.lower()
        if not wanted:
            return (order[match.kind], 0, 0)
        place = 0 if low == wanted else 1 if low.startswith(wanted) else 2
        return (place, order[match.kind], len(low))

    return sorted(matches, key=rank)


def _timer(owner: QWidget, interval: int, slot: Any) -> QTimer:
    timer = QTimer(owner)
    timer.setSingleShot(True)
    timer.setInterval(interval)
    timer.timeout.connect(slot)
    return timer
