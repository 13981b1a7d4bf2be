"""Automatic registration of real serial sections, scored by landmarks that it never sees."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks._harness import data_root, line

NAMES = ("register.auto",)

MOB = {"mob_1_2": ("01", "02"), "mob_3_4": ("03", "04"), "mob_11_12": ("11", "12")}
LUNG = {"lung_ki67": ("He", "Ki67-7"), "lung_cd31": ("He", "CD31-3")}

PROTOCOL = (
    "source to target; median distance over all landmarks in target pixels; landmarks are not "
    "used by the registration; default model is affine, the others are run beside it; one "
    "thread, cpu_s without decoding the image. Peer: least-squares fit on the same landmarks, "
    "scored on them. Settings chosen by the mean over mob 1-2, 1-3, 1-4, 2-3, 2-4, 11-12 and lung "
    "Cc10; mob 3-4, lung Ki67, CD31, proSPC and the lesions were seen beside but did not decide."
)


def lines(wanted: Callable[[str], bool] = lambda name: True) -> Iterator[dict[str, Any]]:
    for key, (a, b) in MOB.items():
        if wanted(f"register.auto.{key}"):
            yield _mob(key, a, b)
    for key, (a, b) in LUNG.items():
        if wanted(f"register.auto.{key}"):
            yield _lung(key, a, b)


def _mob(key: str, a: str, b: str) -> dict[str, Any]:
    import anndata

    folder = data_root("mob_stahl2016") / "mob_stahl2016"
    images = [folder / f"Rep{n}_HE.jpg" for n in (a, b)]
    tables = [folder / f"Rep{n}_landmarks.csv" for n in (a, b)]
    sizes = [
        float(anndata.read_h5ad(folder / f"Rep{n}.h5ad", backed="r").uns["um_per_px"])
        for n in (a, b)
    ]
    return _scored(key, images, tables, sizes, "best_similarity")


def _lung(key: str, a: str, b: str) -> dict[str, Any]:
    folder = data_root("histology_landmarks") / "histology_landmarks" / "lung_lesion_3"
    images = [folder / f"29-041-Izd2-w35-{s}-les3.jpg" for s in (a, b)]
    tables = [path.with_suffix(".csv") for path in images]
    return _scored(key, images, tables, [1.0, 1.0], "best_affine")


def _scored(
    key: str, images: list[Path], tables: list[Path], sizes: list[float], peer: str
) -> dict[str, Any]:
    import numpy as np
    from skimage.transform import AffineTransform, SimilarityTransform

    from napari_stomics.core.inputs import ImagePair
    from napari_stomics.core.jobs import JobContext
    from napari_stomics.methods.registration.automatic import AutomaticParams, register_images

    first, second = (_landmarks(path) for path in tables)
    names = [name for name in first if name in second]
    source = np.array([first[n] for n in names]) * sizes[0]
    target = np.array([second[n] for n in names]) * sizes[1]
    pair = ImagePair(*(_image(p, s) for p, s in zip(images, sizes, strict=True)))

    def median(points: Any) -> float:
        return float(np.median(np.linalg.norm(points - target, axis=1))) / sizes[1]

    values: dict[str, float] = {"before_px": median(source)}
    for model in ("affine", "rigid", "similarity", "nonrigid"):
        start = time.process_time()
        found = register_images(pair, AutomaticParams(model=model), JobContext())
        spent = time.process_time() - start
        if model == "affine":
            values |= {"cpu_s": spent, "margin": found.margin}
            values["median_px"] = median(found.transform.apply(source))
        else:
            values[f"median_px_{model}"] = median(found.transform.apply(source))
            values[f"cpu_s_{model}"] = spent
    peers = {
        "best_similarity": {"median_px": median(_fitted(SimilarityTransform, source, target))},
        "best_affine": {"median_px": median(_fitted(AffineTransform, source, target))},
    }
    return line(
        f"register.auto.{key}",
        {name: round(value, 4) for name, value in values.items()},
        peers={peer: peers[peer]} | peers,
        protocol=PROTOCOL,
    )


def _fitted(kind: Any, source: Any, target: Any) -> Any:
    return kind.from_estimate(source, target)(source)


def _landmarks(path: Path) -> dict[str, tuple[float, float]]:
    with path.open(encoding="utf-8") as handle:
        rows = list(csv.reader(handle))[1:]
    return {row[0]: (float(row[1]), float(row[2])) for row in rows}


def _image(path: Path, um: float) -> Any:
    import numpy as np
    from PIL import Image

    from napari_stomics.core.inputs import SectionImage
    from napari_stomics.core.transforms import Affine

    pixels = np.asarray(Image.open(path).convert("RGB"))
    return SectionImage(path.stem, (pixels,), Affine(np.diag([um, um, 1.0])))
