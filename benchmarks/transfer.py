"""What is carried across sections: genes along a plan, cells by area, images by their nuclei."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks import _transfer_cases as cases
from benchmarks._harness import DataMissing, line, measure, run_isolated

NAMES = ("transfer.aggregate", "transfer.nuclei", "transfer.values")

_HELD_OUT = 0.3
_IMPORTS = ("scipy.sparse", "scipy.spatial", "shapely", "skimage.segmentation", "skimage.filters")


def lines(wanted: Callable[[str], bool] = lambda name: True) -> Iterator[dict[str, Any]]:
    for name, build in (
        ("transfer.aggregate.cells", _cells),
        ("transfer.aggregate.magpie", _magpie),
        ("transfer.nuclei.coarse15", _nuclei_coarse),
        ("transfer.nuclei.none", _nuclei_none),
        ("transfer.values.sim2k", _values_simulated),
        ("transfer.values.dlpfc", _values_dlpfc),
    ):
        if wanted(name):
            try:
                yield build(name)
            except DataMissing as error:
                print(f"{name}: {error}")


def run(method: str, inputs: Any, params: dict[str, Any]) -> Any:
    """Run a method; in a process of its own."""
    import warnings

    from napari_stomics.core.jobs import JobContext
    from napari_stomics.core.registry import registry

    spec = registry().get(method)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return spec.run(inputs, spec.params(**params), JobContext())


def _cells(name: str) -> dict[str, Any]:
    case = cases.cells_on_spots(4000, 25)
    cost = run_isolated("benchmarks.transfer:run", "transfer/aggregate", case.inputs, {},
                        imports=_IMPORTS)  # fmt: skip
    values = _against(cost.result, case.truth)
    centres = run("transfer/aggregate", case.inputs, {"source_shape": "point"})
    labels = run("transfer/aggregate", case.labels, {})
    largest = labels.features[np.asarray(labels.values).argmax(axis=1)]
    values["domain_accuracy"] = round(float((largest == case.domains).mean()), 4)
    return line(
        name,
        {**values, **cost.values, "elements": len(case.inputs.giving.ids)},
        peers={"cell_centres": _against(centres, case.truth)},
        protocol="100,000 simulated cells (150 counts each, 200 genes) gathered by area on 4,000 "
        "spots of the same tissue (55 um at 100 um), frames turned by 30 degrees, true map; "
        "total_error: greatest relative difference of total and (received + outside) over genes; "
        "pearson: median over genes of the correlation with the spots' expected profile (log1p "
        "per median depth, without noise), over spots with three contributors; domain_accuracy: "
        "most frequent domain of a spot's cells is the spot's own; one thread. "
        "Peer: each cell counts where its centre lies.",
    )


def _against(result: Any, truth: Any) -> dict[str, float]:
    from napari_stomics.metrics.prediction import pearson_per_column

    values = np.asarray(result.values.todense() if hasattr(result.values, "todense") else
                        result.values)  # fmt: skip
    error = np.abs(values.sum(axis=0) + result.outside - result.total) / result.total
    inside = result.contributors > 3
    logs = [_log_depth(m[inside]) for m in (truth, values)]
    return {
        "total_error": float(error.max()),
        "pearson": round(float(np.nanmedian(pearson_per_column(*logs))), 4),
        "outside": round(float(result.outside.sum() / result.total.sum()), 4),
    }


def _log_depth(counts: Any) -> Any:
    depth = counts.sum(axis=1, keepdims=True)
    return np.log1p(counts * np.median(depth) / np.maximum(depth, 1e-9))


def _magpie(name: str) -> dict[str, Any]:
    from napari_stomics.core.carried import AggregationInputs

    pairs, pixels, spots, inside = cases.magpie()
    registration = run("registration/landmarks", pairs, {"model": "similarity"})
    rng = np.random.default_rng(0)
    ions = rng.gamma(2.0, 50.0, (len(pixels), 20))
    inputs = AggregationInputs(
        cases.as_spots("msi", pixels, ions), cases.as_spots("visium", spots),
        np.ones(len(pixels)), np.full(len(spots), 55.0), registration.transform,
    )  # fmt: skip
    result, cost = measure(lambda: run("transfer/aggregate", inputs, {"statistic": "sum"}))
    error = np.abs(result.values.sum(axis=0) + result.outside - result.total) / result.total
    return line(
        name,
        {
            "total_error": float(error.max()),
            "covered_in_tissue": round(float(result.covered[inside].mean()), 4),
            "covered_outside": round(float(result.covered[~inside].mean()), 4),
            "leave_one_out_um": round(registration.summary()["median_leave_one_out_um"], 1),
            **cost,
        },
        protocol="3,084 MSI pixels on 4,992 Visium spots (2,913 in tissue) of magpie, a similarity "
        "from its 10 landmarks; covered: mean share of a spot's area that pixels cover, in tissue "
        "and outside; the data hold no intensities, so 20 random ones stand for them.",
    )


_NUCLEI = (
    "rendered H&E at .5 um and its nuclei as cells (10 % lost, 10 % added, jitter 1 um in x and "
    "y), affine truth (37 degrees, 1.03 x .98, shear .01); tre_um: distance from the truth over "
    "all nuclei; held_out_um: median distance of matched pairs under the map fitted without their "
    "half of the cells (1.18 by the jitter alone); matched: share of the half left out with a "
    "nucleus within 3 um; cpu_s with reading and segmentation, one thread. Published: 10x's matrix "
    "met to .70 um by PALMS on a real slide, not the same data"
)


def _nuclei_coarse(name: str) -> dict[str, Any]:
    return _nuclei(name, 15.0, "; start: 15 um off at the centre, .4 degrees, .4 %")


def _nuclei_none(name: str) -> dict[str, Any]:
    return _nuclei(name, None, "; no start")


def _nuclei(name: str, coarse: float | None, note: str) -> dict[str, Any]:
    case = cases.nuclei_on_cells(150, coarse)
    cost = run_isolated("benchmarks.transfer:run", "registration/nuclei", case.inputs, {},
                        imports=_IMPORTS)  # fmt: skip
    found = cost.result
    there = case.truth.apply(case.nuclei)
    away = np.linalg.norm(found.transform.apply(case.nuclei) - there, axis=1)
    values = {
        "tre_um": float(np.median(away)),
        "tre_max_um": float(away.max()),
        "held_out_um": float(np.median(found.leave_one_out)),
        "matched": found.matched_share,
        "by_chance": found.chance_share,
        "margin": found.margin,
        "nuclei": len(case.nuclei),
    }
    if case.inputs.initial is not None:
        start = case.inputs.initial.apply(case.nuclei) - there
        values["start_um"] = float(np.median(np.linalg.norm(start, axis=1)))
    rounded = {key: round(value, 4) for key, value in values.items()}
    return line(name, {**rounded, **cost.values}, protocol=_NUCLEI + note + ".")


def _values_simulated(name: str) -> dict[str, Any]:
    from benchmarks._align_cases import simulated

    pair = simulated(2000, warp_rms=1.0, rna_effect=0.8, rna_depth=5000.0).pair
    return _values(name, pair, "2,000 simulated spots of 5,000 counts, effect .8, warp RMS 1")


def _values_dlpfc(name: str) -> dict[str, Any]:
    from benchmarks._align_cases import table_spots, turned
    from napari_stomics.core.inputs import SpotPair

    paths = [f"dlpfc_visium/{n}/{n}_counts.h5ad" for n in ("151673", "151674")]
    first, second = (table_spots(path, um_per_px=0.73) for path in paths)
    return _values(name, SpotPair(first, turned(second, 40.0)), "DLPFC 151673 to 151674")


def _values(name: str, pair: Any, what: str) -> dict[str, Any]:
    plan = run("alignment/fgw", pair, {"held_out_features": _HELD_OUT})
    inputs = cases.along(plan, pair.source, pair.target)
    cost = run_isolated("benchmarks.transfer:run", "transfer/plan-values", inputs, {},
                        imports=_IMPORTS)  # fmt: skip
    result = cost.result
    smooth = run("transfer/plan-values", inputs, {"smoothing": 1.0})
    held_out, seen = result.status == "held out", result.status == "seen"
    return line(
        name,
        {
            "pearson_held_out": _median(result.pearson[held_out]),
            "pearson_seen": _median(result.pearson[seen]),
            "spearman_held_out": _median(result.spearman[held_out]),
            "pearson_held_out_smoothed": _median(smooth.pearson[held_out]),
            "partners_smoothed": _median(smooth.partners),
            "genes_held_out": int(held_out.sum()),
            "partners": _median(result.partners),
            **cost.values,
        },
        peers={"nearest_spot": _nearest(plan, inputs, held_out)},
        protocol=f"{what}, alignment/fgw with {_HELD_OUT:.0%} of the features held out; shared "
        "genes carried along the plan as log1p of counts per median depth; median over genes of "
        "the correlation with the receiving section's measured ones, apart for genes that the plan "
        "had not seen; smoothed: neighbourhoods of one pitch averaged in; cost of the transfer "
        "alone, one thread. Peers: the value of the nearest spot under the plan's own "
        "registration, and its neighbourhood of one pitch.",
    )


def _nearest(plan: Any, inputs: Any, which: Any) -> dict[str, float]:
    from scipy.spatial import cKDTree

    from napari_stomics.methods.alignment.values import correlations, neighbourhoods, scaled

    placed = plan.registration.transform.apply(inputs.spots.coordinates)
    _, nearest = cKDTree(placed).query(inputs.measured.coordinates)
    genes = list(inputs.genes)
    values, truth = scaled(inputs.spots, genes)[0], scaled(inputs.measured, genes)[0]
    smooth = neighbourhoods(inputs.coordinates, 1.0) @ np.nan_to_num(values)
    return {
        "pearson_held_out": _median(correlations(truth, values[nearest])[0][which]),
        "pearson_held_out_smoothed": _median(correlations(truth, smooth[nearest])[0][which]),
    }


def _median(values: Any) -> float:
    return round(float(np.nanmedian(values)), 4)
