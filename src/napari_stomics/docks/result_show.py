"""Results on the canvas: painted as they are committed, taken away as they are undone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from napari_stomics.core.errors import UserError
from napari_stomics.docks.messages import show_failure, show_warning, told_to_user

if TYPE_CHECKING:
    from napari_stomics.data.schema import RunRecord
    from napari_stomics.docks.workbench import Workbench

_END = object()


class ResultShow:
    """Paints what the session commits and hides what it takes back.

    Parameters
    ----------
    bench
        The viewer's workbench.
    """

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self._held: list[tuple[Any, RunRecord]] | None = None
        bench.session.committed.connect(self.show)
        bench.session.reverted.connect(self.hide)

    def show(self, result: Any, run: RunRecord) -> None:
        """Paint a result that is in the study."""
        if self._held is not None:
            self._held.append((result, run))
            return
        for _ in self._painting(result, run):
            pass

    def hide(self, result: Any, run: RunRecord) -> None:
        """Take the layers of a result away; where it had replaced another, show that again."""
        from napari_stomics.layers.results import unpaint

        bench = self._bench
        same = [r for r in bench.session.results() if (r.key, r.kind) == (run.key, run.kind)]
        with told_to_user(f"Hide {run.key}"):
            if same:
                self.show_stored(same[-1])
            else:
                unpaint(bench.viewer, bench.session.study, result, run.key)
            bench.lay_out()
        bench.results_changed.emit()

    def show_stored(self, run: RunRecord) -> None:
        """Paint a result that was stored with the study."""
        from napari_stomics.layers.results import paint

        bench = self._bench
        try:
            result = bench.session.load_result(run)
            paint(bench.viewer, bench.session.study, result, run.key)
        except UserError as error:
            show_warning(str(error), run.key)

    def committing(
        self, commit: Callable[[], object], first: Callable[[], object] | None = None
    ) -> Iterator[None]:
        """Commit results and paint them piece by piece; the window draws in between.

        Parameters
        ----------
        commit
            Commits them to the session.
        first
            Called just before the painting, with the viewer as it was while the job ran.
        """
        held: list[tuple[Any, RunRecord]] = []
        self._held = held
        try:
            commit()
        finally:
            self._held = None
        yield
        if first is not None:
            first()  # and no turn of the event loop before the section lies where it belongs
        for result, run in held:  # none while the study is being saved: it comes later
            yield from self._painting(result, run)

    def _painting(self, result: Any, run: RunRecord) -> Iterator[None]:
        from napari_stomics.layers.results import painting

        bench = self._bench
        study = bench.session.study
        pieces = painting(bench.viewer, study, result, run.key)
        try:
            while bench.session.study is study and run.id in {r.id for r in study.record.runs}:
                if next(pieces, _END) is _END:
                    break
                yield
            else:
                return  # it was taken back meanwhile, and what was painted with it
            bench.lay_out()
        except Exception as error:  # the result is in the study all the same
            show_failure(error, f"Show {run.key}")
        yield
        bench.results_changed.emit()
