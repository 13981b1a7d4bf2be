"""Scores, contingency and markers as plain tables, and as CSV files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stomics.core.errors import UserError
from napari_stomics.core.markers import DomainMarkers, Markers
from napari_stomics.core.scores import ScoreTable
from napari_stomics.data.atomic import write_text

if TYPE_CHECKING:
    from pandas import DataFrame

_MARKER_NUMBERS = ("effect", "score", "p", "p_adjusted", "morans_i", "gearys_c")


def score_frame(result: ScoreTable) -> DataFrame:
    """One row per score: name, title, value, which way is better, space and protocol."""
    import pandas as pd

    names = ("name", "title", "value", "better", "space", "protocol")
    return pd.DataFrame(
        {name: [getattr(row, name) for row in result.rows] for name in names},
        index=[str(i) for i in range(len(result.rows))],
    )


def contingency_frame(result: ScoreTable) -> DataFrame:
    """Number of spots of each annotated class (rows) in each domain (columns).

    Raises
    ------
    UserError
        If the scores were made without an annotation.
    """
    import pandas as pd

    if not result.truth_names:
        raise UserError(
            "There is no contingency table: the scores were made without an annotation.",
            "Choose one under Compare with, and score again.",
        )
    rows = pd.Index(result.truth_names, name=result.truth_name)
    return pd.DataFrame(result.counts, rows, list(result.names))


def marker_frame(result: Markers) -> DataFrame:
    """One row per marker and domain, with 1 - C beside Geary's C left to the reader."""
    import pandas as pd

    columns: dict[str, Any] = {
        "domain": [t.domain for t in result.tables for _ in range(len(t))],
        "rank": [i + 1 for t in result.tables for i in range(len(t))],
        "feature": [str(f) for t in result.tables for f in t.features],
    }
    for name in _MARKER_NUMBERS:
        parts = [np.asarray(getattr(t, name), np.float64) for t in result.tables]
        columns[name] = np.concatenate(parts) if parts else np.zeros(0)
    return pd.DataFrame(columns, index=[str(i) for i in range(len(columns["feature"]))])


def marker_tables(frame: Any, spots: Mapping[str, int]) -> tuple[DomainMarkers, ...]:
    """Markers per domain from the table of :func:`marker_frame`, in the order of ``spots``."""
    out = []
    for domain, count in spots.items():
        part = frame[frame["domain"].astype(str) == domain]
        numbers = {name: part[name].to_numpy(np.float64) for name in _MARKER_NUMBERS}
        features = part["feature"].astype(str).to_numpy(object)
        out.append(DomainMarkers(domain=domain, spots=count, features=features, **numbers))
    return tuple(out)


def write_scores_csv(path: str | Path, result: ScoreTable, *, overwrite: bool = False) -> Path:
    """Write the scores with their protocols; returns the path written.

    Raises
    ------
    UserError
        If the file exists and is not to be replaced.
    """
    return _write(path, score_frame(result), index=False, overwrite=overwrite)


def write_contingency_csv(path: str | Path, result: ScoreTable, *, overwrite: bool = False) -> Path:
    """Write the contingency table; see :func:`write_scores_csv`."""
    return _write(path, contingency_frame(result), index=True, overwrite=overwrite)


def write_markers_csv(path: str | Path, result: Markers, *, overwrite: bool = False) -> Path:
    """Write the markers of all domains; see :func:`write_scores_csv`."""
    frame = marker_frame(result)
    frame.insert(4, "effect_is", result.effect)
    frame["modality"], frame["test"] = result.modality, result.test
    return _write(path, frame, index=False, overwrite=overwrite)


def _write(path: str | Path, frame: Any, *, index: bool, overwrite: bool) -> Path:
    path = Path(path)
    path = path if path.suffix else path.with_name(f"{path.name}.csv")
    try:
        write_text(path, frame.to_csv(index=index, lineterminator="\n"), overwrite=overwrite)
    except FileExistsError as error:
        raise UserError(
            f"{path} exists already.", "Choose another name, or say that it may be overwritten."
        ) from error
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error}.", "Choose another folder.") from error
    return path
