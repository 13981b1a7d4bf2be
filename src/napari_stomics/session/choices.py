"""What a reference of a step may be set to, given what the study holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from napari_stomics.core.plans import TransportPlan

if TYPE_CHECKING:
    from napari_stomics.data.study import Study

_NOT_MEASURED = ("prediction", "carried_values")
"""Results that are tables of a section and are no modality to go on from."""

_OWN_SUFFIXES = ("_entropy", "_stability", "_disagreement", "_probabilities", "_weights")


def choices(study: Study, role: str, chosen: Mapping[str, Any]) -> list[str]:
    """Names that a reference of a role may take.

    Parameters
    ----------
    study
        The study.
    role
        Role as declared by :func:`napari_stomics.data.collect.ref`, for instance
        ``section`` or ``modality:source``; what stands behind the colon names
        the field that holds the section, or says ``giving``: the section that a
        plan is followed from.
    chosen
        Values of the step's other references so far.
    """
    kind, _, field = role.partition(":")
    if kind in ("section", "sections"):
        return list(study.record.sections)
    if kind == "reference":
        return list(study.record.references)
    if kind in _BY_REFERENCE:
        reference = chosen.get(field)
        known = reference in study.record.references
        return _BY_REFERENCE[kind](study, str(reference)) if known else []
    if kind == "plan":
        return list(dict.fromkeys(_plans(study)))
    section = _giving(chosen) if field == "giving" else chosen.get(field)
    if isinstance(section, list | tuple):
        section = section[0] if section else None
    if kind in _BY_SECTION and section in study.record.sections:
        return _BY_SECTION[kind](study, str(section))
    return []


def suggested(study: Study, role: str, position: int) -> str | None:
    """A sensible first choice: the second section moves onto the first one."""
    names = list(study.record.sections)
    if role != "section" or not names:
        return None
    return names[1 if position == 0 and len(names) > 1 else 0]


def sections_of_plan(study: Study, plan: str) -> tuple[str, str]:
    """Names of the sections that a stored plan leads from and to; empty if it is not logged."""
    from napari_stomics.data.plans import plan_name

    for run in reversed(study.record.runs):
        inputs = run.step["inputs"]
        if run.kind == TransportPlan.kind and plan == plan_name(
            inputs["source"], inputs["target"], run.key
        ):
            return str(inputs["source"]), str(inputs["target"])
    return "", ""


def _giving(chosen: Mapping[str, Any]) -> str | None:
    backwards = chosen.get("direction") == "target to source"
    return chosen.get("target" if backwards else "source")


def _plans(study: Study) -> list[str]:
    from napari_stomics.data.plans import plan_name

    out = []
    for run in reversed(study.record.runs):
        if run.kind == TransportPlan.kind:
            inputs = run.step["inputs"]
            out.append(plan_name(inputs["source"], inputs["target"], run.key))
    return out


def _modalities(study: Study, section: str) -> list[str]:
    here = study.section(section)
    return [m for m in _tables(study, section) if here.table(m).n_vars]


def _tables(study: Study, section: str) -> list[str]:
    """Modalities, and a table that holds results alone."""
    made = {run.key for run in study.record.runs if run.kind in _NOT_MEASURED}
    return [m for m in study.section(section).modalities if m not in made]


def _images(study: Study, section: str) -> list[str]:
    return list(study.record.sections[section].images)


def _columns(study: Study, section: str) -> list[str]:
    """Columns of labels, the annotation first."""
    from napari_stomics.data.build import INSTANCE_KEY, REGION_KEY

    here = study.section(section)
    found = [here.record.annotation] if here.record.annotation else []
    for modality in here.modalities:
        obs = here.table(modality).obs
        for column in obs.columns:
            text = str(obs[column].dtype) in ("category", "object", "string", "str")
            if text and column not in (REGION_KEY, INSTANCE_KEY):
                found.append(str(column))
    return list(dict.fromkeys(found))


def _domains(study: Study, section: str) -> list[str]:
    """Columns of labels, those that domains were stored in first, the newest in front."""
    columns = _columns(study, section)
    found = [run.key for run in reversed(study.record.runs) if run.kind == "domains"]
    return list(dict.fromkeys([key for key in found if key in columns] + columns))


def _numbers(study: Study, section: str) -> list[str]:
    """Columns that hold numbers."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    here = study.section(section)
    found = []
    for modality in _tables(study, section):
        obs = here.table(modality).obs
        found += [str(c) for c in obs if is_numeric_dtype(obs[c]) and not is_bool_dtype(obs[c])]
    return list(dict.fromkeys(found))


def _embeddings(study: Study, section: str) -> list[str]:
    """Embeddings, the newest result first, then what came with the tables."""
    here = study.section(section)
    runs = [run.key for run in reversed(study.record.runs) if run.kind == "embedding"]
    stored = [str(key) for m in here.modalities for key in here.table(m).obsm]
    stored = [k for k in stored if k != "spatial" and not k.endswith(_OWN_SUFFIXES)]
    return list(dict.fromkeys([k for k in runs if k in stored] + stored))


def _others(study: Study, section: str) -> list[str]:
    return [name for name in study.record.sections if name != section]


def _cell_modalities(study: Study, reference: str) -> list[str]:
    return list(study.reference(reference).modalities)


def _cell_columns(study: Study, reference: str) -> list[str]:
    """Columns of labels of the cells, the one that the reference names first."""
    here = study.reference(reference)
    found = [here.record.labels] if here.record.labels else []
    for modality in here.modalities:
        obs = here.table(modality).obs
        texts = ("category", "object", "string", "str")
        found += [str(column) for column in obs.columns if str(obs[column].dtype) in texts]
    return list(dict.fromkeys(found))


_BY_REFERENCE: dict[str, Callable[[Study, str], list[str]]] = {
    "cell_modality": _cell_modalities,
    "cell_modalities": _cell_modalities,
    "cell_column": _cell_columns,
}

_BY_SECTION: dict[str, Callable[[Study, str], list[str]]] = {
    "modality": _modalities,
    "modalities": _modalities,
    "image": _images,
    "column": _columns,
    "labels": _columns,
    "columns": _columns,
    "domains": _domains,
    "numbers": _numbers,
    "embedding": _embeddings,
    "embeddings": _embeddings,
    "others": _others,
}
