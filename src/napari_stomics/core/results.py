"""What methods return: one frozen dataclass per kind, each with its uncertainty.

Every kind has ``summary()`` (plain JSON types, for the log and the dock) and
``converged``; arrays are never changed after construction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.transforms import Transform

Array = NDArray[Any]


@runtime_checkable
class Result(Protocol):
    """What every result offers."""

    kind: ClassVar[str]

    @property
    def converged(self) -> bool:
        """Whether the computation reached its stopping rule."""
        ...

    def summary(self) -> dict[str, Any]:
        """Key figures in plain JSON types."""
        ...


@dataclass(frozen=True)
class Candidate:
    """One pose that an automatic registration considered.

    Attributes
    ----------
    transform
        Carries source micrometres to target micrometres.
    score
        Agreement of the two images under it, higher is better.
    mirrored
        Whether it mirrors the source.
    rotation
        Rotation in degrees, counter-clockwise as seen with y up.
    """

    transform: Transform
    score: float
    mirrored: bool
    rotation: float


@dataclass(frozen=True)
class Registration:
    """A map from one section into another, with how far it can be trusted.

    Attributes
    ----------
    source, target
        Section names; ``transform`` carries source (x, y) um to target um.
    transform
        The map.
    model
        ``rigid``, ``similarity``, ``affine``, ``tps`` ...
    driver
        ``landmarks``, ``image``, ``plan`` or ``nuclei``.
    names
        Names of the landmark pairs used; empty for image registration.
    residuals
        (n,) distance in micrometres left at each pair by the fit.
    leave_one_out
        (n,) distance in micrometres at each pair when it is left out of the
        fit: an estimate of the target registration error. NaN where the rest
        cannot support the model.
    outliers
        (n,) flags of pairs that disagree with the others.
    fold_fraction
        Share of the source's extent where the Jacobian determinant changes sign.
    candidates
        Poses considered, best first (image registration).
    margin
        How far the best pose leads the runner-up, as a share of its score; NaN
        when there is no runner-up. Small means: ask for two clicks.
    source_pixel_size
        Micrometres per source pixel, NaN if unknown.
    converged
        Whether the optimiser reached its stopping rule.
    matched_share, chance_share
        Share of the cells left out of a fit that have a nucleus near, under the map
        and under shifts that cannot be right (nuclei); NaN otherwise.
    """

    kind: ClassVar[str] = "registration"

    source: str
    target: str
    transform: Transform
    model: str
    driver: str
    names: tuple[str, ...] = ()
    residuals: Array = None  # type: ignore[assignment]
    leave_one_out: Array = None  # type: ignore[assignment]
    outliers: Array = None  # type: ignore[assignment]
    fold_fraction: float = 0.0
    candidates: tuple[Candidate, ...] = ()
    margin: float = float("nan")
    source_pixel_size: float = float("nan")
    converged: bool = True
    matched_share: float = float("nan")
    chance_share: float = float("nan")

    def __post_init__(self) -> None:
        for name, dtype in (("residuals", float), ("leave_one_out", float), ("outliers", bool)):
            value = getattr(self, name)
            array = np.zeros(0, dtype) if value is None else np.asarray(value, dtype)
            object.__setattr__(self, name, array)

    def summary(self) -> dict[str, Any]:
        """Key figures in plain JSON types; errors in micrometres."""
        out: dict[str, Any] = {
            "source": self.source,
            "target": self.target,
            "model": self.model,
            "driver": self.driver,
            "pairs": len(self.names),
            "fold_fraction": float(self.fold_fraction),
        }
        if len(self.residuals):
            out["median_residual_um"] = float(np.median(self.residuals))
            finite = self.leave_one_out[np.isfinite(self.leave_one_out)]
            if len(finite):
                out["median_leave_one_out_um"] = float(np.median(finite))
                out["p90_leave_one_out_um"] = float(np.quantile(finite, 0.9))
            out["outliers"] = [n for n, bad in zip(self.names, self.outliers, strict=True) if bad]
        if np.isfinite(self.matched_share):
            out["matched_share"] = float(self.matched_share)
            out["chance_share"] = float(self.chance_share)
        if self.candidates:
            out["margin"] = float(self.margin)
            out["mirrored"] = self.candidates[0].mirrored
        return out


@dataclass(frozen=True)
class Prediction:
    """Expression predicted from histology, scored against what was measured.

    Attributes
    ----------
    values
        (n, g) predicted expression on the scale that ``scale`` names.
    genes
        (g,) names.
    error
        (g,) root mean squared error per gene, estimated on held-out spatial
        blocks of the training sections: the uncertainty of every value.
    novelty
        (n,) distance of each spot's image features from the training ones over
        the 99th percentile of the training's own held-out distances; above 1 is
        out of distribution.
    pearson, pearson_mean, pearson_depth
        (g,) correlation with the measured expression of the prediction, of a
        coordinate-free training mean (no variation: 0 by convention) and of a
        depth-only control; NaN where nothing was measured.
    rmse, rmse_mean
        (g,) root mean squared error of the prediction and of the training mean
        against the measured expression; NaN where nothing was measured.
    """

    kind: ClassVar[str] = "prediction"

    section: str
    trained_on: tuple[str, ...]
    ids: Array
    genes: Array
    values: Array
    scale: str
    error: Array
    novelty: Array
    pearson: Array
    pearson_mean: Array
    pearson_depth: Array
    rmse: Array
    rmse_mean: Array
    converged: bool = True

    def summary(self) -> dict[str, Any]:
        """Key figures in plain JSON types: medians over genes."""
        return {
            "section": self.section,
            "trained_on": list(self.trained_on),
            "genes": len(self.genes),
            "scale": self.scale,
            "median_pearson": median_of(self.pearson),
            "median_pearson_mean": median_of(self.pearson_mean),
            "median_pearson_depth": median_of(self.pearson_depth),
            "median_rmse": median_of(self.rmse),
            "median_rmse_mean": median_of(self.rmse_mean),
            "best_genes": [str(self.genes[i]) for i in _best(self.pearson, 5)],
            "novel_spots": int((self.novelty > 1).sum()),
        }


def median_of(values: Array) -> float:
    """Median of the finite values; NaN without any."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else float("nan")


def _best(values: Array, count: int) -> Array:
    return np.argsort(np.where(np.isfinite(values), -values, np.inf))[:count]
