"""Registration by landmark pairs: rigid, similarity, affine or thin-plate spline."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import LandmarkPairs
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.params import Params, param
from napari_stomics.core.registry import method
from napari_stomics.core.results import Registration
from napari_stomics.core.transforms import Affine, Points, ThinPlateSpline
from napari_stomics.methods.registration.estimate import (
    Fit,
    Mask,
    as_complex,
    fit_linear,
    fit_spline,
)
from napari_stomics.methods.registration.outliers import choose_mirror, find_outliers
from napari_stomics.methods.registration.pairs import (
    FEWEST,
    THIN,
    TITLES,
    check_pairs,
    reverse,
    select,
    thickness,
)
from napari_stomics.methods.registration.warp_views import displacement_magnitude, warp_grid
from napari_stomics.metrics.registration import extent_of, fold_fraction

__all__ = [
    "FEWEST",
    "LandmarkParams",
    "displacement_magnitude",
    "predict_partner",
    "register_landmarks",
    "warp_grid",
]

Model = Literal["rigid", "similarity", "affine", "tps"]


class LandmarkParams(Params):
    """Parameters of :func:`register_landmarks`."""

    model: Model = param(
        "affine",
        "Model",
        "What the source may do to fit the target. Rigid: turn and shift (2 pairs). "
        "Similarity: also scale (2). Affine: also shear (3). Tps: bend as a thin plate (4).",
    )
    allow_mirror: bool = param(
        True,
        "Allow mirroring",
        "Let the map mirror the source where the landmarks clearly say that a section lies "
        "face down. Needs three pairs off one line.",
    )
    stiffness: float | None = param(
        None,
        "Stiffness",
        "How hard the thin plate is to bend: 0 passes through every landmark, 0.001 smooths over "
        "neighbours, 1 leaves only bends of the whole section. Unticked: chosen by the "
        "leave-one-out error, and affine unless bending clearly lowers it.",
        step=10.0,
        log=True,
        ge=0,
    )
    outlier_threshold: float = param(
        4.0,
        "Outlier threshold",
        "A pair is flagged where its error is as improbable as that many standard deviations of "
        "the pairs that agree. Few pairs need stronger evidence.",
        unit="sd",
        step=0.5,
        ge=2,
        le=10,
        advanced=True,
    )
    drop_outliers: bool = param(
        False,
        "Leave outliers out of the fit",
        "Fit without the flagged pairs; their errors are then those of a prediction.",
        advanced=True,
    )


@method(
    task="registration",
    name="landmarks",
    title="Landmarks",
    summary="Fit a map to corresponding landmarks; assumes that most pairs are placed right.",
    params=LandmarkParams,
    inputs=LandmarkPairs,
    result=Registration,
    reference=(
        "Umeyama 1991, IEEE TPAMI 13:376 (rigid, similarity); "
        "Bookstein 1989, IEEE TPAMI 11:567 (thin-plate spline)"
    ),
)
def register_landmarks(
    inputs: LandmarkPairs, params: LandmarkParams, ctx: JobContext
) -> Registration:
    """Carry the source section into the target's frame by its landmarks.

    Parameters
    ----------
    inputs
        The pairs, (x, y) in um.
    params
        Model and choices.
    ctx
        Progress and warnings.

    Returns
    -------
    Registration
        With the residual, the leave-one-out error and the outlier flag of each
        pair. Leave-one-out errors are those of the whole fit, the automatic
        stiffness included; whether to mirror is decided once, on all pairs.

    Raises
    ------
    UserError
        If the pairs cannot hold the model, see :func:`check_pairs`, or mirror
        where that is not allowed.
    """
    ctx.step(0.0, "Fitting landmarks")
    check_pairs(inputs, params.model)
    source = np.asarray(inputs.source_points, dtype=np.float64)
    target = np.asarray(inputs.target_points, dtype=np.float64)
    mirrored = _mirrored(inputs, params, ctx)
    fit = _fit(source, target, params, mirrored)
    automatic = fit if params.model == "tps" and params.stiffness is None else None
    outliers = find_outliers(
        source, target, params.model, params.outlier_threshold, mirrored, automatic
    )
    kept = ~outliers if params.drop_outliers else np.ones(len(source), dtype=bool)
    if not kept.all():
        check_pairs(select(inputs, kept), params.model)
        fit = _fit(source[kept], target[kept], params, mirrored)
    _check_orientation(fit, params)
    residuals, leave_one_out = _errors(fit, source, target, kept)
    ctx.step(1.0, "Fitted landmarks")
    return Registration(
        source=inputs.source,
        target=inputs.target,
        transform=fit.transform,
        model=params.model,
        driver="landmarks",
        names=tuple(inputs.names),
        residuals=residuals,
        leave_one_out=leave_one_out,
        outliers=outliers,
        fold_fraction=_folds(fit, source),
        source_pixel_size=float(inputs.source_pixel_size or np.nan),
    )


def predict_partner(
    pairs: LandmarkPairs, point: Points, *, backward: bool = False
) -> NDArray[np.float64] | None:
    """Where the partner of a new landmark should lie.

    The model with the least leave-one-out error on the pairs (outliers left
    out) makes the prediction: a similarity from three pairs on, an affine map
    from four, a spline from six.

    Parameters
    ----------
    pairs
        The pairs placed so far.
    point
        (2,) position (x, y) in um of the new landmark in the source.
    backward
        The new landmark is in the target, its partner in the source.

    Returns
    -------
    ndarray or None
        (2,) predicted position in um; None with fewer than three pairs, or
        where they cannot hold any map.
    """
    if len(pairs.names) < 3:
        return None
    if backward:
        pairs = reverse(pairs)
    best: tuple[float, Registration] | None = None
    models: tuple[Model, ...] = ("similarity", "affine", "tps")
    for model, needed in zip(models, (3, 4, 6), strict=True):
        if len(pairs.names) < needed:
            break
        try:
            params = LandmarkParams(model=model, drop_outliers=True)
            found = register_landmarks(pairs, params, _SILENT)
        except UserError:
            continue
        errors = found.leave_one_out[~found.outliers]
        score = float(np.median(errors)) if np.isfinite(errors).all() else np.inf
        if best is None or score < best[0]:
            best = (score, found)
    if best is None:
        return None
    return np.asarray(best[1].transform.apply(np.asarray(point, dtype=float)[None])[0])


_SILENT = JobContext(on_warning=lambda message: None)


def _mirrored(pairs: LandmarkPairs, params: LandmarkParams, ctx: JobContext) -> bool:
    """Whether to mirror; warn where the pairs hold that or the map across them poorly."""
    source, target = np.asarray(pairs.source_points), np.asarray(pairs.target_points)
    linear = params.model in ("rigid", "similarity")
    # An affine map and a spline find out for themselves; of few pairs the outlier
    # search asks for a similarity.
    clear = (linear or len(source) < 6) and choose_mirror(source, target)
    if linear and clear and not params.allow_mirror:
        ctx.warn(
            "The landmarks fit far better when the section is mirrored. "
            "Allow mirroring, or check the names of the pairs."
        )
    if not linear and min(thickness(source), thickness(target)) < THIN:
        ctx.warn(
            f"The landmarks lie almost on one line: the {TITLES[params.model]} is poorly held "
            "across it. Add a pair away from that line."
        )
    return clear and params.allow_mirror


def _fit(source: Points, target: Points, params: LandmarkParams, mirrored: bool) -> Fit:
    if params.model == "tps":
        return fit_spline(source, target, params.stiffness)
    return fit_linear(source, target, params.model, mirrored)


def _check_orientation(fit: Fit, params: LandmarkParams) -> None:
    if params.allow_mirror or params.model in ("rigid", "similarity"):
        return
    if np.linalg.det(fit.transform.linear_part().matrix[:2, :2]) < 0:
        raise UserError(
            "The landmarks mirror the section, and mirroring is not allowed.",
            "Allow mirroring if the section lies face down; if not, check which pairs are "
            "exchanged, or choose a similarity.",
        )


def _errors(
    fit: Fit, source: Points, target: Points, kept: Mask
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Residual and leave-one-out error of every pair; a pair not kept is predicted by the fit."""
    residuals = np.abs(as_complex(fit.transform.apply(source)) - as_complex(target))
    leave_one_out = residuals.copy()
    leave_one_out[kept] = np.abs(fit.leave_one_out)
    return residuals, leave_one_out


def _folds(fit: Fit, source: Points) -> float:
    """Share of the landmarks' extent, a tenth wider on each side, where the map folds."""
    transform = fit.transform
    if isinstance(transform, Affine):
        return 0.0
    if isinstance(transform, ThinPlateSpline) and not transform.weights.any():
        return 0.0
    return fold_fraction(transform, extent_of(source))
