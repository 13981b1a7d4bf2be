"""Automatic start: run it, read how sure it is, click through the other poses."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QListWidget, QVBoxLayout, QWidget

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import LandmarkPairs
from napari_stomics.core.results import Candidate, Registration
from napari_stomics.core.transforms import Affine
from napari_stomics.docks.layout import Fold, button, wrapped_label
from napari_stomics.docks.param_form import ParamForm
from napari_stomics.docks.workbench import Workbench, told_to_user
from napari_stomics.methods.registration.automatic import SMALL_MARGIN, AutomaticParams
from napari_stomics.methods.registration.estimate import fit_linear
from napari_stomics.methods.registration.landmarks import LandmarkParams, register_landmarks
from napari_stomics.metrics.registration import target_registration_error
from napari_stomics.workflow.steps import Step

if TYPE_CHECKING:
    from napari_stomics.data.schema import RunRecord

METHOD = "registration/automatic"


class AutomaticPanel(QWidget):
    """Starts the automatic registration and shows the poses it considered.

    Parameters
    ----------
    bench
        The viewer's workbench.
    """

    pose_chosen = Signal(object)
    """The map of a pose that was clicked, to be shown at once."""
    two_clicks_wanted = Signal()
    """The user wants to mark places by hand."""

    def __init__(self, bench: Workbench, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._bench = bench
        self._session = bench.session
        self._found: Registration | None = None
        self._build()
        self.refresh()

    def listeners(self) -> list[tuple[Any, Any]]:
        """Signals of the session, and what hears them."""
        return [(self._session.committed, self._on_committed)]

    @property
    def found(self) -> Registration | None:
        """The last search between the chosen sections, with its poses."""
        return self._found

    @property
    def verdict(self) -> str:
        """How sure the best pose is, as shown."""
        return self._verdict.text()

    def refresh(self) -> None:
        """Follow the chosen sections and the number of landmark pairs."""
        estimate = self._session.estimate
        pair = (estimate.source, estimate.target)
        ready = bool(pair[0] and pair[1] and pair[0] != pair[1])
        if self._found is not None and (self._found.source, self._found.target) != pair:
            self._found = None
            self._show_poses()
        self._start.setEnabled(ready)
        self._mark.setEnabled(ready)
        count = len(estimate.pairs.names) if ready else 0
        self.from_pairs.setEnabled(count >= 2)
        self.from_pairs.setText(f"Start from {count if count > 2 else 'two'} pairs")

    def run(self, initial: Any = None) -> None:
        """Run the step in the background.

        Parameters
        ----------
        initial
            (3, 3) matrix to start from; None searches all poses.
        """
        estimate = self._session.estimate
        with told_to_user("Automatic registration"):
            params = self._form.value().model_dump(mode="json")
            if initial is not None:
                params["initial"] = np.asarray(initial, dtype=float).tolist()
            inputs = {"source": estimate.source, "target": estimate.target}
            self._bench.run(Step(method=METHOD, inputs=inputs, params=params))

    def start_from_pairs(self) -> None:
        """Refine from the landmark pairs that are there instead of searching."""
        with told_to_user("Start from landmark pairs"):
            poses = self._found.candidates if self._found is not None else ()
            self.run(map_from_pairs(self._session.estimate.pairs, poses).matrix)

    def choose(self, row: int) -> None:
        """Show a pose at once and refine from it."""
        if self._found is not None and 0 <= row < len(self._found.candidates):
            chosen = self._found.candidates[row].transform
            self.pose_chosen.emit(chosen)
            self.run(chosen.linear_part().matrix)

    def _build(self) -> None:
        self._start = button("Register automatically", self.run, "From the images alone.")
        self._form = ParamForm(AutomaticParams)
        self._verdict = wrapped_label(
            "No landmark is needed: the images of both sections are used."
        )
        self.poses = QListWidget()
        self.poses.setAccessibleName("Poses considered")
        self.poses.setToolTip("Click a pose to show it and to refine from it.")
        self.poses.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.poses.itemClicked.connect(lambda item: self.choose(self.poses.row(item)))
        self._mark = button(
            "Mark two places", self.two_clicks_wanted.emit, "Place two landmark pairs by hand."
        )
        self.from_pairs = button(
            "Start from two pairs", self.start_from_pairs, "Refine from the landmark pairs."
        )
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._start)
        column.addWidget(Fold("Options", self._form, shown=False))
        column.addWidget(self._verdict)
        column.addWidget(self.poses)
        column.addWidget(self._mark)
        column.addWidget(self.from_pairs)
        self._show_poses()

    def _on_committed(self, result: Any, run: RunRecord) -> None:
        if not isinstance(result, Registration) or run.step.get("method") != METHOD:
            return
        estimate = self._session.estimate
        ours = (result.source, result.target) == (estimate.source, estimate.target)
        # A refinement from one pose knows of no other: the list of the search stays.
        if ours and run.step["params"].get("initial") is None:
            self._found = result
            self._show_poses()

    def _show_poses(self) -> None:
        poses = self._found.candidates if self._found is not None else ()
        self.poses.clear()
        for number, pose in enumerate(poses, start=1):
            self.poses.addItem(pose_text(number, pose))
        self.poses.setVisible(len(poses) > 1)
        row = self.poses.sizeHintForRow(0) if poses else 0
        self.poses.setFixedHeight(row * min(len(poses), 6) + 8)
        if poses:
            self.poses.setCurrentRow(0)
        if self._found is not None:
            self._verdict.setText(margin_text(self._found))


def pose_text(number: int, pose: Candidate) -> str:
    """One pose in a line."""
    turned = f"turned {pose.rotation:.0f}°".replace("-0°", "0°")
    return f"{number}. {turned}{', mirrored' if pose.mirrored else ''}, score {pose.score:.3f}"


def margin_text(found: Registration) -> str:
    """Say in plain words how sure the best pose of a search is."""
    way_out = (
        "Look through the poses below, or mark the same two places in both sections "
        "and start from them."
    )
    if math.isnan(found.margin):
        return "One pose fits; no other came near it."
    percent = 100 * abs(found.margin)
    if found.margin < 0:
        return (
            f"⚠ Uncertain: a mirrored pose scores {percent:.1f} % higher, which is not enough to "
            f"turn the section over. {way_out}"
        )
    lead = f"the best pose leads the runner-up by {percent:.1f} %"
    if found.margin < SMALL_MARGIN:
        return f"⚠ Uncertain: {lead} only. {way_out}"
    return f"Clear: {lead}."


def map_from_pairs(pairs: LandmarkPairs, poses: tuple[Candidate, ...] = ()) -> Affine:
    """Return the similarity that landmark pairs say, to start a refinement from.

    Two pairs fit a mirrored section as well as an unmirrored one; of the poses
    that a search found, the one nearest to the pairs decides.

    Parameters
    ----------
    pairs
        At least two pairs, (x, y) in um.
    poses
        Poses of an earlier search.

    Raises
    ------
    UserError
        If there are too few pairs, or they lie at one place.
    """
    if len(pairs.names) < 2:
        raise UserError(
            f"There is only {len(pairs.names)} landmark pair."
            if pairs.names
            else "There are no landmark pairs.",
            "Mark the same two places in both sections.",
        )
    found = register_landmarks(pairs, LandmarkParams(model="similarity"), _quiet())
    if len(pairs.names) > 2 or not poses:
        return found.transform.linear_part()

    def far(pose: Candidate) -> float:
        points = pairs.source_points, pairs.target_points
        return float(np.median(target_registration_error(pose.transform, *points)))

    mirrored = min(poses, key=far).mirrored
    fit = fit_linear(pairs.source_points, pairs.target_points, "similarity", mirrored)
    return fit.transform.linear_part()


def _quiet() -> Any:
    from napari_stomics.core.jobs import JobContext

    return JobContext(on_warning=lambda message: None)
