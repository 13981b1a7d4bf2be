"""Alignment of real pairs: label transfer, landmarks and published registrations."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from benchmarks._align_cases import table_spots, turned
from benchmarks._harness import Measured, data_root, line
from benchmarks.align import DENSE, align, costs
from napari_stomics.core.inputs import SpotPair, Spots

NAMES = ("align.dlpfc", "align.dlpfc_mirror", "align.real")

_MEASURES = (
    "label_accuracy: share of the plan's mass between labelled spots that joins equal labels "
    "(PASTE's score); label_of_all: the same over the mass that was asked for; ceiling: what the "
    "label proportions allow a balanced plan; margin: lead of the pose over the runner-up; costs "
    "as in align.sim4k"
)
_BASES = (
    "peers: rigid, each spot to its nearest one under the linear pose found; pot, POT's dense "
    "conditional gradient on the same features from the uniform plan"
)


@dataclass(frozen=True)
class RealPair:
    """A pair with what judges it; nothing of this is given to the method.

    Attributes
    ----------
    landmarks
        (k, 2) source and (k, 2) target positions, um.
    places
        (n, 2) where a published registration puts the source spots, um of the target.
    """

    source: Spots
    target: Spots
    note: str
    landmarks: tuple[Any, Any] | None = None
    places: Any = None
    um_per_px: float = 1.0


def dlpfc(mirror: bool = False) -> RealPair:
    """Neighbouring sections 151673 and 151674; the second turned by 40 degrees."""
    path = "dlpfc_visium/{0}/{0}_counts.h5ad"
    source, target = (table_spots(path.format(n), label="layer") for n in ("151673", "151674"))
    note = "DLPFC 151673 to 151674, turned by 40 degrees" + (", mirrored" if mirror else "")
    return RealPair(source, turned(target, 40.0, mirror), note)


def bulb() -> RealPair:
    """Olfactory bulb, replicates 12 and 11, with 14 landmarks."""
    spots = [table_spots(f"mob_stahl2016/Rep{n}.h5ad", label="layer") for n in (12, 11)]
    scale = 2.759810263044416
    marks = [_landmarks(f"mob_stahl2016/Rep{n}_landmarks.csv") for n in (12, 11)]
    names = [name for name in marks[0] if name in marks[1]]
    points = tuple(np.array([one[name] for name in names]) * scale for one in marks)
    return RealPair(
        *spots, "olfactory bulb 12 to 11", landmarks=(points[0], points[1]), um_per_px=scale
    )


def her2st(first: str, second: str) -> RealPair:
    """Breast cancer sections of one patient, with the authors' rigid registration."""
    import anndata

    paths = [f"her2st/{name[0]}/{name}.h5ad" for name in (first, second)]
    source, target = (table_spots(path, label="cluster_label") for path in paths)
    warped = []
    for path in paths:
        table = anndata.read_h5ad(data_root(path) / path)
        warped.append(np.asarray(table.obsm["spatial_warped_authors"]) * table.uns["um_per_px"])
    there = _rigid(warped[1], target.coordinates)(warped[0])
    return RealPair(source, target, f"her2st {first} to {second}", places=there)


def breast(first: int, second: int) -> RealPair:
    """Serial sections of a breast cancer, with a published registration of all of them."""
    paths = [f"breast_cancer_stahl2016/slice{n}.h5ad" for n in (first, second)]
    source, target = (table_spots(path, um_per_px=1.0) for path in paths)
    common = [
        table_spots(path, um_per_px=1.0, obsm="spatial_meringue_registered").coordinates
        for path in paths
    ]
    there = _rigid(common[1], target.coordinates)(common[0])
    return RealPair(source, target, f"breast cancer {first} to {second}", places=there)


def lymph_node() -> RealPair:
    """Protein of two lymph node sections, turned by about 180 degrees; only one has labels."""
    path = "human_lymph_node_visium_adt/{}_adt.h5ad"
    source, target = (
        table_spots(path.format(n), um_per_px=1.0, label="annotation", modality="protein")
        for n in ("A1", "D1")
    )
    return RealPair(source, target, "lymph node A1 to D1, 31 proteins")


def starmap() -> RealPair:
    """Cells of two mice's prefrontal cortex."""
    source, target = (
        table_spots(f"starmap_mpfc/{n}.h5ad", um_per_px=1.0, label="layer") for n in ("BZ5", "BZ9")
    )
    return RealPair(source, target, "STARmap prefrontal cortex BZ5 to BZ9")


PAIRS: dict[str, Callable[[], RealPair]] = {
    "align.dlpfc.default": dlpfc,
    "align.dlpfc_mirror.default": lambda: dlpfc(mirror=True),
    "align.real.bulb_12_11": bulb,
    "align.real.her2st_a1_a2": lambda: her2st("A1", "A2"),
    "align.real.her2st_c2_c3": lambda: her2st("C2", "C3"),
    "align.real.breast_1_2": lambda: breast(1, 2),
    "align.real.breast_2_3": lambda: breast(2, 3),
    "align.real.breast_3_4": lambda: breast(3, 4),
    "align.real.breast_1_4": lambda: breast(1, 4),
    "align.real.lymph_node_a1_d1": lymph_node,
    "align.real.starmap_bz5_bz9": starmap,
}


def lines(wanted: Any) -> Iterator[dict[str, Any]]:
    """One line per pair; DLPFC also at exact marginals."""
    for name in PAIRS:
        if wanted(name):
            yield pair_line(name, name)
    if wanted("align.dlpfc.exact"):
        exact = {"solver": "exact", "marginals": "balanced", "bend": False}
        yield pair_line("align.dlpfc.exact", "align.dlpfc.default", **exact)


def given(real: RealPair) -> SpotPair:
    """Return what the methods get: no label, no landmark."""
    return SpotPair(replace(real.source, labels=None), replace(real.target, labels=None))


@cache
def by_pot(pair: str) -> Measured:
    """POT's answer, which does not change from line to line and takes minutes."""
    return align(given(PAIRS[pair]()), "alignment/fgw-dense", **DENSE)


def pair_line(name: str, pair: str, **params: Any) -> dict[str, Any]:
    """Align a pair and judge it beside the pose alone and POT's dense solver."""
    real = PAIRS[pair]()
    done = align(given(real), **params)
    plan = done.result
    values = judged(real, plan.plan) | costs(done) | {"converged": int(plan.converged)}
    if np.isfinite(plan.margin):
        values["margin"] = plan.margin
    values |= placed(real, plan.registration.transform.apply)
    peers = {"rigid": _rigid_only(real, plan)}
    pot = by_pot(pair)
    peers["pot"] = judged(real, pot.result.plan) | costs(pot)
    peers["pot"] |= placed(real, _by_plan(real, pot.result.plan))
    how = ", ".join(f"{k}={v}" for k, v in params.items()) or "default parameters"
    return line(
        name,
        values,
        peers={k: v for k, v in peers.items() if v},
        protocol=f"{real.note}; nothing given beforehand; {how}; {_MEASURES}; landmark_px and "
        f"place_um: median distance at landmarks and from a published registration; {_BASES}",
    )


def judged(real: RealPair, plan: Any) -> dict[str, float]:
    """Label scores of a plan; empty where the sections have no labels."""
    from napari_stomics.metrics.label_transfer import accuracy_ceiling, plan_accuracy

    a, b = real.source.labels, real.target.labels
    if a is None or b is None:
        return {}
    mass = plan.sum()
    between = float((plan.T @ (a != "").astype(float)) @ (b != "").astype(float))
    asked = np.mean(a != "")
    found = float(plan_accuracy(plan, a, b))
    return {
        "label_accuracy": found,
        "label_of_all": found * between / float(asked),
        "ceiling": float(accuracy_ceiling(a, b)),
        "mass": float(mass),
    }


def placed(real: RealPair, move: Callable[[Any], Any]) -> dict[str, float]:
    """Errors of a map of the source into the target."""
    out = {}
    if real.landmarks is not None:
        gaps = np.linalg.norm(move(real.landmarks[0]) - real.landmarks[1], axis=1)
        out["landmark_px"] = float(np.median(gaps)) / real.um_per_px
    if real.places is not None:
        gaps = np.linalg.norm(move(real.source.coordinates) - real.places, axis=1)
        out["place_um"] = float(np.nanmedian(gaps))
    return out


def _rigid_only(real: RealPair, plan: Any) -> dict[str, float]:
    """Each spot to the nearest one under the linear pose, without any transport."""
    from scipy import sparse
    from scipy.spatial import cKDTree

    n, m = plan.plan.shape
    _, nearest = cKDTree(real.target.coordinates).query(plan.source_coordinates)
    coupling = sparse.csr_matrix((np.full(n, 1 / n), (np.arange(n), nearest)), shape=(n, m))
    move = _rigid(real.source.coordinates, plan.source_coordinates, mirror=None)
    return judged(real, coupling) | placed(real, move)


def _by_plan(real: RealPair, plan: Any) -> Callable[[Any], Any]:
    """The rigid motion that fits a plan best, as PASTE derives it."""
    mass = np.asarray(plan.sum(axis=1)).ravel()
    there = np.asarray(plan @ real.target.coordinates) / np.maximum(mass, 1e-300)[:, None]
    return _rigid(real.source.coordinates, there, mirror=None)


def _rigid(a: Any, b: Any, mirror: bool | None = False) -> Callable[[Any], Any]:
    """Least-squares rigid motion of (n, 2) points; ``mirror`` None allows a mirror image."""
    known = np.isfinite(a).all(axis=1) & np.isfinite(b).all(axis=1)
    a, b = a[known], b[known]
    centre, there = a.mean(axis=0), b.mean(axis=0)
    u, _, vt = np.linalg.svd((a - centre).T @ (b - there))
    sign = 1.0 if mirror is None else np.sign(np.linalg.det(u @ vt))
    turn = u @ np.diag([1.0, sign]) @ vt
    return lambda points: (np.asarray(points) - centre) @ turn + there


def _landmarks(path: str) -> dict[str, tuple[float, float]]:
    with (data_root(path) / path).open() as stream:
        rows = list(csv.DictReader(stream))
    return {row["landmark"]: (float(row["x_px"]), float(row["y_px"])) for row in rows}
