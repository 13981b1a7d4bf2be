"""Add single cells without positions: asked for by a button, or offered for what was dropped."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QApplication, QFileDialog, QMessageBox, QWidget

from napari_stomics.docks.jobs import Job, window_is_open
from napari_stomics.docks.messages import show_info

if TYPE_CHECKING:
    from napari_stomics.data.single_cells import Reference, SingleCells
    from napari_stomics.docks.workbench import Workbench

FILTER = "Single cells (*.h5ad *.h5mu *.h5)"


def choose_reference(bench: Workbench, parent: QWidget | None = None) -> Job | None:
    """Ask for a file of single cells and add it; None where none was chosen."""
    path, _ = QFileDialog.getOpenFileName(parent, "Add single cells", "", FILTER)
    return add_reference(bench, path) if path else None


def add_reference(bench: Workbench, path: str | Path, **options: Any) -> Job:
    """Read single cells in a background job and add them to the study.

    Parameters
    ----------
    bench
        The viewer's workbench.
    path
        File (.h5ad, .h5mu, .h5).
    **options
        Of :func:`~napari_stomics.data.readers.read_reference`.
    """
    from napari_stomics.data.readers import read_reference

    origin = {"path": str(Path(path).resolve()), **options}
    return bench.runner.start(
        lambda ctx: read_reference(path, **options),
        title=f"Read {Path(path).name}",
        kind=f"read {path}",
        on_done=partial(_added, bench, origin),
    )


def open_or_offer(bench: Workbench, path: str | Path) -> Job:
    """Open what was dropped; a table without positions is offered as single cells."""
    from napari_stomics.data.readers.single_cells import holds_cells_only

    return bench.runner.start(
        lambda ctx: holds_cells_only(path),
        title=f"Look at {Path(path).name}",
        kind=f"look {path}",
        on_done=partial(_looked, bench, path),
    )


def open_in_script(bench: Workbench, path: str | Path) -> Job:
    """Open a path where nobody can be asked: a table without positions is added as single cells."""
    from napari_stomics.data.readers.single_cells import holds_cells_only

    return add_reference(bench, path) if holds_cells_only(path) else bench.open_path(path)


def _looked(bench: Workbench, path: str | Path, cells_only: bool) -> None:
    if not window_is_open(bench.viewer):
        return
    if not cells_only:
        bench.open_path(path)
        return
    answer = QMessageBox.question(
        QApplication.activeWindow(),
        "Single cells",
        f"{Path(path).name} holds no positions, so it is no section. Add it as single cells, to "
        "be placed in a section?",
    )
    if answer == QMessageBox.StandardButton.Yes:
        add_reference(bench, path)


def _added(bench: Workbench, origin: dict[str, Any], cells: SingleCells) -> None:
    if not window_is_open(bench.viewer):
        return
    name = bench.session.add_reference(cells, origin)
    bench.results_changed.emit()
    show_info(f"Single cells {name}: {about(bench.session.study.references[name])}.")


def about(reference: Reference) -> str:
    """Cells, features and labels of a reference in a few words."""
    parts = []
    for modality in reference.modalities:
        table = reference.table(modality)
        parts.append(f"{table.n_obs:,} cells × {table.n_vars:,} {modality} features")
        labels = reference.labels(modality)
        if labels is not None:
            parts.append(f"{len(set(labels) - {''}):,} labels in {reference.record.labels!r}")
    return ", ".join(parts)
