"""Single cells placed in space by the presets of ``mapping/ot``, beside features alone and chance.

STARmap (BZ5, BZ9) has known places and types; pseudo-spots are BZ9's cells binned to 162
spots. Distances in units of the data's own spots, never of a method's choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks._harness import data_root, line, run_isolated

NAMES = ("mapping.novosparc", "mapping.spaotsc", "mapping.simo")
IMPORTS = ("scipy.sparse", "scipy.spatial", "sklearn.decomposition", "sklearn.cluster", "pydantic")
SPOTS, CELLS = "deconv_starmap_pseudospots/BZ9_spots.h5ad", "starmap_mpfc/{}.h5ad"
BIN = 600.0
"""Width of a pseudo-spot in the units of STARmap's positions."""


def lines(wanted: Callable[[str], bool]) -> Iterator[dict[str, Any]]:
    for name, function, peers, protocol in CASES:
        if wanted(name):
            cost = run_isolated(f"benchmarks.mapping:{function}", imports=IMPORTS)
            values = {**cost.result.pop("ours"), **cost.values}
            yield line(name, values, peers=cost.result, protocol=protocol + " " + peers)


CASES = (
    (
        "mapping.simo.starmap",
        "simo_starmap",
        "Peers: features_only is the same transport without structure; uniform gives every spot "
        "the reference's proportions; chance shuffles the spots of our answer.",
        "1,049 STARmap cells of BZ5 to 162 pseudo-spots of BZ9 (166 genes, 10 % of them held out): "
        "Pearson r and RMSE of 15 cell types' proportions over all spots, r per type averaged.",
    ),
    (
        "mapping.simo.own_cells",
        "simo_own",
        "Peers as in mapping.simo.starmap. The spots are sums of these very cells: optimistic.",
        "1,053 STARmap cells of BZ9 to the 162 spots they were binned to: share of cells whose "
        "largest match is their own spot, and median distance of the expected position from the "
        "true one in spots of 600 units.",
    ),
    (
        "mapping.simo.second_omics",
        "simo_omics",
        "Peers: labels_only matches cells of equal type evenly; chance places them anywhere.",
        "BZ9's cells in two halves: one as RNA, the other, thinned to 20 % and to every second "
        "gene, as gene activity of other cells, placed through the first on the 162 spots. Median "
        "distance in spots, and r of the proportions of types.",
    ),
    (
        "mapping.spaotsc.held_out_genes",
        "spaotsc_genes",
        "Peers: features_only as above; nearest10 is the mean of the ten cells that correlate best "
        "with each spot, a strong simple predictor; chance shuffles the spots.",
        "BZ5's cells to BZ9's pseudo-spots, every gene left out once in five folds: median over "
        "genes of Pearson r between predicted and measured log-normalised expression over spots.",
    ),
    (
        "mapping.spaotsc.missing_type",
        "spaotsc_missing",
        "Peer: balanced marginals force every cell in.",
        "BZ9's cells to those pseudo-spots that hold less than a quarter of layer-6 types: r of "
        "proportions there, and AUC of a small cell mass for the types that are missing.",
    ),
    (
        "mapping.novosparc.de_novo",
        "novosparc_de_novo",
        "Peers: pot is POT's entropic Gromov-Wasserstein on the same distances and epsilon from "
        "the uniform plan; chance permutes the cells.",
        "400 cells on a grid, 200 genes that each rise once across the tissue, counts of depth "
        "1,500: median distance in pitches after the best rotation, reflection and shift; mean of "
        "five seeds.",
    ),
    (
        "mapping.novosparc.markers2",
        "novosparc_markers",
        "Peers: features_only uses the two genes alone; chance permutes the cells.",
        "The same tissue, an atlas of 2 marker genes drawn anew, atlas weight 0.3: median distance "
        "in pitches; mean of five seeds.",
    ),
    (
        "mapping.novosparc.simulated",
        "novosparc_simulated",
        "Peers: features_only uses the atlas alone; chance permutes the cells.",
        "The project's simulator (600 spots, 600 genes, 5 domains, RNA effect 0.6, gradients 0.3, "
        "seeds 0-2): transcripts of section 1 as cells without positions, section 2 as an atlas of "
        "30 genes; median distance of the expected position from the true partner in pitches.",
    ),
    (
        "mapping.simo.cells20k",
        "simo_large",
        "Peer: chance.",
        "20,000 cells drawn over a tissue of gradients to an atlas of 2,000 spots, 120 genes, "
        "distances through 300 landmarks: median distance in pitches, cost on one thread.",
    ),
)


def simo_starmap() -> dict[str, Any]:
    spots, truth, space = _space()
    _, cells = _cells("BZ5")
    out = {
        "ours": _proportions(_run("simo", cells, space, spot_mass="counts"), truth),
        "features_only": _proportions(
            _run("simo", cells, space, spot_mass="counts", atlas_weight=1.0), truth
        ),
    }
    found = _run("simo", cells, space, spot_mass="counts")
    mean = np.array([np.mean(cells.labels == c) for c in found.categories])
    rmse = np.sqrt(np.mean(np.square(mean - truth[list(found.categories)].to_numpy())))
    out["uniform"] = {"rmse": rmse}
    order = np.random.default_rng(0).permutation(len(spots))
    out["chance"] = _scores(found.proportions[order], found.categories, truth)
    return out


def simo_own() -> dict[str, Any]:
    _, _, space = _space()
    table, cells = _cells("BZ9")
    xy = np.asarray(table.obsm["spatial"], float)
    own = np.square(space.coordinates[None] - xy[:, None]).sum(axis=2).argmin(axis=1)

    def scores(found: Any) -> dict[str, float]:
        best = np.asarray(found.plan.argmax(axis=1)).ravel()
        off = np.linalg.norm(found.positions - xy, axis=1) / BIN
        return {"own_spot": float(np.mean(best == own)), "off_spots": float(np.median(off))}

    rng = np.random.default_rng(0)
    shuffled = np.linalg.norm(space.coordinates[rng.permutation(own)] - xy, axis=1) / BIN
    return {
        "ours": scores(_run("simo", cells, space, epsilon=0.02)),
        "features_only": scores(_run("simo", cells, space, epsilon=0.02, atlas_weight=1.0)),
        "chance": {"own_spot": 1 / len(space.ids), "off_spots": float(np.median(shuffled))},
    }


def simo_omics() -> dict[str, Any]:
    from dataclasses import replace

    from napari_stomics.methods.mapping.places import proportions

    _, truth, space = _space()
    table, cells = _cells("BZ9")
    rng = np.random.default_rng(0)
    order = rng.permutation(len(cells.ids))
    first, second = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])
    counts = _dense(cells.x)
    activity = rng.binomial(counts[second][:, ::2].astype(int), 0.2).astype(np.float32)
    kept = second[activity.sum(axis=1) > 0]
    activity = activity[activity.sum(axis=1) > 0]
    rna = replace(
        cells, ids=cells.ids[first], x=counts[first].astype(np.float32), labels=cells.labels[first]
    )
    other = replace(
        cells, ids=cells.ids[kept], x=activity, features=cells.features[::2],
        labels=cells.labels[kept], modality="chromatin",
    )  # fmt: skip
    xy = np.asarray(table.obsm["spatial"], float)[kept]

    def scores(positions: Any, shares: Any, names: Any) -> dict[str, float]:
        off = np.linalg.norm(positions - xy, axis=1) / BIN
        return {"off_spots": float(np.median(off)), "r": _scores(shares, names, truth)["r"]}

    found = _run("simo", rna, space, epsilon=0.02, more=(other,))
    (more,) = found.more
    same = (other.labels[:, None] == rna.labels[None, :]).astype(float)
    even = same / same.sum(axis=1, keepdims=True) @ _rows(found.plan)
    names, shares = proportions(even, other.labels)
    anywhere = space.coordinates[rng.integers(0, len(space.ids), len(kept))]
    return {
        "ours": scores(more.positions, more.proportions, more.categories),
        "labels_only": scores(even @ space.coordinates, shares, names),
        "chance": {"off_spots": float(np.median(np.linalg.norm(anywhere - xy, axis=1) / BIN))},
    }


def spaotsc_genes() -> dict[str, Any]:
    from dataclasses import replace

    from napari_stomics.methods.mapping.features import correlations, shared_genes
    from napari_stomics.methods.mapping.places import column_correlations, expression_in_space
    from napari_stomics.methods.preprocess import z_scores

    _, _, space = _space()
    _, cells = _cells("BZ5")
    shared = shared_genes(cells, space)
    fold = np.random.default_rng(0).permutation(len(shared.names)) % 5
    r: dict[str, list[Any]] = {"ours": [], "features_only": [], "nearest10": [], "chance": []}
    for k in range(5):
        hidden, seen = np.flatnonzero(fold == k), np.flatnonzero(fold != k)
        measured = np.isin(space.features, shared.names[seen])
        atlas = replace(space, x=_dense(space.x)[:, measured], features=space.features[measured])
        target, values = shared.spots[:, hidden], shared.cells[:, hidden]
        for who, weight in (("ours", {}), ("features_only", {"atlas_weight": 1.0})):
            options = {"held_out": 0.0, "label_distances": False, **weight}
            found = _run("spaotsc", cells, atlas, **options)
            predicted = expression_in_space(found.plan, values)
            r[who].append(column_correlations(predicted, target))
            if who == "ours":
                order = np.random.default_rng(k).permutation(len(predicted))
                r["chance"].append(column_correlations(predicted[order], target))
        alike = correlations(z_scores(shared.spots[:, seen]), z_scores(shared.cells[:, seen]))
        nearest = np.argsort(-alike, axis=1)[:, :10]
        r["nearest10"].append(column_correlations(values[nearest].mean(axis=1), target))
    return {who: {"r": float(np.nanmedian(np.concatenate(v)))} for who, v in r.items()}


def spaotsc_missing() -> dict[str, Any]:
    from dataclasses import replace

    from sklearn.metrics import roc_auc_score

    _, truth, space = _space()
    _, cells = _cells("BZ9")
    missing = ["eL6-1", "eL6-2"]
    keep = truth[[*missing, "Oligo"]].sum(axis=1).to_numpy() < 0.25
    part = replace(
        space, ids=space.ids[keep], coordinates=space.coordinates[keep], x=_dense(space.x)[keep]
    )
    gone = np.isin(cells.labels, missing)
    out = {}
    for who, marginals in (("ours", "unbalanced"), ("balanced", "balanced")):
        found = _run("spaotsc", cells, part, marginals=marginals, label_distances=False)
        out[who] = {"r": _scores(found.proportions, found.categories, truth[keep])["r"]}
        if who == "ours":
            out[who]["auc"] = float(roc_auc_score(gone, -found.cell_mass))
    return out


def novosparc_de_novo() -> dict[str, Any]:
    import ot
    from tests.methods.mapping.tissues import case, error_up_to_motion

    from napari_stomics.core.jobs import JobContext
    from napari_stomics.methods.mapping.ot import _structure
    from napari_stomics.methods.mapping.places import expected_positions

    found: dict[str, list[float]] = {"ours": [], "pot": [], "chance": []}
    for seed in range(5):
        inputs, truth = case(seed=seed, n=400, genes=200)
        params = _params("novosparc")
        result = _run("novosparc", inputs.cells, inputs.space)
        found["ours"].append(error_up_to_motion(result.positions, truth))
        a, b = _structure(inputs.cells, inputs.space, params, JobContext())
        p = np.full(len(truth), 1 / len(truth))
        plan = ot.gromov.entropic_gromov_wasserstein(
            a.left.astype(float), b.left.astype(float), p, p, "square_loss",
            epsilon=params.epsilon, max_iter=params.max_iterations, tol=1e-9,
        )  # fmt: skip
        positions, _ = expected_positions(plan, inputs.space.coordinates)
        found["pot"].append(error_up_to_motion(positions, truth))
        order = np.random.default_rng(seed).permutation(len(truth))
        found["chance"].append(error_up_to_motion(truth[order], truth))
    return {who: {"off_pitch": float(np.mean(v))} for who, v in found.items()}


def novosparc_markers() -> dict[str, Any]:
    from tests.methods.mapping.tissues import case, error

    found: dict[str, list[float]] = {"ours": [], "features_only": [], "chance": []}
    for seed in range(5):
        inputs, truth = case(markers=2, seed=seed, n=400, genes=200)
        for who, weight in (("ours", 0.3), ("features_only", 1.0)):
            result = _run("novosparc", inputs.cells, inputs.space, atlas_weight=weight)
            found[who].append(error(result.positions, truth))
        order = np.random.default_rng(seed).permutation(len(truth))
        found["chance"].append(error(truth[order], truth))
    return {who: {"off_pitch": float(np.mean(v))} for who, v in found.items()}


def novosparc_simulated() -> dict[str, Any]:
    from dataclasses import replace

    from napari_stomics.core.inputs import Cells
    from napari_stomics.data.simulate import SimulationParams, simulate

    found: dict[str, list[float]] = {"ours": [], "features_only": [], "chance": []}
    for seed in range(3):
        study = simulate(
            SimulationParams(
                n_spots=600, n_genes=600, n_domains=5, rna_effect=0.6, rna_gradient=0.3,
                um_per_px=None, n_proteins=0, seed=seed,
            )
        )  # fmt: skip
        names = list(study.study.sections)
        hidden, atlas = (study.study.section(name).spots("rna") for name in names)
        partner = study.truth.sections[names[0]].partners
        known = partner >= 0
        varied = np.argsort(-_dense(atlas.x).var(axis=0), kind="stable")[:30]
        atlas = replace(atlas, x=atlas.x[:, varied], features=atlas.features[varied])
        cells = Cells("hidden", hidden.ids, hidden.x, hidden.features)
        truth = atlas.coordinates[partner[known]]
        for who, weight in (("ours", 0.8), ("features_only", 1.0)):
            result = _run("novosparc", cells, atlas, atlas_weight=weight, epsilon=0.02)
            off = np.linalg.norm(result.positions[known] - truth, axis=1) / atlas.pitch
            found[who].append(float(np.median(off)))
        order = np.random.default_rng(seed).permutation(len(truth))
        off = np.linalg.norm(truth[order] - truth, axis=1) / atlas.pitch
        found["chance"].append(float(np.median(off)))
    return {who: {"off_pitch": float(np.mean(v))} for who, v in found.items()}


def simo_large() -> dict[str, Any]:
    from scipy.sparse import csr_array
    from tests.methods.mapping.tissues import PITCH, error, gradients, names

    from napari_stomics.core.inputs import Cells, Spots

    xy, mean = gradients(n=2000)
    rng = np.random.default_rng(0)
    at = rng.integers(0, len(xy), 20_000)
    counts = csr_array(rng.poisson(mean[at]).astype(np.float32))
    genes = names("g", mean.shape[1])
    cells = Cells("cells", names("c", len(at)), counts, genes)
    atlas = csr_array(rng.poisson(mean).astype(np.float32))
    space = Spots("atlas", names("s", len(xy)), xy, atlas, genes, "rna", None, PITCH)
    found = _run("simo", cells, space)
    return {
        "ours": {"off_pitch": error(found.positions, xy[at])},
        "chance": {"off_pitch": error(xy[rng.permutation(at)], xy[at])},
    }


# ------------------------------------------------------------------------------ what they share


def _params(preset: str, **more: Any) -> Any:
    from napari_stomics.methods.mapping.params import MappingParams
    from napari_stomics.methods.mapping.preset_rows import ROWS

    row = next(row for row in ROWS if row["name"] == preset)
    return MappingParams(**{**row["params"], **more})


def _run(preset: str, cells: Any, space: Any, more: Any = (), **params: Any) -> Any:
    from napari_stomics.core.inputs import MappingInputs
    from napari_stomics.core.jobs import JobContext
    from napari_stomics.methods.mapping.ot import map_cells

    quiet = JobContext(on_warning=lambda text: None)
    return map_cells(MappingInputs(cells, space, more), _params(preset, **params), quiet)


def _space() -> tuple[Any, Any, Any]:
    import anndata

    from napari_stomics.core.inputs import Spots

    table = anndata.read_h5ad(data_root(SPOTS) / SPOTS)
    spots = Spots(
        "pseudo", table.obs_names.to_numpy(object), np.asarray(table.obsm["spatial"], float),
        table.X, table.var_names.to_numpy(object), "rna", None, BIN,
    )  # fmt: skip
    return table.obs_names, table.obsm["true_proportions"], spots


def _cells(name: str) -> tuple[Any, Any]:
    import anndata

    from napari_stomics.core.inputs import Cells

    path = CELLS.format(name)
    table = anndata.read_h5ad(data_root(path) / path)
    labels = table.obs["cell_type"].astype(str).to_numpy(object)
    ids, genes = table.obs_names.to_numpy(object), table.var_names.to_numpy(object)
    return table, Cells(name, ids, table.X, genes, "rna", labels)


def _proportions(found: Any, truth: Any) -> dict[str, float]:
    out = _scores(found.proportions, found.categories, truth)
    out["held_out_r"] = float(np.nanmedian(found.held_out_pearson))
    return out


def _scores(shares: Any, names: Any, truth: Any) -> dict[str, float]:
    """Agreement of proportions with the truth, over all spots and per type."""
    from napari_stomics.methods.mapping.places import column_correlations

    expected = truth[list(names)].to_numpy()
    return {
        "r": float(np.corrcoef(shares.ravel(), expected.ravel())[0, 1]),
        "r_per_type": float(np.nanmean(column_correlations(shares, expected))),
        "rmse": float(np.sqrt(np.mean(np.square(shares - expected)))),
    }


def _rows(plan: Any) -> Any:
    whole = plan.toarray()
    return whole / whole.sum(axis=1, keepdims=True)


def _dense(x: Any) -> Any:
    return x.toarray() if hasattr(x, "toarray") else np.asarray(x)
