"""Scores and markers of domains: what they read in a study, and where they are stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.fusion import FusionInputs
from napari_stomics.core.markers import DomainMarkers, MarkerInputs, Markers
from napari_stomics.core.params import Params
from napari_stomics.core.scores import Score, ScoreInputs, ScoreTable
from napari_stomics.data.changes import Change, SetTableEntry
from napari_stomics.data.fusion import FusionRefs, collect_fusion
from napari_stomics.data.homes import home_table
from napari_stomics.data.plans import UNS_PREFIX
from napari_stomics.data.references import ref
from napari_stomics.data.score_tables import marker_frame, marker_tables, score_frame

if TYPE_CHECKING:
    from napari_stomics.data.schema import RunRecord
    from napari_stomics.data.study import Section, Study


class DomainRefs(Params):
    """Labels of the spots of one section, or of several together."""

    section: str = ref("section", "Section")
    others: tuple[str, ...] = ref(
        "others:section",
        "Together with",
        (),
        "Further sections whose spots have the same labels.",
    )
    labels: str = ref(
        "domains:section", "Labels", description="A domains result, or a column of annotation."
    )


class ScoreRefs(DomainRefs):
    """Labels of the spots, and what they are judged by."""

    annotation: str | None = ref(
        "column:section", "Compare with", None, "Annotation to score the labels against."
    )
    embedding: str | None = ref(
        "embedding:section", "Embedding", None, "The embedding that the domains were found in."
    )
    modalities: tuple[str, ...] = ref(
        "modalities:section",
        "Modalities",
        (),
        "Tables whose neighbourhoods the embedding should keep.",
    )
    singles: tuple[str, ...] = ref(
        "columns:section",
        "Single-modality domains",
        (),
        "Domains found from one modality each: with an annotation, the gain of fusing over "
        "the best of them.",
    )


class MarkerRefs(DomainRefs):
    """Labels of the spots, and the modality whose features mark them."""

    modality: str = ref("modality:section", "Modality", "rna")


def collect_scores(study: Study, refs: ScoreRefs) -> ScoreInputs:
    """Gather labels and what judges them.

    Raises
    ------
    UserError
        If a section lacks the labels, or none has the embedding.
    """
    spots = _spots(study, refs, refs.modalities if refs.embedding else ())
    sections = [study.section(name) for name in spots.sections]
    judged = {refs.labels, None, ""}
    truth = None if refs.annotation in judged else _labels(sections, refs.annotation, any_of=True)
    return ScoreInputs(
        sections=spots.sections,
        of=spots.of,
        ids=spots.ids,
        coordinates=spots.coordinates,
        label_name=refs.labels,
        labels=_labels(sections, refs.labels),
        truth_name="" if truth is None else str(refs.annotation),
        truth=truth,
        embedding_name=refs.embedding or "",
        embedding=None if refs.embedding is None else _embedding(sections, refs.embedding),
        blocks=spots.blocks,
        singles={name: _labels(sections, name) for name in refs.singles if name != refs.labels},
    )


def collect_markers(study: Study, refs: MarkerRefs) -> MarkerInputs:
    """Gather labels and one modality of the same spots.

    Raises
    ------
    UserError
        If a section lacks the labels, or none has the modality.
    """
    spots = _spots(study, refs, (refs.modality,))
    sections = [study.section(name) for name in spots.sections]
    return MarkerInputs(
        sections=spots.sections,
        of=spots.of,
        ids=spots.ids,
        coordinates=spots.coordinates,
        label_name=refs.labels,
        labels=_labels(sections, refs.labels),
        block=spots.blocks[0],
    )


def _spots(study: Study, refs: DomainRefs, modalities: Sequence[str]) -> FusionInputs:
    """Spots of the sections, with modalities as fusion takes them."""
    if modalities:
        wanted = FusionRefs(
            section=refs.section, others=refs.others, modalities=tuple(modalities), histology=False
        )
        return collect_fusion(study, wanted)
    names = tuple(dict.fromkeys((refs.section, *refs.others)))
    sections = [study.section(name) for name in names]
    ids = [section.ids for section in sections]
    return FusionInputs(
        sections=names,
        of=np.repeat(np.arange(len(names)), [len(i) for i in ids]),
        ids=np.concatenate(ids),
        coordinates=np.concatenate([section.coordinates for section in sections]),
        pitches=tuple(section.pitch for section in sections),
        blocks=(),
    )


def _labels(sections: Sequence[Section], column: Any, any_of: bool = False) -> NDArray[Any]:
    """(n,) labels of all spots; with ``any_of`` one of the sections having them is enough."""
    found = [section.labels(str(column)) for section in sections]
    missing = [s.name for s, part in zip(sections, found, strict=True) if part is None]
    if len(missing) == len(sections) or (missing and not any_of):
        raise UserError(
            f"Section {missing[0]!r} has no labels {column!r}.",
            "Find domains of all these sections together, or choose a column that they share.",
        )
    blank = [np.full(len(section.ids), "", object) for section in sections]
    return np.concatenate(
        [b if part is None else part for b, part in zip(blank, found, strict=True)]
    )


def _embedding(sections: Sequence[Section], key: str) -> NDArray[np.float64]:
    parts: list[Any] = []
    for section in sections:
        table = next(
            (t for t in map(section.table, section.modalities) if key in t.obsm),
            None,
        )
        if table is None:
            parts.append(None)
            continue
        values = np.asarray(table.obsm[key], np.float64)
        row = {name: i for i, name in enumerate(table.obs_names)}
        at = np.array([row.get(name, -1) for name in section.ids], np.intp)
        part = np.full((len(at), values.shape[1]), np.nan)
        part[at >= 0] = values[at[at >= 0]]
        parts.append(part)
    widths = {part.shape[1] for part in parts if part is not None}
    if len(widths) != 1:
        reason = "is in none of the sections" if not widths else "has not the same width in all"
        raise UserError(
            f"The embedding {key!r} {reason}.", "Fuse the modalities of these sections first."
        )
    width = widths.pop()
    blank = [np.full((len(section.ids), width), np.nan) for section in sections]
    return np.concatenate(
        [b if part is None else part for b, part in zip(blank, parts, strict=True)]
    )


# -- storage -----------------------------------------------------------------------------------


def write_scores(study: Study, result: ScoreTable, key: str, run_id: str) -> list[Change]:
    """Return the changes that store scores beside the spots that they judge."""
    import pandas as pd

    own = _entry(key, "scores")
    meta = {
        "kind": result.kind,
        "sections": list(result.sections),
        "label_name": result.label_name,
        "truth_name": result.truth_name,
        "names": list(result.names),
        "sizes": np.asarray(result.sizes),
        "truth_names": list(result.truth_names),
        "matched": list(result.matches),
        "matches": list(result.matches.values()),
        "converged": bool(result.converged),
    }
    counts = pd.DataFrame(result.counts, result.truth_names, result.names)
    changes: list[Change] = []
    for i, name in enumerate(result.sections):
        here = result.of == i
        table, made = home_table(study, name, result.ids[here])
        flags = np.asarray(result.isolated[here], np.float64)
        changes += [
            *made,
            SetTableEntry(table, "obs", f"{own}_isolated", flags),
            SetTableEntry(table, "uns", own, score_frame(result)),
            SetTableEntry(table, "uns", UNS_PREFIX + own, dict(meta)),
        ]
        if len(counts):
            changes.append(SetTableEntry(table, "uns", f"{own}_contingency", counts.copy()))
    return changes


def read_scores(study: Study, key: str, run: RunRecord) -> ScoreTable:
    """Read stored scores back."""
    own = _entry(key, "scores")
    first = _holding(study, run.step["inputs"]["section"], own)
    meta = first.uns[UNS_PREFIX + own]
    sections = tuple(str(name) for name in meta["sections"])
    tables = [_holding(study, name, own) for name in sections]
    names = tuple(str(n) for n in meta["names"])
    truth_names = tuple(str(n) for n in meta["truth_names"])
    stored = first.uns.get(f"{own}_contingency") if truth_names else None
    rows = first.uns[own]
    return ScoreTable(
        section=sections[0],
        ids=np.concatenate([table.obs_names.to_numpy(object) for table in tables]),
        label_name=str(meta["label_name"]),
        truth_name=str(meta["truth_name"]),
        rows=tuple(
            Score(r.name, r.title, float(r.value), r.better, r.space, r.protocol)
            for r in rows.astype({"value": float}).itertuples(index=False)
        ),
        names=names,
        sizes=np.asarray(meta["sizes"], np.intp),
        truth_names=truth_names,
        counts=np.zeros((0, len(names)), np.intp) if stored is None else stored.to_numpy(np.intp),
        matches=dict(zip(map(str, meta["matched"]), map(str, meta["matches"]), strict=True)),
        isolated=np.concatenate([table.obs[f"{own}_isolated"].to_numpy() for table in tables]),
        sections=sections,
        of=np.repeat(np.arange(len(tables)), [table.n_obs for table in tables]),
        converged=bool(meta["converged"]),
    )


def write_markers(study: Study, result: Markers, key: str, run_id: str) -> list[Change]:
    """Return the changes that store markers in the table of their modality."""
    own = _entry(key, "markers")
    meta = {
        "kind": result.kind,
        "sections": list(result.sections),
        "modality": result.modality,
        "label_name": result.label_name,
        "test": result.test,
        "effect": result.effect,
        "protocol": result.protocol,
        "domains": [table.domain for table in result.tables],
        "spots": [table.spots for table in result.tables],
        "converged": bool(result.converged),
    }
    record = study.section(result.section).record
    if result.modality not in record.tables:
        raise UserError(
            f"Section {result.section!r} has no table for {result.modality!r}.",
            "Start from a section that has it, and take the others along.",
        )
    table = record.tables[result.modality]
    return [
        SetTableEntry(table, "uns", own, marker_frame(result)),
        SetTableEntry(table, "uns", UNS_PREFIX + own, meta),
    ]


def read_markers(study: Study, key: str, run: RunRecord) -> Markers:
    """Read stored markers back."""
    own = _entry(key, "markers")
    inputs = run.step["inputs"]
    table = study.section(inputs["section"]).table(inputs["modality"])
    meta = table.uns[UNS_PREFIX + own]
    spots = dict(zip(map(str, meta["domains"]), map(int, meta["spots"]), strict=True))
    tables: tuple[DomainMarkers, ...] = marker_tables(table.uns[own], spots)
    return Markers(
        section=str(meta["sections"][0]),
        modality=str(meta["modality"]),
        label_name=str(meta["label_name"]),
        test=str(meta["test"]),
        effect=str(meta["effect"]),
        protocol=str(meta["protocol"]),
        tables=tables,
        sections=tuple(str(name) for name in meta["sections"]),
        converged=bool(meta["converged"]),
    )


def _entry(key: str, word: str) -> str:
    """Name in the table: results of both kinds may have the same key, that of the domains."""
    return key if word in key else f"{key}_{word}"


def _holding(study: Study, section: str, own: str) -> Any:
    for name in study.section(section).record.tables.values():
        if UNS_PREFIX + own in study.sdata.tables[name].uns:
            return study.sdata.tables[name]
    raise KeyError(own)
