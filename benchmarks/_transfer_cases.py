"""Cases of what is carried across sections: values, areas, nuclei, with what is known of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks._harness import data_root
from napari_stomics.core.carried import AggregationInputs, ValueTransferInputs
from napari_stomics.core.inputs import LandmarkPairs, NucleiInputs, SectionImage, Spots
from napari_stomics.core.transforms import Affine

SEED = 23


def bare(spots: Spots) -> Spots:
    """The same places without features."""
    none = np.zeros((len(spots.ids), 0), np.float32)
    return replace(spots, x=none, features=np.zeros(0, object))


def as_spots(name: str, xy: Any, x: Any = None) -> Spots:
    """Elements at (n, 2) places with one column per feature."""
    x = np.zeros((len(xy), 0)) if x is None else x
    ids = np.array([f"{name}{i}" for i in range(len(xy))], object)
    features = np.array([f"f{i}" for i in range(x.shape[1])], object)
    return Spots(name, ids, np.asarray(xy, float), x, features, "rna", None, 1.0)


@dataclass(frozen=True)
class Cells:
    """Cells and spots of one simulated tissue; the spots' profile free of noise, and domain."""

    inputs: AggregationInputs
    labels: AggregationInputs
    truth: Any
    domains: Any


def cells_on_spots(n_spots: int, per_spot: int) -> Cells:
    """One tissue as cells and, turned, as an array of spots; registered by the truth.

    Both are drawn from the same specimen: their area, seed and genes agree.
    """
    from napari_stomics.data.simulate import SimulationParams, simulate

    same: dict[str, Any] = {
        "seed": SEED, "n_sections": 1, "n_genes": 200, "n_proteins": 0, "um_per_px": None,
        "batch": 0.0, "n_landmarks": 0, "missing": 0.0, "jitter": 0.0, "rna_effect": 0.8,
    }  # fmt: skip
    spots = simulate(SimulationParams(**same, n_spots=n_spots, pitch=100.0, layout="hex"))
    pitch = 100.0 / np.sqrt(per_spot)
    cells = simulate(
        SimulationParams(
            **same, n_spots=n_spots * per_spot, pitch=pitch, layout="cells", rna_depth=150.0
        )
    )
    give, take = (s.study.section("section_1") for s in (cells, spots))
    known = (s.truth.sections["section_1"].specimen for s in (cells, spots))
    # Both frames are shifts of the specimen's; a turn on top must not matter.
    shifts = [s.coordinates[0] - place[0] for s, place in zip((give, take), known, strict=True)]
    own = give.spots("rna")
    turn = np.deg2rad(30.0)
    matrix = np.eye(3)
    matrix[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    there = np.eye(3)
    there[:2, 2] = shifts[1] - shifts[0]
    turned = replace(own, coordinates=Affine(matrix).apply(own.coordinates))
    inputs = AggregationInputs(
        giving=turned,
        receiving=bare(take.spots("rna")),
        giving_diameters=give.diameters,
        receiving_diameters=take.diameters,
        transform=Affine(matrix).inverse().then(Affine(there)),
    )
    domains = [np.asarray(s.labels("domain")) for s in (give, take)]
    names = np.unique(domains[0])
    indicator = (domains[0][:, None] == names).astype(float)
    labelled = replace(turned, x=indicator, features=names)
    truth = np.asarray(spots.truth.expected("section_1", "rna"))
    return Cells(inputs, replace(inputs, giving=labelled), truth, domains[1])


def magpie() -> tuple[LandmarkPairs, Any, Any, Any]:
    """MSI pixels and Visium spots: landmarks in um, pixel places, spot places um, in tissue."""
    import csv
    import json

    folder = data_root("magpie_msi_visium") / "magpie_msi_visium"
    scales = json.loads((folder / "visium/spatial/scalefactors_json.json").read_text())
    um = 55.0 / scales["spot_diameter_fullres"]

    def table(path: str, skip: int) -> list[list[str]]:
        with (folder / path).open(encoding="utf-8") as handle:
            return list(csv.reader(handle))[skip:]

    marks = np.array(table("landmarks_msi_to_visium_hires.csv", 1), float)
    pixels = np.array([row[1:3] for row in table("msi_pixel_positions.csv", 1)], float)
    rows = table("visium/spatial/tissue_positions_list.csv", 0)
    spots = np.array([[row[5], row[4]] for row in rows], float) * um
    inside = np.array([row[1] == "1" for row in rows])
    pairs = LandmarkPairs(
        "msi", "visium", tuple(f"L{i + 1}" for i in range(len(marks))),
        marks[:, :2], marks[:, 2:] / scales["tissue_hires_scalef"] * um,
    )  # fmt: skip
    return pairs, pixels, spots, inside


@dataclass(frozen=True)
class Nuclei:
    """An image and cells, true map and places of the nuclei, um."""

    inputs: NucleiInputs
    truth: Affine
    nuclei: Any


def nuclei_on_cells(n_spots: int, coarse_um: float | None) -> Nuclei:
    """Rendered H&E at .5 um and its nuclei as cells: 10 % lost, 10 % added, 1 um of jitter."""
    from napari_stomics.data.simulate.fields import draw_tissue
    from napari_stomics.data.simulate.geometry import place_sections, site_area
    from napari_stomics.data.simulate.histology import image_source, make_slide
    from napari_stomics.data.simulate.params import SimulationParams

    params = SimulationParams(n_spots=n_spots, um_per_px=0.5, seed=SEED, n_sections=1)
    tissue = draw_tissue(SEED, n_spots * site_area(params), params.n_domains, "layers")
    ((placed, _),) = place_sections(params, tissue)
    slide = make_slide(params, tissue, placed, 0)
    source = image_source(params, slide, placed)
    levels = tuple(np.asarray(level) for level in source.levels)
    nuclei = slide.nuclei(np.zeros(2), np.array(placed.extent))
    truth = _affine(37.0, (1.03, 0.98), 0.01, (300.0, -120.0))
    rng = np.random.default_rng(SEED)
    cells = truth.apply(nuclei)
    cells = cells[rng.random(len(cells)) > 0.1]
    cells = cells + rng.normal(0, 1.0, cells.shape)
    count = len(cells) // 10
    strays = cells[rng.integers(len(cells), size=count)] + rng.uniform(-15, 15, (count, 2))
    start = None
    if coarse_um is not None:
        wobble = _affine(0.4, (1.004, 0.997), 0.0, (0.0, 0.0)).matrix.copy()
        centre = nuclei.mean(axis=0)
        wobble[:2, 2] = centre - wobble[:2, :2] @ centre + coarse_um * np.array([0.6, -0.8])
        start = Affine(wobble).then(truth)
    image = SectionImage("he", levels, source.to_um)
    both = as_spots("cells", np.concatenate([cells, strays]))
    return Nuclei(NucleiInputs(image, both, start), truth, nuclei)


def _affine(degrees: float, scale: Any, shear: float, shift: Any) -> Affine:
    a = np.deg2rad(degrees)
    matrix = np.eye(3)
    turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    matrix[:2, :2] = turn @ np.array([[scale[0], shear], [0, scale[1]]])
    matrix[:2, 2] = shift
    return Affine(matrix)


def along(plan: Any, giving: Spots, receiving: Spots) -> ValueTransferInputs:
    """All shared features along a plan's result."""
    shared = sorted(set(map(str, giving.features)) & set(map(str, receiving.features)))
    return ValueTransferInputs(
        source=giving.section,
        target=receiving.section,
        plan=plan.plan,
        coordinates=giving.coordinates,
        target_ids=receiving.ids,
        asked=plan.target_mass,
        spots=giving,
        measured=receiving,
        genes=tuple(shared),
        columns={},
        measured_columns={},
        plan_features=frozenset(map(str, plan.features)),
    )
