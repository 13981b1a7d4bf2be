import sys
from dataclasses import replace

import numpy as np
import pytest

from napari_stomics.core.errors import JobCancelled, UserError
from napari_stomics.core.fusion import FusionInputs
from napari_stomics.methods.fusion.mofa import MofaParams, fuse_mofa, side_by_side
from tests.methods.fusion.planted import (
    block,
    cancelling_after,
    counts,
    inputs_of,
    quarters,
    quiet,
    same_groups,
)

LABELS = quarters(12)
QUICK = {"n_factors": 4, "iterations": 30}


@pytest.fixture(scope="module")
def inputs() -> FusionInputs:
    return inputs_of(
        block("rna", counts(LABELS, 40, 1)),
        block("protein", counts(LABELS, 12, 2), kind="protein"),
        side=12,
    )


@pytest.fixture
def _library() -> None:
    pytest.importorskip("mofapy2", reason="needs the extra 'mofa'")


def test_without_the_library_the_way_out_is_told(inputs, monkeypatch):
    for name in ("mofapy2", "mofapy2.run", "mofapy2.run.entry_point"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=r"napari-stomics\[mofa\]"):
        quiet(fuse_mofa, inputs, MofaParams())


def test_sections_lie_apart_unless_they_are_registered(inputs):
    two = inputs_of(block("rna", counts(np.tile(LABELS, 2), 10, 1)), side=12, sections=2)
    apart = side_by_side(two)
    gap = apart[two.of == 1].min(axis=0)[0] - apart[two.of == 0].max(axis=0)[0]
    assert gap > 10 * 1100
    placed = two.coordinates + 5
    np.testing.assert_array_equal(side_by_side(replace(two, placed=placed)), placed)


@pytest.mark.usefixtures("_library")
def test_groups_are_found_and_factors_explained(inputs):
    made = quiet(fuse_mofa, inputs, MofaParams(**QUICK))
    assert same_groups(made.values, LABELS) > 0.9
    assert made.loadings["rna"].values.shape == (4, 40)
    assert (np.diff(made.objective[1:]) > -1).all()
    assert 0 < made.settings["explained"]["rna"] < 1


@pytest.mark.usefixtures("_library")
def test_spots_without_a_modality_keep_their_place(inputs):
    rows = np.flatnonzero(LABELS != 3)
    protein = replace(inputs.blocks[1], x=inputs.blocks[1].x[rows], rows=rows)
    partly = replace(inputs, blocks=(inputs.blocks[0], protein))
    made = quiet(fuse_mofa, partly, MofaParams(**QUICK))
    assert same_groups(made.values, LABELS) > 0.9


@pytest.mark.usefixtures("_library")
def test_factors_can_be_smooth_in_space(inputs):
    params = MofaParams(n_factors=3, spatial=True, iterations=11, optimise_every=10, inducing=40)
    made = quiet(fuse_mofa, inputs, params)
    assert same_groups(made.values, LABELS) > 0.8
    assert len(made.settings["lengths_um"]) == 3


@pytest.mark.usefixtures("_library")
def test_it_repeats_and_stops_when_cancelled(inputs, capsys):
    first = quiet(fuse_mofa, inputs, MofaParams(**QUICK))
    again = quiet(fuse_mofa, inputs, MofaParams(**QUICK))
    np.testing.assert_array_equal(first.values, again.values)
    assert capsys.readouterr().out == ""
    with pytest.raises(JobCancelled):
        fuse_mofa(inputs, MofaParams(**QUICK), cancelling_after(20))


@pytest.mark.usefixtures("_library")
def test_bad_input_is_refused_with_the_way_out(inputs):
    negative = replace(inputs.blocks[0], x=-inputs.blocks[0].x)
    with pytest.raises(UserError, match="negative values"):
        quiet(fuse_mofa, replace(inputs, blocks=(negative,)), MofaParams(**QUICK))
