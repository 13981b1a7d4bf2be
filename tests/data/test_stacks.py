"""Stacks and consensus slices are stored, and read back from disk as they were."""

import numpy as np
import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.core.transforms import Affine
from napari_stomics.data.collect import COLLECTORS
from napari_stomics.data.results import load_result
from napari_stomics.data.stacks import StackRefs
from napari_stomics.data.store import save_store
from napari_stomics.data.study import open_study
from napari_stomics.workflow.steps import Step, run_step
from tests.small import hushed, small_simulation


def _study():
    return small_simulation(n_sections=3, n_spots=200, um_per_px=None, n_proteins=0).study


def test_sections_are_ordered_by_height_and_the_middle_one_stays():
    study = _study()
    for name, z in zip(study.sections, (30.0, 10.0, 20.0), strict=True):
        study.record.sections[name].z_um = z
    collect = gathered
    found = collect(study, StackRefs(sections=tuple(study.sections)))
    assert found.names == ("section_2", "section_3", "section_1")
    assert found.reference == "section_3"
    np.testing.assert_array_equal(found.heights, [10, 20, 30])
    kept = collect(study, StackRefs(sections=tuple(study.sections), by_height=False))
    assert kept.names == tuple(study.sections)
    assert kept.initial == {}
    assert ("section_1", "section_2") in kept.landmarks


def test_one_section_is_no_stack():
    with pytest.raises(UserError, match="two or more"):
        gathered(_study(), StackRefs(sections=("section_1",)))


def test_a_stack_is_stored_as_registrations_and_comes_back(tmp_path):
    study = _study()
    names = list(study.sections)
    step = Step(method="stack/pairwise", inputs={"sections": names, "reference": names[0]})
    made = run_step(study, step, hushed())
    save_store(study, tmp_path / "s.zarr")
    again = open_study(tmp_path / "s.zarr")
    back = load_result(again, again.record.runs[-1])
    assert back.sections == made.sections
    assert back.loop_names == made.loop_names
    for a, b in zip(back.edges, made.edges, strict=True):
        np.testing.assert_equal(
            {k: v for k, v in vars(a).items() if k != "transform"},
            {k: v for k, v in vars(b).items() if k != "transform"},
        )
        np.testing.assert_allclose(a.transform.matrix, b.transform.matrix)
    xy = study.section(names[2]).coordinates
    np.testing.assert_allclose(
        again.registration(names[2], names[0]).apply(xy),
        made.transform(names[2]).apply(xy),
        atol=1e-6,
    )
    np.testing.assert_array_equal(back.loops, made.loops)


def test_taking_a_stack_back_leaves_no_trace():
    study = _study()
    names = list(study.sections)
    before = study.record.model_dump_json()
    step = Step(method="stack/pairwise", inputs={"sections": names})
    outcome = step.resolve().collect(study).run(hushed())
    outcome.commit(study)
    assert study.registration(names[0], names[1]) is not None
    outcome.revert(study)
    assert study.record.model_dump_json() == before
    assert not any(key.startswith("stomics_") for t in study.sdata.tables.values() for key in t.uns)


def test_a_consensus_is_a_table_of_the_reference_and_comes_back(tmp_path):
    study = _study()
    names = list(study.sections)
    params = {"factors": 4, "n_genes": 60, "rounds": 2, "tolerance": 0.2}
    inputs = {"sections": names, "reference": names[1]}
    step = Step(method="stack/paste-center", inputs=inputs, params=params, key="centre")
    made = run_step(study, step, hushed())
    save_store(study, tmp_path / "s.zarr")
    again = open_study(tmp_path / "s.zarr")
    table = again.section(names[1]).table("centre")
    assert table.obsm["factors"].shape == (table.n_obs, 4)
    np.testing.assert_allclose(np.asarray(table.X), made.expression, rtol=1e-5)
    back = load_result(again, again.record.runs[-1])
    for name in ("factors", "loadings", "weights", "mass", "entropy", "objective"):
        np.testing.assert_allclose(getattr(back, name), getattr(made, name))
    np.testing.assert_array_equal(back.features, made.features)
    assert (back.section, back.sections, back.reason) == (made.section, made.sections, made.reason)


def test_registrations_may_be_what_a_stack_starts_from():
    from napari_stomics.core.results import Registration
    from napari_stomics.data.warp import store_registration

    study = _study()
    shift = Affine(np.array([[1, 0, 5.0], [0, 1, 7.0], [0, 0, 1]]))
    store_registration(study, Registration("section_1", "section_2", shift, "affine", "landmarks"))
    refs = StackRefs(sections=tuple(study.sections), use_registration=True)
    found = gathered(study, refs)
    assert set(found.initial) == {("section_1", "section_2")}


def gathered(study, refs):
    from napari_stomics.core.stacks import StackInputs

    return COLLECTORS[StackInputs].collect(study, refs)
