"""An image is laid on cells by its nuclei to a fraction of a micron, or refused."""

import numpy as np
import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import NucleiInputs
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.transforms import Affine, DisplacementField, compose
from napari_stomics.methods.registration import nuclei as module
from napari_stomics.methods.registration.nuclei import NucleiParams, register_nuclei
from napari_stomics.methods.registration.points import (
    align_locally,
    closest_points,
    mutual_pairs,
)
from tests.methods.registration.nuclear_tissue import (
    affine,
    as_cells,
    nuclear_tissue,
    off_by,
    seen,
)

TRUE = affine(37, 1.03, 0.98, 0.01, (300, -120))


@pytest.fixture(scope="module")
def tissue():
    return nuclear_tissue()


@pytest.fixture(scope="module")
def segmented(tissue):
    return module.find_nuclei(tissue.image, 8.0, 1.0, JobContext())


@pytest.fixture
def quick(monkeypatch, segmented):
    """Segment once for all tests of the fit."""
    monkeypatch.setattr(module, "find_nuclei", lambda *args: segmented)


def run(tissue, cells, initial=None, **params):
    inputs = NucleiInputs(tissue.image, as_cells(cells), initial)
    return register_nuclei(inputs, NucleiParams(**params), JobContext())


def error(result, truth, tissue):
    away = result.transform.apply(tissue.nuclei) - truth.apply(tissue.nuclei)
    return np.linalg.norm(away, axis=1)


def test_from_15_um_to_less_than_700_nm(tissue):
    rng = np.random.default_rng(1)
    cells = seen(tissue.nuclei, TRUE, rng)
    start = off_by(TRUE, tissue.nuclei.mean(axis=0), 15.0, rng)
    result = run(tissue, cells, start)
    before = np.linalg.norm(start.apply(tissue.nuclei) - TRUE.apply(tissue.nuclei), axis=1)
    assert np.median(before) > 10
    assert error(result, TRUE, tissue).max() < 0.7
    assert result.driver == "nuclei"
    assert result.converged
    assert result.matched_share > 0.8
    assert result.chance_share < 0.25
    # 1 um of jitter in x and y: distances of 1.18 um in the median are what can be left.
    assert 0.9 < np.median(result.leave_one_out) < 1.5
    assert result.margin > 0.5
    assert result.candidates[0].score > result.candidates[1].score
    assert result.summary()["matched_share"] == pytest.approx(result.matched_share)


@pytest.mark.parametrize("mirror", [False, True])
def test_without_any_registration(tissue, quick, mirror):
    truth = affine(-112, 1.0, 1.0, 0.0, (900, 40), mirror)
    result = run(tissue, seen(tissue.nuclei, truth, np.random.default_rng(2)))
    assert error(result, truth, tissue).max() < 0.7
    assert result.candidates[0].mirrored == mirror
    assert result.candidates[0].rotation == pytest.approx(112, abs=0.2)


@pytest.mark.parametrize("um", [5.0, 30.0, 50.0])
def test_the_coarse_error_does_not_matter_within_reach(tissue, quick, um):
    rng = np.random.default_rng(3)
    start = off_by(TRUE, tissue.nuclei.mean(axis=0), um, rng)
    assert error(run(tissue, seen(tissue.nuclei, TRUE, rng), start), TRUE, tissue).max() < 0.7


def test_a_bent_registration_is_a_start_too(tissue, quick):
    rng = np.random.default_rng(4)
    low = np.array([-200.0, -200.0])
    step = np.full(2, 100.0)
    field = DisplacementField(rng.normal(0, 4, (20, 20, 2)), low, step, "cubic")
    result = run(tissue, seen(tissue.nuclei, TRUE, rng), compose(field, TRUE))
    assert error(result, TRUE, tissue).max() < 0.7


def test_half_of_the_tissue_suffices(tissue, quick):
    rng = np.random.default_rng(5)
    cells = seen(tissue.nuclei, TRUE, rng)
    cells = cells[cells[:, 0] < np.median(cells[:, 0])]
    result = run(tissue, cells, off_by(TRUE, tissue.nuclei.mean(axis=0), 15.0, rng))
    assert np.median(error(result, TRUE, tissue)) < 0.7
    assert result.matched_share > 0.8


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("kind", ["anywhere", "displaced"])
def test_cells_of_another_pattern_are_refused(tissue, quick, known, kind):
    rng = np.random.default_rng(6)
    cells = TRUE.apply(tissue.nuclei)
    if kind == "anywhere":
        cells = rng.uniform(cells.min(axis=0), cells.max(axis=0), cells.shape)
    else:
        cells = cells + rng.normal(0, 12, cells.shape)
    with pytest.raises(UserError, match="same pattern"):
        run(tissue, cells, TRUE if known else None)


def test_a_start_beyond_reach_is_refused(tissue, quick):
    shift = Affine(np.array([[1, 0, 250.0], [0, 1, 0], [0, 0, 1]]))
    cells = seen(tissue.nuclei, TRUE, np.random.default_rng(7))
    with pytest.raises(UserError, match="larger coarse error"):
        run(tissue, cells, TRUE.then(shift))


def test_few_cells_are_refused(tissue, quick):
    with pytest.raises(UserError, match="too few"):
        run(tissue, TRUE.apply(tissue.nuclei[:50]), TRUE)


def test_the_half_left_out_is_not_used():
    """The map of one half does not know what the other half's cells say."""
    rng = np.random.default_rng(8)
    nuclei = rng.uniform(0, 1500, (3000, 2))
    cells = nuclei + rng.normal(0, 0.5, nuclei.shape)
    white = module.checkerboard(cells)
    shifted = cells + np.outer(white, [1.2, 0])
    halves, _ = module._crosswise(Affine.identity(), nuclei, shifted, NucleiParams(), JobContext())
    assert np.abs(halves[0].apply(nuclei) - nuclei).max() < 0.2
    assert np.abs(halves[1].apply(nuclei) - nuclei - [1.2, 0]).max() < 0.2


def test_local_shifts_tell_a_turn_and_a_stretch():
    rng = np.random.default_rng(9)
    points = rng.uniform(0, 2000, (6000, 2))
    truth = affine(2.0, 1.02, 0.99, 0, (20, -30))
    moved, agreeing, windows = align_locally(
        points, truth.apply(points), Affine.identity(), 150.0, JobContext()
    )
    assert agreeing > 0.7 * windows
    assert np.abs(moved.apply(points) - truth.apply(points)).max() < 6
    fit = closest_points(points, truth.apply(points), moved, "affine", JobContext())
    assert fit.converged
    assert np.abs(fit.transform.apply(points) - truth.apply(points)).max() < 1e-6


def test_pairs_are_each_others_nearest():
    a, b = np.array([[0.0, 0], [1, 0], [9, 9]]), np.array([[0.4, 0.0], [5, 5]])
    mine, theirs, distance = mutual_pairs(a, b, 2.0)
    assert mine.tolist() == [0]
    assert theirs.tolist() == [0]
    assert distance.tolist() == [0.4]


def test_a_step_stores_the_registration_with_its_share(tissue, quick):
    from napari_stomics.data.build import ImageSource, make_section
    from napari_stomics.data.results import load_result
    from napari_stomics.data.study import Study
    from napari_stomics.workflow.steps import Step, run_step

    image = ImageSource(tissue.image.levels, tissue.image.to_um)
    cells = seen(tissue.nuclei, TRUE, np.random.default_rng(10))
    study = Study(make_section("slide", images={"he": image}))
    study.add(make_section("cells", coordinates=cells, radius=4.0))
    step = Step(method="registration/nuclei", inputs={"source": "slide", "target": "cells"})
    result = run_step(study, step)
    again = load_result(study, study.record.runs[-1])
    assert again.summary() == result.summary()
    stored = study.registration("slide", "cells")
    assert np.abs(stored.apply(tissue.nuclei) - TRUE.apply(tissue.nuclei)).max() < 0.7
