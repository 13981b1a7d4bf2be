"""Find the sections in a SpatialData object that other software wrote."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stomics.core.errors import UserError
from napari_stomics.data.build import annotate, element_name
from napari_stomics.data.label_images import centroids
from napari_stomics.data.schema import ATTRS_KEY, SectionRecord, StudyRecord

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

_SHARED = "global"
"""SpatialData's default coordinate system: a name that says nothing."""

_MODALITY_WORDS = {
    "protein": ("antibody", "protein", "adt", "codex", "cite"),
    "chromatin": ("peaks", "atac", "chromatin", "fragments"),
    "metabolite": ("metabol", "msi", "maldi", "lipid"),
    "rna": ("gene expression", "rna", "gene", "transcript"),
}
_ANNOTATION_COLUMNS = (
    "annotation", "ground_truth", "pathologist", "layer", "layer_guess", "region_annotation",
    "domain", "tissue", "cell_type", "celltype",
)  # fmt: skip


@dataclass
class _Anchor:
    """Something that a table annotates: the spots or cells of one section."""

    region: str
    system: str
    tables: list[str] = field(default_factory=list)


def guess_sections(sdata: SpatialData, notes: list[str] | None = None) -> StudyRecord:
    """Say which sections an object without our record holds.

    Each element that a table annotates makes a section, named by the coordinate
    system that is most its own; a system with nothing but images, labels,
    points or shapes makes one too. Where a section cannot use what is there as
    it is, elements are *added* to the object, in memory: spots named as their
    table names them, tables split by modality, a transformation to the
    section's name. Nothing that is there is changed or removed. The record is
    entered into the object's attributes.

    Parameters
    ----------
    sdata
        Any SpatialData object.
    notes
        Receives what had to be assumed, for the user to read.

    Raises
    ------
    UserError
        If no section can be found although there are elements.
    """
    notes = [] if notes is None else notes
    systems = _systems(sdata)
    record = StudyRecord()
    anchors = _anchors(sdata, systems, notes)
    used: set[str] = set()
    for anchor in anchors:
        alone = sum(a.system == anchor.system for a in anchors) == 1
        name = _section_name(sdata, anchor.system, None if alone else anchor.region, record)
        members = _members(systems, anchor, anchors)
        section = SectionRecord(name=name, source=str(sdata.path or ""))
        _place(sdata, [*members, anchor.region], anchor.system, name)
        _list_members(sdata, section, members, anchor.region)
        _add_spots(sdata, section, anchor, notes)
        record.sections[name] = section
        used.update([*members, anchor.region])
    for system, members in systems.items():
        rest = [m for m in members if m not in used]
        if rest:
            name = _section_name(sdata, system, None, record)
            _place(sdata, rest, system, name)
            section = SectionRecord(name=name, source=str(sdata.path or ""))
            _list_members(sdata, section, rest, None)
            record.sections[name] = section
            used.update(rest)
    if not record.sections and next(iter(sdata.gen_elements()), None) is not None:
        raise UserError(
            "No section was found: the tables belong to no spots, cells or labels, and have no "
            "coordinates in obsm['spatial'].",
            "Set what each table annotates with sdata.set_table_annotates_spatialelement.",
        )
    if record.sections:
        notes.append(
            "The object does not say how large its unit is; 1 unit is taken as 1 micrometre."
        )
        sdata.attrs[ATTRS_KEY] = record.model_dump(mode="json")
    return record


def guess_modality(name: str, feature_types: str = "") -> str:
    """Guess a modality from a feature type or else from a table's name; RNA by default."""
    for text in (feature_types.lower(), name.lower()):
        for modality, words in _MODALITY_WORDS.items():
            if any(re.search(rf"(?:^|[^a-z]){word}", text) for word in words):
                return modality
    return "rna"


def _systems(sdata: SpatialData) -> dict[str, list[str]]:
    """Elements of each coordinate system, in the object's order."""
    from spatialdata.transformations import get_transformation

    out: dict[str, list[str]] = {}
    for _, name, element in sdata.gen_spatial_elements():
        for system in get_transformation(element, get_all=True):
            out.setdefault(system, []).append(name)
    return out


def _anchors(sdata: SpatialData, systems: dict[str, list[str]], notes: list[str]) -> list[_Anchor]:
    regions: dict[str, list[str]] = {}
    for name, table in list(sdata.tables.items()):
        annotated = [r for r in _regions(table) if r in sdata.shapes or r in sdata.labels]
        if not annotated and (made := _spots_from_obsm(sdata, name, notes)):
            systems.setdefault(_SHARED, []).append(made)
            annotated = [made]
        if not annotated:
            notes.append(f"The table {name!r} annotates nothing in this object; it is not shown.")
        for region in annotated:
            regions.setdefault(region, []).append(name)
    counts = {s: sum(r in members for r in regions) for s, members in systems.items()}
    anchors = []
    for region, tables in regions.items():
        mine = [s for s, members in systems.items() if region in members]
        # The most specific system, then the fullest; a name that says nothing comes last.
        best = min(mine, key=lambda s: (counts[s], -len(systems[s]), s == _SHARED))
        anchors.append(_Anchor(region, best, tables))
    return anchors


def _regions(table: AnnData) -> list[str]:
    region = table.uns.get("spatialdata_attrs", {}).get("region")
    if region is None:
        return []
    return [region] if isinstance(region, str) else [str(r) for r in region]


def _spots_from_obsm(sdata: SpatialData, name: str, notes: list[str]) -> str | None:
    """Make spots for a table that annotates nothing but carries coordinates."""
    table = sdata.tables[name]
    xy = np.asarray(table.obsm["spatial"], dtype=float) if "spatial" in table.obsm else None
    if xy is None or xy.ndim != 2 or xy.shape[1] < 2 or not np.isfinite(xy[:, :2]).all():
        return None
    from scipy.spatial import cKDTree

    from napari_stomics.data.build import circles_element

    key = _free(sdata, element_name(name, "positions"))
    nearest: Any = cKDTree(xy[:, :2]).query(xy[:, :2], k=2)[0]
    pitch = float(np.median(nearest[:, 1])) if len(xy) > 1 else 0.0
    ids = table.obs_names.to_numpy(dtype=object)
    sdata[key] = circles_element(xy[:, :2], pitch / 4 or 1.0, ids, _SHARED)
    notes.append(
        f"The table {name!r} annotates nothing; its spots were placed by obsm['spatial'], "
        "with a quarter of their distance as radius."
    )
    return key


def _members(systems: dict[str, list[str]], anchor: _Anchor, anchors: list[_Anchor]) -> list[str]:
    """Elements that go with an anchor, other anchors left out."""
    others = {a.region for a in anchors}
    members = [m for m in systems[anchor.system] if m not in others]
    rivals = [a.region for a in anchors if a.system == anchor.system and a is not anchor]
    if not rivals:
        return members
    # Samples kept in one system are told apart by the beginning of their names.
    return [
        m for m in members if not any(_common(m, r) > _common(m, anchor.region) for r in rivals)
    ]


def _common(a: str, b: str) -> int:
    """How many words two element names have in common from their beginning on."""
    pairs = zip(re.split(r"[_.-]", a), re.split(r"[_.-]", b), strict=False)
    return len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))


def _section_name(sdata: SpatialData, system: str, region: str | None, record: StudyRecord) -> str:
    base = system
    if system == _SHARED:
        base = sdata.path.stem if sdata.path is not None and region is None else region or "section"
    elif region is not None:
        base = f"{system}_{region}"
    name, count = base, 2
    while name in record.sections:
        name, count = f"{base}_{count}", count + 1
    return name


def _place(sdata: SpatialData, names: list[str], system: str, section: str) -> None:
    """Give elements a transformation to the section's own name, the same as to ``system``."""
    from spatialdata.transformations import get_transformation, set_transformation

    for name in names:
        found = dict(get_transformation(sdata[name], get_all=True))
        if section not in found:
            set_transformation(sdata[name], {**found, section: found[system]}, set_all=True)


def _list_members(
    sdata: SpatialData, section: SectionRecord, members: list[str], region: str | None
) -> None:
    for name in members:
        for kind in ("images", "labels", "points", "shapes"):
            if name in getattr(sdata, kind):
                getattr(section, kind).append(name)
    if region is not None and region in sdata.labels:
        section.labels.insert(0, region)
    section.images.sort(key=lambda name: -_pixels(sdata.images[name]))


def _pixels(image: Any) -> int:
    from napari_stomics.data.fingerprint import raster_arrays

    return int(np.prod(raster_arrays(image)[0].shape[-2:]))


# ------------------------------------------------------------------ spots and tables


def _add_spots(
    sdata: SpatialData, section: SectionRecord, anchor: _Anchor, notes: list[str]
) -> None:
    """Make spots and tables agree: same names, same order, one table per modality."""
    frame = _frame(sdata, anchor.region, section.name, notes)
    named: dict[Any, Any] = {}
    found: list[tuple[str, Any, Any, Any]] = []
    for name in anchor.tables:
        rows, keys = _rows(sdata.tables[name], anchor.region, frame)
        ids = sdata.tables[name].obs_names[rows].to_numpy(dtype=object)
        both = dict(zip(keys, ids, strict=True))
        if not len(rows):
            notes.append(f"No row of the table {name!r} matches {anchor.region!r}; left out.")
        elif named and (len(both) < len(rows) or not _agree(named, both)):
            notes.append(f"The table {name!r} lists other spots than the first one; left out.")
        else:
            named |= both
            found.append((name, rows, keys, ids))
    if found:
        _, _, keys, spots = found[0]
        if len(named) > len(spots):  # what the first table lacks is not to come last
            keys = [key for key in frame.index if key in named]
            spots = np.array([named[key] for key in keys], object)
        _set_spots(sdata, section, anchor.region, frame, keys, spots)
    for name, rows, _, ids in found:
        if len(ids) == len(spots) and not np.array_equal(ids, spots):
            notes.append(f"The table {name!r} lists the spots in another order; left out.")
            continue
        if len(rows) < sdata.tables[name].n_obs and len(anchor.tables) == 1:
            _note_missing(sdata.tables[name], anchor.region, rows, notes)
        _set_tables(sdata, section, name, rows)
    if section.spots is None and anchor.region in sdata.shapes:
        section.shapes.append(anchor.region)
    section.annotation = _annotation(sdata, section)


def _agree(named: dict[Any, Any], more: dict[Any, Any]) -> bool:
    """Whether two tables share spots, and name alike what they share; each may lack some."""
    shared = named.keys() & more.keys()
    names = set(named.values()) & set(more.values())
    same = all(named[key] == more[key] for key in shared) and len(names) == len(shared)
    return same and bool(shared)


def _note_missing(table: AnnData, region: str, rows: Any, notes: list[str]) -> None:
    key = table.uns.get("spatialdata_attrs", {}).get("region_key")
    mine = int((table.obs[key].astype(str) == region).sum()) if key in table.obs else table.n_obs
    if mine > len(rows):
        notes.append(f"{mine - len(rows)} rows of the table have no shape in {region!r}; left out.")


def _frame(sdata: SpatialData, region: str, section: str, notes: list[str]) -> Any:
    """The annotated shapes; for labels, circles of the same area at the centroids."""
    if region in sdata.shapes:
        return sdata.shapes[region]
    import geopandas as gpd
    import shapely
    from spatialdata.models import ShapesModel
    from spatialdata.transformations import get_transformation

    from napari_stomics.data.fingerprint import raster_arrays

    label, x, y, area = centroids(raster_arrays(sdata.labels[region])[0])
    frame = gpd.GeoDataFrame(
        {"radius": np.sqrt(area / np.pi)}, geometry=shapely.points(x, y), index=label
    )
    transformations = dict(get_transformation(sdata.labels[region], get_all=True))
    notes.append(f"The cells of section {section!r} are the centroids of the labels {region!r}.")
    return ShapesModel.parse(frame, transformations=transformations)


def _rows(table: AnnData, region: str, frame: Any) -> tuple[Any, Any]:
    """Rows of the table that annotate shapes of a region, and the shapes' index for each."""
    attrs = table.uns.get("spatialdata_attrs", {})
    instances = table.obs_names.to_numpy(dtype=object)
    mine = np.ones(table.n_obs, dtype=bool)
    if attrs.get("instance_key") in table.obs:
        instances = table.obs[attrs["instance_key"]].to_numpy()
    if attrs.get("region_key") in table.obs:
        mine = (table.obs[attrs["region_key"]].astype(str) == region).to_numpy()
    rows = np.flatnonzero(mine & np.isin(instances, frame.index.to_numpy()))
    return rows, instances[rows]


def _set_spots(
    sdata: SpatialData, section: SectionRecord, region: str, frame: Any, keys: Any, ids: Any
) -> None:
    if region in sdata.shapes and np.array_equal(frame.index.to_numpy(dtype=object), ids):
        section.spots = region
        return
    spots = frame.loc[keys].copy()
    spots.index = ids
    spots.attrs = {"transform": dict(frame.attrs["transform"])}
    section.spots = _free(sdata, element_name(section.name, "spots"))
    sdata[section.spots] = spots
    if region in sdata.shapes:
        section.shapes.append(region)


def _set_tables(sdata: SpatialData, section: SectionRecord, name: str, rows: Any) -> None:
    """Enter a table under its modality, split where it holds several."""
    table = sdata.tables[name]
    types = table.var["feature_types"].astype(str) if "feature_types" in table.var else None
    kinds = [""] if types is None or not len(types) else list(dict.fromkeys(types))
    parts: dict[str, list[str]] = {}
    for kind in kinds:
        parts.setdefault(guess_modality(name, kind), []).append(kind)
    whole = len(rows) == table.n_obs and len(parts) == 1
    for modality, kept in parts.items():
        label = modality if modality not in section.tables else name
        if whole and section.spots in _regions(table):
            section.tables[label] = name
            continue
        columns = slice(None) if len(parts) == 1 else types.isin(kept).to_numpy()  # type: ignore[union-attr]
        key = _free(sdata, element_name(section.name, label))
        sdata[key] = annotate(_part(table, rows, columns, whole), str(section.spots))
        section.tables[label] = key


def _part(table: AnnData, rows: Any, columns: Any, whole: bool) -> AnnData:
    from anndata import AnnData

    if not whole:
        return table[rows, columns].copy()
    # The matrices are shared, not copied: they may fill most of the memory.
    return AnnData(
        X=table.X,
        obs=table.obs.copy(),
        var=table.var.copy(),
        obsm=dict(table.obsm),
        layers=dict(table.layers),
        uns={k: v for k, v in table.uns.items() if k != "spatialdata_attrs"},
    )


def _annotation(sdata: SpatialData, section: SectionRecord) -> str | None:
    for table in section.tables.values():
        columns = {str(c).lower(): str(c) for c in sdata.tables[table].obs.columns}
        for wanted in _ANNOTATION_COLUMNS:
            if (
                wanted in columns
                and sdata.tables[table].obs[columns[wanted]].dtype.kind not in "fiu"
            ):
                return columns[wanted]
    return None


def _free(sdata: SpatialData, name: str) -> str:
    taken = {n.lower() for _, n, _ in sdata.gen_elements()}
    out, count = name, 2
    while out.lower() in taken:
        out, count = f"{name}_{count}", count + 1
    return out
