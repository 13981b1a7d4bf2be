"""Stacks of sections: what their alignment reads in a study, and where its results are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stomics.core.errors import UserError
from napari_stomics.core.params import Params
from napari_stomics.core.stacks import CentreSlice, Stack, StackEdge, StackInputs
from napari_stomics.core.transforms import Affine, transform_from_dict
from napari_stomics.data.build import annotate, element_name
from napari_stomics.data.changes import Change, SetElement, SetSectionTable, SetTableEntry
from napari_stomics.data.plans import UNS_PREFIX, write_registration
from napari_stomics.data.references import LandmarkRefs, collect_landmarks, ref
from napari_stomics.data.schema import LandmarkRecord

if TYPE_CHECKING:
    from napari_stomics.core.inputs import LandmarkPairs
    from napari_stomics.core.transforms import Transform
    from napari_stomics.data.schema import RunRecord
    from napari_stomics.data.study import Study

_EDGE_NUMBERS = ("weight", "kept", "residual", "margin", "overlap", "label_accuracy")


class StackRefs(Params):
    """The sections of a stack, in their order."""

    sections: tuple[str, ...] = ref("sections", "Sections")
    modality: str = ref("modality:sections", "Modality", "rna")
    reference: str | None = ref(
        "section", "Reference", None, "The section that stays; None: the middle one."
    )
    by_height: bool = ref(
        "flag", "Order by height", True, "Sort them by their heights, where all are known."
    )
    use_registration: bool = ref(
        "flag", "Start from the registrations", False, "Else each pose is searched."
    )
    landmarks: tuple[LandmarkRecord, ...] | None = ref(
        "landmarks", "Landmarks", None, "None takes those stored in the study."
    )


def collect_stack(study: Study, refs: StackRefs) -> StackInputs:
    """Gather the spots, heights, maps and landmarks of a stack."""
    if len(refs.sections) < 2:
        raise UserError("A stack needs two or more sections.", "Choose the sections of the stack.")
    sections = [study.section(name) for name in refs.sections]
    heights = np.array(
        [np.nan if s.record.z_um is None else s.record.z_um for s in sections], float
    )
    if refs.by_height and np.isfinite(heights).all():
        order = np.argsort(heights, kind="stable")
        sections, heights = [sections[i] for i in order], heights[order]
    names = [s.name for s in sections]
    initial: dict[tuple[str, str], Transform] = {}
    landmarks: dict[tuple[str, str], LandmarkPairs] = {}
    for i, source in enumerate(names):
        for target in names[i + 1 :]:
            known = study.registration(source, target) if refs.use_registration else None
            if known is not None:
                initial[source, target] = known
            pair = LandmarkRefs(source=source, target=target, landmarks=refs.landmarks)
            marks = collect_landmarks(study, pair)
            if marks.names:
                landmarks[source, target] = marks
    return StackInputs(
        sections=tuple(s.spots(refs.modality) for s in sections),
        reference=refs.reference or names[len(names) // 2],
        heights=heights,
        initial=initial,
        landmarks=landmarks,
    )


def write_stack(study: Study, result: Stack, key: str, run_id: str) -> list[Change]:
    """Return the changes that store every section's map, and what they rest on."""
    changes: list[Change] = []
    for registration in result.registrations:
        changes += write_registration(study, registration, key, run_id)
    meta: dict[str, Any] = {
        "kind": result.kind,
        "reference": result.reference,
        "sections": list(result.sections),
        "heights": np.asarray(result.heights, float),
        "loops": np.asarray(result.loops, float),
        "loop_names": np.array(["\t".join(names) for names in result.loop_names], dtype=str),
        "drift": np.asarray(result.drift, float),
        "uncertainty": np.asarray(result.uncertainty, float),
        "converged": bool(result.converged),
        "edges": {
            "source": np.array([e.source for e in result.edges], dtype=str),
            "target": np.array([e.target for e in result.edges], dtype=str),
            "matrix": np.array([e.transform.matrix for e in result.edges]).reshape(-1, 9),
            "converged": np.array([e.converged for e in result.edges], bool),
            **{
                name: np.array([getattr(e, name) for e in result.edges], float)
                for name in _EDGE_NUMBERS
            },
        },
    }
    table = next(iter(study.section(result.reference).record.tables.values()))
    return [*changes, SetTableEntry(table, "uns", UNS_PREFIX + key, meta)]


def read_stack(study: Study, key: str, run: RunRecord) -> Stack:
    """Read the stack of a run back."""
    maps = {r.source: r for r in study.record.registrations if r.run == run.id}
    target = next(iter(maps.values())).target if maps else ""
    meta = _entry(study, target, key)
    names = tuple(str(n) for n in meta["sections"])
    edges = {name: np.asarray(values) for name, values in meta["edges"].items()}
    return Stack(
        reference=str(meta["reference"]),
        sections=names,
        heights=np.asarray(meta["heights"], float),
        transforms=tuple(
            transform_from_dict(maps[name].transform) if name in maps else Affine.identity()
            for name in names
        ),
        edges=tuple(
            StackEdge(
                source=str(edges["source"][k]),
                target=str(edges["target"][k]),
                transform=Affine(edges["matrix"][k].reshape(3, 3)),
                converged=bool(edges["converged"][k]),
                **{name: float(edges[name][k]) for name in _EDGE_NUMBERS},
            )
            for k in range(len(edges["source"]))
        ),
        loops=np.asarray(meta["loops"], float),
        loop_names=tuple(
            (a, b, c) for a, b, c in (str(names).split("\t") for names in meta["loop_names"])
        ),
        drift=np.asarray(meta["drift"], float),
        uncertainty=np.asarray(meta["uncertainty"], float),
        converged=bool(meta["converged"]),
    )


def _entry(study: Study, section: str, key: str) -> Any:
    for name in study.section(section).record.tables.values():
        if UNS_PREFIX + key in study.sdata.tables[name].uns:
            return study.sdata.tables[name].uns[UNS_PREFIX + key]
    raise KeyError(key)


def write_centre(study: Study, result: CentreSlice, key: str, run_id: str) -> list[Change]:
    """Return the changes that store a consensus as a table on its section's spots."""
    import pandas as pd
    from anndata import AnnData

    section = study.section(result.section)
    if section.record.spots is None or not np.array_equal(section.ids, result.ids):
        raise UserError(
            f"The spots of section {result.section!r} changed while the job ran.",
            "Make the consensus again.",
        )
    meta = {
        "kind": result.kind,
        "run": run_id,
        "sections": list(result.sections),
        "weights": np.asarray(result.weights, float),
        "objective": np.asarray(result.objective, float),
        "label_accuracy": np.asarray(result.label_accuracy, float),
        "converged": bool(result.converged),
        "reason": result.reason,
    }
    table = AnnData(
        X=np.asarray(result.expression, np.float32),
        obs=pd.DataFrame(index=pd.Index(result.ids, dtype=object)),
        var=pd.DataFrame(index=pd.Index(result.features, dtype=object)),
        obsm={
            "factors": np.asarray(result.factors),
            "mass": np.asarray(result.mass),
            "entropy": np.asarray(result.entropy),
        },
        varm={"loadings": np.asarray(result.loadings).T},
        uns={UNS_PREFIX + key: meta},
    )
    name = element_name(result.section, key)
    return [
        SetElement(name, annotate(table, section.record.spots)),
        SetSectionTable(result.section, key, name),
    ]


def read_centre(study: Study, key: str, run: RunRecord) -> CentreSlice:
    """Read the consensus of a run back."""
    section = str(run.summary["section"])
    table = study.section(section).table(key)
    meta = table.uns[UNS_PREFIX + key]
    return CentreSlice(
        section=section,
        sections=tuple(str(s) for s in meta["sections"]),
        ids=table.obs_names.to_numpy(object),
        features=table.var_names.to_numpy(object),
        factors=np.asarray(table.obsm["factors"]),
        loadings=np.asarray(table.varm["loadings"]).T,
        weights=np.asarray(meta["weights"], float),
        mass=np.asarray(table.obsm["mass"]),
        entropy=np.asarray(table.obsm["entropy"]),
        objective=np.asarray(meta["objective"], float),
        label_accuracy=np.asarray(meta["label_accuracy"], float),
        converged=bool(meta["converged"]),
        reason=str(meta["reason"]),
    )
