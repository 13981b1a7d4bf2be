"""Put one section into SpatialData the way a study expects it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.transforms import Affine
from napari_stomics.data.schema import ATTRS_KEY, SectionRecord, StudyRecord

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

REGION_KEY = "region"
INSTANCE_KEY = "instance_id"
_LEVEL_SIZE = 1024
"""A pyramid is continued until a level fits into this many pixels."""


@dataclass(frozen=True)
class ImageSource:
    """An image on its way into a section.

    Attributes
    ----------
    levels
        Arrays (y, x, channel), numpy or dask, the finest first. A single level
        gets a pyramid of its own (lazily, where the array is lazy).
    to_um
        Carries (x, y) pixel positions of ``levels[0]`` to the section's
        micrometres; pixel centres lie at half-integers.
    channels
        Channel names.
    """

    levels: Sequence[Any]
    to_um: Affine
    channels: Sequence[str] = ("r", "g", "b")


def element_name(*parts: str) -> str:
    """Join parts into a name that SpatialData accepts (letters, digits, ``_``, ``-``, ``.``)."""
    name = re.sub(r"[^0-9A-Za-z_.-]+", "_", "_".join(p for p in parts if p)).strip("_.")
    return name or "element"


def make_section(
    name: str,
    *,
    images: Mapping[str, ImageSource] | None = None,
    coordinates: NDArray[Any] | None = None,
    radius: float | NDArray[Any] = 0.5,
    ids: Sequence[str] | NDArray[Any] | None = None,
    tables: Mapping[str, AnnData] | None = None,
    labels: Mapping[str, tuple[Any, Affine]] | None = None,
    points: Mapping[str, Any] | None = None,
    shapes: Mapping[str, Any] | None = None,
    annotation: str | None = None,
    credit: str = "",
    **record: Any,
) -> SpatialData:
    """Build the SpatialData object of one section.

    Parameters
    ----------
    name
        Section name; becomes the name of its coordinate system, in micrometres.
    images
        Images by short name (``he``, ``dapi`` ...), the one to show first in front.
    coordinates
        (n, 2) spot or cell centres (x, y) in micrometres.
    radius
        Spot radius in micrometres, one or one per spot.
    ids
        Names of the spots, where there is no table to name them.
    tables
        AnnData per modality, with the same ``obs_names`` in the order of
        ``coordinates``; all but one may lack spots. They are not copied; region
        columns are added to them.
    labels
        Label images (y, x) with their map from pixels to micrometres.
    points, shapes
        Data frames (points: columns x, y in micrometres; shapes: GeoDataFrame
        in micrometres) by short name.
    annotation
        Column of ``obs`` with the expert's annotation.
    **record
        Further fields of :class:`~napari_stomics.data.schema.SectionRecord`.

    Raises
    ------
    UserError
        If coordinates are not finite, or tables and coordinates disagree.
    """
    from spatialdata import SpatialData

    section = SectionRecord(name=name, annotation=annotation, **record)
    elements: dict[str, Any] = {}
    for short, source in (images or {}).items():
        key = element_name(name, short)
        elements[key] = image_element(source, name)
        section.images.append(key)
    if section.images and section.pixel_size_um is None:
        first = next(iter((images or {}).values()))
        section.pixel_size_um = float(np.sqrt(abs(np.linalg.det(first.to_um.matrix[:2, :2]))))
    _add_labels(elements, section, labels or {})
    _add_vector_elements(elements, section, points or {}, shapes or {})
    if coordinates is not None:
        ids = _common_ids(name, tables or {}, len(coordinates), ids)
        section.spots = element_name(name, "spots")
        elements[section.spots] = circles_element(coordinates, radius, ids, name)
        for modality, table in (tables or {}).items():
            renamed = make_storable(table)
            section.annotation = renamed.get(section.annotation or "", section.annotation)
            key = element_name(name, modality)
            elements[key] = annotate(table, section.spots)
            section.tables[modality] = key
    record_all = StudyRecord(sections={name: section}, credit=credit)
    sdata = SpatialData.init_from_elements(elements)
    sdata.attrs[ATTRS_KEY] = record_all.model_dump(mode="json")
    return sdata


def image_element(source: ImageSource, coordinate_system: str) -> Any:
    """Return an image element (c, y, x), as a pyramid where it is large or comes as one."""
    import dask.array as da
    from spatialdata.models import Image2DModel
    from spatialdata.transformations import set_transformation

    levels = [level if hasattr(level, "dask") else da.from_array(level) for level in source.levels]
    levels = [level[..., None] if level.ndim == 2 else level for level in levels]
    channels = [str(c) for c in source.channels]
    if len(channels) != levels[0].shape[-1]:
        channels = [f"channel_{i}" for i in range(levels[0].shape[-1])]
    planes = [da.moveaxis(level, -1, 0) for level in levels]
    if len(planes) > 1:
        element = _tree(planes, channels)
    else:
        factors = [2] * _n_halvings(planes[0].shape[1:])
        chunks = {"c": planes[0].shape[0], "y": 1024, "x": 1024}
        element = Image2DModel.parse(
            planes[0],
            dims=("c", "y", "x"),
            c_coords=channels,
            scale_factors=factors or None,
            chunks=chunks,
        )
    to_section = {coordinate_system: spatialdata_affine(source.to_um)}
    set_transformation(element, to_section, set_all=True)
    return element


def spatialdata_affine(affine: Affine) -> Any:
    """Our affine map as a SpatialData transformation on the axes (x, y)."""
    from spatialdata.transformations import Affine as SpatialDataAffine
    from spatialdata.transformations import Identity

    if np.array_equal(affine.matrix, np.eye(3)):
        return Identity()
    return SpatialDataAffine(affine.matrix, input_axes=("x", "y"), output_axes=("x", "y"))


def circles_element(
    coordinates: NDArray[Any], radius: float | NDArray[Any], ids: Any, coordinate_system: str
) -> Any:
    """Return spots as circles (x, y, radius) in micrometres, indexed by ``ids``."""
    import geopandas as gpd
    import shapely
    from spatialdata.models import ShapesModel
    from spatialdata.transformations import Identity

    xy = np.asarray(coordinates, dtype=np.float64)
    if xy.ndim != 2 or xy.shape[1] != 2 or not np.isfinite(xy).all():
        bad = 0 if xy.ndim != 2 else int((~np.isfinite(xy).all(axis=1)).sum())
        raise UserError(
            f"The spot positions of section {coordinate_system!r} are not usable: shape "
            f"{xy.shape}, {bad} rows that are not finite.",
            "Remove the spots without a position, then read the section again.",
        )
    frame = gpd.GeoDataFrame(
        {"radius": np.broadcast_to(np.asarray(radius, dtype=np.float64), len(xy))},
        geometry=shapely.points(xy),
        index=list(ids),
    )
    return ShapesModel.parse(frame, transformations={coordinate_system: Identity()})


def make_storable(table: AnnData) -> dict[str, str]:
    """Rename, in place, what SpatialData refuses to store or would overwrite.

    Names may hold letters, digits, ``_``, ``-`` and ``.`` and may not differ by case
    alone; columns of ``obs`` named as the two that point to the spots give way.

    Returns
    -------
    dict
        New name of each renamed column of ``obs``; the user is told of them.
    """
    from spatialdata import sanitize_table

    ours = "spatialdata_attrs" in table.uns
    before = list(table.obs.columns)
    taken = () if ours else (REGION_KEY, INSTANCE_KEY)
    table.obs.columns = [f"{c}_label" if str(c).lower() in taken else c for c in before]
    sanitize_table(table)
    for slot in (table.obsm, table.varm):
        for key, frame in slot.items():
            if hasattr(frame, "columns"):  # each column is a key of the store
                slot[key] = frame.rename(columns=lambda name: str(name).replace("/", "_"))
    pairs = zip(before, table.obs.columns, strict=True)
    renamed = {str(old): str(new) for old, new in pairs if str(old) != str(new)}
    if renamed:
        listed = ", ".join(f"{old!r} is now {new!r}" for old, new in list(renamed.items())[:8])
        warnings.warn(f"Columns were renamed: {listed}.", UserWarning, stacklevel=2)
    return renamed


def annotate(table: AnnData, region: str) -> AnnData:
    """Make a table annotate the spots element ``region``, by its ``obs_names``."""
    import pandas as pd
    from spatialdata.models import TableModel

    for key in ("spatialdata_attrs",):
        table.uns.pop(key, None)
    table.obs[REGION_KEY] = pd.Categorical([region] * table.n_obs)
    table.obs[INSTANCE_KEY] = table.obs_names.to_numpy(dtype=object)
    return TableModel.parse(table, region=region, region_key=REGION_KEY, instance_key=INSTANCE_KEY)


def _common_ids(
    name: str, tables: Mapping[str, AnnData], count: int, given: Any = None
) -> NDArray[Any]:
    ids = None if given is None else np.asarray(given, dtype=object)
    if ids is None and tables:
        whole = next((t for t in tables.values() if t.n_obs == count), next(iter(tables.values())))
        ids = whole.obs_names.to_numpy(dtype=object)
    for modality, table in tables.items():
        these = table.obs_names.to_numpy(dtype=object)
        known = ids is not None and bool(table.obs_names.isin(ids).all())
        moved = ids is not None and len(these) == len(ids) and not np.array_equal(ids, these)
        if not known or moved or table.n_obs > count:
            raise UserError(
                f"In section {name!r} the table {modality!r} has {table.n_obs} spots, "
                f"the positions are {count}, or their names differ.",
                "Tables of one section must list the same spots in the same order, "
                "or, where a modality was not measured on all of them, some of these spots.",
            )
    if ids is None:
        return np.array([str(i) for i in range(count)], dtype=object)
    if len(ids) != count:
        raise UserError(
            f"Section {name!r} has {count} positions and {len(ids)} names of spots.",
            "Give one name per position.",
        )
    if len(set(ids)) != len(ids):
        raise UserError(
            f"Section {name!r} has spots that share a name.",
            "Make the barcodes unique (AnnData.obs_names_make_unique) and read it again.",
        )
    return ids


def _add_labels(
    elements: dict[str, Any], section: SectionRecord, labels: Mapping[str, Any]
) -> None:
    from spatialdata.models import Labels2DModel

    for short, (array, to_um) in labels.items():
        key = element_name(section.name, short)
        factors = [2] * _n_halvings(array.shape)
        elements[key] = Labels2DModel.parse(
            array,
            dims=("y", "x"),
            scale_factors=factors or None,
            transformations={section.name: spatialdata_affine(to_um)},
        )
        section.labels.append(key)


def _add_vector_elements(
    elements: dict[str, Any],
    section: SectionRecord,
    points: Mapping[str, Any],
    shapes: Mapping[str, Any],
) -> None:
    from spatialdata.models import PointsModel, ShapesModel
    from spatialdata.transformations import Identity

    to_section = {section.name: Identity()}
    for short, frame in points.items():
        key = element_name(section.name, short)
        elements[key] = PointsModel.parse(frame, transformations=to_section)
        section.points.append(key)
    for short, frame in shapes.items():
        key = element_name(section.name, short)
        elements[key] = ShapesModel.parse(frame, transformations=to_section)
        section.shapes.append(key)


def _n_halvings(shape: Sequence[int]) -> int:
    longest = max(int(s) for s in shape)
    return max(0, int(np.ceil(np.log2(longest / _LEVEL_SIZE)))) if longest > 0 else 0


def _tree(planes: list[Any], channels: list[str]) -> Any:
    """Make a multiscale image from levels that exist already, so that nothing is computed."""
    from spatialdata.models import Image2DModel
    from xarray import Dataset, DataTree

    height, width = planes[0].shape[1:]
    scales = {}
    for i, plane in enumerate(planes):
        parsed = Image2DModel.parse(plane, dims=("c", "y", "x"), c_coords=channels)
        ny, nx = plane.shape[1:]
        coords = {
            "y": (np.arange(ny) + 0.5) * (height / ny),
            "x": (np.arange(nx) + 0.5) * (width / nx),
        }
        scales[f"scale{i}"] = Dataset({"image": parsed.assign_coords(coords)})
    return DataTree.from_dict(scales)
