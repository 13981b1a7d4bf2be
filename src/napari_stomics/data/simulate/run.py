"""Put a simulated study together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.transforms import Transform
from napari_stomics.data.build import make_section
from napari_stomics.data.schema import LandmarkRecord
from napari_stomics.data.simulate.fields import Tissue, draw_tissue, farthest_first, stream
from napari_stomics.data.simulate.geometry import (
    Placed,
    overlap,
    partners,
    place_sections,
    site_area,
)
from napari_stomics.data.simulate.histology import image_source, make_slide
from napari_stomics.data.simulate.omics import (
    CountModel,
    protein_model,
    rna_model,
    visible_classes,
)
from napari_stomics.data.simulate.params import SimulationParams
from napari_stomics.data.simulate.truth import SectionTruth, Simulation, Truth
from napari_stomics.data.study import Study

if TYPE_CHECKING:
    from anndata import AnnData

Floats = NDArray[np.floating[Any]]

_MODALITY_KEYS = {"rna": 0, "protein": 1}


def simulate(params: SimulationParams | None = None, ctx: JobContext | None = None) -> Simulation:
    """Simulate serial sections of one specimen with RNA, protein and an H&E-like image.

    Domains and smooth gradients are functions of the place in the specimen.
    Each section samples them with counts of its own (negative binomial), after
    a smooth warp and a similarity against the section before, cropped and with
    missing spots where asked for. Counts are sparse and drawn in chunks; a
    large image is a lazy pyramid.

    Parameters
    ----------
    params
        What to simulate; the default is two sections of about 1,500 spots.
    ctx
        Progress and cancellation.

    Returns
    -------
    Simulation
        ``study`` with the sections ``section_1``, ``section_2`` ..., whose
        tables hold the true domain (column ``domain``, the annotation) and
        whose landmarks are stored; ``truth`` with everything else.

    Raises
    ------
    UserError
        If the warp would fold the tissue, or a section would hold no spots.
    """
    params = params or SimulationParams()
    ctx = ctx or JobContext()
    ctx.step(0.0, "Laying out the specimen")
    area = params.n_spots * site_area(params)
    tissue = draw_tissue(params.seed, area, params.n_domains, params.domain_shape)
    models = {"rna": rna_model(params, tissue)}
    if params.n_proteins:
        models["protein"] = protein_model(params)
    placed, steps = _placed(params, tissue, ctx)
    names = [f"section_{i + 1}" for i in range(params.n_sections)]
    known = _known(params, tissue, models, placed, steps, names)
    landmarks = _landmarks(params, placed, names)
    truth = Truth(
        sections={section.name: section for section in known},
        steps=tuple(steps[1:]),
        domain_names=tuple(f"Domain {i + 1}" for i in range(params.n_domains)),
        classes=_classes(params),
        informative={m: bool(len(np.unique(c)) > 1) for m, c in _classes(params).items()},
        overlap=_overlaps(placed, names),
        landmarks=landmarks,
        tissue=tissue,
        models=models,
    )
    study: Study | None = None
    for index in range(params.n_sections):
        part = ctx.part(0.1 + 0.9 * index / len(names), 0.1 + 0.9 * (index + 1) / len(names))
        sdata = _section(params, truth, placed[index], index, part)
        if study is None:
            study = Study(sdata)
        else:
            study.add(sdata)
    assert study is not None
    study.record.landmarks = _misplaced(params, landmarks)
    study.record.origin = {"simulate": params.model_dump(mode="json", exclude_defaults=True)}
    study.sync()
    ctx.step(1.0, "Simulated")
    return Simulation(params, study, truth)


def _placed(
    params: SimulationParams, tissue: Tissue, ctx: JobContext
) -> tuple[list[Placed], list[Transform]]:
    placed: list[Placed] = []
    steps: list[Transform] = []
    for section, step in place_sections(params, tissue):
        placed.append(section)
        steps.append(step)
        ctx.step(0.1 * len(placed) / params.n_sections, "Placing the spots")
    return placed, steps


def _known(
    params: SimulationParams,
    tissue: Tissue,
    models: dict[str, CountModel],
    placed: list[Placed],
    steps: list[Transform],
    names: list[str],
) -> list[SectionTruth]:
    out = []
    for index, (name, here) in enumerate(zip(names, placed, strict=True)):
        z = index * params.section_change
        mates = np.full(len(here.site), -1, dtype=np.int64)
        if index + 1 < len(placed):
            mates = partners(here, placed[index + 1], steps[index + 1], params.pitch)
        depths = {
            modality: model.draw_depths(
                len(here.site), stream(params.seed, 30, index, _MODALITY_KEYS[modality])
            )
            for modality, model in models.items()
        }
        domains = tissue.domains(here.specimen, z)
        out.append(SectionTruth(name, domains, here.specimen, mates, depths, z))
    return out


def _classes(params: SimulationParams) -> dict[str, NDArray[np.int16]]:
    sees = {"rna": params.rna_sees}
    if params.n_proteins:
        sees["protein"] = params.protein_sees
    if params.um_per_px is not None:
        sees["image"] = params.image_sees
    return {modality: visible_classes(s, params.n_domains) for modality, s in sees.items()}


def _overlaps(placed: list[Placed], names: list[str]) -> dict[tuple[str, str], float]:
    out = {}
    for i in range(len(placed) - 1):
        here, there = placed[i], placed[i + 1]
        out[names[i], names[i + 1]] = overlap(here, there)
        out[names[i + 1], names[i]] = overlap(there, here)
    return out


def _landmarks(
    params: SimulationParams, placed: list[Placed], names: list[str]
) -> tuple[LandmarkRecord, ...]:
    """Spread named places over the tissue that all sections hold."""
    if params.n_landmarks == 0:
        return ()
    rng = stream(params.seed, 31)
    common = placed[0].specimen
    for section in placed[1:]:
        common = common[section.window.depth(common) >= 0]
    if len(common) < params.n_landmarks:
        raise UserError(
            f"The sections share the tissue of {len(common)} spots, too little for "
            f"{params.n_landmarks} landmarks.",
            "Lower n_landmarks or crop, or raise n_spots.",
        )
    some = common[rng.permutation(len(common))[: max(4000, params.n_landmarks)]]
    some = some + rng.normal(0, 0.2 * params.pitch, some.shape)
    chosen = some[farthest_first(some, params.n_landmarks, rng)]
    at = {n: s.from_specimen.apply(chosen) for n, s in zip(names, placed, strict=True)}
    width = len(str(params.n_landmarks))
    return tuple(
        LandmarkRecord(
            name=f"Landmark_{i + 1:0{width}d}",
            positions={n: (float(xy[i, 0]), float(xy[i, 1])) for n, xy in at.items()},
        )
        for i in range(params.n_landmarks)
    )


def _misplaced(
    params: SimulationParams, landmarks: tuple[LandmarkRecord, ...]
) -> list[LandmarkRecord]:
    """Add the error of a hand that placed them."""
    rng = stream(params.seed, 32)
    sigma = params.landmark_error * params.pitch
    out = []
    for landmark in landmarks:
        shifts = rng.normal(0, sigma, (len(landmark.positions), 2))
        positions = {
            section: (x + float(dx), y + float(dy))
            for (section, (x, y)), (dx, dy) in zip(landmark.positions.items(), shifts, strict=True)
        }
        out.append(LandmarkRecord(name=landmark.name, positions=positions))
    return out


def _section(
    params: SimulationParams, truth: Truth, placed: Placed, index: int, ctx: JobContext
) -> Any:
    name = list(truth.sections)[index]
    images = {}
    if params.um_per_px is not None:
        ctx.step(0.0, f"{name}: image")
        slide = make_slide(params, truth.tissue, placed, index)
        images["he"] = image_source(params, slide, placed)
    tables = {}
    for number, modality in enumerate(truth.models):
        share = 1 / len(truth.models)
        part = ctx.part(0.1 + 0.8 * number * share, 0.1 + 0.8 * (number + 1) * share)
        tables[modality] = _table(params, truth, name, modality, part)
    ctx.step(0.9, f"{name}: spots")
    return make_section(
        name,
        images=images,
        coordinates=placed.coordinates,
        radius=params.diameter / 2,
        tables=tables,
        annotation="domain",
        donor="simulated",
        replicate=str(index + 1),
        z_um=10.0 * index,
        technology="simulated",
        source=f"simulation, seed {params.seed}",
        credit="Simulated by napari-stomics; the column 'domain' is the truth.",
    )


def _table(
    params: SimulationParams, truth: Truth, name: str, modality: str, ctx: JobContext
) -> AnnData:
    import pandas as pd
    from anndata import AnnData

    known, model = truth.sections[name], truth.models[modality]
    index = list(truth.sections).index(name)
    counts = model.draw(
        index,
        known.domains,
        lambda rows: truth.tissue.gradient_values(known.specimen[rows], known.z),
        known.depths[modality],
        (params.seed, 40, index, _MODALITY_KEYS[modality]),
        lambda share: ctx.step(share, f"{name}: {modality}"),
    )
    n = len(known.domains)
    width = len(str(n))
    domain = pd.Categorical.from_codes(known.domains, categories=list(truth.domain_names))
    obs = pd.DataFrame({"domain": domain}, index=[f"spot_{i + 1:0{width}d}" for i in range(n)])
    var = pd.DataFrame({"kind": pd.Categorical(model.kind)}, index=model.features)
    return AnnData(counts, obs=obs, var=var)
