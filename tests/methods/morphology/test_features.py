import numpy as np
import pytest

from napari_stomics.core.errors import JobCancelled, UserError
from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.morphology.features import FeatureParams, gather, morphology_features
from napari_stomics.methods.morphology.grid import working_image
from napari_stomics.methods.morphology.patches import PatchSums
from napari_stomics.methods.morphology.sampling import brightfield, learn
from tests.methods.morphology.slides import amounts, coloured, spots_on
from tests.small import hushed


def _features(pixels, params=None, **where):
    spots = spots_on(pixels, **where)
    return spots, morphology_features(spots, params or FeatureParams(scales=(1.0,)), hushed())


def _column(result, name):
    return result.values[:, list(result.features).index(name)]


def test_more_nuclei_and_more_stain_are_seen_where_they_are():
    h, e = amounts()
    few, _ = amounts(seed=1)
    h[:, :320] = np.where(few[:, :320] > 0.5, 0.06, few[:, :320])  # no nuclei on the left
    spots, found = _features(coloured(h, e))
    left = spots.spots.coordinates[:, 0] < 280
    right = spots.spots.coordinates[:, 0] > 360
    for name in ("haematoxylin_mean_1x", "nuclei_per_mm2_1x", "contrast_4um_1x"):
        values = _column(found, name)
        assert np.median(values[left]) < 0.3 * np.median(values[right]), name
    assert np.isfinite(found.values).all()
    assert found.usable.mean() > 0.9
    assert found.nuclei > 150


def test_nuclei_have_the_size_and_the_shape_that_were_drawn():
    _, found = _features(coloured(*amounts()))
    assert 35 < np.median(_column(found, "nucleus_area_1x")) < 90  # discs of radius 4: 49 pixels
    assert np.median(_column(found, "nucleus_solidity_1x")) > 0.8
    assert np.median(_column(found, "nucleus_alignment_1x")) < 0.5


def test_aligned_texture_is_told_from_isotropic_texture():
    h, e = amounts()
    xx = np.arange(h.shape[1])[None, :] * np.ones_like(h)
    striped = 0.06 + 0.5 * (np.sin(xx / 4) > 0) * (e > 0)
    striped[:, 320:] = h[:, 320:]
    spots, found = _features(coloured(striped, e))
    value = _column(found, "orientation_coherence_1x")
    x, y = spots.spots.coordinates.T
    within = (y > 110) & (y < 370) & (x > 110) & (x < 530)  # a patch at the border sees an edge
    assert value[within & (x < 280)].min() > 0.7 > 0.5 > np.median(value[within & (x > 360)])


def test_features_of_two_stainings_agree_only_with_the_stains_of_the_section():
    h, e = amounts()
    other = (np.array([0.55, 0.76, 0.35]), np.array([0.14, 0.86, 0.49]))
    slides = coloured(h, e), coloured(h, e, other, (0.7, 1.4))

    def apart(stains):
        params = FeatureParams(scales=(1.0,), stains=stains, maps=False)
        a, b = (_column(_features(s, params)[1], "haematoxylin_mean_1x") for s in slides)
        return float(np.abs(a - b).mean() / a.mean())

    assert apart("of the section") < 0.12
    assert apart("of the section") < 0.5 * apart("fixed")


def test_tiles_give_what_the_whole_gives():
    spots = spots_on(coloured(*amounts()))
    work = working_image(spots.image, 1.0)
    look = learn(brightfield(spots.image, hushed()), work, True, 8.0, hushed())
    centres = work.to_um.inverse().apply(spots.spots.coordinates)
    sums = []
    for side in (4096, 150):
        sums.append(PatchSums(centres, 40.0, work.shape))
        gather(work, look, FeatureParams(), [sums[-1]], hushed(), side=side)
    whole, tiled = (s.sums for s in sums)
    assert set(whole) == set(tiled)
    for name, values in whole.items():
        np.testing.assert_allclose(tiled[name], values, rtol=2e-3, atol=1e-3, err_msg=name)


def test_a_lazy_pyramid_and_a_turned_frame_give_the_same():
    import dask.array as da

    pixels = coloured(*amounts())
    plain = _features(pixels)[1]
    lazy = da.from_array(pixels, chunks=(200, 200, 3))
    turned = np.array([[0.0, -1.0, 900.0], [1.0, 0.0, 30.0], [0, 0, 1]])
    other = _features(pixels, levels=(lazy, lazy[::2, ::2]), matrix=turned)[1]
    np.testing.assert_allclose(
        _column(other, "eosin_mean_1x"), _column(plain, "eosin_mean_1x"), rtol=0.02
    )


def test_blur_pen_folds_and_bare_glass_are_flagged_where_they_are():
    from scipy import ndimage

    h, e = amounts((700, 900))
    h[100:300, 100:300] *= 2
    e[100:300, 100:300] *= 2  # two layers of tissue
    h[:, 620:] *= np.where(np.arange(280) > 80, 0, 1)
    e[:, 620:] *= np.where(np.arange(280) > 80, 0, 1)
    pixels = coloured(h, e)
    pixels[400:640, 100:300] = ndimage.gaussian_filter(pixels[400:640, 100:300], (4, 4, 0))
    pixels[400:520, 420:560] = (40, 150, 70)  # green pen
    spots, found = _features(pixels)
    x, y = spots.spots.coordinates.T

    def inside(left, right, top, bottom):
        return (x > left + 25) & (x < right - 25) & (y > top + 25) & (y < bottom - 25)

    places = {
        "fold": inside(100, 300, 100, 300),
        "blur": inside(100, 300, 400, 640),
        "pen": inside(420, 560, 400, 520),
        "background": x > 725,
    }
    spared = inside(330, 600, 60, 380)
    for name, here in places.items():
        assert here.sum() >= 3
        assert found.flags[name][here].mean() > 0.7, name
        assert found.flags[name][spared].mean() < 0.1, name
    assert not found.flags["off_image"].any()


def test_maps_show_what_the_spots_say():
    spots, found = _features(coloured(*amounts()))
    maps = found.maps
    at = np.floor(maps.to_um.inverse().apply(spots.spots.coordinates)).astype(int)
    channel = maps.values[list(maps.names).index("haematoxylin_mean")]
    seen = channel[at[:, 1], at[:, 0]]
    assert np.corrcoef(seen, _column(found, "haematoxylin_mean_1x"))[0, 1] > 0.85
    assert channel.shape == maps.values.shape[1:]


def test_coarse_pixels_leave_the_nuclei_out_and_say_so():
    spots = spots_on(coloured(*amounts()), um_per_px=4.0, diameter=200.0)
    with pytest.warns(UserWarning, match="left out"):
        found = morphology_features(spots, FeatureParams(scales=(1.0,)), JobContext())
    assert found.nuclei == -1
    assert not any("nucle" in name for name in found.features)


def test_it_can_be_cancelled_between_tiles():
    seen = []

    def cancelled():
        seen.append(1)
        return len(seen) > 40

    spots = spots_on(coloured(*amounts()))
    with pytest.raises(JobCancelled):
        morphology_features(spots, FeatureParams(), hushed(is_cancelled=cancelled))


def test_images_that_are_no_sections_are_refused():
    far = spots_on(coloured(*amounts()))
    far.spots.coordinates[:] += 1e6
    with pytest.raises(UserError, match="No spot"):
        morphology_features(far, FeatureParams(), hushed())
    with pytest.raises(UserError, match="colours"):
        morphology_features(spots_on(np.zeros((480, 640, 1), np.uint8)), FeatureParams(), hushed())
    dark = 255 - coloured(*amounts(margin=150))
    with pytest.raises(UserError, match="dark background"):
        morphology_features(spots_on(dark), FeatureParams(), hushed())
