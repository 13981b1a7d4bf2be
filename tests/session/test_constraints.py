"""Painted constraints: names, regions, undo, and what is kept with the study."""

from __future__ import annotations

import numpy as np
import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.data.spot_pairs import SpotPairRefs, collect_spot_pair
from napari_stomics.session.constraints import ConstraintModel, PaintedConstraint
from napari_stomics.session.session import Session
from tests.docks.desk import two_sections

BOX = ((0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0))
LEFT = ((130.0, 70.0), (190.0, 70.0), (190.0, 400.0), (130.0, 400.0))


@pytest.fixture
def model():
    return ConstraintModel()


def test_names_are_free_by_kind_and_unique(model):
    regions = {"a": [BOX], "b": [BOX]}
    assert model.add("match", regions) == "Region 1"
    assert model.add("forbid", regions) == "Forbidden 1"
    assert model.add("match", regions) == "Region 2"
    model.remove(["Region 1"])
    assert model.add("match", regions) == "Region 1"
    with pytest.raises(UserError, match="already"):
        model.add("match", regions, "Region 2")
    with pytest.raises(UserError, match="already"):
        model.rename("Region 1", "Region 2")
    with pytest.raises(UserError, match="needs a name"):
        model.rename("Region 1", "  ")
    with pytest.raises(UserError, match="no constraint"):
        model.rename("gone", "x")


@pytest.mark.parametrize(
    "polygon",
    [BOX[:2], ((0, 0), (1, 1), (np.nan, 0)), ((0, 0), (0, 5), (0, 9)), ()],
)
def test_outlines_that_enclose_nothing_are_refused(model, polygon):
    with pytest.raises(UserError, match="encloses nothing"):
        model.add("match", {"a": [BOX], "b": [polygon]})
    assert model.constraints == ()
    assert not model.undo_stack.undo_text


def test_one_section_is_not_enough(model):
    for regions in ({"a": [BOX]}, {"a": [BOX], "b": []}):
        with pytest.raises(UserError, match="two sections"):
            model.add("match", regions)


def test_every_action_is_undone_and_done_again_and_announced(model):
    seen = []
    model.changed.connect(lambda: seen.append(model.names))
    states = [model.constraints]
    model.add("match", {"a": [BOX], "b": [BOX, LEFT]})
    states.append(model.constraints)
    model.rename("Region 1", "hilus")
    states.append(model.constraints)
    model.add("forbid", {"a": [BOX], "b": [BOX]})
    states.append(model.constraints)
    model.remove(["hilus", "not there"])
    states.append(model.constraints)
    assert model.undo_stack.undo_text == "Delete hilus"
    for state in reversed(states[:-1]):
        model.undo_stack.undo()
        assert model.constraints == state
    for state in states[1:]:
        model.undo_stack.redo()
        assert model.constraints == state
    assert len(seen) == 4 * 3
    model.remove([])
    model.rename("Forbidden 1", "Forbidden 1")
    assert len(seen) == 4 * 3


def test_between_wants_a_region_in_both(model):
    model.add("match", {"a": [BOX], "b": [BOX]})
    model.add("match", {"b": [BOX], "c": [BOX]})
    assert [r.name for r in model.between("b", "a")] == ["Region 1"]
    assert model.between("a", "c") == ()


def test_records_survive_the_way_through_json(model):
    model.add("forbid", {"a": [BOX], "b": [BOX, LEFT]}, "x")
    (record,) = model.records()
    again = type(record).model_validate_json(record.model_dump_json())
    assert PaintedConstraint.of(again) == model.constraints[0]


def test_the_session_keeps_them_in_the_study():
    session = Session()
    session.open(two_sections())
    session.constraints.add("match", {"A": [LEFT], "B": [LEFT]})
    assert [c.name for c in session.study.record.constraints] == ["Region 1"]
    refs = SpotPairRefs(source="B", target="A", modality="rna")
    (rule,) = collect_spot_pair(session.study, refs).constraints
    assert rule.source.sum() == 12  # two columns of six spots
    session.undo.undo()
    assert session.study.record.constraints == []
    session.undo.redo()
    study = session.study
    session.open(two_sections("C", "D"))
    assert session.constraints.constraints == ()
    session.open(study)
    assert session.constraints.names == ["Region 1"]
    assert not session.undo.undo_text


def test_a_save_under_way_holds_changes_back():
    session = Session()
    session.open(two_sections())
    session.begin_save()
    session.constraints.add("match", {"A": [LEFT], "B": [LEFT]})
    assert session.study.record.constraints == []
    session.end_save(None)
    assert len(session.study.record.constraints) == 1
