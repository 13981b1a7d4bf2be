"""Embeddings that another program computed, of a foundation model for instance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.fusion import Embedding, SpotsOnImage
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.params import Params, param
from napari_stomics.core.registry import method

Floats = NDArray[np.floating[Any]]

_VALUES = ("features", "embeddings", "embedding", "feats", "X")
_NAMES = ("barcodes", "barcode", "ids", "obs_names", "spot_ids")
_PLACES = ("coords", "coordinates")
_FORMS = ".npy, .npz, .h5 or .hdf5"


class EmbeddingFileParams(Params):
    """Which file, and how its rows are told apart."""

    path: str = param("", "File", f"The embedding: {_FORMS}, one row per spot or per image patch.")
    dataset: str = param(
        "",
        "Data set",
        "Name of the array within the file; by default one of " + ", ".join(_VALUES) + ".",
        advanced=True,
    )
    patch_pixels: float = param(
        0.0,
        "Width of a patch",
        "Pixels of the image's finest level that a patch covers, where the file gives the "
        "patches' corners; 0 takes what the file says.",
        unit="px",
        advanced=True,
        ge=0.0,
    )


@method(
    task="embedding",
    name="file",
    title="Embedding from a file",
    summary="Takes up an embedding that another program computed: rows are matched to the spots "
    "by their names, by the places of image patches, or by their order.",
    params=EmbeddingFileParams,
    inputs=SpotsOnImage,
    result=Embedding,
    reference="HDF5 layouts of TRIDENT (features, coords) and HEST (embeddings, barcodes)",
)
def read_embedding_file(
    inputs: SpotsOnImage, params: EmbeddingFileParams, ctx: JobContext
) -> Embedding:
    """Read an embedding of one section.

    Raises
    ------
    UserError
        If the file cannot be read, its rows cannot be matched to the spots, or a
        spot is left without a value.
    """
    path = Path(params.path).expanduser()
    if not params.path.strip() or not path.is_file():
        raise UserError(
            f"There is no file {params.path!r}." if params.path.strip() else "No file is given.",
            f"Give the path of an embedding ({_FORMS}).",
        )
    ctx.step(0.1, f"Reading {path.name}")
    arrays, width = _arrays(path)
    values = _values(arrays, params.dataset, path)
    ctx.step(0.6, "Matching rows to spots")
    names, places = _first(arrays, _NAMES), _first(arrays, _PLACES)
    if names is not None and len(names) == len(values):
        matched, how = _by_name(values, names, inputs, path), "names"
    elif places is not None and (inputs.to_um is not None or len(values) != len(inputs.ids)):
        width = params.patch_pixels or width
        matched, how = _by_place(values, places, width, inputs, path), "places of patches"
    else:
        matched, how = _by_order(values, inputs, path), "order"
    if not np.isfinite(matched).all():
        bad = int((~np.isfinite(matched)).any(axis=1).sum())
        raise UserError(
            f"{bad} spots have no finite value in {path.name}.",
            "Compute the embedding again for all spots.",
        )
    return Embedding(
        section=inputs.section,
        ids=inputs.ids,
        values=matched.astype(np.float32),
        modalities=(path.stem,),
        disagreement=np.full(len(inputs.ids), np.nan),
        explained_variance=np.zeros(0),
        settings={"file": path.name, "matched by": how},
    )


def _arrays(path: Path) -> tuple[dict[str, NDArray[Any]], float]:
    """Arrays of a file by name, and the width of a patch in pixels that it states (else 0)."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".npy":
            return {_VALUES[0]: np.load(path, allow_pickle=False)}, 0.0
        if suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}, 0.0
        if suffix in (".h5", ".hdf5"):
            return _hdf5_arrays(path)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise UserError(
            f"{path.name} cannot be read: {error}.", f"It should be a sound {_FORMS} file."
        ) from error
    raise UserError(f"{path.name} is no file of a known form.", f"Known forms: {_FORMS}.")


def _hdf5_arrays(path: Path) -> tuple[dict[str, NDArray[Any]], float]:
    import h5py

    with h5py.File(path) as file:
        found = {name: item for name, item in file.items() if isinstance(item, h5py.Dataset)}
        wanted = {name: item for name, item in found.items() if item.ndim}
        stated = [dict(item.attrs) for name, item in found.items() if name in _PLACES]
        stated.append(dict(file.attrs))
        for key in ("patch_size_level0", "patch_size"):
            for attrs in stated:
                if key in attrs:
                    return {n: i[()] for n, i in wanted.items()}, float(np.ravel(attrs[key])[0])
        return {name: item[()] for name, item in wanted.items()}, 0.0


def _first(arrays: dict[str, NDArray[Any]], names: tuple[str, ...]) -> NDArray[Any] | None:
    return next((arrays[name] for name in names if name in arrays), None)


def _values(arrays: dict[str, NDArray[Any]], dataset: str, path: Path) -> Floats:
    values = arrays.get(dataset) if dataset else _first(arrays, _VALUES)
    if values is None:
        raise UserError(
            f"{path.name} has no array {dataset or ' or '.join(_VALUES)!r}.",
            f"It has: {', '.join(arrays) or 'none'}. Name one as the data set.",
        )
    if values.ndim == 3 and 1 in values.shape[:2]:  # a batch of one, or one vector per row
        values = values.reshape(-1, values.shape[-1])
    if values.ndim != 2 or values.dtype.kind not in "fiu" or values.shape[1] < 1:
        raise UserError(
            f"The embedding in {path.name} is an array of shape {values.shape} and type "
            f"{values.dtype}, not rows of numbers.",
            "Save it as (rows, dimensions).",
        )
    return np.asarray(values, np.float32)


def _by_name(values: Floats, names: NDArray[Any], inputs: SpotsOnImage, path: Path) -> Floats:
    flat = [n.decode() if isinstance(n, bytes) else str(n) for n in np.ravel(names)]
    at = {name: i for i, name in enumerate(flat)}
    missing = [str(name) for name in inputs.ids if str(name) not in at]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(inputs.ids)} spots are not in {path.name}, "
            f"{missing[0]!r} for instance.",
            f"Its names look like {flat[0]!r}: use the same names in both, and all spots.",
        )
    return values[[at[str(name)] for name in inputs.ids]]


def _by_place(
    values: Floats, corners: NDArray[Any], width: float, inputs: SpotsOnImage, path: Path
) -> Floats:
    """Mean of the patches whose centre lies within a spot, else the nearest patch."""
    from scipy.spatial import cKDTree

    if inputs.to_um is None:
        raise UserError(
            f"{path.name} places its rows on an image, and section {inputs.section!r} has none.",
            "Add the image that the embedding was computed from.",
        )
    if width <= 0:
        raise UserError(
            f"{path.name} does not say how wide a patch is.", "Give the width of a patch in pixels."
        )
    centres = inputs.to_um.apply(np.asarray(corners, np.float64)[:, :2] + width / 2)
    scale = float(np.sqrt(abs(np.linalg.det(inputs.to_um.matrix[:2, :2]))))
    tree = cKDTree(centres)
    gap, nearest = map(np.asarray, tree.query(inputs.coordinates))
    far = gap > max(inputs.diameter, width * scale)
    if far.any():
        raise UserError(
            f"{int(far.sum())} of {len(far)} spots have no patch of {path.name} near them.",
            "Check that the file belongs to this image; compute patches over all of the tissue.",
        )
    out = np.array(values[nearest])
    near: Any = tree.query_ball_point(inputs.coordinates, inputs.diameter / 2)
    for i, inside in enumerate(near):
        if len(inside) > 1:
            out[i] = values[inside].mean(axis=0)
    return out


def _by_order(values: Floats, inputs: SpotsOnImage, path: Path) -> Floats:
    if len(values) != len(inputs.ids):
        raise UserError(
            f"{path.name} has {len(values)} rows, the section {len(inputs.ids)} spots.",
            "Store the names of the spots with the embedding (barcodes), or save one row per "
            "spot in the order of the table.",
        )
    return values
