"""Stacks of serial sections: chained neighbours against joint poses, and real stacks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from benchmarks._harness import data_root, line

NAMES = ("stack",)

_SEEDS = range(5)
_COUNT = 6
_SIMULATED = (
    "6 simulated sections of 800 spots on arrays of their own, each turned by 40 degrees and "
    "mirrored against the one before, {shape}; seeds 0-4; reference: the first section. tre_pitch: "
    "root mean square distance over the spots of the last section from its true place, in pitches "
    "(mean over seeds); all_pitch: the same over all sections; worst_pitch: the largest over all "
    "sections and seeds. Peer chain: the same alignments of neighbours, one after the other; peer "
    "rigid_limit: the best rigid map to the truth. cpu_s is for one stack (9 alignments)."
)


def lines(wanted: Callable[[str], bool] = lambda name: True) -> Iterator[dict[str, Any]]:
    for key, shape, words in (
        ("sim6", {"warp_rms": 0.3, "section_change": 0.1}, "warped by .3 pitch RMS"),
        ("sim6_weak", {"warp_rms": 0.3, "section_change": 0.1, "rna_depth": 250.0},
         "warped by .3 pitch RMS, at 250 transcripts per spot"),
        ("sim6_warp", {"warp_rms": 0.8, "section_change": 0.1}, "warped by .8 pitch RMS, bent"),
    ):  # fmt: skip
        if wanted(f"stack.{key}"):
            yield _simulated(f"stack.{key}", shape, words)
    if wanted("stack.sim6_damaged"):
        shape = {"warp_rms": 0.3, "section_change": 0.1}
        yield _simulated("stack.sim6_damaged", shape, "warped by .3 pitch RMS; " + _THINNED, 2)
    if wanted("stack.breast"):
        yield _breast()
    for patient in "AC":
        if wanted(f"stack.her2st_{patient}"):
            yield _her2(patient)
    if wanted("stack.center_sim3"):
        yield _centre()


_THINNED = "the third section keeps 3 % of its counts and is left out of the figures"


def _simulated(
    name: str, shape: dict[str, Any], words: str, damaged: int | None = None
) -> dict[str, Any]:
    import numpy as np

    from napari_stomics.core.stacks import StackInputs
    from napari_stomics.methods.alignment.pose_graph import rigid_between
    from napari_stomics.methods.alignment.stack import StackParams, align_stack

    params = StackParams(bend="bent" in words)
    found: dict[str, list[Any]] = {"joint": [], "chain": [], "rigid_limit": []}
    spent, accuracy, loops = [], [], []
    for seed in _SEEDS:
        simulation = _simulation(seed, tuple(sorted(shape.items())))
        sections = tuple(s.spots("rna") for s in simulation.study.sections.values())
        if damaged is not None:
            sections = tuple(_thinned(s, seed) if k == damaged else s
                             for k, s in enumerate(sections))  # fmt: skip
        given = StackInputs(sections, sections[0].section, np.full(len(sections), np.nan))
        start = time.process_time()
        stack = align_stack(given, params, _silent())
        spent.append(time.process_time() - start)
        accuracy.append(stack.summary()["median_label_accuracy"])
        loops.append(np.median(stack.loops) / sections[0].pitch)
        chain = _chain(stack)
        rows: dict[str, list[float]] = {key: [] for key in found}
        for k, spots in enumerate(sections):
            if k == damaged:
                continue
            xy = spots.coordinates
            true = simulation.truth.transform(spots.section, given.reference).apply(xy)
            best = rigid_between(xy, true, np.ones(len(xy)))
            for key, moved in (
                ("joint", stack.transforms[k].apply(xy)),
                ("chain", chain[k].apply(xy)),
                ("rigid_limit", best.apply(xy)),
            ):
                gap = ((moved - true) ** 2).sum(axis=1)
                rows[key].append(float(np.sqrt(gap.mean()) / spots.pitch))
        for key, values in rows.items():
            found[key].append(values)
    figures = {key: _figures(np.array(values)) for key, values in found.items()}
    values = figures.pop("joint")
    values |= {
        "label_accuracy": round(float(np.mean(accuracy)), 4),
        "loop_pitch": round(float(np.mean(loops)), 3),
        "cpu_s": round(float(np.mean(spent)), 2),
    }
    return line(name, values, peers=figures, protocol=_SIMULATED.format(shape=words))


def _thinned(spots: Any, seed: int, share: float = 0.03) -> Any:
    """A section whose tissue was damaged: few of its transcripts are left."""
    from dataclasses import replace

    import numpy as np

    x = spots.x.copy()
    x.data = np.random.default_rng(seed).binomial(x.data.astype(int), share).astype(x.dtype)
    x.eliminate_zeros()
    return replace(spots, x=x)


def _figures(errors: Any) -> dict[str, float]:
    return {
        "tre_pitch": round(float(errors[:, -1].mean()), 3),
        "all_pitch": round(float(errors[:, 1:].mean()), 3),
        "worst_pitch": round(float(errors.max()), 3),
    }


@cache
def _simulation(seed: int, shape: tuple[tuple[str, Any], ...]) -> Any:
    from napari_stomics import SimulationParams, simulate

    more: dict[str, Any] = {
        "n_sections": _COUNT, "n_spots": 800, "um_per_px": None, "n_proteins": 0,
        "rotation": 40.0, "mirror": True, "array": "own", "seed": seed,
    }  # fmt: skip
    return simulate(SimulationParams(**{**more, **dict(shape)}))


def _chain(stack: Any) -> Any:
    from napari_stomics.methods.alignment.pose_graph import GraphEdge, chain_poses

    at = {name: i for i, name in enumerate(stack.sections)}
    edges = [GraphEdge(at[e.source], at[e.target], e.transform, 1.0) for e in stack.edges]
    return chain_poses(len(at), edges, at[stack.reference])


def _silent() -> Any:
    from napari_stomics.core.jobs import JobContext

    return JobContext(on_warning=lambda text: None)


def _real(paths: list[Any], label: str | None, published: str) -> dict[str, Any]:
    """Figures of a real stack, of the chain, and of the registration that was published."""
    import anndata
    import numpy as np

    from napari_stomics.core.stacks import StackInputs
    from napari_stomics.methods.alignment.stack import StackParams, align_stack

    tables = [anndata.read_h5ad(path) for path in paths]
    sections = tuple(_spots(t, p.stem, label) for t, p in zip(tables, paths, strict=True))
    given = StackInputs(sections, sections[0].section, np.full(len(sections), np.nan))
    start = time.process_time()
    stack = align_stack(given, StackParams(), _silent())
    spent = time.process_time() - start
    chain, pitch = _chain(stack), sections[0].pitch
    wanted = _published(tables, sections, published)
    out: dict[str, Any] = {"joint": {}, "chain": {}, "published": {}}
    for key in out:
        gaps, right = [], []
        for k, spots in enumerate(sections[1:], 1):
            xy = spots.coordinates
            known = np.isfinite(wanted[k]).all(axis=1)
            moved = {
                "joint": stack.transforms[k].apply(xy),
                "chain": chain[k].apply(xy),
                "published": wanted[k],
            }[key]
            gaps.append(np.median(np.linalg.norm(moved - wanted[k], axis=1)[known]) / pitch)
            if label is not None:
                right.append(_nearest_label(sections[0], spots, moved, known))
        if key != "published":
            out[key]["from_published_pitch"] = round(float(np.mean(gaps)), 3)
        if right:
            out[key]["label_accuracy"] = round(float(np.mean(right)), 4)
    margins = [e.margin for e in stack.edges if np.isfinite(e.margin)]
    out["joint"] |= {
        "loop_pitch": round(float(np.median(stack.loops) / pitch), 3),
        "worst_loop_pitch": round(float(np.max(stack.loops) / pitch), 3),
        "not_trusted": len(stack.summary()["not_trusted"]),
        "least_margin": round(float(min(margins)), 3) if margins else 0.0,
        "cpu_s": round(spent, 2),
    }
    return out


def _nearest_label(first: Any, spots: Any, moved: Any, known: Any) -> float:
    from scipy.spatial import cKDTree

    used = known & (spots.labels != "")
    near = first.labels[cKDTree(first.coordinates).query(moved[used])[1]]
    return float((near == spots.labels[used])[near != ""].mean())


def _published(tables: list[Any], sections: tuple[Any, ...], key: str) -> list[Any]:
    """Published places of every section's spots in the frame of the first one, um."""
    import numpy as np

    places = [np.asarray(t.obsm[key], float) for t in tables]
    known = np.isfinite(places[0]).all(axis=1)
    design = np.column_stack([places[0][known], np.ones(known.sum())])
    frame = np.linalg.lstsq(design, sections[0].coordinates[known], rcond=None)[0]
    return [np.column_stack([p, np.ones(len(p))]) @ frame for p in places]


def _spots(table: Any, name: str, label: str | None) -> Any:
    import numpy as np
    from scipy.spatial import cKDTree

    from napari_stomics.core.inputs import Spots

    xy = np.asarray(table.obsm["spatial"], float) * float(table.uns.get("um_per_px", 1.0))
    labels = None
    if label is not None:
        values = table.obs[label]
        text = values.astype(object).where(values.notna(), "").astype(str)
        labels = text.str.replace(r"\.0$", "", regex=True).replace("NA", "").to_numpy(object)
    pitch = float(np.median(cKDTree(xy).query(xy, 2)[0][:, 1]))
    ids, features = table.obs_names.to_numpy(object), table.var_names.to_numpy(object)
    return Spots(name, ids, xy, table.X, features, "rna", labels, pitch)


_REAL = (
    "{what}; reference: the first section; no registration or landmark given. "
    "from_published_pitch: median distance of the spots from the published registration ({key}), "
    "mean over sections, in pitches. loop_pitch: median miss of three alignments that lead round "
    "in a circle. Peer chain: the same alignments of neighbours, one after the other."
)
_LABELS = (
    " label_accuracy: share of spots whose nearest spot of the first section has their cluster "
    "(authors' expression clusters), mean over sections; peer published: the same under the "
    "published registration."
)


def _breast() -> dict[str, Any]:
    folder = data_root("breast_cancer_stahl2016") / "breast_cancer_stahl2016"
    found = _real(sorted(folder.glob("slice*.h5ad")), None, "spatial_meringue_registered")
    what = _REAL.format(what="Breast cancer, 4 sections (Stahl 2016)", key="MERINGUE")
    return line("stack.breast", found["joint"], peers={"chain": found["chain"]}, protocol=what)


def _her2(patient: str) -> dict[str, Any]:
    folder = data_root("her2st") / "her2st" / patient
    paths = sorted(folder.glob(f"{patient}[0-9].h5ad"))
    found = _real(paths, "cluster_label", "spatial_warped_authors")
    what = _REAL.format(
        what=f"her2st {patient}, {len(paths)} sections", key="the authors' rigid one"
    )
    peers = {key: found[key] for key in ("chain", "published")}
    return line(f"stack.her2st_{patient}", found["joint"], peers=peers, protocol=what + _LABELS)


def _centre() -> dict[str, Any]:
    import numpy as np

    from napari_stomics.core.stacks import StackInputs
    from napari_stomics.methods.alignment.center import CentreParams, make_centre

    simulation = _simulation(0, (("n_sections", 3), ("rna_depth", 400.0), ("warp_rms", 0.5)))
    sections = tuple(s.spots("rna") for s in simulation.study.sections.values())
    given = StackInputs(sections, sections[1].section, np.full(3, np.nan))
    start = time.process_time()
    centre = make_centre(given, CentreParams(n_genes=500), _silent())
    spent = time.process_time() - start
    columns = [list(sections[1].features).index(name) for name in centre.features]
    truth = simulation.truth.expected(sections[1].section, "rna")[:, columns]
    measured = np.asarray(sections[1].x[:, columns].todense(), float)

    def error(x: Any) -> float:
        share = x / np.maximum(x.sum(axis=1, keepdims=True), 1e-12)
        true = truth / truth.sum(axis=1, keepdims=True)
        return float(np.sqrt(((share - true) ** 2).mean() / (true**2).mean()))

    return line(
        "stack.center_sim3",
        {
            "relative_error": round(error(centre.expression), 4),
            "label_accuracy": round(float(np.mean(centre.label_accuracy)), 4),
            "rounds": len(centre.objective),
            "cpu_s": round(spent, 2),
        },
        peers={"one_section": {"relative_error": round(error(measured), 4)}},
        protocol="Consensus of 3 simulated sections of 800 spots (400 transcripts per spot, warped "
        "by .5 pitch, turned, mirrored; seed 0), 15 factors, 500 features. relative_error: of the "
        "expression per spot as shares against the true mean; peer: the reference's own counts.",
    )
