"""Suggested landmarks, taken or left one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psygnal import Signal as Event
from qtpy.QtWidgets import QSpinBox, QVBoxLayout, QWidget

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import ImagePair
from napari_stomics.docks.layout import button, in_row, wrapped_label
from napari_stomics.docks.workbench import Workbench, told_to_user

if TYPE_CHECKING:
    from napari_stomics.core.transforms import Transform
    from napari_stomics.docks.landmark_view import LandmarkView
    from napari_stomics.methods.registration.suggest import Suggestion

KIND = "landmark suggestions"
_IDLE = "Suggests places that look alike in both sections; you accept or reject each."


class Review:
    """The suggestions that are still to be judged.

    Parameters
    ----------
    bench
        The viewer's workbench.
    view
        Shows the suggestion at hand on the canvas.
    """

    changed = Event()
    """Another suggestion is at hand, or none."""

    def __init__(self, bench: Workbench, view: LandmarkView) -> None:
        self._session = bench.session
        self._view = view
        self._waiting: list[Suggestion] = []
        self._sections = ("", "")
        self.total = 0
        self.accepted = 0

    @property
    def current(self) -> Suggestion | None:
        """The suggestion at hand."""
        return self._waiting[0] if self._waiting else None

    @property
    def text(self) -> str:
        """What is at hand, in words."""
        at_hand = self.current
        if at_hand is None:
            if self.total:
                return f"Done: {self.accepted} of {self.total} suggestions accepted."
            return _IDLE
        number = self.total - len(self._waiting) + 1
        return (
            f"Suggestion {number} of {self.total}, confidence {at_hand.score:.2f}: "
            "the rings mark one place in both sections. A accepts it, R rejects it."
        )

    def begin(self, sections: tuple[str, str], suggestions: tuple[Suggestion, ...]) -> None:
        """Judge these, the first at once.

        Raises
        ------
        UserError
            If there are none.
        """
        if not suggestions:
            raise UserError(
                "No place looks alike in both sections with confidence.",
                "Register the sections roughly first, or place landmarks by hand.",
            )
        self._sections, self._waiting = sections, list(suggestions)
        self.total, self.accepted = len(suggestions), 0
        self._show()

    def accept(self) -> None:
        """Make the suggestion at hand a landmark, as one undoable action."""
        if self.current is not None:
            at_hand = self._waiting.pop(0)
            places = (at_hand.source, at_hand.target)
            self.accepted += 1
            self._session.landmarks.add(positions=dict(zip(self._sections, places, strict=True)))
            self._show()

    def reject(self) -> None:
        """Leave the suggestion at hand out."""
        if self.current is not None:
            self._waiting.pop(0)
            self._show()

    def stop(self) -> None:
        """Forget what is left, for instance because other sections were chosen."""
        if self._waiting:
            self._waiting.clear()
            self.total = 0
            self._show()

    def places(self) -> dict[str, tuple[float, float]]:
        """Where the suggestion at hand lies in each section, (x, y) um; empty without one."""
        if self.current is None:
            return {}
        return dict(zip(self._sections, (self.current.source, self.current.target), strict=True))

    def _show(self) -> None:
        places = self.places()
        self._view.show_rings(places, "suggested")
        if places:
            self._view.jump(self._sections[1], places[self._sections[1]])
        self.changed.emit()


class SuggestionPanel(QWidget):
    """Asks for suggestions in a background job and shows the review.

    Parameters
    ----------
    bench
        The viewer's workbench.
    review
        The suggestions to be judged.
    view
        Its map, if it shows one, is where the search begins.
    """

    def __init__(
        self, bench: Workbench, review: Review, view: LandmarkView, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._bench = bench
        self._review = review
        self._view = view
        self._count = QSpinBox()
        self._count.setRange(1, 100)
        self._count.setValue(12)
        self._count.setSuffix(" places")
        self._count.setToolTip("How many at most.")
        self._ask = button("Suggest landmarks", self.ask, "Matches patches of both images.")
        self._text = wrapped_label()
        self._accept = button("Accept (A)", review.accept, "Make it a landmark.")
        self._reject = button("Reject (R)", review.reject, "Leave it out.")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(in_row(self._ask, self._count))
        column.addWidget(self._text)
        column.addWidget(in_row(self._accept, self._reject))
        review.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show what is at hand."""
        estimate = self._bench.session.estimate
        ready = bool(estimate.source and estimate.target and estimate.source != estimate.target)
        self._ask.setEnabled(ready)
        self._text.setText(self._review.text)
        for part in (self._accept, self._reject):
            part.setVisible(self._review.current is not None)

    def ask(self) -> None:
        """Match the two images in the background."""
        from napari_stomics.data.collect import COLLECTORS, ImagePairRefs
        from napari_stomics.methods.registration.suggest import suggest_landmarks

        estimate = self._bench.session.estimate
        sections, count = (estimate.source, estimate.target), self._count.value()
        with told_to_user("Suggest landmarks"):
            start = self._checked_start()
            refs = ImagePairRefs(source=sections[0], target=sections[1])
            pair = COLLECTORS[ImagePair].collect(self._bench.session.study, refs)
            self._bench.runner.start(
                lambda ctx: suggest_landmarks(pair, start, count, ctx),
                title="Suggest landmarks",
                kind=KIND,
                on_done=lambda found: self._take(sections, found),
                owner=self,
            )

    def _take(self, sections: tuple[str, str], found: tuple[Suggestion, ...]) -> None:
        estimate = self._bench.session.estimate
        if sections == (estimate.source, estimate.target):
            self._review.begin(sections, found)

    def _checked_start(self) -> Transform:
        start = self._view.transform
        if start is None:
            raise UserError(
                "Suggestions need a registration that is roughly right.",
                "Press “Register automatically”, or place a few landmark pairs first.",
            )
        return start
