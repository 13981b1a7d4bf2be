"""What an alignment is to do: sections, features, what holds them together, choices."""

from __future__ import annotations

from typing import Any

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import SpotPair
from napari_stomics.core.plans import TransportPlan
from napari_stomics.docks.step_form import StepForm
from napari_stomics.docks.workbench import Workbench
from napari_stomics.workflow.steps import Step

VISIBLE = ("prior", "marginals", "bend")
"""The three choices that are not folded away."""

_GROUPS = {
    "": ("source", "target"),
    "Features": ("modality", "target_modality", "embedding", "histology"),
    "What holds them together": ("landmarks", "constraints"),
}


class AlignmentForm(StepForm):
    """Builds the step of an alignment.

    Parameters
    ----------
    bench
        The viewer's workbench.
    """

    way_out = "Open a section that has it."

    def __init__(self, bench: Workbench) -> None:
        titles = ("Solver", "Published system")
        super().__init__(bench, "alignment", SpotPair, TransportPlan, _GROUPS, titles)
        self._session = bench.session
        self.refs.changed.connect(self.changed)

    def important(self, params: type[Any]) -> list[str]:
        """Names of the fields that are not folded away."""
        return [name for name in VISIBLE if name in params.model_fields]

    def choose_pair(self, source: str, target: str) -> None:
        """Choose the sections."""
        self.refs.set_value("source", source)
        self.refs.set_value("target", target)

    def refresh(self) -> None:
        """Offer what the study holds now."""
        self.refs.refresh()
        self.changed.emit()

    # -- what is asked for -------------------------------------------------------------------

    @property
    def pair(self) -> tuple[str, str]:
        """The moving and the fixed section; empty where there is none."""
        chosen = self.refs.values()
        return str(chosen.get("source", "")), str(chosen.get("target", ""))

    @property
    def ready(self) -> bool:
        """Whether two different sections are chosen."""
        source, target = self.pair
        return bool(source and target and source != target)

    @property
    def spots(self) -> tuple[int, int]:
        """Numbers of spots of the two sections; (0, 0) without them."""
        study = self._session.study
        if not self.ready or not set(self.pair) <= set(study.record.sections):
            return 0, 0
        return len(study.section(self.pair[0]).ids), len(study.section(self.pair[1]).ids)

    def step(self, start: str | None = None, **changes: Any) -> Step:
        """Return the step that the form describes.

        Parameters
        ----------
        start
            A stored plan to go on from.
        **changes
            Parameters in place of those in the form.

        Raises
        ------
        UserError
            If a parameter is not valid, or something that is read is missing.
        """
        if not self.ready:
            raise UserError("Two different sections are needed.", "Choose them above.")
        step = super().step(**changes)
        inputs = {**step.inputs, **self._by_value()}
        if start is not None:
            inputs["start"] = start
        return step.model_copy(update={"inputs": inputs})

    def _by_value(self) -> dict[str, Any]:
        """Landmarks and constraints as they are now, so that a recipe replays to the same."""
        record = self._session.study.record
        pair = set(self.pair)
        return {
            "landmarks": [m.model_dump() for m in record.landmarks if pair <= set(m.positions)],
            "constraints": [c.model_dump() for c in record.constraints if pair <= set(c.regions)],
        }

    @property
    def result_key(self) -> str:
        """The method's name, with those of the sections where another pair has that result."""
        plain = super().result_key
        for run in self._session.results():
            inputs = run.step["inputs"]
            if run.key == plain and (inputs.get("source"), inputs.get("target")) != self.pair:
                return f"{plain}_{'_'.join(self.pair)}"
        return plain
