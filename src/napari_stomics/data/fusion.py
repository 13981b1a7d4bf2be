"""From sections and modalities to what fusion and clustering take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.fusion import (
    KINDS,
    Block,
    DomainInputs,
    EmbeddingInputs,
    FusionInputs,
    SpotsOnImage,
)
from napari_stomics.core.inputs import HistologySpots
from napari_stomics.core.params import Params
from napari_stomics.data.carry import bare_spots
from napari_stomics.data.embeddings import stored_domains
from napari_stomics.data.homes import find_table
from napari_stomics.data.plans import UNS_PREFIX
from napari_stomics.data.references import ref

if TYPE_CHECKING:
    from napari_stomics.data.study import Section, Study


class FusionRefs(Params):
    """The modalities of one section, or of several together."""

    section: str = ref("section", "Section")
    others: tuple[str, ...] = ref(
        "others:section",
        "Together with",
        (),
        "Further sections to fuse in one go: one embedding, one set of domains.",
    )
    modalities: tuple[str, ...] = ref("modalities:section", "Modalities", ("rna",))
    stored: tuple[str, ...] = ref(
        "embeddings:section",
        "Stored embeddings",
        (),
        "Columns of obsm to take as modalities of their own, those of a foundation model "
        "for instance.",
    )
    leave_out: tuple[str, ...] = ref(
        "left_out",
        "Leave out features",
        (),
        "Names of features that take no part, as chosen in the dock Morphology and expression.",
    )
    histology: bool = ref(
        "flag", "Add the H&E image", True, "Use features of the image under each spot as a block."
    )


class EmbeddingRefs(Params):
    """A stored embedding of one section, or of all that were fused into it."""

    section: str = ref("section", "Section")
    embedding: str = ref("embedding:section", "Embedding")
    annotation: str | None = ref(
        "column:section", "Compare with", None, "Annotation to score the domains against."
    )


class DomainRefs(Params):
    """Stored domains of one section, or of all that were clustered together."""

    section: str = ref("section", "Section")
    domains: str = ref("domains:section", "Domains")
    annotation: str | None = ref(
        "column:section", "Compare with", None, "Annotation to score the domains against."
    )


class SpotsOnImageRefs(Params):
    """The spots of one section, and its image."""

    section: str = ref("section", "Section")
    image: str | None = ref("image:section", "Image", None, "Image whose pixels the file counts.")


def collect_spots_on_image(study: Study, refs: SpotsOnImageRefs) -> SpotsOnImage:
    """Gather where the spots of a section lie, without reading any table or pixel."""
    section = study.section(refs.section)
    imaged = refs.image is not None or bool(section.record.images)
    return SpotsOnImage(
        section=section.name,
        ids=section.ids,
        coordinates=section.coordinates,
        diameter=section.diameter,
        to_um=section.image(refs.image).to_um if imaged else None,
    )


def collect_fusion(study: Study, refs: FusionRefs) -> FusionInputs:
    """Gather the modalities of the sections, spot by spot.

    Raises
    ------
    UserError
        If nothing is chosen, a modality is measured in none of the sections, or
        the sections share no feature of it.
    """
    if not refs.modalities and not refs.stored:
        raise UserError("No modality is selected.", "Select at least one table to fuse.")
    names = tuple(dict.fromkeys((refs.section, *refs.others)))
    sections = [study.section(name) for name in names]
    ids = [section.ids for section in sections]
    starts = np.concatenate([[0], np.cumsum([len(i) for i in ids])])
    blocks = [
        _without(_table_block(sections, ids, starts, m), refs.leave_out) for m in refs.modalities
    ]
    blocks += [_stored_block(sections, ids, starts, key) for key in refs.stored]
    return FusionInputs(
        sections=names,
        of=np.repeat(np.arange(len(names)), [len(i) for i in ids]),
        ids=np.concatenate(ids),
        coordinates=np.concatenate([section.coordinates for section in sections]),
        pitches=tuple(section.pitch for section in sections),
        blocks=tuple(blocks),
        histology=_histology(sections) if refs.histology else (),
        placed=_placed(study, sections),
    )


def _table_block(sections: list[Section], ids: list[Any], starts: Any, modality: str) -> Block:
    from scipy import sparse

    tables = {i: s.table(modality) for i, s in enumerate(sections) if modality in s.modalities}
    if not tables:
        others = ", and none of the others has" if len(sections) > 1 else ""
        raise UserError(
            f"Section {sections[0].name!r} has no table for {modality!r}{others}.",
            f"It has: {', '.join(sections[0].modalities) or 'none'}.",
        )
    shared = _shared([table.var_names for table in tables.values()], modality)
    parts, rows = [], []
    for i, table in tables.items():
        order, here = _order(ids[i], table.obs_names.to_numpy(object))
        # Columns first: most tables need no selection of either kind, and copies are large.
        x: Any = table.X
        if len(shared) != table.n_vars or (table.var_names[: len(shared)] != shared).any():
            x = x[:, table.var_names.get_indexer(shared)]
        parts.append(x if np.array_equal(order, np.arange(table.n_obs)) else x[order])
        rows.append(starts[i] + here)
    x = parts[0] if len(parts) == 1 else sparse.vstack([sparse.csr_array(p) for p in parts], "csr")
    # A second set of image features is called image_<name>.
    kind = next((k for k in KINDS if modality == k or modality.startswith(f"{k}_")), "rna")
    return Block(modality, kind, x, np.asarray(shared, object), np.concatenate(rows))


def _without(block: Block, names: tuple[str, ...]) -> Block:
    """A modality without the features that are to be left out."""
    kept = np.flatnonzero(~np.isin(block.features.astype(str), names)) if names else None
    if kept is None or len(kept) == len(block.features):
        return block
    if not len(kept):
        raise UserError(
            f"Every feature of {block.name!r} is to be left out.",
            "Leave the modality out instead, or fewer of its features.",
        )
    return Block(block.name, block.kind, block.x[:, kept], block.features[kept], block.rows)


def _stored_block(sections: list[Section], ids: list[Any], starts: Any, key: str) -> Block:
    parts, rows = [], []
    for i, section in enumerate(sections):
        for modality in section.modalities:
            table = section.table(modality)
            if key in table.obsm:
                order, here = _order(ids[i], table.obs_names.to_numpy(object))
                parts.append(np.asarray(table.obsm[key], np.float32)[order])
                rows.append(starts[i] + here)
                break
    widths = {part.shape[1] for part in parts}
    if len(widths) != 1:
        reason = "is in none of the sections" if not widths else "has not the same width in all"
        raise UserError(
            f"The stored embedding {key!r} {reason}.",
            "Choose one that every section got from the same model.",
        )
    width = widths.pop()
    names = np.array([f"{key}_{i + 1}" for i in range(width)], object)
    return Block(key, "embedding", np.concatenate(parts), names, np.concatenate(rows))


def _shared(names: list[Any], modality: str) -> Any:
    shared = names[0]
    for other in names[1:]:
        shared = shared[shared.isin(other)]
    if len(shared) < 1:
        raise UserError(
            f"The sections share no feature of {modality!r}.",
            "Use the same kind of names (symbols or Ensembl ids) in all tables.",
        )
    return shared


def _order(ids: NDArray[Any], theirs: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows of a table in the section's order, and the section's rows that they are."""
    if np.array_equal(ids, theirs):
        both = np.arange(len(ids))
        return both, both
    at = {name: i for i, name in enumerate(theirs)}
    here = np.array([i for i, name in enumerate(ids) if name in at], np.intp)
    return np.array([at[ids[i]] for i in here], np.intp), here


def _histology(sections: list[Section]) -> tuple[Any, ...]:
    # The image lies under every spot, also under those that the first table lacks.
    found = tuple(
        HistologySpots(bare_spots(section), section.image(), section.diameter)
        if section.record.images
        else None
        for section in sections
    )
    if not any(found):
        sections[0].image()  # says that there is none, and the way out
    return found


def _placed(study: Study, sections: list[Section]) -> Any:
    """All spots in the first section's frame; None where a section is not registered to it."""
    parts: list[Any] = [sections[0].coordinates]
    for section in sections[1:]:
        transform = study.registration(section.name, sections[0].name)
        if transform is None:
            return None
        parts.append(transform.apply(section.coordinates))
    return np.concatenate(parts)


def collect_embedding(study: Study, refs: EmbeddingRefs) -> EmbeddingInputs:
    """Gather an embedding, of every section that was fused into it.

    Raises
    ------
    UserError
        If the section has no such embedding.
    """
    sections = _sections_of(study, refs)
    values, ids, coordinates, labels = [], [], [], []
    for name in sections:
        section = study.section(name)
        table = _holding(section, refs.embedding)
        values.append(np.asarray(table.obsm[refs.embedding]))
        ids.append(table.obs_names.to_numpy(object))
        order, here = _order(section.ids, ids[-1])
        coordinates.append(section.coordinates[here][np.argsort(order)])
        found = section.labels(refs.annotation)
        blank = np.full(len(ids[-1]), "", object)
        labels.append(blank if found is None else found[here][np.argsort(order)])
    joined = np.concatenate(labels)
    return EmbeddingInputs(
        section=refs.section,
        ids=np.concatenate(ids),
        values=np.concatenate(values),
        coordinates=np.concatenate(coordinates),
        labels=joined if (joined != "").any() else None,
        sections=sections,
        of=np.repeat(np.arange(len(sections)), [len(i) for i in ids]),
        name=refs.embedding,
    )


def collect_domains(study: Study, refs: DomainRefs) -> DomainInputs:
    """Gather stored domains with the embedding that they were found from.

    Raises
    ------
    UserError
        If the section has no such domains.
    """
    try:
        domains = stored_domains(study, refs.section, refs.domains)
    except KeyError as error:
        raise UserError(
            f"Section {refs.section!r} has no domains {refs.domains!r}.",
            "Find domains first, or choose some that are there.",
        ) from error
    sections = [study.section(name) for name in domains.sections]
    tables = [find_table(study, name, refs.domains) for name in domains.sections]
    coordinates, labels = [], []
    for section, table in zip(sections, tables, strict=True):
        order, here = _order(section.ids, table.obs_names.to_numpy(object))
        coordinates.append(section.coordinates[here][np.argsort(order)])
        found = section.labels(refs.annotation)
        blank = np.full(table.n_obs, "", object)
        labels.append(blank if found is None else found[here][np.argsort(order)])
    joined = np.concatenate(labels)
    stored = all(domains.embedding in table.obsm for table in tables)
    values = [np.asarray(table.obsm[domains.embedding]) for table in tables] if stored else None
    return DomainInputs(
        domains,
        None if values is None else np.concatenate(values),
        np.concatenate(coordinates),
        joined if (joined != "").any() else None,
    )


def _holding(section: Section, embedding: str) -> Any:
    for modality in section.modalities:
        table = section.table(modality)
        if embedding in table.obsm:
            return table
    raise UserError(
        f"Section {section.name!r} has no embedding {embedding!r}.",
        "Fuse its modalities first, or choose an embedding that is there.",
    )


def _sections_of(study: Study, refs: EmbeddingRefs) -> tuple[str, ...]:
    meta = _holding(study.section(refs.section), refs.embedding).uns.get(
        UNS_PREFIX + refs.embedding
    )
    names = (refs.section,) if meta is None else tuple(str(s) for s in meta["sections"])
    known = tuple(name for name in names if name in study.record.sections)
    return tuple(dict.fromkeys((refs.section, *known))) if refs.section not in known else known
