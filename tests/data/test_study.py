import subprocess
import sys

import numpy as np
import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.core.results import Registration
from napari_stomics.core.transforms import Affine, ThinPlateSpline
from napari_stomics.data.study import Study
from napari_stomics.data.warp import store_registration
from tests.small import small_simulation

POINTS = np.random.default_rng(0).uniform(0, 2000, (50, 2))


def _turn(degrees: float, shift: tuple[float, float]) -> Affine:
    a = np.deg2rad(degrees)
    matrix = [[np.cos(a), -np.sin(a), shift[0]], [np.sin(a), np.cos(a), shift[1]], [0, 0, 1]]
    return Affine(np.array(matrix))


@pytest.fixture
def three():
    return small_simulation(n_sections=3, n_spots=120, um_per_px=None).study


def _store(study, source, target, transform):
    store_registration(study, Registration(source, target, transform, "affine", "landmarks"))


def test_an_empty_study_imports_no_spatialdata():
    code = (
        "import sys; from napari_stomics.data.study import Study; Study(); "
        "print('spatialdata' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_sections_registered_through_others_are_joined(three):
    first, second = _turn(30, (100, -50)), _turn(-75, (0, 300))
    _store(three, "section_2", "section_1", first)
    _store(three, "section_3", "section_2", second)
    found = three.registration("section_3", "section_1")
    np.testing.assert_allclose(found.apply(POINTS), first.apply(second.apply(POINTS)), atol=1e-8)
    back = three.registration("section_1", "section_3")
    np.testing.assert_allclose(back.apply(found.apply(POINTS)), POINTS, atol=1e-6)


def test_a_bent_map_is_inverted_and_composed_within_a_thousandth_of_a_pixel(three):
    rng = np.random.default_rng(1)
    corners = rng.uniform(0, 2000, (12, 2))
    bent = ThinPlateSpline.fit(corners, corners + rng.normal(0, 25, (12, 2)))
    _store(three, "section_2", "section_1", bent)
    _store(three, "section_2", "section_3", _turn(10, (5, 5)))
    there = three.registration("section_1", "section_3")
    back = three.registration("section_3", "section_1")
    np.testing.assert_allclose(back.apply(there.apply(POINTS)), POINTS, atol=1e-3)


def test_the_registration_stored_last_is_in_force(three):
    _store(three, "section_2", "section_1", _turn(10, (0, 0)))
    _store(three, "section_2", "section_1", _turn(20, (0, 0)))
    found = three.registration("section_2", "section_1")
    np.testing.assert_allclose(found.matrix, _turn(20, (0, 0)).matrix, atol=1e-12)


def test_sections_that_nothing_joins_have_no_map(three):
    _store(three, "section_2", "section_1", Affine.identity())
    assert three.registration("section_3", "section_1") is None
    np.testing.assert_array_equal(three.registration("section_3", "section_3").matrix, np.eye(3))


def test_studies_are_joined_unless_names_clash(three):
    study = Study()
    assert study.add(three) == ["section_1", "section_2", "section_3"]
    before = list(study.sections)
    with pytest.raises(UserError, match="already holds"):
        study.add(small_simulation(n_spots=100, um_per_px=None).study)
    assert list(study.sections) == before


def test_what_is_not_there_is_named_with_what_is(three):
    with pytest.raises(UserError, match="no section 'x'") as caught:
        three.section("x")
    assert "section_1" in caught.value.hint
    section = three.section("section_1")
    with pytest.raises(UserError, match="no table for 'atac'"):
        section.table("atac")
    with pytest.raises(UserError, match="no image"):
        section.image()
    assert section.labels("no such column") is None


def test_positions_labels_and_pitch_are_those_of_the_truth(three):
    section = three.section("section_1")
    assert section.coordinates.shape == (len(section.ids), 2)
    assert section.pitch == pytest.approx(100, rel=0.02)
    assert section.diameter == pytest.approx(55, rel=1e-6)
    assert set(section.labels()) == {"Domain 1", "Domain 2", "Domain 3"}
