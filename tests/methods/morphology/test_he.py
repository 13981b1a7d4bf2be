import numpy as np
import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import HistologySpots, SectionImage, Spots
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.transforms import Affine
from napari_stomics.methods.morphology.he import feature_names, he_features


def _histology(pixels: np.ndarray, centres: list[tuple[float, float]], um_per_px: float = 2.0):
    xy = np.array(centres, float)
    spots = Spots(
        "s", np.arange(len(xy)).astype(object), xy, np.zeros((len(xy), 0)), np.zeros(0, object),
        "rna", None, 100.0,
    )  # fmt: skip
    image = SectionImage("s", (pixels,), Affine(np.diag([um_per_px, um_per_px, 1])))
    return HistologySpots(spots, image, diameter=60.0)


def _stained(haematoxylin: np.ndarray, eosin: np.ndarray) -> np.ndarray:
    """An image of known stain amounts, by the same stain matrix."""
    from skimage.color import hed2rgb

    hed = np.stack([haematoxylin, eosin, np.zeros_like(eosin)], -1)
    return (hed2rgb(hed) * 255).round().astype(np.uint8)


def test_features_follow_the_stains_under_each_spot():
    h, e = np.zeros((100, 200)), np.zeros((100, 200))
    h[:, :100], e[:, 100:] = 0.1, 0.1
    x, names = he_features(
        _histology(_stained(h, e), [(100, 100), (300, 100)]), (1.0,), JobContext()
    )
    at = {name: x[:, i] for i, name in enumerate(names)}
    assert at["haematoxylin_mean_1x"][0] > at["haematoxylin_mean_1x"][1] + 0.05
    assert at["eosin_mean_1x"][1] > at["eosin_mean_1x"][0] + 0.05
    np.testing.assert_allclose(at["haematoxylin_sd_1x"], 0, atol=1e-3)


def test_names_and_columns_agree():
    pixels = np.full((80, 80, 3), 200, np.uint8)
    x, names = he_features(_histology(pixels, [(80, 80)]), (1.0, 2.0), JobContext())
    assert x.shape == (1, len(names))
    assert names == feature_names((1.0, 2.0))


def test_a_spot_beside_the_image_gets_the_median_of_the_others():
    rng = np.random.default_rng(0)
    pixels = rng.integers(100, 250, (100, 100, 3), dtype=np.uint8)
    inside = [(50, 50), (150, 50), (100, 150)]
    x, _ = he_features(_histology(pixels, [*inside, (9999, 9999)]), (1.0,), JobContext())
    np.testing.assert_allclose(x[3], np.median(x[:3], axis=0), rtol=1e-5)


def test_a_coarser_level_gives_nearly_the_same_means():
    h = np.zeros((400, 400))
    h[:200] = 0.1
    fine = _stained(h, np.zeros_like(h))
    two = _histology(fine, [(200, 200), (200, 600)])
    pyramid = HistologySpots(
        two.spots, SectionImage("s", (fine, fine[::2, ::2]), two.image.to_um), 120.0
    )
    a = he_features(HistologySpots(two.spots, two.image, 120.0), (1.0,), JobContext())[0]
    b = he_features(pyramid, (1.0,), JobContext())[0]
    np.testing.assert_allclose(a[:, 0], b[:, 0], atol=0.02)


def test_an_image_elsewhere_or_without_colours_is_refused():
    with pytest.raises(UserError, match="No spot"):
        he_features(_histology(np.zeros((9, 9, 3), np.uint8), [(1e6, 1e6)]), (1.0,), JobContext())
    with pytest.raises(UserError, match="colours"):
        he_features(_histology(np.zeros((99, 99, 1), np.uint8), [(50, 50)]), (1.0,), JobContext())
