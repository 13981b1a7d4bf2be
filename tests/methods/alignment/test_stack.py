from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from napari_stomics.core.errors import JobCancelled, UserError
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.stacks import StackInputs
from napari_stomics.core.transforms import Affine
from napari_stomics.methods.alignment.stack import StackParams, align_stack
from tests.small import small_simulation

SHAPE = {
    "n_sections": 4,
    "n_spots": 260,
    "n_genes": 200,
    "n_domains": 5,
    "rna_effect": 0.6,
    "rotation": 50.0,
    "um_per_px": None,
    "n_proteins": 0,
    "seed": 4,
}


@cache
def simulated(**changes):
    return small_simulation(**{**SHAPE, **changes})


def inputs(simulation, reference: int = 0) -> StackInputs:
    sections = tuple(s.spots("rna") for s in simulation.study.sections.values())
    return StackInputs(sections, sections[reference].section, np.full(len(sections), np.nan))


def errors(simulation, given, transforms) -> np.ndarray:
    """(s,) root mean square distance from the truth, in pitches."""
    out = []
    for spots, transform in zip(given.sections, transforms, strict=True):
        true = simulation.truth.transform(spots.section, given.reference)
        gap = transform.apply(spots.coordinates) - true.apply(spots.coordinates)
        out.append(np.sqrt((gap**2).sum(axis=1).mean()) / spots.pitch)
    return np.array(out)


@pytest.mark.parametrize("reference", [0, 2])
def test_sections_come_to_lie_where_they_belong(reference):
    simulation = simulated()
    given = inputs(simulation, reference)
    found = align_stack(given, StackParams(), JobContext())
    assert errors(simulation, given, found.transforms).max() < 0.6
    assert found.converged
    assert len(found.edges) == 5
    assert np.median(found.loops) < 0.5 * given.sections[0].pitch
    np.testing.assert_allclose(found.transform(given.reference).linear_part().matrix, np.eye(3))
    assert {r.source for r in found.registrations} == set(given.names) - {given.reference}


def test_sections_that_lie_face_down_are_turned_over():
    simulation = simulated(mirror=True)
    given = inputs(simulation)
    found = align_stack(given, StackParams(), JobContext())
    assert found.summary()["mirrored"] == ["section_2", "section_4"]
    assert errors(simulation, given, found.transforms).max() < 0.6


def test_the_dense_solver_gives_the_same_stack():
    simulation = simulated(n_sections=3)
    given = inputs(simulation)
    found = [align_stack(given, StackParams(solver=s), JobContext()) for s in ("fast", "dense")]
    for a, b, spots in zip(found[0].transforms, found[1].transforms, given.sections, strict=True):
        gap = np.linalg.norm(a.apply(spots.coordinates) - b.apply(spots.coordinates), axis=1)
        assert gap.max() < spots.pitch


def test_bends_follow_the_deformation_that_a_rigid_map_cannot():
    simulation = simulated(warp_rms=1.2, n_spots=500, n_sections=3)
    given = inputs(simulation, 1)
    rigid, bent = (align_stack(given, StackParams(bend=b), JobContext()) for b in (False, True))
    after = errors(simulation, given, bent.transforms).mean()
    assert after < 0.85 * errors(simulation, given, rigid.transforms).mean()
    assert not isinstance(bent.transforms[0], Affine)
    assert isinstance(bent.transforms[1], Affine)


def test_a_section_that_starts_from_a_wrong_registration_is_found_by_the_others():
    """The start of one pair is upside down: the others contradict it, and it is tried again."""
    simulation = simulated()
    given = inputs(simulation)
    names, spots = given.names, given.sections
    initial = {
        (a, b): simulation.truth.transform(a, b).linear_part()
        for i, a in enumerate(names)
        for b in names[i + 1 :]
    }
    middle = spots[1].coordinates.mean(axis=0)
    half = Affine(np.array([[-1, 0, 2 * middle[0]], [0, -1, 2 * middle[1]], [0, 0, 1.0]]))
    initial[names[1], names[2]] = half.then(initial[names[1], names[2]])
    params = StackParams(prior="registration")
    found = align_stack(replace(given, initial=initial), params, JobContext())
    assert errors(simulation, given, found.transforms).max() < 0.8


def test_labels_do_not_move_anything():
    simulation = simulated(n_sections=3)
    given = inputs(simulation)
    bare = replace(given, sections=tuple(replace(s, labels=None) for s in given.sections))
    a, b = (align_stack(g, StackParams(), JobContext()) for g in (given, bare))
    for one, other in zip(a.transforms, b.transforms, strict=True):
        np.testing.assert_array_equal(one.linear_part().matrix, other.linear_part().matrix)
    assert a.summary()["median_label_accuracy"] > 0.6
    assert "median_label_accuracy" not in b.summary()


def test_one_section_or_one_twice_is_refused():
    given = inputs(simulated())
    for sections in (given.sections[:1], (given.sections[0], given.sections[0])):
        with pytest.raises(UserError, match="two or more different sections"):
            align_stack(replace(given, sections=sections), StackParams(), JobContext())


def test_a_pair_that_cannot_be_compared_is_named():
    given = inputs(simulated())
    odd = replace(given.sections[1], features=np.array([f"x{i}" for i in range(200)], object))
    sections = (given.sections[0], odd, *given.sections[2:])
    with pytest.raises(UserError, match="section_1 to section_2"):
        align_stack(replace(given, sections=sections), StackParams(), JobContext())


def test_it_stops_when_cancelled():
    calls: list[str] = []
    ctx = JobContext(lambda f, m: calls.append(m), is_cancelled=lambda: len(calls) > 5)
    with pytest.raises(JobCancelled):
        align_stack(inputs(simulated()), StackParams(), ctx)
