import numpy as np
from skimage.draw import ellipse
from skimage.measure import label, regionprops

from napari_stomics.methods.morphology.nuclei import nucleus_planes, shapes_of, strengths_of
from napari_stomics.methods.registration.segment import divide
from tests.small import hushed


def _stain() -> np.ndarray:
    stain = np.zeros((200, 300))
    rng = np.random.default_rng(0)
    for i in range(5):
        for j in range(7):
            turn = rng.uniform(-1.5, 1.5)
            rows, columns = ellipse(20 + 38 * i, 22 + 42 * j, 4, 7, rotation=turn)
            stain[rows, columns] = rng.uniform(0.9, 1.3)
    return stain


def _shapes(stain: np.ndarray):
    threshold = 0.3 * float(strengths_of(stain, np.ones_like(stain), 10.0).max())
    return shapes_of(stain, np.ones_like(stain), 5.0, 0.5, threshold, hushed()), threshold


def test_shapes_are_those_of_scikit_image():
    from napari_stomics.methods.registration.segment import blob_response

    stain = _stain()
    found, threshold = _shapes(stain)
    labels = divide(blob_response(stain, np.ones_like(stain), 10.0), 10.0, threshold)
    known = regionprops(labels, stain)
    assert len(found.area) == len(known) == 35
    np.testing.assert_allclose(found.area, [0.25 * r.area for r in known])
    np.testing.assert_allclose(found.centres, [r.centroid for r in known])
    np.testing.assert_allclose(found.eccentricity, [r.eccentricity for r in known], atol=0.01)
    np.testing.assert_allclose(found.stain, [r.intensity_mean for r in known])
    np.testing.assert_allclose(found.solidity, [r.solidity for r in known], atol=0.12)
    # Theirs is the angle of the long axis with the rows, ours with the columns.
    theirs = np.array([np.pi / 2 - r.orientation for r in known])
    np.testing.assert_allclose(np.cos(2 * (found.orientation - theirs)), 1, atol=1e-6)


def test_a_crescent_is_less_solid_than_a_disc():
    rows, columns = np.mgrid[:60, :60]
    disc = np.hypot(rows - 30, columns - 30) < 12
    bite = np.hypot(rows - 30, columns - 40) < 10
    both = [label(shape.astype(int)) for shape in (disc, disc & ~bite)]
    from napari_stomics.methods.morphology.nuclei import _solidity

    solid = []
    for labels in both:
        y, x = np.nonzero(labels)
        of = labels[y, x]
        solid.append(_solidity(y, x, of, np.array([float(len(y))]), np.array([True]), hushed())[0])
    assert solid[0] > 0.9 > 0.8 > solid[1]


def test_planes_hold_every_nucleus_once():
    shapes, _ = _shapes(_stain())
    planes = dict(nucleus_planes(shapes, (200, 300)))
    assert planes["nuclei"].sum() == 35
    np.testing.assert_allclose(planes["nucleus area"].sum(), shapes.area.sum())
    half = dict(nucleus_planes(shapes, (200, 150)))
    assert 0 < half["nuclei"].sum() < 35
