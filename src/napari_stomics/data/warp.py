"""Apply registrations: place sections in each other's coordinates, and write warped elements."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.transforms import Affine, Transform, compose, transform_from_dict
from napari_stomics.data.build import (
    ImageSource,
    annotate,
    image_element,
    spatialdata_affine,
)
from napari_stomics.data.schema import RegistrationRecord, SectionRecord

if TYPE_CHECKING:
    from napari_stomics.core.results import Registration
    from napari_stomics.data.study import Section, Study


# ------------------------------------------------------------------ registrations


def store_registration(study: Study, registration: Registration, run: str | None = None) -> str:
    """Keep a registration in the study; it is the one in force until another is stored.

    A linear map is also set as a SpatialData transformation of every element of
    the source section to the target's coordinate system, so that any reader of
    the store sees the sections aligned. A non-rigid one has no such form there;
    it stands in the record, from where it can be applied again.

    Parameters
    ----------
    registration
        Carries source (x, y) um to target um.
    run
        Id of the run that made it.

    Returns
    -------
    str
        Id of the stored registration, for :func:`remove_registration`.

    Raises
    ------
    UserError
        If a section does not exist or source and target are the same.
    """
    source, target = registration.source, registration.target
    study.section(source), study.section(target)
    if source == target:
        raise UserError(
            f"Section {source!r} cannot be registered to itself.", "Choose two sections."
        )
    record = RegistrationRecord(
        id=run or uuid.uuid4().hex[:12],
        source=source,
        target=target,
        model=registration.model,
        driver=registration.driver,
        transform=registration.transform.to_dict(),
        summary=_finite(registration.summary()),
        run=run,
    )
    study.record.registrations.append(record)
    _place(study, source, target)
    study.sync()
    return record.id


def remove_registration(study: Study, registration_id: str) -> None:
    """Take a stored registration back; an earlier one of the pair is in force again.

    Raises
    ------
    UserError
        If the study holds no registration of that id.
    """
    found = [r for r in study.record.registrations if r.id == registration_id]
    if not found:
        raise UserError(
            f"There is no registration {registration_id!r} in this study.",
            "It may have been removed already.",
        )
    study.record.registrations.remove(found[0])
    _place(study, found[0].source, found[0].target)
    study.sync()


def apply_registrations(study: Study) -> None:
    """Place all sections again, also elements that were added after a registration was stored."""
    pairs = dict.fromkeys((r.source, r.target) for r in study.record.registrations)
    for source, target in pairs:
        if source in study.record.sections and target in study.record.sections:
            _place(study, source, target)


def as_affine(transform: Transform) -> Affine | None:
    """Return a map as one affine map, or None if it is not linear."""
    whole = compose(Affine.identity(), transform)
    return whole if isinstance(whole, Affine) else None


def _place(study: Study, source: str, target: str) -> None:
    """Make the source's transformations to the target's system say what the record says."""
    from spatialdata.transformations import get_transformation, set_transformation

    affine = None
    for stored in reversed(study.record.registrations):
        if (stored.source, stored.target) == (source, target):
            affine = as_affine(transform_from_dict(stored.transform))
            break
    section = study.section(source)
    for name in _own_elements(section.record):
        if name not in study.sdata:
            continue
        element = study.sdata[name]
        # A new dictionary: elements made together may share one.
        placed = dict(get_transformation(element, get_all=True))
        placed.pop(target, None)
        if affine is not None:
            to_target = section.element_affine(name).then(affine)
            placed[target] = spatialdata_affine(to_target)
        set_transformation(element, placed, set_all=True)


def _own_elements(record: SectionRecord) -> list[str]:
    spots = [record.spots] if record.spots else []
    names = [*spots, *record.images, *record.labels, *record.points, *record.shapes]
    return list(dict.fromkeys(names))


def _finite(value: Any) -> Any:
    """Replace what JSON has no form for by None."""
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


# ------------------------------------------------------------------ warped elements


def write_warped(
    study: Study,
    source: str,
    target: str,
    *,
    elements: Sequence[str] | None = None,
    suffix: str = "_warped",
    fill: float | None = None,
    ctx: JobContext | None = None,
) -> list[str]:
    """Write elements of a section, warped into another one, as new elements.

    Spots, shapes and points are carried along; spots keep their annotation, in
    tables of their own. Labels are taken from the nearest pixel. Images are
    lazy: nothing of them is read until they are shown or saved, and then tile
    by tile, with the inverse map within 0.1 px.

    Parameters
    ----------
    source, target
        Section names; the registration in force between them is applied.
    elements
        Element names of the source section; all of them by default.
    suffix
        Added to the names. Elements written before under these names are replaced.
    fill
        Value of image pixels without a source; by default the background at
        the image's corners.

    Returns
    -------
    list of str
        Names of the new elements, tables included.

    Raises
    ------
    UserError
        If the sections are not registered, an element is not the source's, or a
        name is taken by something else.
    """
    ctx = ctx or JobContext()
    section, home = study.section(source), study.section(target)
    transform = study.registration(source, target)
    if transform is None or source == target:
        raise UserError(
            f"Sections {source!r} and {target!r} are not registered.",
            "Register them first, then write the warped elements.",
        )
    own = _own_elements(section.record)
    chosen = list(own if elements is None else elements)
    unknown = [name for name in chosen if name not in own]
    if unknown:
        raise UserError(
            f"Section {source!r} has no element {unknown[0]!r}.", f"It has: {', '.join(own)}."
        )
    made: dict[str, tuple[str, Any]] = {}
    for i, name in enumerate(chosen):
        ctx.step(i / len(chosen), f"Warping {name}")
        kind, element = _warped(section, name, transform, target, fill, ctx)
        made[name + suffix] = (kind, element)
        if name == section.record.spots:
            made.update(_annotations(section, name + suffix, suffix, element))
    _refuse_taken_names(study, home.record, made)
    ctx.step(1.0, "Adding the warped elements")
    for name, (kind, element) in made.items():
        if name in study.sdata:
            del study.sdata[name]
        study.sdata[name] = element
        if kind != "tables":
            listed: list[str] = getattr(home.record, kind)
            if name not in listed:
                listed.append(name)
    study.sync()
    return list(made)


def _refuse_taken_names(
    study: Study, home: SectionRecord, made: dict[str, tuple[str, Any]]
) -> None:
    for name, (kind, _) in made.items():
        ours = kind == "tables" or name in getattr(home, kind)
        if name in study.sdata and not ours:
            raise UserError(
                f"There is an element {name!r} already that belongs to another section.",
                "Choose another suffix.",
            )


def _warped(
    section: Section,
    name: str,
    transform: Transform,
    target: str,
    fill: float | None,
    ctx: JobContext,
) -> tuple[str, Any]:
    """Return the kind and the warped copy of one element."""
    sdata = section.study.sdata
    to_um = section.element_affine(name)
    if name in sdata.images:
        return "images", _warp_image(section, name, transform, target, fill)
    if name in sdata.labels:
        return "labels", _warp_labels(sdata.labels[name], to_um, transform, target)

    def move(xy: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(transform.apply(to_um.apply(xy)))

    if name in sdata.points:
        return "points", _warp_points(sdata.points[name], move, target)
    return "shapes", _warp_shapes(sdata.shapes[name], to_um, transform, move, target, ctx)


def _warp_image(
    section: Section, name: str, transform: Transform, target: str, fill: float | None
) -> Any:
    from napari_stomics.data.resample import output_grid, warp_array

    image = section.image(name)
    height, width = image.levels[0].shape[:2]
    grid = output_grid((height, width), image.to_um, transform)
    fill = _background(image.levels[-1]) if fill is None else fill
    levels = []
    for level in image.levels:
        rows, columns = level.shape[:2]
        scale = Affine(np.diag([width / columns, height / rows, 1.0]))
        shrunk = grid.level(
            max(round(grid.shape[0] * rows / height), 1),
            max(round(grid.shape[1] * columns / width), 1),
        )
        to_um = scale.then(image.to_um)
        levels.append(warp_array(level, to_um, transform, shrunk, order=1, fill=fill))
    return image_element(ImageSource(levels, grid.to_um(), image.channels), target)


def _background(level: Any) -> float:
    """Value at the corners of an image: white for bright field, black for fluorescence."""
    rows, columns = (np.array([0, size - 1]) for size in level.shape[:2])
    corners = np.asarray(level[rows][:, columns])
    if corners.dtype.kind == "f":
        return float(np.median(corners))
    return int(np.median(corners))


def _warp_labels(element: Any, to_um: Affine, transform: Transform, target: str) -> Any:
    from spatialdata.models import Labels2DModel

    from napari_stomics.data.fingerprint import raster_arrays
    from napari_stomics.data.resample import output_grid, warp_array

    source = raster_arrays(element)
    grid = output_grid(source[0].shape, to_um, transform)
    warped = warp_array(_lazy(source[0]), to_um, transform, grid, order=0)
    return Labels2DModel.parse(
        warped,
        dims=("y", "x"),
        scale_factors=[2] * (len(source) - 1) or None,
        transformations={target: spatialdata_affine(grid.to_um())},
    )


def _lazy(array: Any) -> Any:
    import dask.array as da

    return array if hasattr(array, "dask") else da.from_array(array)


def _warp_points(frame: Any, move: Callable[[NDArray[Any]], NDArray[Any]], target: str) -> Any:
    from spatialdata.models import PointsModel
    from spatialdata.transformations import Identity

    def moved(part: Any) -> Any:
        xy = move(part[["x", "y"]].to_numpy(dtype=np.float64))
        return part.assign(x=xy[:, 0], y=xy[:, 1])

    keys = dict(frame.attrs.get("spatialdata_attrs", {}))
    warped = frame.map_partitions(moved, meta=moved(frame._meta))
    warped.attrs.clear()
    return PointsModel.parse(
        warped,
        feature_key=keys.get("feature_key"),
        instance_key=keys.get("instance_key"),
        transformations={target: Identity()},
    )


def _warp_shapes(
    frame: Any,
    to_um: Affine,
    transform: Transform,
    move: Callable[[NDArray[Any]], NDArray[Any]],
    target: str,
    ctx: JobContext,
) -> Any:
    import shapely
    from spatialdata.models import ShapesModel
    from spatialdata.transformations import Identity

    out = frame.copy()
    out.attrs = {}
    geometry = np.asarray(frame.geometry.array, dtype=object)
    if as_affine(transform) is None and "radius" not in frame:
        # Straight edges bend: long ones need points in between to do so.
        extent = np.ptp(shapely.get_coordinates(geometry), axis=0).max(initial=0.0)
        geometry = shapely.segmentize(geometry, max(extent / 200, 1e-9))
    coordinates = shapely.get_coordinates(geometry)
    out[out.geometry.name] = shapely.set_coordinates(geometry.copy(), move(coordinates))
    lost = ~np.array([np.isfinite(c).all() for c in _per_geometry(out.geometry.array)])
    if "radius" in frame:
        scale = transform.jacobian_determinant(to_um.apply(coordinates))
        scale = np.abs(scale * np.linalg.det(to_um.matrix[:2, :2]))
        out["radius"] = frame["radius"].to_numpy() * np.sqrt(scale)
        lost |= ~(np.isfinite(scale) & (scale > 0))
    if lost.any():
        ctx.warn(f"{lost.sum()} shapes lie where the registration has no answer; left out.")
        out = out[~lost]
    return ShapesModel.parse(out, transformations={target: Identity()})


def _per_geometry(array: Any) -> list[NDArray[Any]]:
    import shapely

    coordinates, index = shapely.get_coordinates(np.asarray(array, dtype=object), return_index=True)
    return np.split(coordinates, np.searchsorted(index, np.arange(1, len(array))))


def _annotations(
    section: Section, region: str, suffix: str, spots: Any
) -> dict[str, tuple[str, Any]]:
    """Tables that annotate the warped spots; they share the measured values with the originals."""
    from anndata import AnnData

    made: dict[str, tuple[str, Any]] = {}
    for modality in section.modalities:
        table = section.table(modality)
        parts = {
            "obs": table.obs.copy(),
            "var": table.var,
            "obsm": dict(table.obsm),
            "layers": dict(table.layers),
        }
        copy = AnnData(X=table.X, **parts)
        if len(spots) != table.n_obs:
            copy = copy[copy.obs_names.isin(spots.index)].copy()
        made[section.record.tables[modality] + suffix] = ("tables", annotate(copy, region))
    return made
