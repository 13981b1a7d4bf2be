"""Colours of domains: stored as scanpy has them, and kept by what the domains stand for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_stomics.core.fusion import Domains
from napari_stomics.core.palette import PALETTE, palette
from napari_stomics.data.changes import apply_all, revert_all
from napari_stomics.data.domain_colours import (
    carried_colours,
    domain_colours,
    table_colours,
)
from napari_stomics.data.embeddings import write_domains
from tests.layers.studies import grid, pair


def domains(study, labels, sections=("A",)):
    names = tuple(dict.fromkeys(sorted(set(labels))))
    ids = np.concatenate([study.section(name).ids for name in sections])
    n = len(ids)
    return Domains(
        section=sections[0],
        ids=ids,
        labels=np.asarray(labels, object),
        names=names,
        probabilities=np.full((n, len(names)), 1 / len(names)),
        entropy=np.ones(n),
        stability=np.ones(n),
        sections=sections,
        of=np.repeat(np.arange(len(sections)), n // len(sections)),
    )


def stored(study, labels, sections=("A",), key="found"):
    made = domains(study, labels, sections)
    changes = write_domains(study, made, key, "run")
    apply_all(study, changes)
    return made, changes


def thirds():
    n = len(grid())
    return np.array(["D1", "D2", "D3"], object)[np.arange(n) * 3 // n]


def test_first_colours_are_those_of_the_palette_and_stand_beside_the_column():
    study = pair()
    made, changes = stored(study, thirds())
    table = study.section("A").table("rna")
    assert list(table.uns["found_colors"]) == list(PALETTE[:3])
    assert list(table.obs["found"].cat.categories) == ["D1", "D2", "D3"]
    assert domain_colours(study, made, "found") == table_colours(table, "found")
    revert_all(study, changes)
    assert "found_colors" not in table.uns


def test_a_new_result_keeps_the_colours_of_what_it_stands_for():
    study = pair()
    made, _ = stored(study, thirds())
    apply_all(
        study,
        write_domains(
            study,
            replace(made, colours={"D1": "#111111", "D2": "#222222", "D3": "#333333"}),
            "found",
            "run",
        ),
    )
    assert domain_colours(study, made, "found")["D2"] == "#222222"
    swapped = np.array([{"D1": "D3", "D2": "D2", "D3": "D1"}[v] for v in thirds()], object)
    again, changes = stored(study, swapped)
    assert domain_colours(study, again, "found") == {
        "D1": "#333333", "D2": "#222222", "D3": "#111111",
    }  # fmt: skip
    revert_all(study, changes)
    assert domain_colours(study, made, "found")["D1"] == "#111111"


@pytest.mark.parametrize(
    ("labels", "names", "expected"),
    [
        (["x", "x", "x", "D2", "D2", "D2"], ["x", "D2"], {"x": "#a00000", "D2": "#00b000"}),
        (["D1"] * 6, ["D1"], {"D1": "#a00000"}),
        (["D1", "D1", "D1b", "D2", "D2", "D2"], ["D1", "D1b", "D2"], {"D1": "#a00000"}),
    ],
)
def test_colours_follow_renaming_merging_and_splitting(labels, names, expected):
    former = np.array(["D1"] * 3 + ["D2"] * 3, object)
    colours = {"D1": "#a00000", "D2": "#00b000"}
    found = carried_colours(former, colours, np.array(labels, object), names)
    assert list(found) == names
    assert expected.items() <= found.items()
    assert len(set(found.values())) == len(names)


def test_one_domain_has_one_colour_in_every_section():
    study = pair()
    labels = np.concatenate([thirds(), np.where(thirds() == "D1", "D4", thirds())])
    made, _ = stored(study, labels, ("A", "B"))
    first, second = (study.section(name).table("rna") for name in "AB")
    assert table_colours(first, "found") == table_colours(second, "found")
    assert set(domain_colours(study, made, "found")) == {"D1", "D2", "D3", "D4"}


def test_colours_that_do_not_fit_the_column_are_not_used():
    study = pair()
    made, _ = stored(study, thirds())
    study.section("A").table("rna").uns["found_colors"] = ["#000000"]
    assert domain_colours(study, made, "found") == palette(["D1", "D2", "D3"])


def test_free_colours_are_none_of_those_in_use():
    assert palette(["a", "b"], taken=[PALETTE[0]]) == {"a": PALETTE[1], "b": PALETTE[2]}
    many = palette([str(i) for i in range(60)])
    assert len(set(many.values())) == 60


def test_colours_outlive_saving_and_opening(tmp_path):
    from napari_stomics.data.store import save_store
    from napari_stomics.data.study import open_study

    study = pair()
    made, _ = stored(study, thirds())
    wanted = {"D1": "#111111", "D2": "#222222", "D3": "#333333"}
    apply_all(study, write_domains(study, replace(made, colours=wanted), "found", "run"))
    save_store(study, tmp_path / "study.zarr")
    assert domain_colours(open_study(tmp_path / "study.zarr"), made, "found") == wanted
