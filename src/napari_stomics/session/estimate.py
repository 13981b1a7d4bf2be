"""The registration that follows the landmarks while they move."""

from __future__ import annotations

from psygnal import Signal

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import LandmarkPairs
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.results import Registration
from napari_stomics.methods.registration.landmarks import LandmarkParams, register_landmarks
from napari_stomics.session.landmarks import LandmarkModel


class LiveEstimate:
    """Refits on every change of the landmarks; fast enough to follow a drag.

    Parameters
    ----------
    landmarks
        The session's landmarks.
    """

    changed = Signal()
    """Emitted after every refit; read :attr:`registration` and :attr:`problem`."""

    def __init__(self, landmarks: LandmarkModel) -> None:
        self._landmarks = landmarks
        self.source = ""
        self.target = ""
        self.params = LandmarkParams()
        self.registration: Registration | None = None
        self.problem = "Choose two sections."
        """Why there is no estimate, with the way out; empty while there is one."""
        landmarks.changed.connect(self.update)

    def configure(
        self,
        source: str | None = None,
        target: str | None = None,
        params: LandmarkParams | None = None,
    ) -> None:
        """Choose the sections or the model, and refit."""
        before = (self.source, self.target)
        self.source = self.source if source is None else source
        self.target = self.target if target is None else target
        self.params = params or self.params
        # Two pairs of sections may lack an estimate for the very same reason.
        self._refit(news=before != (self.source, self.target))

    @property
    def pairs(self) -> LandmarkPairs:
        """The pairs between the two chosen sections."""
        return self._landmarks.pairs(self.source, self.target)

    def update(self) -> None:
        """Refit to the landmarks as they are now."""
        self._refit()

    def _refit(self, news: bool = False) -> None:
        before = (self.registration, self.problem)
        self.registration, self.problem = None, ""
        if not self.source or not self.target or self.source == self.target:
            self.problem = "Choose two different sections."
        else:
            try:
                self.registration = register_landmarks(self.pairs, self.params, JobContext())
            except UserError as error:
                self.problem = str(error)
        if news or before != (None, self.problem):
            self.changed.emit()
