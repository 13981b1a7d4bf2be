"""Simulated studies hold the truth that they claim."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from napari_stomics.core.errors import JobCancelled, UserError
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.transforms import transform_from_dict
from napari_stomics.data.simulate import Simulation, SimulationParams, simulate

FIRST, SECOND, THIRD = "section_1", "section_2", "section_3"


def simulated(**changes: Any) -> Simulation:
    """Simulate without an image, small unless told otherwise."""
    defaults: dict[str, Any] = {"um_per_px": None, "n_spots": 600, "n_genes": 60}
    return simulate(SimulationParams(**{**defaults, **changes}))


@pytest.fixture(scope="module")
def pair() -> Simulation:
    return simulated(n_spots=1500, warp_rms=2.0, n_genes=300)


def positions(simulation: Simulation, name: str) -> np.ndarray:
    return simulation.study.section(name).coordinates


def partner_errors(simulation: Simulation, source: str, target: str) -> np.ndarray:
    """Return distances (um) of mapped spots to their partners."""
    mates = simulation.truth.sections[source].partners
    found = mates >= 0
    step = simulation.truth.transform(source, target)
    mapped = step.apply(positions(simulation, source)[found])
    return np.linalg.norm(mapped - positions(simulation, target)[mates[found]], axis=1)


def residual_of_affine(source: np.ndarray, target: np.ndarray) -> float:
    """Return the RMS that the best affine map leaves."""
    design = np.column_stack([source, np.ones(len(source))])
    fit = np.linalg.lstsq(design, target, rcond=None)[0]
    return float(np.sqrt(np.mean(np.sum((target - design @ fit) ** 2, axis=1))))


# --- geometry -----------------------------------------------------------------


def test_transform_carries_spots_to_their_partners(pair: Simulation) -> None:
    error = partner_errors(pair, FIRST, SECOND)
    # Jitter of .1 pitch along each axis: a Rayleigh distribution of that scale.
    assert error.mean() == pytest.approx(10 * np.sqrt(np.pi / 2), rel=0.05)


def test_without_jitter_partners_meet_exactly() -> None:
    simulation = simulated(jitter=0.0, n_sections=3, warp_rms=0.5)
    assert partner_errors(simulation, FIRST, SECOND).max() < 1e-6
    assert partner_errors(simulation, SECOND, THIRD).max() < 1e-6


def test_partners_share_their_domain_and_place(pair: Simulation) -> None:
    here, there = pair.truth.sections[FIRST], pair.truth.sections[SECOND]
    found = here.partners >= 0
    mates = here.partners[found]
    assert len(np.unique(mates)) == len(mates)
    np.testing.assert_array_equal(here.domains[found], there.domains[mates])
    np.testing.assert_allclose(here.specimen[found], there.specimen[mates])
    assert (there.partners == -1).all()


@pytest.mark.parametrize("rms", [0.5, 2.0, 4.0])
def test_warp_has_the_asked_rms_beyond_the_best_affine(rms: float) -> None:
    simulation = simulated(n_spots=3000, warp_rms=rms, warp_length=0.5, n_genes=10)
    source = positions(simulation, FIRST)
    target = simulation.truth.transform(FIRST, SECOND).apply(source)
    assert residual_of_affine(source, target) == pytest.approx(100 * rms, rel=0.05)
    # What the warp leaves of the linear part is the asked turn of 40 degrees, nothing else.
    design = np.column_stack([source, np.ones(len(source))])
    linear = np.linalg.lstsq(design, target, rcond=None)[0][:2].T
    cos, sin = np.cos(np.deg2rad(40)), np.sin(np.deg2rad(40))
    np.testing.assert_allclose(linear, [[cos, -sin], [sin, cos]], atol=1e-6)


def test_without_warp_the_map_is_the_asked_similarity() -> None:
    simulation = simulated(warp_rms=0.0, rotation=25.0, scale=1.2)
    matrix = simulation.truth.transform(FIRST, SECOND).linear_part().matrix
    angle = np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))
    assert angle == pytest.approx(25)
    assert np.sqrt(np.linalg.det(matrix[:2, :2])) == pytest.approx(1.2)


def test_warp_does_not_fold_and_inverts(pair: Simulation) -> None:
    step = pair.truth.transform(FIRST, SECOND)
    source = positions(pair, FIRST)
    assert step.jacobian_determinant(source).min() > 0
    back = pair.truth.transform(SECOND, FIRST).apply(step.apply(source))
    np.testing.assert_allclose(back, source, atol=1e-4)


def test_mirrored_sections_have_a_negative_determinant() -> None:
    simulation = simulated(mirror=True, n_sections=3)
    source = positions(simulation, FIRST)
    assert simulation.truth.transform(FIRST, SECOND).jacobian_determinant(source).max() < 0
    assert simulation.truth.transform(FIRST, THIRD).jacobian_determinant(source).min() > 0


def test_transforms_compose_over_sections() -> None:
    simulation = simulated(n_sections=3)
    truth, source = simulation.truth, positions(simulation, FIRST)
    middle = truth.transform(FIRST, SECOND).apply(source)
    expected = truth.transform(SECOND, THIRD).apply(middle)
    np.testing.assert_allclose(truth.transform(FIRST, THIRD).apply(source), expected)
    np.testing.assert_array_equal(truth.transform(SECOND, SECOND).apply(middle), middle)


def test_truth_can_be_written_and_read(pair: Simulation) -> None:
    step = pair.truth.transform(FIRST, SECOND)
    again = transform_from_dict(step.to_dict())
    source = positions(pair, FIRST)
    np.testing.assert_array_equal(again.apply(source), step.apply(source))


def test_missing_and_cropped_shares_are_those_asked_for() -> None:
    simulation = simulated(n_spots=4000, missing=0.2, crop=0.3, n_genes=10)
    truth = simulation.truth
    assert len(truth.sections[FIRST].domains) == 4000
    assert len(truth.sections[SECOND].domains) == pytest.approx(4000 * 0.7 * 0.8, rel=0.03)
    assert truth.overlap[FIRST, SECOND] == pytest.approx(0.7, abs=0.01)
    assert truth.overlap[SECOND, FIRST] == 1
    with_partner = np.mean(truth.sections[FIRST].partners >= 0)
    assert with_partner == pytest.approx(0.7 * 0.8, abs=0.02)


def test_cropping_both_leaves_a_common_middle() -> None:
    simulation = simulated(n_spots=2000, crop=0.2, crop_first=0.3, n_genes=10)
    truth = simulation.truth
    assert len(truth.sections[FIRST].domains) == pytest.approx(1400, abs=2)
    assert truth.overlap[FIRST, SECOND] == pytest.approx(0.5 / 0.7, abs=0.01)
    assert truth.overlap[SECOND, FIRST] == pytest.approx(0.5 / 0.8, abs=0.02)


@pytest.mark.parametrize(("layout", "neighbours"), [("hex", 6), ("square", 4)])
def test_grids_have_their_pitch_and_neighbours(layout: str, neighbours: int) -> None:
    from scipy.spatial import cKDTree

    simulation = simulated(layout=layout, pitch=55.0)
    section = simulation.study.section(FIRST)
    assert section.pitch == pytest.approx(55)
    assert section.diameter == pytest.approx(0.55 * 55)
    tree = cKDTree(section.coordinates)
    counts = [len(found) - 1 for found in tree.query_ball_point(section.coordinates, 56.0)]
    assert np.median(counts) == neighbours


def test_cells_lie_irregularly_but_apart() -> None:
    section = simulated(layout="cells", pitch=10.0, n_spots=2000).study.section(FIRST)
    from scipy.spatial import cKDTree

    distance = cKDTree(section.coordinates).query(section.coordinates, k=2)[0][:, 1]
    assert distance.std() > 1
    assert distance.min() > 2.5
    assert section.diameter == pytest.approx(8)


def test_own_array_is_regular_and_partners_are_the_nearest() -> None:
    simulation = simulated(array="own", n_spots=1500, missing=0.0)
    section = simulation.study.section(SECOND)
    from scipy.spatial import cKDTree

    distance = cKDTree(section.coordinates).query(section.coordinates, k=2)[0][:, 1]
    np.testing.assert_allclose(distance, 100, atol=1e-6)
    error = partner_errors(simulation, FIRST, SECOND)
    assert 20 < error.mean() < 50
    assert error.max() <= 60
    here, there = simulation.truth.sections[FIRST], simulation.truth.sections[SECOND]
    found = here.partners >= 0
    assert found.mean() > 0.9
    same = here.domains[found] == there.domains[here.partners[found]]
    assert same.mean() > 0.85
    back = simulation.truth.transform(SECOND, FIRST).apply(section.coordinates)
    offset = positions(simulation, FIRST)[0] - here.specimen[0]
    np.testing.assert_allclose(back, there.specimen + offset, atol=1e-4)


def test_domains_cover_the_tissue_and_are_stored_as_annotation(pair: Simulation) -> None:
    for name, known in pair.truth.sections.items():
        labels = pair.study.section(name).labels()
        assert labels is not None
        assert list(labels) == [pair.truth.domain_names[d] for d in known.domains]
        assert np.bincount(known.domains, minlength=7).min() > 0.04 * len(known.domains)


@pytest.mark.parametrize("shape", ["layers", "blobs"])
def test_domains_are_contiguous(shape: str) -> None:
    from scipy.spatial import cKDTree

    simulation = simulated(domain_shape=shape, n_spots=2000, n_domains=5)
    known = simulation.truth.sections[FIRST]
    nearest = cKDTree(known.specimen).query(known.specimen, k=7)[1][:, 1:]
    agreement = np.mean(known.domains[nearest] == known.domains[:, None])
    assert agreement > 0.75
    assert len(np.unique(known.domains)) == 5


def test_the_tissue_changes_along_the_stack_when_asked() -> None:
    def agreement(change: float) -> float:
        truth = simulated(section_change=change, n_spots=1500).truth
        here, there = truth.sections[FIRST], truth.sections[SECOND]
        found = here.partners >= 0
        return float(np.mean(here.domains[found] == there.domains[here.partners[found]]))

    shares = [agreement(change) for change in (0.0, 0.2, 1.0)]
    assert shares[0] == 1
    assert shares[0] > shares[1] > shares[2]


# --- landmarks ----------------------------------------------------------------


def test_landmarks_correspond_exactly_and_carry_the_asked_error(pair: Simulation) -> None:
    for landmark in pair.truth.landmarks:
        mapped = pair.truth.transform(FIRST, SECOND).apply(np.array([landmark.positions[FIRST]]))
        assert mapped[0] == pytest.approx(landmark.positions[SECOND], abs=1e-6)
    assert pair.study.record.landmarks == list(pair.truth.landmarks)
    rough = simulated(landmark_error=0.5, n_landmarks=200, n_spots=1500)
    away = [
        np.subtract(stored.positions[s], true.positions[s])
        for stored, true in zip(rough.study.record.landmarks, rough.truth.landmarks, strict=True)
        for s in (FIRST, SECOND)
    ]
    assert np.std(away) == pytest.approx(50, rel=0.1)


def test_landmarks_lie_in_the_tissue_that_is_shared() -> None:
    simulation = simulated(crop=0.4, n_spots=1500)
    from scipy.spatial import cKDTree

    for name in (FIRST, SECOND):
        tree = cKDTree(positions(simulation, name))
        at = np.array([mark.positions[name] for mark in simulation.truth.landmarks])
        assert tree.query(at)[0].max() < 300
        assert len(at) == 12


# --- reproducibility, progress and errors --------------------------------------


def test_same_seed_same_bytes_and_another_seed_another_study() -> None:
    one, again = simulated(um_per_px=16.0), simulated(um_per_px=16.0)
    other = simulated(um_per_px=16.0, seed=1)
    for name in (FIRST, SECOND):
        a, b, c = (s.study.section(name) for s in (one, again, other))
        assert a.coordinates.tobytes() == b.coordinates.tobytes()
        for modality in ("rna", "protein"):
            assert a.spots(modality).x.data.tobytes() == b.spots(modality).x.data.tobytes()
        first, second = (np.asarray(s.image().levels[0]) for s in (a, b))
        assert first.tobytes() == second.tobytes()
        assert a.spots("rna").x.nnz != c.spots("rna").x.nnz
    assert one.study.record == again.study.record


def test_changing_one_modality_leaves_the_others_as_they_were() -> None:
    one, other = simulated(), simulated(protein_noise=0.9, n_proteins=12)
    a, b = (s.study.section(SECOND).spots("rna").x for s in (one, other))
    assert (a != b).nnz == 0
    np.testing.assert_array_equal(positions(one, SECOND), positions(other, SECOND))


def test_progress_rises_and_cancelling_stops() -> None:
    seen: list[float] = []
    params = SimulationParams(n_spots=500, um_per_px=None)
    simulate(params, JobContext(on_progress=lambda f, m: seen.append(f or 0.0)))
    assert seen == sorted(seen)
    assert seen[-1] == 1
    with pytest.raises(JobCancelled):
        simulate(params, JobContext(is_cancelled=lambda: True))


def test_impossible_warp_is_refused_with_the_way_out() -> None:
    with pytest.raises(UserError, match="folds this tissue") as caught:
        simulated(warp_rms=8.0)
    assert "warp_length" in caught.value.hint


def test_unknown_names_are_refused_with_those_that_exist(pair: Simulation) -> None:
    with pytest.raises(UserError, match="section_2"):
        pair.truth.transform(FIRST, "section_9")
    with pytest.raises(UserError, match="rna, protein"):
        pair.truth.expected(FIRST, "chromatin")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop": 0.6, "crop_first": 0.5}, "lower crop"),
        ({"crop": 0.6, "n_sections": 3}, "lower crop"),
        ({"spot_diameter": 500.0}, "lower spot_diameter"),
        ({"n_spots": 100, "n_domains": 50}, "raise n_spots"),
        ({"missing": 1.0}, "missing"),
        ({"n_spots": 10}, "n_spots"),
        ({"no_such": 1}, "no_such"),
    ],
)
def test_impossible_parameters_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SimulationParams(**changes)


def test_too_many_landmarks_for_the_overlap_are_refused() -> None:
    with pytest.raises(UserError, match="landmarks") as caught:
        simulated(n_spots=100, n_domains=3, warp_rms=0.0, crop=0.85, n_landmarks=100)
    assert "n_landmarks" in caught.value.hint
