"""The real pair that ships with the package, as layers."""

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_stomics.core.jobs import JobContext
from napari_stomics.data.samples import olfactory_bulb
from napari_stomics.data.study import Study
from napari_stomics.layers.colour import colour_by, legend, search_features
from napari_stomics.layers.results import paint
from napari_stomics.layers.section import add_section
from napari_stomics.methods.registration.landmarks import LandmarkParams, register_landmarks
from napari_stomics.session.landmarks import Landmark, LandmarkModel


@pytest.fixture(scope="module")
def study() -> Study:
    return olfactory_bulb()


def darkness(image: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Mean darkness of the 9 x 9 pixels around places."""
    offsets = np.arange(-4, 5)
    r = np.clip(rows[:, None, None] + offsets[:, None], 0, image.shape[0] - 1)
    c = np.clip(columns[:, None, None] + offsets[None, :], 0, image.shape[1] - 1)
    return 255 - image[r, c].mean(axis=(1, 2, 3))


@pytest.mark.parametrize("name", ["Rep11", "Rep12"])
def test_spots_lie_on_tissue(study: Study, name: str) -> None:
    layers = add_section(ViewerModel(), study, name)
    image = np.asarray(layers.images[0].data[0])
    spots = layers.spots
    there = [layers.images[0].world_to_data(spots.data_to_world(p)) for p in spots.data]
    rows, columns = np.rint(np.array(there)).astype(int).T
    on_spots = darkness(image, rows, columns)
    rng = np.random.default_rng(0)
    anywhere = darkness(
        image, rng.integers(0, image.shape[0], 500), rng.integers(0, image.shape[1], 500)
    )
    assert np.median(on_spots) > np.quantile(anywhere, 0.75)
    # Mirrored or swapped axes would put a good part of the spots beside the tissue.
    glass = np.quantile(anywhere, 0.3)
    assert (on_spots > glass).mean() > 0.98


def test_a_layer_has_one_colour_in_both_sections(study: Study) -> None:
    viewer = ViewerModel()
    found = {}
    for name in study.sections:
        spots = add_section(viewer, study, name).spots
        colour_by(spots, study, name, "layer")
        found[name] = dict(legend(spots))
    shared = set(found["Rep11"]) & set(found["Rep12"])
    assert len(shared - {""}) == 5
    assert all(found["Rep11"][layer] == found["Rep12"][layer] for layer in shared)


def test_a_gene_among_fourteen_thousand_is_found_by_a_part_of_its_name(study: Study) -> None:
    assert search_features(study, "Rep11", "doc2")[0].key == "Doc2g"
    assert search_features(study, "Rep11", "layer")[0].kind == "obs"


def test_registered_landmarks_come_to_lie_on_each_other(study: Study) -> None:
    viewer = ViewerModel()
    for name in study.sections:
        add_section(viewer, study, name)
    model = LandmarkModel()
    model.reset([Landmark(m.name, dict(m.positions)) for m in study.record.landmarks])
    pairs = model.pairs("Rep11", "Rep12")
    result = register_landmarks(pairs, LandmarkParams(), JobContext())
    paint(viewer, study, result, "registration")
    image = next(q for q in viewer.layers if q.name == "Rep11_he")
    back = study.section("Rep11").image().to_um.inverse().apply(pairs.source_points)
    world = np.array([image.data_to_world((y - 0.5, x - 0.5)) for x, y in back])[:, ::-1]
    left = np.linalg.norm(world - pairs.target_points, axis=1)
    np.testing.assert_allclose(left, result.residuals, atol=1e-6)
