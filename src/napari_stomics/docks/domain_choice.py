"""Which stored domains the dock is about, with their colours; and how these are changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_stomics.core.fusion import Domains
from napari_stomics.docks.name_combo import NameCombo
from napari_stomics.docks.workbench import Workbench, told_to_user
from napari_stomics.workflow.steps import Step

if TYPE_CHECKING:
    from napari_stomics.data.schema import RunRecord


class ResultChoice(QWidget):
    """Chooses among the stored results of one kind, the newest first.

    Parameters
    ----------
    bench
        The viewer's workbench.
    kind
        Kind of the results.
    title
        What they are, for those who cannot see the form.
    """

    changed = Signal()
    """Another result is chosen, or the chosen one has changed."""

    def __init__(self, bench: Workbench, kind: str, title: str) -> None:
        super().__init__()
        self._bench, self._kind = bench, kind
        self._loaded: tuple[Any, Any] = (None, None)
        self.combo = NameCombo()
        self.combo.setAccessibleName(title)
        self.combo.setToolTip(title)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.combo)
        self.combo.currentTextChanged.connect(self._on_chosen)
        self.refresh()

    def keys(self) -> list[str]:
        """Names of the results, the newest first."""
        runs = reversed(self._bench.session.results())
        return list(dict.fromkeys(run.key for run in runs if run.kind == self._kind))

    @property
    def key(self) -> str:
        """Name of the chosen result; empty without one."""
        return self.combo.currentText()

    @property
    def run(self) -> RunRecord | None:
        """The newest run of that name."""
        return self.run_of(self.key)

    def run_of(self, key: str) -> RunRecord | None:
        """The newest run of a name."""
        runs = reversed(self._bench.session.results())
        return next((r for r in runs if r.key == key and r.kind == self._kind), None)

    @property
    def result(self) -> Any:
        """The chosen result as it is stored; None without one."""
        run = self.run
        if run is None:
            self._loaded = (None, None)
            return None
        mark = (id(self._bench.session.study), run.id)
        if self._loaded[0] != mark:
            self._loaded = (mark, None)
            with told_to_user(f"Read {run.key}"):
                self._loaded = (mark, self._bench.session.load_result(run))
        return self._loaded[1]

    def choose(self, key: str) -> None:
        """Choose a result by its name."""
        if key in self.keys():
            self.refresh()
            self.combo.setCurrentText(key)

    def refresh(self) -> None:
        """Offer what the study holds now."""
        self.combo.set_names(self.keys(), next(iter(self.keys()), None))
        self.setVisible(self.combo.count() > 0)
        self.changed.emit()

    def _on_chosen(self) -> None:
        self.changed.emit()


class DomainChoice(ResultChoice):
    """Chooses among stored domains."""

    def __init__(self, bench: Workbench) -> None:
        super().__init__(bench, Domains.kind, "Domains found")

    @property
    def colours(self) -> dict[str, str]:
        """Colours (hex) by name of the chosen domains."""
        from napari_stomics.data.domain_colours import domain_colours

        found = self.result
        return {} if found is None else domain_colours(self._bench.session.study, found, self.key)


def edit_step(run: RunRecord, action: str, names: Sequence[str], **params: Any) -> Step:
    """Return the step that changes stored domains by hand.

    Parameters
    ----------
    run
        Of the domains.
    action, names, **params
        What is changed in which domains; see the parameters of the method.
    """
    before = run.step["inputs"]
    inputs = {"section": before["section"], "domains": run.key}
    if before.get("annotation"):
        inputs["annotation"] = before["annotation"]
    told = {"action": action, "domains": ",".join(names), **params}
    return Step(method="domains/edit", inputs=inputs, params=told, key=run.key)
