"""h5ad and h5mu: tables with positions, and the images that scanpy keeps in ``uns``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.data.build import ImageSource, make_section
from napari_stomics.data.readers import _common as common
from napari_stomics.data.readers import _modalities as modalities
from napari_stomics.data.readers._pitch import VISIUM_SPOT_UM, fit_visium, is_hexagonal
from napari_stomics.data.readers.images import read_image

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData


@dataclass(frozen=True)
class Placed:
    """How positions become micrometres, and the radius of a spot in these."""

    um_per_unit: float
    radius: float


def read(
    path: Path,
    *,
    name: str,
    um_per_px: float | None = None,
    modality: str | None = None,
    image: str | Path | None = None,
    annotation: str | None = None,
    spot_diameter_um: float | None = None,
    image_um_per_px: float | None = None,
    flip_y: bool = False,
    spatial_key: str | None = None,
    section: str | None = None,
    section_key: str | None = None,
) -> SpatialData:
    """Read an h5ad or h5mu file as one section.

    Parameters
    ----------
    path
        The file. The modalities of an h5mu file become the tables of the section.
    name
        Section name.
    um_per_px
        Micrometres per unit of the positions: 1 if they are micrometres. By default
        ``uns["um_per_px"]``, or Visium's pitch where ``obs`` has array positions.
    modality
        Name of the table of an h5ad file; ``rna`` by default.
    image
        Image whose pixels the positions count.
    annotation
        Column of ``obs`` with the expert's annotation.
    spot_diameter_um
        Diameter of a spot; by default from ``uns``, else half the distance between spots.
    image_um_per_px
        Micrometres per pixel of ``image`` where it is a reduced copy.
    flip_y
        The positions count y upwards: turn it down.
    spatial_key
        Key of the positions in ``obsm``; by default ``spatial``.
    section, section_key
        Read only the spots with this value in this column of ``obs``.
    """
    tables = _read_file(path, modality)
    if section is not None:
        tables = _one_section(tables, section, section_key)
    first, xy = _positions(tables, spatial_key, path)
    spots, xy = modalities.further_spots(tables, first, xy, spatial_key)
    tables = modalities.among(tables, first, spots, path)
    tables, spots, xy = _placed_only(tables, spots, xy, path)
    if flip_y:
        xy = np.column_stack([xy[:, 0], xy[:, 1].max() - xy[:, 1]])
    first = tables[first]
    library = _library(first)
    own = xy[: first.n_obs]
    placed = _place(first, library, own, common.checked_scale(um_per_px), spot_diameter_um, path)
    images = {} if flip_y else _images(first, library, placed.um_per_unit, path)
    for table in tables.values():
        common.unique_names(table)
        if "hires" in images or "lowres" in images:
            _drop_images(table)
    if image is not None:
        scale = common.checked_scale(image_um_per_px) or placed.um_per_unit
        images = {"image": read_image(image, um_per_px=scale), **images}
    _check_annotation(tables, annotation, path)
    return make_section(
        name,
        images=images,
        coordinates=xy * placed.um_per_unit,
        ids=spots if len(spots) > first.n_obs else None,
        radius=placed.radius,
        tables=tables,
        annotation=annotation,
        pixel_size_um=placed.um_per_unit if images else None,
        source=str(path),
    )


def inspect(path: Path) -> dict[str, Any]:
    """Say what :func:`read` would find, reading the file's structure alone."""
    import h5py

    with common.reading(path, "an HDF5 file"), h5py.File(path) as file:
        groups = {k: file["mod"][k] for k in file["mod"]} if "mod" in file else {"rna": file}
        sizes = {m: _n_names(g["var"]) for m, g in groups.items()}
        spots = _n_names(next(iter(groups.values()))["obs"])
        columns = sorted({c for g in (file, *groups.values()) for c in g["obs"]} - {"_index"})
        holders = (file, *groups.values())
        placed = any("obsm" in g and modalities.position_key(g["obsm"], None) for g in holders)
        told = [g["uns"]["um_per_px"][()] for g in holders if "um_per_px" in g.get("uns", {})]
        units = any("spatial_units" in g.get("uns", {}) for g in holders)
    found_later = units or {"array_row", "array_col"} <= set(columns)
    needs = [] if told or found_later else ["um_per_px"]
    notes = [] if placed else ["It holds no positions (obsm['spatial'])."]
    return common.preview(
        path,
        modalities=sizes,
        n_spots=spots,
        um_per_px=float(told[0]) if told else None,
        needs=needs,
        missing=[] if placed else ["obsm['spatial']"],
        notes=notes,
        choices={"annotation": columns},
    )


def _n_names(group: Any) -> int:
    if hasattr(group, "dtype"):
        return len(group)
    return len(group[group.attrs.get("_index", "_index")])


def _read_file(path: Path, modality: str | None) -> dict[str, AnnData]:
    """Return tables by modality; the first lists all spots, the others may lack some."""
    import anndata

    if path.suffix.lower() == ".h5mu":
        return modalities.read_h5mu(path)
    with common.reading(path, "an AnnData file (.h5ad)"):
        table = anndata.read_h5ad(path)
        if table.n_obs == 0:
            raise ValueError("it has no spots")
    if "feature_types" in table.var and table.var["feature_types"].nunique() > 1:
        return common.split_by_modality(table, modality)
    return {modality or "rna": table}


def _one_section(tables: dict[str, AnnData], section: str, key: str | None) -> dict[str, AnnData]:
    obs = next(iter(tables.values())).obs
    if key is None or key not in obs:
        raise UserError(
            f"There is no column {key!r} that tells the sections apart.",
            f"Give section_key, one of: {', '.join(map(repr, obs))}.",
        )
    keep = (obs[key].astype(str) == section).to_numpy()
    if not keep.any():
        values = ", ".join(sorted(obs[key].astype(str).unique())[:12])
        raise UserError(f"Column {key!r} has no {section!r}.", f"It has: {values}.")
    names = obs.index[keep]
    return {m: t[t.obs_names.isin(names)].copy() for m, t in tables.items()}


def _positions(
    tables: dict[str, AnnData], given: str | None, path: Path
) -> tuple[str, NDArray[np.float64]]:
    """Return the modality that holds the positions, and these (x, y) in the file's units."""
    for modality, table in tables.items():
        key = modalities.position_key(table.obsm, given)
        if key is not None:
            with common.reading(path, "positions"):
                xy = np.asarray(table.obsm[key], dtype=np.float64)
            if xy.ndim == 2 and xy.shape[1] >= 2:
                return modality, xy[:, :2]
    for modality, table in tables.items():
        for x, y in (
            ("x", "y"),
            ("X", "Y"),
            ("x_centroid", "y_centroid"),
            ("center_x", "center_y"),
        ):
            if given is None and x in table.obs and y in table.obs:
                with common.reading(path, "positions"):
                    return modality, table.obs[[x, y]].to_numpy(dtype=np.float64)
    keys = sorted({k for t in tables.values() for k in t.obsm})
    raise UserError(
        f"{path.name} holds no positions: obsm[{given or 'spatial'!r}] is missing.",
        "Put (x, y) of each spot there, or give spatial_key. "
        f"obsm has: {', '.join(keys) or 'nothing'}."
        " Cells without positions are no section: add them as single cells.",
    )


def _placed_only(
    tables: dict[str, AnnData], spots: Any, xy: NDArray[np.float64], path: Path
) -> tuple[dict[str, AnnData], Any, NDArray[np.float64]]:
    good = np.isfinite(xy).all(axis=1)
    if not good.any():
        raise UserError(f"No position in {path.name} is a number.", "Check obsm['spatial'].")
    if good.all():
        return tables, spots, xy
    common.warn(f"{int((~good).sum())} spots have no position and were left out.")
    spots = spots[good]
    return {m: t[t.obs_names.isin(spots)].copy() for m, t in tables.items()}, spots, xy[good]


def _library(table: AnnData) -> dict[str, Any]:
    """The one library of ``uns["spatial"]`` as scanpy and squidpy keep it; empty without."""
    libraries = table.uns.get("spatial")
    if not isinstance(libraries, dict) or not libraries:
        return {}
    if len(libraries) > 1 and all(isinstance(v, dict) for v in libraries.values()):
        common.warn(
            f"The file holds {len(libraries)} sections ({', '.join(map(str, libraries))}); "
            "their images are left out. Read them one by one with section and section_key."
        )
        return {}
    only = next(iter(libraries.values()))
    return only if isinstance(only, dict) else {}


def _place(
    table: AnnData,
    library: dict[str, Any],
    xy: NDArray[np.float64],
    given: float | None,
    diameter_um: float | None,
    path: Path,
) -> Placed:
    """Find the scale of the positions and the radius of the spots, both in micrometres."""
    factors = library.get("scalefactors", {})
    scale, visium = given or _told(table), False
    obs = table.obs
    if "array_row" in obs and "array_col" in obs:
        row, col = (obs[c].to_numpy(dtype=np.float64) for c in ("array_row", "array_col"))
        fit = fit_visium(row, col, xy) if is_hexagonal(row, col) else None
        if fit is not None:
            visium, scale = True, scale or fit.um_per_px
            if fit.odd:
                common.warn(
                    f"The array does not lie as usual: {fit.odd}. The positions in obsm are used."
                )
    if scale is None and factors.get("microns_per_pixel"):
        scale = float(factors["microns_per_pixel"])
    if scale is None:
        raise common.scale_unknown(path, "unit of the positions")
    if diameter_um is None and "spot_diameter_um" in table.uns:
        diameter_um = float(np.ravel(table.uns["spot_diameter_um"])[0])
    if diameter_um is None and visium:
        diameter_um = VISIUM_SPOT_UM
    if diameter_um is None and factors.get("bin_size_um"):
        diameter_um = float(factors["bin_size_um"])
    if diameter_um is None:
        diameter_um = 0.5 * common.median_spacing(xy) * scale
    return Placed(scale, diameter_um / 2)


def _told(table: AnnData) -> float | None:
    """The scale that ``uns`` tells: ``um_per_px``, or that the units are micrometres."""
    value = table.uns.get("um_per_px")
    if value is not None:
        return common.checked_scale(float(np.ravel(value)[0]))
    units = table.uns.get("spatial_units", "")
    text = str(np.ravel(units)[0]).strip().lower() if np.size(units) else ""
    words = ("um", "micron", "micromet", "\N{MICRO SIGN}m", "\N{GREEK SMALL LETTER MU}m")
    return 1.0 if text.startswith(words) else None


def _images(
    table: AnnData, library: dict[str, Any], scale: float, path: Path
) -> dict[str, ImageSource]:
    """Images of ``uns["spatial"]``, the finest first, or the file that ``uns`` names."""
    images: dict[str, ImageSource] = {}
    factors = library.get("scalefactors", {})
    for short, array in sorted(library.get("images", {}).items()):
        factor = float(factors.get(f"tissue_{short}_scalef", 0) or 0)
        pixels = np.asarray(array)
        if factor <= 0 or pixels.ndim not in (2, 3):
            continue
        pixels = pixels[..., :3] if pixels.ndim == 3 else pixels
        if np.issubdtype(pixels.dtype, np.floating) and pixels.size and pixels.max() <= 1:
            pixels = np.rint(pixels * 255).astype(np.uint8)
        grey = pixels.ndim == 2 or pixels.shape[2] < 3
        images[short] = ImageSource(
            [pixels], common.scaling(scale / factor), ["intensity"] if grey else ["r", "g", "b"]
        )
        if short == "hires":
            return {"hires": images["hires"]}
    return images or _named_image(table, scale, path)


def _named_image(table: AnnData, scale: float, path: Path) -> dict[str, ImageSource]:
    """The image that ``uns["image_file"]`` names, if it lies beside the file and fits."""
    named = str(np.ravel(table.uns.get("image_file", ""))[0])
    beside = path.parent / Path(named).name
    size = np.ravel(table.uns.get("image_size_wh_px", ())).astype(float)
    full = np.ravel(table.uns.get("fullres_size_wh_px", size)).astype(float)
    if not named or Path(named).name != named or not beside.is_file() or len(full) != 2:
        return {}
    source = read_image(beside, um_per_px=1.0)
    height, width = source.levels[0].shape[:2]
    factors = full / (width, height)
    if abs(factors[0] / factors[1] - 1) > 0.01:
        common.warn(f"{named} has not the proportions that the file tells: left out.")
        return {}
    return {"he": ImageSource(source.levels, common.scaling(*(factors * scale)), source.channels)}


def _drop_images(table: AnnData) -> None:
    """Images are elements now: the copies in ``uns`` would be written twice."""
    libraries = table.uns.get("spatial")
    if isinstance(libraries, dict):
        table.uns["spatial"] = {
            key: {k: v for k, v in value.items() if k != "images"}
            for key, value in libraries.items()
            if isinstance(value, dict)
        }


def _check_annotation(tables: dict[str, AnnData], annotation: str | None, path: Path) -> None:
    if annotation is None or any(annotation in t.obs for t in tables.values()):
        return
    columns = sorted({c for t in tables.values() for c in t.obs})
    raise UserError(
        f"{path.name} has no column {annotation!r} in obs.",
        f"It has: {', '.join(columns) or 'none'}.",
    )
