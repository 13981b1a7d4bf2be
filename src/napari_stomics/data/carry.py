"""What is carried from one section to another, gathered: labels, numbers, areas, nuclei."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.carried import AggregationInputs, ValueTransferInputs
from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import LabelTransferInputs, NucleiInputs, Spots
from napari_stomics.core.params import Params
from napari_stomics.data.references import distinct, ref

if TYPE_CHECKING:
    from napari_stomics.core.transforms import Transform
    from napari_stomics.data.study import Section, Study

Direction = Literal["source to target", "target to source"]


class PlanRefs(Params):
    """A stored transport plan, and which way to go along it."""

    plan: str = ref("plan", "Transport plan")
    source: str = ref("section", "From section")
    target: str = ref("section", "To section")
    direction: Direction = ref(
        "choice",
        "Direction",
        "source to target",
        "Along the plan, or against it: then the plan's fixed section gives and its moving "
        "section receives.",
    )


class LabelTransferRefs(PlanRefs):
    """A stored transport plan and a column of labels."""

    column: str = ref("column:giving", "Labels", description="Column of obs that is carried over.")


class ValueTransferRefs(PlanRefs):
    """A stored transport plan, and the genes and numbers that go along it."""

    modality: str | None = ref(
        "modality:giving", "Modality", "rna", "Whose features are carried; none: columns alone."
    )
    genes: tuple[str, ...] = ref(
        "names", "Features", (), "By name; without any, the most variable ones."
    )
    columns: tuple[str, ...] = ref(
        "numbers:giving", "Columns", (), "Columns of obs that hold numbers."
    )


class AggregationRefs(Params):
    """Two registered sections, and what is gathered from the one on the other."""

    source: str = ref("section", "From section", description="Pixels, cells or spots.")
    target: str = ref("section", "On section", description="Whose spots take the values up.")
    modality: str | None = ref("modality:source", "Modality", "rna")
    column: str | None = ref(
        "labels:source",
        "Labels instead",
        None,
        "Column of labels: gathers how many elements of each label, or their share.",
    )


class NucleiRefs(Params):
    """A section with an image that shows nuclei and a section of cells."""

    source: str = ref("section", "Section with the image")
    target: str = ref("section", "Section with the cells")
    image: str | None = ref("image:source", "Image", None)
    use_registration: bool = ref(
        "flag", "Start from the registration", True, "Else the pose is searched."
    )


def ends_of(inputs: Any) -> tuple[str, str]:
    """Giving and receiving section of a step's references (a model or a mapping)."""
    values = inputs if isinstance(inputs, dict) else inputs.model_dump()
    source, target = str(values["source"]), str(values["target"])
    return (target, source) if values.get("direction") == "target to source" else (source, target)


def collect_labels(study: Study, refs: LabelTransferRefs) -> LabelTransferInputs:
    """A plan in the direction asked for with the labels of both sections."""
    giving, receiving = (study.section(name) for name in ends_of(refs))
    plan = _oriented(study, refs)[0]
    labels = giving.labels(refs.column)
    if labels is None:
        raise UserError(
            f"Section {giving.name!r} has no column {refs.column!r}.",
            "Choose a column of its tables that holds labels.",
        )
    return LabelTransferInputs(
        source=giving.name,
        target=receiving.name,
        plan=plan,
        target_ids=receiving.ids,
        source_labels=labels,
        target_labels=receiving.labels(refs.column),
    )


def collect_values(study: Study, refs: ValueTransferRefs) -> ValueTransferInputs:
    """A plan in the direction asked for with genes and columns of both sections."""
    giving, receiving = (study.section(name) for name in ends_of(refs))
    if refs.modality is None and not refs.columns:
        raise UserError("Nothing is chosen to be carried.", "Choose a modality, or columns.")
    plan, asked, features = _oriented(study, refs)
    spots = None if refs.modality is None else giving.spots(refs.modality)
    there = refs.modality in receiving.modalities if refs.modality else False
    columns = {name: numbers(giving, name) for name in refs.columns}
    missing = [name for name, values in columns.items() if values is None]
    if missing:
        raise UserError(
            f"Section {giving.name!r} has no column of numbers named {missing[0]!r}.",
            "Choose columns of its tables that hold numbers, or transfer labels.",
        )
    also = {name: numbers(receiving, name) for name in refs.columns}
    return ValueTransferInputs(
        source=giving.name,
        target=receiving.name,
        plan=plan,
        coordinates=giving.coordinates,
        target_ids=receiving.ids,
        asked=asked,
        spots=spots,
        measured=receiving.spots(str(refs.modality)) if there else None,
        genes=refs.genes,
        columns={name: values for name, values in columns.items() if values is not None},
        measured_columns={name: values for name, values in also.items() if values is not None},
        plan_features=features,
    )


def collect_aggregation(study: Study, refs: AggregationRefs) -> AggregationInputs:
    """Elements of two sections, their sizes and the map between them."""
    distinct(refs.source, refs.target)
    source, target = study.section(refs.source), study.section(refs.target)
    if refs.column is not None:
        giving = _labelled(source, refs.column)
    elif refs.modality is not None:
        giving = source.spots(refs.modality)
    else:
        raise UserError("Nothing is chosen to be gathered.", "Choose a modality, or a column.")
    return AggregationInputs(
        giving=giving,
        receiving=bare_spots(target),
        giving_diameters=source.diameters,
        receiving_diameters=target.diameters,
        transform=_registered(study, refs.source, refs.target),
    )


def collect_nuclei(study: Study, refs: NucleiRefs) -> NucleiInputs:
    """An image, the positions of cells and, where it is known, the map between them."""
    distinct(refs.source, refs.target)
    known = study.registration(refs.source, refs.target) if refs.use_registration else None
    return NucleiInputs(
        image=study.section(refs.source).image(refs.image),
        cells=bare_spots(study.section(refs.target)),
        initial=known,
    )


def bare_spots(section: Section) -> Spots:
    """Positions of a section's spots or cells, without features."""
    return Spots(
        section=section.name,
        ids=section.ids,
        coordinates=section.coordinates,
        x=np.zeros((len(section.ids), 0), np.float32),
        features=np.zeros(0, object),
        modality="",
        labels=None,
        pitch=section.pitch,
    )


def numbers(section: Section, column: str) -> NDArray[np.float64] | None:
    """(n,) numbers of a column of ``obs`` in any table, NaN where missing; None without it."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    for modality in section.modalities:
        obs = section.table(modality).obs
        if column in obs and is_numeric_dtype(obs[column]) and not is_bool_dtype(obs[column]):
            return np.asarray(obs[column].to_numpy(dtype=np.float64, na_value=np.nan))
    return None


def _oriented(study: Study, refs: PlanRefs) -> tuple[Any, Any, frozenset[str] | None]:
    """The plan from giving to receiving spots, the mass asked of these, and what it has seen."""
    from napari_stomics.data.plans import read_plan_table

    if refs.plan not in study.sdata.tables:
        raise UserError(
            f"There is no transport plan {refs.plan!r} in this study.",
            "Run an alignment of the two sections first.",
        )
    table = study.sdata.tables[refs.plan]
    source, target = study.section(refs.source), study.section(refs.target)
    try:
        plan = read_plan_table(study, table)
    except (KeyError, StopIteration) as error:
        raise UserError(
            f"The table {refs.plan!r} holds no transport plan.", "Choose a plan."
        ) from error
    if not (
        np.array_equal(plan.source_ids, source.ids) and np.array_equal(plan.target_ids, target.ids)
    ):
        raise UserError(
            f"The plan {refs.plan!r} does not belong to {refs.source!r} and {refs.target!r} "
            "as they are now.",
            "Align the two sections again.",
        )
    seen = frozenset(map(str, plan.features))
    names = {str(n) for s in (source, target) for m in s.modalities for n in s.table(m).var_names}
    # An embedding's components are nobody's features: what went into them is not known.
    features = seen if seen & names else None
    if refs.direction == "target to source":
        return plan.plan.T.tocsr(), plan.source_mass, features
    return plan.plan, plan.target_mass, features


def _labelled(section: Section, column: str) -> Spots:
    """One feature per label, 1 where an element has it."""
    from dataclasses import replace

    from scipy import sparse

    labels = section.labels(column)
    if labels is None or not (labels != "").any():
        raise UserError(
            f"Section {section.name!r} has no column of labels {column!r}.",
            "Choose a column of its tables that holds labels.",
        )
    names = np.array(sorted(set(labels) - {""}), object)
    rows = np.flatnonzero(labels != "")
    where = np.searchsorted(names.astype(str), labels[rows].astype(str))
    shape = (len(labels), len(names))
    x = sparse.csr_array((np.ones(len(rows)), (rows, where)), shape=shape)
    return replace(bare_spots(section), x=x, features=names, modality="labels")


def _registered(study: Study, source: str, target: str) -> Transform:
    found = study.registration(source, target)
    if found is None:
        raise UserError(
            f"Sections {source!r} and {target!r} are not registered with each other.",
            "Register them first, by landmarks, images or a transport plan.",
        )
    return found
