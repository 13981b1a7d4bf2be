"""Leave-one-out error of the thin-plate spline and of the affine map on real landmark pairs."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._harness import data_root
from napari_stomics.core.inputs import LandmarkPairs
from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.registration.landmarks import LandmarkParams, register_landmarks

NAMES = ("register.landmarks",)
PROTOCOL = (
    "median over landmarks of the error at a pair left out of the fit, in target px (um for "
    "merfish); default parameters; the spline's stiffness is chosen anew without each pair"
)

_MOB = "mob_stahl2016/Rep{}_landmarks.csv"
_LUNG = "histology_landmarks/lung_lesion_3/29-041-Izd2-w35-{}-les3.csv"
_LESIONS = "histology_landmarks/lesions/Izd2-29-041-w35_{}.csv"
_ARTIFICIAL = "histology_landmarks/artificial/artificial_{}.csv"
_MERFISH = "stalign_rasters/merfish_brain/{}_landmarks.csv"
_MAGPIE = "magpie_msi_visium/landmarks_msi_to_visium_hires.csv"

FILES: dict[str, tuple[str, str]] = {
    "mob_1_2": (_MOB.format("01"), _MOB.format("02")),
    "mob_3_4": (_MOB.format("03"), _MOB.format("04")),
    "mob_11_12": (_MOB.format("11"), _MOB.format("12")),
    "lung_ki67": (_LUNG.format("He"), _LUNG.format("Ki67-7")),
    "lung_cd31": (_LUNG.format("He"), _LUNG.format("CD31-3")),
    "lung_cc10": (_LUNG.format("He"), _LUNG.format("Cc10-5")),
    "lung_prospc": (_LUNG.format("He"), _LUNG.format("proSPC-4")),
    "lesions_prospc": (_LESIONS.format("HE"), _LESIONS.format("proSPC")),
    "artificial_rigid": (_ARTIFICIAL.format("reference"), _ARTIFICIAL.format("moving-rigid")),
    "artificial_affine": (_ARTIFICIAL.format("reference"), _ARTIFICIAL.format("moving-affine")),
    "artificial_elastic": (_ARTIFICIAL.format("reference"), _ARTIFICIAL.format("moving-elastic")),
    "magpie_msi_visium": (_MAGPIE, _MAGPIE),
    "merfish_brain": (_MERFISH.format("S2R2"), _MERFISH.format("S2R3")),
}
"""Landmark files (source, target) of each set."""


def read_pairs(name: str, folder: Path) -> LandmarkPairs:
    """Landmarks of a set that both files hold; pixels count as micrometres."""
    first, second = FILES[name]
    if first == second:  # one table with both sides
        table = np.loadtxt(folder / first, delimiter=",", skiprows=1)
        names = tuple(str(i) for i in range(len(table)))
        return LandmarkPairs("source", "target", names, table[:, :2], table[:, 2:])
    source, target = _read(folder / first), _read(folder / second)
    names = tuple(name for name in source if name in target)
    return LandmarkPairs(
        "source",
        "target",
        names,
        np.array([source[name] for name in names]),
        np.array([target[name] for name in names]),
    )


def _read(path: Path) -> dict[str, tuple[float, float]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    return {row[0]: (float(row[1]), float(row[2])) for row in rows}


def lines() -> Iterator[dict[str, Any]]:
    """Yield one line per landmark set."""
    folder = data_root(*(file for files in FILES.values() for file in files))
    for name in FILES:
        pairs = read_pairs(name, folder)
        values = {}
        for model in ("tps", "affine"):
            found = register_landmarks(pairs, LandmarkParams(model=model), JobContext())
            values[f"loo_{model}_px"] = float(np.median(found.leave_one_out))
        yield {
            "name": f"register.landmarks.{name}",
            "values": values,
            "peers": {},
            "protocol": f"{len(pairs.names)} landmarks; {PROTOCOL}",
        }
