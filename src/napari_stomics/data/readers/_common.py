"""What every reader needs: errors that name the file, scale, names, counts split by modality."""

from __future__ import annotations

import gzip
import json
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import StomicsError, UserError
from napari_stomics.core.transforms import Affine

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_stomics.data.build import ImageSource

MODALITY_OF_FEATURE_TYPE = {
    "gene expression": "rna",
    "antibody capture": "protein",
    "protein expression": "protein",
    "peaks": "chromatin",
    "chromatin accessibility": "chromatin",
    "metabolite": "metabolite",
}
"""Feature types of 10x matrices by the modality that they become."""

_CONTROL_WORDS = ("control", "blank", "unassigned codeword", "deprecated codeword", "intergenic")


def existing(path: str | Path) -> Path:
    """Return the path if it is there, can be read and is not empty.

    Raises
    ------
    UserError
        Otherwise, with the reason.
    """
    path = Path(path).expanduser()
    try:
        found = path.exists()
    except OSError as error:
        raise UserError(
            f"{path} cannot be looked at: {error.strerror}.", "Check the path and its permissions."
        ) from error
    if not found:
        raise UserError(
            f"There is nothing at {path}.", "Check the path; was the file moved or renamed?"
        )
    if not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)):
        raise UserError(
            f"You may not read {path}.", "Ask its owner for the permission, or copy it elsewhere."
        )
    if path.is_file() and path.stat().st_size == 0:
        raise UserError(f"{path} is empty.", "Copy or download it again.")
    return path


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Turn what a parser throws on a broken file into an error that names the file.

    Parameters
    ----------
    path
        The file being read.
    what
        What it is read as, for instance ``"an AnnData file"``.
    """
    try:
        yield
    except StomicsError:
        raise
    except MemoryError as error:
        raise UserError(
            f"{path} does not fit into the memory of this computer.",
            "Close other programs, or read a part of it, reduced or binned.",
        ) from error
    except PermissionError as error:
        raise UserError(
            f"You may not read {path}.", "Ask its owner for the permission, or copy it elsewhere."
        ) from error
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"{path} cannot be read as {what}: {reason}.",
            "It may be cut short, damaged or of another type: copy or export it again.",
        ) from error


def missing(folder: Path, names: str | Iterable[str], what: str, way_out: str) -> UserError:
    """Return the error for a file that a folder lacks.

    Parameters
    ----------
    folder
        Where it was looked for.
    names
        File names, any of which would do.
    what
        What the file holds.
    way_out
        What to do.
    """
    listed = names if isinstance(names, str) else " or ".join(names)
    return UserError(f"{folder} lacks {listed}, which holds {what}.", way_out)


def first_existing(folder: Path, *names: str) -> Path | None:
    """Return the first of the files that is there."""
    return next((folder / name for name in names if (folder / name).exists()), None)


def warn(message: str) -> None:
    """Tell the user something that does not stop the reading."""
    warnings.warn(message, UserWarning, stacklevel=3)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    with reading(existing(path), "JSON"), open_text(path) as text:
        content = json.load(text)
        if not isinstance(content, dict):
            raise ValueError("it holds no object")
        return content


def open_text(path: Path) -> IO[str]:
    """Open a text file, unpacking gzip by its content: names do not always tell."""
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    if packed:
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8-sig")


def read_table(path: Path, **kwargs: Any) -> Any:
    """Read a delimited text file, packed or not, as a data frame."""
    import pandas as pd

    with reading(existing(path), "a table"), open_text(path) as text:
        return pd.read_csv(text, **kwargs)


def need_columns(frame: Any, columns: Iterable[str], path: Path) -> None:
    """Raise a UserError if a table lacks a column."""
    lost = [c for c in columns if c not in frame]
    if lost:
        raise UserError(
            f"{path} has no column {', '.join(map(repr, lost))}.",
            f"It has {', '.join(map(repr, list(frame)[:12]))}. Export it again.",
        )


def checked_scale(um_per_px: float | None) -> float | None:
    """Return a given pixel size, refusing one that cannot be.

    Raises
    ------
    UserError
        If it is not a positive finite number.
    """
    if um_per_px is None:
        return None
    if not np.isfinite(um_per_px) or um_per_px <= 0:
        raise UserError(
            f"A pixel size of {um_per_px} micrometres is not possible.",
            "Give a positive number, for instance 0.5.",
        )
    return float(um_per_px)


def scale_unknown(path: Path, what: str = "pixel size") -> UserError:
    """Return the error for a file that does not say how large its pixels are."""
    return UserError(
        f"The {what} of {path.name} is not known: the file does not tell it.",
        "Give um_per_px, the micrometres per pixel (Pixel size in the form); "
        "1 if the positions are micrometres already.",
    )


def scaling(x: float, y: float | None = None) -> Affine:
    """Return the map from pixels to micrometres for pixels of ``x`` by ``y`` micrometres."""
    return Affine(np.diag([x, x if y is None else y, 1.0]))


def check_inside(images: Mapping[str, ImageSource], xy: NDArray[Any]) -> None:
    """Warn if many positions (x, y), in micrometres, lie outside of the first image."""
    for short, source in images.items():
        height, width = source.levels[0].shape[:2]
        px = source.to_um.inverse().apply(xy)
        outside = 1 - ((px >= 0) & (px <= (width, height))).all(axis=1).mean() if len(px) else 0.0
        if outside > 0.1:
            warn(
                f"{outside:.0%} of the spots lie outside of the image {short!r} "
                f"({width} x {height} px): it may be a cropped or reduced copy."
            )
        return


def finite(xy: NDArray[Any], path: Path) -> NDArray[np.float64]:
    """Return positions as numbers; raise a UserError if one of them is none."""
    with reading(path, "positions"):
        numbers: NDArray[np.float64] = np.asarray(xy, dtype=np.float64)
    bad = int((~np.isfinite(numbers).all(axis=1)).sum())
    if bad:
        raise UserError(
            f"{bad} of {len(numbers)} positions in {path} are no numbers.",
            "The file may be cut short: copy it again, or remove those rows.",
        )
    return numbers


def median_spacing(xy: NDArray[Any]) -> float:
    """Median distance to the nearest neighbour; 1 where there are fewer than two points."""
    from scipy.spatial import cKDTree

    points: NDArray[np.float64] = np.asarray(xy, dtype=np.float64)
    if len(points) < 2:
        return 1.0
    step = max(1, len(points) // 20_000)
    distances = np.asarray(cKDTree(points).query(points[::step], k=2)[0])[:, 1]
    apart = distances[distances > 0]  # several spots may share a place
    return float(np.median(apart)) if len(apart) else 1.0


def default_name(path: Path) -> str:
    """Return a section name from a file or folder name; folders named ``outs`` defer upwards."""
    generic = {"outs", "spatial", "binned_outputs", "output", "images", ""}
    while path.name.lower() in generic and path != path.parent:
        path = path.parent
    stem = path.name
    if path.is_file():
        stem = stem.removesuffix(".gz")
        stem = re.sub(r"(\.ome)?\.[A-Za-z0-9]{1,8}$", "", stem)
    return stem or "section"


def unique_names(table: AnnData) -> AnnData:
    """Make feature names unique by ``-1``, ``-2`` ..., and keep the names as they were."""
    if not table.var_names.is_unique:
        table.var["symbol"] = table.var_names.astype(str)
        table.var_names_make_unique()
    return table


def part(table: AnnData, rows: Any = slice(None), columns: Any = slice(None)) -> AnnData:
    """Copy a part of a table, without a warning that symbols repeat: they do, in 10x matrices."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*names are not unique.*")
        return table[rows, columns].copy()


def split_by_modality(table: AnnData, modality: str | None = None) -> dict[str, AnnData]:
    """Split a matrix by the feature types of its columns into one table per modality.

    Control probes go to ``obsm["controls"]`` (sparse) of the first table, their
    names to ``uns["controls"]``.

    Parameters
    ----------
    table
        Spots by features; ``var["feature_types"]`` where there are several.
    modality
        Name for the first table instead of the one its feature type gives.
    """
    if "feature_types" not in table.var:
        return {modality or "rna": unique_names(table)}
    types = table.var["feature_types"].astype(str)
    parts: dict[str, list[str]] = {}
    for kind in dict.fromkeys(types):
        parts.setdefault(modality_of(kind), []).append(kind)
    controls = parts.pop("controls", [])
    if not parts:
        parts, controls = {"rna": controls}, []
    order = sorted(parts, key=lambda m: m != "rna")
    tables = {m: unique_names(part(table, columns=types.isin(parts[m]).to_numpy())) for m in order}
    if controls:
        keep = types.isin(controls).to_numpy()
        first = tables[order[0]]
        first.obsm["controls"] = part(table, columns=keep).X
        first.uns["controls"] = table.var_names[keep].astype(str).to_numpy(dtype=object)
    if modality and modality not in tables:
        tables = {modality if m == order[0] else m: t for m, t in tables.items()}
    return tables


def modality_of(feature_type: str) -> str:
    """Return the modality of a 10x feature type; ``controls`` for control probes."""
    lower = feature_type.strip().lower()
    if any(word in lower for word in _CONTROL_WORDS):
        return "controls"
    return MODALITY_OF_FEATURE_TYPE.get(lower, lower.replace(" ", "_") or "rna")


def preview(path: Path, **found: Any) -> dict[str, Any]:
    """Return what a file or folder would give, for a form: plain values only."""
    answer: dict[str, Any] = {
        "path": str(path),
        "name": default_name(path),
        "modalities": {},
        "n_spots": None,
        "images": [],
        "um_per_px": None,
        "needs": [],
        "missing": [],
        "notes": [],
    }
    return answer | found


def image_preview(name: str, shape: tuple[int, ...], channels: Any, um: Any) -> dict[str, Any]:
    """Return the plain description of an image (y, x, channel)."""
    return {
        "name": name,
        "height": int(shape[0]),
        "width": int(shape[1]),
        "channels": [str(c) for c in channels],
        "um_per_px": None if um is None else float(um),
    }


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping with numpy scalars made plain."""
    return {k: v.item() if hasattr(v, "item") else v for k, v in values.items()}
