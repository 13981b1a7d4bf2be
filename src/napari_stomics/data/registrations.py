"""A registration as plain types for the study's record, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.results import Candidate, Registration
from napari_stomics.core.transforms import transform_from_dict
from napari_stomics.data.schema import RegistrationRecord


def details_of(result: Registration) -> dict[str, Any]:
    """Errors per landmark pair and the other poses considered, as plain lists."""
    return {
        "names": list(result.names),
        "residuals": _plain(result.residuals),
        "leave_one_out": _plain(result.leave_one_out),
        "outliers": [bool(flag) for flag in result.outliers],
        "fold_fraction": float(result.fold_fraction),
        "candidates": [
            {
                "transform": c.transform.to_dict(),
                "score": float(c.score),
                "mirrored": bool(c.mirrored),
                "rotation": float(c.rotation),
            }
            for c in result.candidates
        ],
        "margin": _plain([result.margin])[0],
        "source_pixel_size": _plain([result.source_pixel_size])[0],
        "converged": bool(result.converged),
        "matched_share": _plain([result.matched_share])[0],
        "chance_share": _plain([result.chance_share])[0],
    }


def _plain(values: Any) -> list[float | None]:
    """Floats for JSON, which has no NaN."""
    return [float(v) if np.isfinite(v) else None for v in values]


def _floats(values: list[float | None]) -> NDArray[np.float64]:
    return np.array([_float(v) for v in values], float)


def _float(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def registration_of(record: RegistrationRecord) -> Registration:
    """Return the registration that a record holds.

    Raises
    ------
    KeyError
        If the record was written without its details.
    """
    more = record.details
    candidates = (
        Candidate(transform_from_dict(c["transform"]), c["score"], c["mirrored"], c["rotation"])
        for c in more["candidates"]
    )
    return Registration(
        source=record.source,
        target=record.target,
        transform=transform_from_dict(record.transform),
        model=record.model,
        driver=record.driver,
        names=tuple(more["names"]),
        residuals=_floats(more["residuals"]),
        leave_one_out=_floats(more["leave_one_out"]),
        outliers=np.array(more["outliers"], bool),
        fold_fraction=more["fold_fraction"],
        candidates=tuple(candidates),
        margin=_float(more["margin"]),
        source_pixel_size=_float(more["source_pixel_size"]),
        converged=more["converged"],
        matched_share=_float(more.get("matched_share")),
        chance_share=_float(more.get("chance_share")),
    )
