"""Morphology: what it reads in a study, and where features, maps and planes are stored.

Features are a table of the section, as any modality: the latest under the name
``image``, so that fusion takes it up like the others.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.fusion import KINDS
from napari_stomics.core.inputs import HistologySpots
from napari_stomics.core.morphology import FLAGS, DenseMaps, MorphologyFeatures, Stains
from napari_stomics.core.params import Params
from napari_stomics.core.plane import Gain, MorphologyPlane, PlaneInputs
from napari_stomics.core.transforms import Affine
from napari_stomics.data.build import annotate, element_name, spatialdata_affine
from napari_stomics.data.carry import bare_spots
from napari_stomics.data.changes import Change, SetElement, SetSectionTable, SetTableEntry
from napari_stomics.data.homes import find_table
from napari_stomics.data.plans import UNS_PREFIX
from napari_stomics.data.references import ref

if TYPE_CHECKING:
    from napari_stomics.data.schema import RunRecord
    from napari_stomics.data.study import Section, Study

MODALITY = "image"
"""Modality of the latest features of a section."""

INSIDE, OUTSIDE = "inside", "outside"
"""Labels that a drawn region gives."""

_MEASURES = {
    "covered": "covered",
    "tissue": "tissue_share",
    "pen": "pen_share",
    "fold": "fold_share",
    "sharpness": "sharpness",
}
"""Columns of ``obs`` that hold what the flags were judged by."""

_PER_FEATURE = ("relevance", "shared", "correlation", "relevance_null", "shared_null",
                "relevance_z", "shared_z", "relevance_p", "shared_p", "moran")  # fmt: skip
_WORDS = ("features", "gene", "quadrant")

Polygons = tuple[tuple[tuple[float, float], ...], ...]


class HistologyRefs(Params):
    """The spots of a section, and its H&E image."""

    section: str = ref("section", "Section")
    image: str | None = ref("image:section", "Image", None)


class PlaneRefs(Params):
    """Two modalities of a section, and what their features are to be relevant to."""

    section: str = ref("section", "Section")
    modality: str = ref(
        "modality:section", "Judge the features of", MODALITY, "A table of the section."
    )
    embedding: str | None = ref(
        "embedding:section",
        "Or a stored embedding",
        None,
        "A column of obsm, that of a foundation model for instance, to be judged instead.",
    )
    other: str = ref("modality:section", "Against", "rna", "What they may share information with.")
    annotation: str | None = ref(
        "column:section",
        "Relevant to",
        None,
        "Annotation or domains. Domains that were found from these modalities are no "
        "independent judge.",
    )
    region: Polygons | None = ref(
        "region",
        "Or to a region",
        None,
        "Polygons (x, y) um in the section's own frame; relevance is then to lie inside.",
    )


def collect_histology(study: Study, refs: HistologyRefs) -> HistologySpots:
    """Spots of a section on an image of it."""
    section = study.section(refs.section)
    return HistologySpots(bare_spots(section), section.image(refs.image), section.diameter)


def collect_plane(study: Study, refs: PlaneRefs) -> PlaneInputs:
    """Two modalities of the spots that have both, and the labels.

    Raises
    ------
    UserError
        If a modality is compared with itself, or there is no annotation.
    """
    section = study.section(refs.section)
    if refs.embedding is None and refs.modality == refs.other:
        raise UserError(
            f"The modality {refs.other!r} is compared with itself.",
            "Choose two different ones. Features of the image come from Relate morphology and "
            "expression > Features of the H&E image.",
        )
    left, usable = _judged(section, refs)
    right = section.table(refs.other)
    mine = {name: i for i, name in enumerate(left[0])}
    theirs = {name: i for i, name in enumerate(right.obs_names)}
    rows = [i for i, name in enumerate(section.ids) if name in mine and name in theirs]
    ids = section.ids[rows]
    x, y = (
        matrix[[at[name] for name in ids]] for matrix, at in ((left[1], mine), (right.X, theirs))
    )
    labels, label_name = _labels(section, refs)
    name = refs.embedding or refs.modality
    return PlaneInputs(
        section=refs.section,
        ids=ids,
        coordinates=section.coordinates[rows],
        pitch=section.pitch,
        x=x,
        features=left[2],
        modality=name,
        y=y,
        genes=right.var_names.to_numpy(object),
        other=refs.other,
        kinds=("embedding" if refs.embedding else kind_of(refs.modality), kind_of(refs.other)),
        labels=labels[rows],
        label_name=label_name,
        usable=None if usable is None else usable[[mine[n] for n in ids]],
    )


def kind_of(modality: str) -> str:
    """Kind of a modality by its name: ``image_2`` is an image too."""
    return next((k for k in KINDS if modality == k or modality.startswith(f"{k}_")), "rna")


def _judged(section: Section, refs: PlaneRefs) -> tuple[Any, Any]:
    """Ids, matrix and names of what is judged, and which spots can be trusted."""
    if refs.embedding is None:
        table = section.table(refs.modality)
        flagged = [table.obs[f].to_numpy(bool) for f in FLAGS if f in table.obs]
        usable = ~np.any(flagged, axis=0) if flagged else None
        return (table.obs_names, table.X, table.var_names.to_numpy(object)), usable
    for modality in section.modalities:
        table = section.table(modality)
        if refs.embedding in table.obsm:
            x = np.asarray(table.obsm[refs.embedding])
            names = np.array([f"{refs.embedding}_{i + 1}" for i in range(x.shape[1])], object)
            return (table.obs_names, x, names), None
    raise UserError(
        f"Section {section.name!r} has no stored embedding {refs.embedding!r}.", "Choose another."
    )


def _labels(section: Section, refs: PlaneRefs) -> tuple[NDArray[Any], str]:
    if refs.region is not None:
        import shapely

        shapes = [shapely.Polygon(ring) for ring in refs.region if len(ring) > 2]
        if not shapes:
            raise UserError("The drawn region has no area.", "Draw a polygon round some spots.")
        union = shapely.union_all([shapely.make_valid(shape) for shape in shapes])
        inside = shapely.contains_xy(union, section.coordinates)
        return np.where(inside, INSIDE, OUTSIDE).astype(object), "drawn region"
    name = refs.annotation or section.record.annotation
    labels = section.labels(name)
    if labels is None:
        raise UserError(
            f"Section {section.name!r} has no annotation"
            + (f" {name!r}." if name else " to be relevant to."),
            "Choose a column of labels, find domains first, or draw a region.",
        )
    return labels, str(name)


# -- features --------------------------------------------------------------------------------


def write_features(study: Study, result: MorphologyFeatures, key: str, run_id: str) -> list[Change]:
    """Return the changes that store features as a modality of the section, and their maps."""
    import pandas as pd
    from anndata import AnnData

    section = study.section(result.section)
    if section.record.spots is None or not np.array_equal(section.ids, result.ids):
        raise UserError(
            f"The spots of section {result.section!r} changed while the job ran.",
            "Run the step again.",
        )
    element = element_name(result.section, key, "maps")
    mapped = bool(result.maps.names)
    stains = {name: np.asarray(v) for name, v in asdict(result.stains).items()}
    table = AnnData(
        X=np.asarray(result.values, np.float32),
        obs=pd.DataFrame(
            {name: np.asarray(flag, bool) for name, flag in result.flags.items()}
            | {_MEASURES[name]: np.asarray(v, float) for name, v in result.measures.items()},
            index=pd.Index(result.ids, dtype=object),
        ),
        var=pd.DataFrame(index=pd.Index(result.features, dtype=object)),
        uns={
            UNS_PREFIX + key: {
                "kind": result.kind,
                "section": result.section,
                "maps": element if mapped else "",
                "stains": stains,
                "nuclei": int(result.nuclei),
                "pixel_size": float(result.pixel_size),
                "settings": json.dumps(dict(result.settings)),
                "converged": bool(result.converged),
            }
        },
    )
    name = element_name(result.section, key)
    changes: list[Change] = _make_room(section, key)
    changes.append(SetElement(name, annotate(table, section.record.spots)))
    changes.append(SetSectionTable(result.section, MODALITY, name))
    if mapped:
        changes.append(SetElement(element, _map_element(result)))
    return changes


def _make_room(section: Section, key: str) -> list[Change]:
    """Keep former features of another name as a modality of their own."""
    if MODALITY not in section.modalities:
        return []
    uns = section.table(MODALITY).uns
    if UNS_PREFIX + key in uns:
        return []
    former = [
        name.removeprefix(UNS_PREFIX)
        for name, meta in uns.items()
        if name.startswith(UNS_PREFIX)
        and isinstance(meta, dict)
        and meta.get("kind") == MorphologyFeatures.kind
    ]
    if not former:
        raise UserError(
            f"Section {section.name!r} has a measured table {MODALITY!r}, which would be lost.",
            "Give that table another name.",
        )
    held = section.record.tables[MODALITY]
    return [SetSectionTable(section.name, f"{MODALITY}_{former[0]}", held)]


def _map_element(result: MorphologyFeatures) -> Any:
    from spatialdata.models import Image2DModel
    from spatialdata.transformations import set_transformation

    element = Image2DModel.parse(
        np.asarray(result.maps.values, np.float32),
        dims=("c", "y", "x"),
        c_coords=list(result.maps.names),
    )
    to_section = {result.section: spatialdata_affine(result.maps.to_um)}
    set_transformation(element, to_section, set_all=True)
    return element


def read_features(study: Study, key: str, run: RunRecord) -> MorphologyFeatures:
    """Read stored features back."""
    section = study.section(run.step["inputs"]["section"])
    table = find_table(study, section.name, key)
    meta = table.uns[UNS_PREFIX + key]
    stains = meta["stains"]
    element = str(meta["maps"])
    maps = DenseMaps((), np.zeros((0, 0, 0), np.float32), Affine.identity())
    if element:
        image = study.sdata.images[element]
        names = tuple(str(c) for c in image.coords["c"].values)
        maps = DenseMaps(names, np.asarray(image.data), section.element_affine(element))
    return MorphologyFeatures(
        section=section.name,
        ids=table.obs_names.to_numpy(object),
        features=table.var_names.to_numpy(object),
        values=np.asarray(table.X),
        flags={name: table.obs[name].to_numpy(bool) for name in FLAGS},
        measures={name: table.obs[column].to_numpy(float) for name, column in _MEASURES.items()},
        maps=maps,
        stains=Stains(
            np.asarray(stains["vectors"]),
            np.asarray(stains["strengths"]),
            np.asarray(stains["background"]),
            bool(np.asarray(stains["estimated"])),
        ),
        nuclei=int(meta["nuclei"]),
        pixel_size=float(meta["pixel_size"]),
        settings=json.loads(str(meta["settings"])),
        converged=bool(meta["converged"]),
    )


# -- planes ----------------------------------------------------------------------------------


def write_plane(study: Study, result: MorphologyPlane, key: str, run_id: str) -> list[Change]:
    """Return the changes that store a plane beside the first table of its section."""
    table = next(iter(study.section(result.section).record.tables.values()))
    meta: dict[str, Any] = {name: np.asarray(getattr(result, name), float) for name in _PER_FEATURE}
    meta |= {name: np.asarray(getattr(result, name), str) for name in _WORDS}
    plain = {
        "section": result.section,
        "modality": result.modality,
        "other": result.other,
        "label_name": result.label_name,
        "label_entropy": float(result.label_entropy),
        "relevance_floor": float(result.relevance_floor),
        "shared_floor": float(result.shared_floor),
        "spots": int(result.spots),
        "gain": None if result.gain is None else asdict(result.gain),
        "settings": dict(result.settings),
        "converged": bool(result.converged),
    }
    meta |= {"kind": result.kind, "more": json.dumps(plain)}
    return [SetTableEntry(table, "uns", UNS_PREFIX + key, meta)]


def read_plane(study: Study, key: str, run: RunRecord) -> MorphologyPlane:
    """Read a stored plane back."""
    meta = find_table(study, run.step["inputs"]["section"], key).uns[UNS_PREFIX + key]
    plain = json.loads(str(meta["more"]))
    gain = plain.pop("gain")
    columns: dict[str, Any] = {name: np.asarray(meta[name], float) for name in _PER_FEATURE}
    columns |= {name: np.array([str(v) for v in meta[name]], object) for name in _WORDS}
    return MorphologyPlane(
        **plain,
        gain=None if gain is None else Gain(**gain),
        **columns,
    )
