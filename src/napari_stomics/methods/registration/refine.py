"""Refinement on intensities with SimpleITK: similarity, affine, smoothly non-rigid.

Linear stages ascend the correlation of tissue density (measured here against
Mattes mutual information and local correlation on serial and cross-stain pairs:
density is comparable between stains, and correlation then wins or ties). The
non-rigid stage is the diffeomorphic demons of T. Vercauteren et al., NeuroImage
45:S61 (2009), smoothed over 4 % of the raster, so that it bends but does not fold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import JobCancelled
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.transforms import DisplacementField
from napari_stomics.methods.registration.raster import Raster

Matrix = NDArray[Any]

MIRROR = np.diag([-1.0, 1.0, 1.0])
DENSITY, STRUCTURE = 1, 2  # features of a fine raster
STRUCTURE_SHARE = 0.1
"""How much structure (unit variance) is added to density (0 to 1) for the demons."""


def _image(values: NDArray[Any], raster: Raster) -> Any:
    """SimpleITK image with physical coordinates in micrometres."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(values, dtype=np.float32))
    image.SetSpacing((raster.spacing, raster.spacing))
    image.SetOrigin((raster.to_um[0, 2], raster.to_um[1, 2]))
    return image


def mirrored_raster(raster: Raster) -> Raster:
    """The raster under x -> -x."""
    x, y = raster.origin
    width = raster.shape[1] * raster.spacing
    return Raster(
        raster.features[..., ::-1], raster.valid[:, ::-1], (-x - width, y), raster.spacing
    )


def _watched(process: Any, ctx: JobContext, stop: Callable[[], Any], expected: int) -> Any:
    """Run ``process.Execute`` through its iterations; a cancelled job stops it at the next one."""
    import SimpleITK as sitk

    done = [0]
    cancelled: list[JobCancelled] = []

    def tick() -> None:
        done[0] += 1
        try:
            ctx.step(min(done[0] / expected, 1.0), "Refining on intensities")
        except JobCancelled as error:
            # An exception must not cross the C++ frames: stop first, raise after.
            cancelled.append(error)
            stop()

    process.AddCommand(sitk.sitkIterationEvent, tick)

    def execute(*images: Any) -> Any:
        try:
            answer = process.Execute(*images)
        except RuntimeError:
            if not cancelled:
                raise
        if cancelled:
            raise cancelled[0]
        return answer

    return execute


def _itk_transform(matrix: Matrix, model: str, centre: NDArray[Any]) -> Any:
    import SimpleITK as sitk

    kinds: dict[str, Any] = {
        "rigid": sitk.Euler2DTransform,
        "similarity": sitk.Similarity2DTransform,
        "affine": lambda: sitk.AffineTransform(2),
    }
    transform = kinds[model]()
    transform.SetCenter(tuple(centre))
    flat = matrix[:2, :2].ravel().tolist()
    if model == "affine":
        transform.SetMatrix(flat)
    else:
        transform.SetMatrix(flat, 1e-3)
    transform.SetTranslation((matrix[:2, :2] @ centre + matrix[:2, 2] - centre).tolist())
    return transform


def _matrix_of(transform: Any) -> Matrix:
    linear = np.array(transform.GetMatrix()).reshape(2, 2)
    centre = np.array(transform.GetCenter())
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = np.array(transform.GetTranslation()) + centre - linear @ centre
    return matrix


def refine_linear(
    source: Raster, target: Raster, matrix: Matrix, model: str, ctx: JobContext
) -> tuple[Matrix, bool]:
    """Refine a map of source um to target um as ``rigid``, ``similarity`` or ``affine``.

    Returns
    -------
    matrix
        (3, 3) refined map.
    converged
        Whether the optimiser stopped of itself.
    """
    import SimpleITK as sitk

    mirrored = np.linalg.det(matrix[:2, :2]) < 0
    moving = mirrored_raster(source) if mirrored else source
    start = matrix @ MIRROR if mirrored else matrix
    if model == "rigid":
        start = _without_scale(start, moving)
    fixed_image, moving_image = (_image(r.features[DENSITY], r) for r in (target, moving))
    height, width = target.shape
    centre = np.array(target.origin) + target.spacing * np.array([width, height]) / 2
    transform = _itk_transform(np.linalg.inv(start), model, centre)
    method = sitk.ImageRegistrationMethod()
    # One thread: sums in another order would change the last digits of the answer.
    method.SetNumberOfThreads(1)
    method.SetNumberOfWorkUnits(1)
    method.SetMetricAsCorrelation()
    for raster, put in ((target, method.SetMetricFixedMask), (moving, method.SetMetricMovingMask)):
        if not raster.valid.all():
            put(sitk.Cast(_image(raster.valid, raster), sitk.sitkUInt8))
    method.SetInterpolator(sitk.sitkLinear)
    method.SetInitialTransform(transform, inPlace=True)
    method.SetShrinkFactorsPerLevel([1, 1])
    method.SetSmoothingSigmasPerLevel([4, 2])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    step = target.spacing
    method.SetOptimizerAsRegularStepGradientDescent(2 * step, 0.02 * step, 80, relaxationFactor=0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    _watched(method, ctx, method.StopRegistration, 50)(fixed_image, moving_image)
    refined = np.linalg.inv(_matrix_of(transform))
    converged = "maximum number of iterations" not in (
        method.GetOptimizerStopConditionDescription().lower()
    )
    return (refined @ MIRROR if mirrored else refined), converged


def _without_scale(matrix: Matrix, raster: Raster) -> Matrix:
    """The map with its scale set to 1, about the middle of the raster."""
    height, width = raster.shape
    centre = np.array(raster.origin) + raster.spacing * np.array([width, height]) / 2
    u, _, vt = np.linalg.svd(matrix[:2, :2])
    out = np.eye(3)
    out[:2, :2] = u @ vt
    out[:2, 2] = matrix[:2, :2] @ centre + matrix[:2, 2] - out[:2, :2] @ centre
    return out


def carried(source: Raster, target: Raster, matrix: Matrix) -> tuple[NDArray[Any], NDArray[Any]]:
    """Source features and coverage on the target's grid under a map of um to um."""
    from scipy import ndimage

    back = np.linalg.inv(source.to_um) @ np.linalg.inv(matrix) @ target.to_um
    swap, offset = back[:2, :2][::-1, ::-1], back[:2, 2][::-1]
    planes = [
        ndimage.affine_transform(p, swap, offset, output_shape=target.shape, order=1)
        for p in (*source.features, source.valid)
    ]
    return np.stack(planes[:-1]), planes[-1] > 0.99


def refine_nonrigid(
    source: Raster, target: Raster, matrix: Matrix, smoothness: float, ctx: JobContext
) -> tuple[DisplacementField, float]:
    """Bend the map smoothly after ``matrix``.

    Parameters
    ----------
    smoothness
        Standard deviation of the field's smoothing, as a share of the raster.

    Returns
    -------
    field
        Displacements in the target's frame, to be applied after ``matrix``.
    lowest
        Its lowest Jacobian determinant: it folds where this is not positive.
    """
    import SimpleITK as sitk

    features, covered = carried(source, target, matrix)
    fixed_values, moving_values = (
        f[DENSITY] + STRUCTURE_SHARE * f[STRUCTURE] for f in (features, target.features)
    )
    both = covered & (target.valid > 0.5)
    # Equal values make no force: nothing is known where either image ends.
    fixed_values = np.where(both, fixed_values, moving_values)
    sigma = smoothness * max(target.shape)
    field: Any = None
    for number, blur in enumerate((4.0, 2.0)):
        images = [
            sitk.SmoothingRecursiveGaussian(_image(v, target), blur * target.spacing)
            for v in (fixed_values, moving_values)
        ]
        demons = sitk.DiffeomorphicDemonsRegistrationFilter()
        demons.SetNumberOfThreads(1)
        demons.SetNumberOfWorkUnits(1)
        demons.SetNumberOfIterations(40)
        demons.SetSmoothDisplacementField(True)
        demons.SetStandardDeviations(float(sigma))
        run = _watched(demons, ctx.part(number / 2, (number + 1) / 2), demons.Abort, 40)
        field = run(*images) if field is None else run(*images, field)
    displacements = sitk.GetArrayFromImage(field).astype(np.float64)
    stride = 2
    kept = displacements[::stride, ::stride]
    step = stride * target.spacing
    along_x, along_y = (np.gradient(kept, step, axis=a) for a in (1, 0))
    determinant = (1 + along_x[..., 0]) * (1 + along_y[..., 1]) - along_x[..., 1] * along_y[..., 0]
    origin = target.to_um[:2, 2]
    return DisplacementField(kept, origin, np.array([step, step])), float(determinant.min())
