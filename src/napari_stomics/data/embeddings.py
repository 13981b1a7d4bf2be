"""How embeddings and domains are stored: in the tables of every section that they cover."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.fusion import DomainCurve, Domains, Embedding, Loadings
from napari_stomics.data import domain_colours
from napari_stomics.data.changes import Change, SetTableEntry
from napari_stomics.data.homes import categorical, find_table, home_table, text_column
from napari_stomics.data.plans import UNS_PREFIX

if TYPE_CHECKING:
    from napari_stomics.data.schema import RunRecord
    from napari_stomics.data.study import Study

Entries = list[tuple[str, str, Any]]


def _per_section(
    study: Study, result: Any, key: str, entries: Entries, meta: dict[str, Any]
) -> list[Change]:
    """Changes that put the rows of each section into its own table."""
    changes: list[Change] = []
    for i, section in enumerate(result.sections):
        here = result.of == i
        table, made = home_table(study, section, result.ids[here])
        changes += made
        changes += [SetTableEntry(table, slot, name, value[here]) for slot, name, value in entries]
        changes.append(SetTableEntry(table, "uns", UNS_PREFIX + key, dict(meta)))
    return changes


def _tables(study: Study, section: str, key: str) -> tuple[list[Any], dict[str, Any], Any]:
    """Tables of all sections of a result, its scalars, and the index of each row's section."""
    first = find_table(study, section, key)
    meta = first.uns[UNS_PREFIX + key]
    sections = [str(name) for name in meta["sections"]]
    tables = [find_table(study, name, key) for name in sections]
    of = np.repeat(np.arange(len(tables)), [table.n_obs for table in tables])
    return tables, dict(meta) | {"sections": tuple(sections)}, of


def _rows(tables: list[Any], slot: str, name: str) -> NDArray[Any]:
    return np.concatenate([np.asarray(getattr(table, slot)[name]) for table in tables])


def _ids(tables: list[Any]) -> NDArray[Any]:
    return np.concatenate([table.obs_names.to_numpy(object) for table in tables])


def write_embedding(study: Study, result: Embedding, key: str, run_id: str) -> list[Change]:
    """Return the changes that store an embedding under ``key``."""
    meta = {
        "kind": result.kind,
        "sections": list(result.sections),
        "modalities": list(result.modalities),
        "explained_variance": np.asarray(result.explained_variance, float),
        "converged": bool(result.converged),
        "objective": np.asarray(result.objective, float),
        "more": json.dumps({"weights": dict(result.weights), "settings": dict(result.settings)}),
    }
    for i, (name, loadings) in enumerate(result.loadings.items()):
        meta |= {
            f"loadings_{i}": np.asarray(loadings.values, np.float32),
            f"loadings_{i}_features": [str(f) for f in loadings.features],
            f"loadings_{i}_name": name,
        }
    entries: Entries = [
        ("obsm", key, result.values),
        ("obs", f"{key}_disagreement", np.asarray(result.disagreement)),
    ]
    if result.spot_weights.shape[1]:
        entries.append(("obsm", f"{key}_weights", result.spot_weights))
    return _per_section(study, result, key, entries, meta)


def read_embedding(study: Study, key: str, run: RunRecord) -> Embedding:
    """Read a stored embedding back."""
    tables, meta, of = _tables(study, run.step["inputs"]["section"], key)
    weights = f"{key}_weights"
    loadings: dict[str, Loadings] = {}
    while f"loadings_{len(loadings)}" in meta:
        part = f"loadings_{len(loadings)}"
        loadings[str(meta[f"{part}_name"])] = Loadings(
            np.asarray(meta[f"{part}_features"], object), np.asarray(meta[part])
        )
    more = json.loads(str(meta.get("more", "{}")))
    return Embedding(
        section=meta["sections"][0],
        ids=_ids(tables),
        values=_rows(tables, "obsm", key),
        modalities=tuple(str(m) for m in meta["modalities"]),
        disagreement=_rows(tables, "obs", f"{key}_disagreement"),
        explained_variance=np.asarray(meta["explained_variance"]),
        converged=bool(meta["converged"]),
        sections=meta["sections"],
        of=of,
        weights=more.get("weights", {}),
        spot_weights=_rows(tables, "obsm", weights) if weights in tables[0].obsm else None,
        loadings=loadings,
        objective=tuple(float(v) for v in meta.get("objective", ())),
        settings=more.get("settings", {}),
    )


def write_domains(study: Study, result: Domains, key: str, run_id: str) -> list[Change]:
    """Return the changes that store domains under ``key``."""
    meta = {
        "kind": result.kind,
        "sections": list(result.sections),
        "names": list(result.names),
        "ari": float(result.ari),
        "nmi": float(result.nmi),
        "rerun_ari": float(result.rerun_ari),
        "embedding": result.embedding,
        "converged": bool(result.converged),
    }
    if result.curve is not None:
        curve = result.curve
        meta["curve"] = np.stack([curve.counts.astype(float), curve.bic, curve.stability])
        meta["proposed"] = int(curve.proposed)
    entries: Entries = [
        ("obs", key, categorical(result.labels, result.names)),
        ("obs", f"{key}_entropy", np.asarray(result.entropy)),
        ("obs", f"{key}_stability", np.asarray(result.stability)),
        ("obsm", f"{key}_probabilities", result.probabilities),
    ]
    of = enumerate(result.sections)
    homes = [home_table(study, name, result.ids[result.of == i])[0] for i, name in of]
    colours = domain_colours.colours_after(study, homes, result, key)
    listed = [colours[str(name)] for name in result.names]
    painted = [SetTableEntry(home, "uns", domain_colours.entry(key), listed) for home in homes]
    return [*_per_section(study, result, key, entries, meta), *painted]


def read_domains(study: Study, key: str, run: RunRecord) -> Domains:
    """Read stored domains back."""
    return stored_domains(study, run.step["inputs"]["section"], key)


def stored_domains(study: Study, section: str, key: str) -> Domains:
    """Read domains that are stored in the tables of a section.

    Raises
    ------
    KeyError
        If the section has none of that name.
    """
    tables, meta, of = _tables(study, section, key)
    curve = None
    if "curve" in meta:
        counts, bic, stability = np.asarray(meta["curve"])
        curve = DomainCurve(counts.astype(np.intp), bic, stability, int(meta["proposed"]))
    return Domains(
        section=meta["sections"][0],
        ids=_ids(tables),
        labels=np.concatenate([text_column(table.obs[key]) for table in tables]),
        names=tuple(str(n) for n in meta["names"]),
        probabilities=_rows(tables, "obsm", f"{key}_probabilities"),
        entropy=_rows(tables, "obs", f"{key}_entropy"),
        stability=_rows(tables, "obs", f"{key}_stability"),
        ari=float(meta["ari"]),
        nmi=float(meta["nmi"]),
        converged=bool(meta["converged"]),
        sections=meta["sections"],
        of=of,
        curve=curve,
        rerun_ari=float(meta.get("rerun_ari", float("nan"))),
        embedding=str(meta.get("embedding", "")),
    )
