"""Studies that ship with the package, to open without a network or a file of one's own."""

from __future__ import annotations

import csv
import json
import lzma
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.transforms import Affine
from napari_stomics.data.build import ImageSource, make_section
from napari_stomics.data.schema import LandmarkRecord
from napari_stomics.data.study import Study

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

BULB_SECTIONS = ("Rep11", "Rep12")
"""Sections of :func:`olfactory_bulb`, the neighbours of one specimen."""


def olfactory_bulb() -> Study:
    """Two serial sections of a mouse olfactory bulb: H&E, counts, layers and landmarks.

    Replicates 11 and 12 of Ståhl et al. (Science 353:78, 2016): 262 and 282
    spots of 100 um, 14,641 and 14,151 genes, five manually annotated layers
    (column ``layer``, missing on three spots) and 14 corresponding landmarks,
    stored as the study's landmarks in micrometres. The sources and licences are
    in ``study.record.credit``.

    Returns
    -------
    Study
        With the sections ``Rep11`` and ``Rep12``.
    """
    folder = files("napari_stomics.data") / "sample_files" / "olfactory_bulb"
    meta = json.loads((folder / "sections.json").read_text(encoding="utf-8"))
    credit = (folder / "CREDIT.txt").read_text(encoding="utf-8")
    study = Study(_bulb_section(folder, BULB_SECTIONS[0], meta[BULB_SECTIONS[0]], credit))
    for name in BULB_SECTIONS[1:]:
        study.add(_bulb_section(folder, name, meta[name], credit))
    study.record.landmarks = _bulb_landmarks(folder, meta)
    study.sync()
    return study


def simulated_pair(seed: int = 0) -> Study:
    """Two small simulated sections with RNA, protein and an H&E-like image.

    About 1,500 spots each; the second section is turned, smoothly deformed and
    lacks some spots. The truth is in the study: the column ``domain`` and
    twelve landmarks. :func:`napari_stomics.simulate` gives the rest of it.

    Parameters
    ----------
    seed
        Another seed, another tissue.
    """
    from napari_stomics.data.simulate import SimulationParams, simulate

    return simulate(SimulationParams(seed=seed)).study


def _bulb_section(folder: Traversable, name: str, meta: dict[str, Any], credit: str) -> SpatialData:
    spots = _read_csv(folder / f"{name}_spots.csv")
    um_per_px = float(meta["um_per_px"])
    pixels = np.array([[float(row["x_px"]), float(row["y_px"])] for row in spots])
    return make_section(
        name,
        images={"he": ImageSource([_read_image(folder / f"{name}_HE.jpg")], _scale(um_per_px))},
        coordinates=pixels * um_per_px,
        radius=float(meta["spot_diameter_um"]) / 2,
        tables={"rna": _bulb_table(folder, name, spots)},
        annotation="layer",
        credit=credit,
        pixel_size_um=um_per_px,
        donor=str(meta["specimen"]),
        replicate=name.removeprefix("Rep"),
        technology="ST",
        source="Ståhl et al. 2016",
    )


def _bulb_table(folder: Traversable, name: str, spots: list[dict[str, str]]) -> AnnData:
    import pandas as pd
    from anndata import AnnData
    from scipy import sparse

    with (folder / f"{name}_counts.npy.xz").open("rb") as raw, lzma.open(raw) as file:
        low, high = np.load(file, allow_pickle=False)
    counts = (low.astype(np.int32) + (high.astype(np.int32) << 8)).T
    genes = (folder / f"{name}_genes.txt").read_text(encoding="utf-8").split("\n")[:-1]
    layer = [row["layer"] if row["layer"] != "NA" else None for row in spots]
    obs = pd.DataFrame(
        {
            "array_x": [float(row["array_x"]) for row in spots],
            "array_y": [float(row["array_y"]) for row in spots],
            "layer": pd.Categorical(layer),
        },
        index=[row["spot"] for row in spots],
    )
    return AnnData(sparse.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=genes))


def _bulb_landmarks(folder: Traversable, meta: dict[str, Any]) -> list[LandmarkRecord]:
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for section in BULB_SECTIONS:
        scale = float(meta[section]["um_per_px"])
        for row in _read_csv(folder / f"{section}_landmarks.csv"):
            position = (float(row["x_px"]) * scale, float(row["y_px"]) * scale)
            found.setdefault(row["landmark"], {})[section] = position
    return [LandmarkRecord(name=name, positions=at) for name, at in found.items()]


def _read_csv(path: Traversable) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def _read_image(path: Traversable) -> NDArray[np.uint8]:
    from PIL import Image

    with as_file(path) as real, Image.open(real) as image:
        return np.asarray(image.convert("RGB"))


def _scale(um_per_px: float) -> Affine:
    return Affine(np.diag([um_per_px, um_per_px, 1.0]))


SAMPLES = {"olfactory-bulb": olfactory_bulb, "simulated-pair": simulated_pair}
"""Samples by the name that File > Open Sample, recipes and the command line use."""


def open_sample(name: str) -> Study:
    """Open a sample by its name; its log then starts from that name.

    Raises
    ------
    UserError
        If there is no such sample.
    """
    if name not in SAMPLES:
        raise UserError(f"There is no sample {name!r}.", f"Samples: {', '.join(SAMPLES)}.")
    study = SAMPLES[name]()
    study.record.origin = {"sample": name}
    study.sync()
    return study
