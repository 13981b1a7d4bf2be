from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy import sparse

from napari_stomics.core.errors import JobCancelled, UserError
from napari_stomics.core.inputs import Constraint, LandmarkPairs, SpotPair
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.transforms import Affine
from napari_stomics.methods.alignment.fgw import (
    FGWParams,
    align_fgw,
    feature_options,
    split_landmarks,
)
from napari_stomics.metrics.alignment import exact_share, registration_error, within_share
from tests.small import small_simulation

RIGID = FGWParams(bend=False)


@cache
def simulated(**changes):
    """Two sections of about 700 spots, turned by 40 degrees, with their truth."""
    from napari_stomics.data.simulate import SimulationParams, simulate

    plain = {
        "seed": 2, "n_spots": 700, "n_genes": 200, "um_per_px": None, "n_proteins": 0,
        "warp_rms": 0.0, "n_landmarks": 8,
    }  # fmt: skip
    made = simulate(SimulationParams(**(plain | changes)))
    one, two = "section_1", "section_2"
    pair = SpotPair(*(made.study.section(n).spots("rna") for n in (one, two)))
    points = [np.array([m.positions[n] for m in made.truth.landmarks]) for n in (one, two)]
    marks = LandmarkPairs(one, two, tuple(m.name for m in made.truth.landmarks), *points)
    onto = made.truth.transform(one, two)
    return pair, made.truth.sections[one].partners, onto.apply(pair.source.coordinates), marks


def silent(**more):
    return JobContext(on_warning=lambda text: None, **more)


@cache
def solved():
    return align_fgw(simulated()[0], RIGID, silent())


def error(plan, positions, pair):
    carried = plan.registration.transform.apply(pair.source.coordinates)
    return registration_error(carried, positions, pair.target.coordinates, pair.target.pitch)


def test_the_partners_are_found_without_help():
    pair, partners, positions, _ = simulated()
    plan = solved()
    assert exact_share(plan.plan, partners) > 0.97
    assert error(plan, positions, pair) < 0.05
    assert plan.converged
    assert plan.registration.model == "rigid"
    assert plan.registration.driver == "plan"
    assert plan.margin > 0.05
    assert len(plan.registration.candidates) > 1


def test_the_plan_is_sparse_consistent_and_told_in_micrometres():
    pair = simulated()[0]
    plan = solved()
    assert sparse.issparse(plan.plan)
    assert plan.plan.nnz < 8 * len(pair.source.ids)
    assert plan.plan.sum() == pytest.approx(1.0, abs=0.01)
    np.testing.assert_allclose(
        plan.source_coordinates, plan.registration.transform.apply(pair.source.coordinates)
    )
    matched = plan.row_mass > 0
    pulled = (plan.plan @ pair.target.coordinates)[matched] / plan.row_mass[matched, None]
    np.testing.assert_allclose(plan.barycentres[matched], pulled)
    assert np.isnan(plan.barycentres[~matched]).all()
    np.testing.assert_array_equal(np.isnan(plan.entropy), ~matched)
    assert len(plan.objective) == len(plan.marginal_errors)
    assert plan.marginal_errors[-1] == plan.marginal_error


def test_spots_without_a_partner_are_less_sure():
    plan, partners = solved(), simulated()[1]
    assert plan.unmatched[partners < 0].mean() > plan.unmatched[partners >= 0].mean() + 0.3


def test_a_mirrored_section_is_found():
    pair, partners, *_ = simulated(mirror=True)
    plan = align_fgw(pair, RIGID, silent())
    assert exact_share(plan.plan, partners) > 0.95
    assert np.linalg.det(plan.registration.transform.matrix[:2, :2]) == pytest.approx(-1)


def test_a_bent_section_is_bent_back_without_folds():
    pair, _, positions, _ = simulated(
        warp_rms=3.0, warp_length=0.5, n_spots=1500, n_genes=500, rna_gradient=0.2, seed=4
    )
    rigid = align_fgw(pair, RIGID, silent())
    states = []
    bent = align_fgw(pair, FGWParams(), silent(on_state=states.append))
    assert "bend" in [state.phase for state in states]
    assert bent.registration.model == "displacement"
    assert error(bent, positions, pair) < 0.6 * error(rigid, positions, pair)
    assert bent.registration.fold_fraction == 0
    assert np.isfinite(bent.displacement[bent.row_mass > 0]).all()


def test_a_rigid_pair_is_not_bent():
    pair, _, positions, _ = simulated()
    plan = align_fgw(pair, FGWParams(), silent())
    assert plan.registration.model == "rigid"
    assert error(plan, positions, pair) < 0.05


def test_only_common_tissue_takes_part_where_marginals_are_partial():
    pair, _, positions, _ = simulated(crop=0.3, n_spots=1200, seed=5)
    plan = align_fgw(pair, FGWParams(marginals="partial", bend=False), silent())
    xy, pitch = pair.target.coordinates, pair.target.pitch
    assert within_share(plan.plan, positions, xy, pitch) > 0.9
    share = len(pair.target.ids) / 0.9 / len(pair.source.ids)
    assert plan.overlap[0] == pytest.approx(share, abs=0.1)
    assert plan.overlap[1] > 0.97
    far = np.linalg.norm(positions[:, None] - xy, axis=2).min(axis=1) > 3 * pitch
    assert (plan.unmatched[far] == 1).all()


def test_balanced_marginals_are_met():
    pair = simulated()[0]
    params = FGWParams(marginals="balanced", bend=False, iterations=30)
    plan = align_fgw(pair, params, silent())
    assert plan.marginals == "balanced"
    assert plan.marginal_error < 0.02
    assert solved().marginal_error > 0.05


def test_the_exact_solver_meets_them_exactly():
    pair = simulated()[0]
    params = FGWParams(solver="exact", marginals="balanced", bend=False)
    plan = align_fgw(pair, params, silent())
    assert plan.solver == "exact"
    assert plan.marginal_error < 1e-9
    assert plan.converged


def test_distances_alone_along_the_tissue_and_divergences_are_options():
    pair, partners, *_ = simulated()
    start = replace(pair, initial=solved().registration.transform)
    for changes in ({"metric": "none"}, {"structure": "graph"}, {"metric": "kl"}):
        params = FGWParams(bend=False, prior="registration", **changes)
        assert exact_share(align_fgw(start, params, silent()).plan, partners) > 0.8


def test_a_known_map_is_refined_and_a_wrong_one_overruled():
    pair, _, positions, _ = simulated()
    matrix = solved().registration.transform.matrix.copy()
    matrix[:2, 2] += 150.0
    near = Affine(matrix)
    given = FGWParams(bend=False, prior="registration")
    plan = align_fgw(replace(pair, initial=near), given, silent())
    assert error(plan, positions, pair) < 0.05
    assert np.isnan(plan.margin)
    upside_down = Affine(np.diag([-1.0, -1.0, 1.0]))
    plan = align_fgw(replace(pair, initial=upside_down), RIGID, silent())
    assert error(plan, positions, pair) < 0.05


def test_misplaced_landmarks_start_but_do_not_decide():
    pair, _, positions, marks = simulated()
    rng = np.random.default_rng(0)
    off = marks.source_points + rng.normal(0, 3 * pair.source.pitch, marks.source_points.shape)
    misplaced = replace(marks, source_points=off)
    plan = align_fgw(
        replace(pair, landmarks=misplaced), replace_params(prior="landmarks"), silent()
    )
    assert error(plan, positions, pair) < 0.1


def replace_params(**changes):
    return FGWParams(**({"bend": False} | changes))


def test_landmarks_left_out_judge():
    pair, *_, marks = simulated()
    pair = replace(pair, landmarks=marks)
    plan = align_fgw(pair, RIGID, silent())
    assert plan.landmarks == marks.names
    assert np.median(plan.landmark_errors) < 0.2 * pair.source.pitch
    assert np.nanmedian(plan.disagreement) < 0.5 * pair.source.pitch
    used, judges = split_landmarks(marks, FGWParams(prior="landmarks", hold_out_landmarks=4))
    assert judges.names == (marks.names[3], marks.names[7])
    assert set(used.names) | set(judges.names) == set(marks.names)
    used, judges = split_landmarks(marks, FGWParams(prior="pinned"))
    assert used.names == marks.names
    assert judges is None


def test_pinned_landmarks_hold_the_spots_around_them():
    pair, *_, marks = simulated()
    moved = np.array(marks.target_points)
    moved[0] += [2 * pair.source.pitch, 0]
    pair = replace(pair, landmarks=replace(marks, target_points=moved))
    params = FGWParams(prior="pinned")
    for given in (pair, replace(pair, start=solved())):
        plan = align_fgw(given, params, silent())
        carried = plan.registration.transform.apply(marks.source_points)
        gap = np.linalg.norm(carried - moved, axis=1)
        assert gap.max() < 0.3 * pair.source.pitch
        assert plan.registration.fold_fraction == 0


def flags(points, centre, radius):
    return np.linalg.norm(points - centre, axis=1) < radius


def test_matched_and_forbidden_regions_are_honoured():
    pair = simulated()[0]
    xy, other, pitch = pair.source.coordinates, pair.target.coordinates, pair.source.pitch
    spot = int(np.argmin(np.linalg.norm(xy - xy.mean(axis=0), axis=1)))
    there = solved().registration.transform.apply(xy[spot : spot + 1])[0]
    here = flags(xy, xy[spot], 3 * pitch)
    apart = flags(other, there + np.array([8 * pitch, 0]), 3.5 * pitch)
    match = Constraint("these match", "match", here, apart)
    for start in (None, solved()):
        given = replace(pair, constraints=(match,), start=start)
        plan = align_fgw(given, RIGID, silent()).plan.tocoo()
        sent = plan.data > 0
        assert (here[plan.row[sent]] == apart[plan.col[sent]]).all()
        assert here[plan.row[sent]].sum() > 0
    kept = flags(other, there, 3 * pitch)
    forbid = Constraint("not these", "forbid", here, kept)
    plan = align_fgw(replace(pair, constraints=(forbid,)), RIGID, silent()).plan.tocoo()
    assert not (here[plan.row] & kept[plan.col]).any()


def test_constraints_that_leave_no_partner_are_refused_by_name():
    pair = simulated()[0]
    n, m = len(pair.source.ids), len(pair.target.ids)
    here, left = np.arange(n) < 30, np.arange(m) < 40
    one = Constraint("left", "match", here, left)
    other = Constraint("never", "forbid", here, left)
    with pytest.raises(UserError, match=r"'left', 'never' contradict"):
        align_fgw(replace(pair, constraints=(one, other)), RIGID, silent())
    twice = Constraint("right", "match", here, np.arange(m) > m - 40)
    with pytest.raises(UserError, match=r"'left', 'right' contradict"):
        align_fgw(replace(pair, constraints=(one, twice)), RIGID, silent())


def test_going_on_from_a_former_plan_keeps_its_answer():
    pair, partners, *_ = simulated()
    steps = []
    again = align_fgw(
        replace(pair, start=solved()),
        RIGID,
        silent(on_progress=lambda fraction, message: steps.append(message)),
    )
    assert exact_share(again.plan, partners) >= exact_share(solved().plan, partners) - 0.01
    assert len(again.objective) <= len(solved().objective)
    assert again.margin == solved().margin
    assert not any("rotations" in message for message in steps)


def test_it_is_shown_while_it_runs():
    pair = simulated()[0]
    states = []
    align_fgw(pair, FGWParams(), silent(on_state=states.append))
    phases = [state.phase for state in states]
    assert phases[0] == "refine"
    assert "solve" in phases
    last = states[-1]
    assert last.positions.shape == last.barycentres.shape == (len(pair.source.ids), 2)
    assert len(last.objective) == len(last.marginal_errors) > 1
    assert [s.iteration for s in states] == list(range(1, len(states) + 1))


def test_it_can_be_cancelled_and_finished_early():
    pair = simulated()[0]
    with pytest.raises(JobCancelled):
        align_fgw(pair, RIGID, silent(is_cancelled=lambda: True))
    states, said = [], []
    ctx = JobContext(
        on_state=states.append,
        on_warning=said.append,
        is_finishing=lambda: sum(s.phase == "solve" for s in states) >= 2,
    )
    plan = align_fgw(pair, FGWParams(tolerance=1e-9), ctx)
    assert not plan.converged
    assert plan.reason == "stopped by the user"
    assert any("did not converge" in text for text in said)
    assert plan.plan.sum() > 0.9


def test_the_same_answer_twice_and_on_two_threads():
    from napari_stomics.core.jobs import limited_threads

    pair = simulated()[0]
    plans = []
    for threads in (1, 2):
        with limited_threads(threads):
            plans.append(align_fgw(pair, FGWParams(), silent()).plan)
    assert (plans[0] != plans[1]).nnz == 0 or abs(plans[0] - plans[1]).max() < 1e-9


def test_an_empty_spot_and_a_spot_twice_are_handled():
    pair, partners, *_ = simulated()
    x = sparse.lil_matrix(pair.source.x)
    x[5] = 0
    xy = pair.source.coordinates.copy()
    xy[8] = xy[9]
    said = []
    broken = replace(pair, source=replace(pair.source, x=x.tocsr(), coordinates=xy))
    plan = align_fgw(broken, RIGID, JobContext(on_warning=said.append))
    assert exact_share(plan.plan, partners) > 0.95
    assert len(said) >= 2


def test_what_is_not_there_is_asked_for():
    pair = simulated()[0]
    with pytest.raises(UserError, match="no registration"):
        align_fgw(pair, FGWParams(prior="registration"), silent())
    with pytest.raises(UserError, match="0 landmark pairs"):
        align_fgw(pair, FGWParams(prior="landmarks"), silent())


def test_the_method_is_offered_first():
    from napari_stomics.core.registry import registry

    assert registry().get("alignment/fgw").params is FGWParams


def test_images_count_only_where_they_are_to_be_compared():
    """The weight of the images has a default, so it must wait for the user's wish."""
    case = small_simulation().study
    pair = SpotPair(case.section("section_2").spots("rna"), case.section("section_1").spots("rna"))
    params = FGWParams()
    assert feature_options(params, pair).image_weight == 0
    both = (case.section("section_2").histology("rna"), case.section("section_1").histology("rna"))
    seen = feature_options(params, replace(pair, histology=both))
    assert seen.image_weight == params.image_weight > 0
