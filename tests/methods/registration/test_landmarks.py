"""Landmark registration: fits against oracles, honest errors, outliers, refusals, real data."""

from dataclasses import replace

import numpy as np
import pytest
from benchmarks.register_landmarks import FILES, lines, read_pairs

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import LandmarkPairs
from napari_stomics.core.jobs import JobCancelled, JobContext
from napari_stomics.core.registry import registry
from napari_stomics.core.transforms import Affine, ThinPlateSpline
from napari_stomics.methods.registration.landmarks import (
    LandmarkParams,
    displacement_magnitude,
    predict_partner,
    register_landmarks,
    warp_grid,
)

MODELS = ("rigid", "similarity", "affine", "tps")


def pairs_of(source, target, **changes) -> LandmarkPairs:
    names = tuple(f"L{i}" for i in range(len(source)))
    return LandmarkPairs("A", "B", names, np.asarray(source), np.asarray(target), **changes)


def fit(pairs, **params):
    return register_landmarks(pairs, LandmarkParams(**params), JobContext())


def noisy(seed=0, n=14, noise=15.0, angle=0.7, scale=1.1, mirror=False, warp=0.0):
    rng = np.random.default_rng(seed)
    source = rng.uniform(0, 5000, (n, 2))
    c, s = np.cos(angle), np.sin(angle)
    linear = scale * np.array([[c, -s], [s, c]]) @ np.diag([-1.0 if mirror else 1.0, 1.0])
    bent = source + warp * np.column_stack(
        [np.sin(source[:, 1] / 1500 + 1), np.cos(source[:, 0] / 1300)]
    )
    target = bent @ linear.T + [300, -4000] + rng.normal(0, noise, source.shape)
    return pairs_of(source, target)


def swapped(pairs, i, j):
    target = np.array(pairs.target_points)
    target[[i, j]] = target[[j, i]]
    return replace(pairs, target_points=target)


# ---- fits --------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["rigid", "similarity", "affine"])
def test_linear_fits_agree_with_scikit_image(model):
    from skimage.transform import AffineTransform, EuclideanTransform, SimilarityTransform

    oracle = {
        "rigid": EuclideanTransform,
        "similarity": SimilarityTransform,
        "affine": AffineTransform,
    }[model]
    pairs = noisy(3)
    expected = oracle.from_estimate(pairs.source_points, pairs.target_points)
    found = fit(pairs, model=model)
    points = np.random.default_rng(1).uniform(-1000, 6000, (50, 2))
    if model == "affine":  # scikit-image minimises an algebraic error there: near, not equal
        design = np.column_stack([np.ones(14), pairs.source_points])
        coefficients = np.linalg.lstsq(design, pairs.target_points, rcond=None)[0]
        np.testing.assert_allclose(
            found.transform.apply(points),
            np.column_stack([np.ones(50), points]) @ coefficients,
            atol=1e-6,
        )
        assert np.abs(found.transform.apply(points) - expected(points)).max() < 20
    else:
        np.testing.assert_allclose(found.transform.apply(points), expected(points), atol=1e-6)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_a_known_map_is_found_again(model, mirror):
    pairs = noisy(1, noise=0.0, scale=1.0, mirror=mirror)
    found = fit(pairs, model=model)
    np.testing.assert_allclose(found.residuals, 0, atol=1e-6)
    np.testing.assert_allclose(found.leave_one_out, 0, atol=1e-6)
    assert not found.outliers.any()
    assert found.fold_fraction == 0
    sign = np.linalg.det(found.transform.linear_part().matrix[:2, :2])
    assert (sign < 0) == mirror
    assert found.driver == "landmarks"
    assert found.names == pairs.names


def test_rigid_keeps_lengths():
    matrix = fit(noisy(2), model="rigid").transform.matrix[:2, :2]
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(2), atol=1e-12)
    mirrored = fit(noisy(2, mirror=True), model="rigid").transform.matrix[:2, :2]
    np.testing.assert_allclose(mirrored @ mirrored.T, np.eye(2), atol=1e-12)
    assert np.linalg.det(mirrored) == pytest.approx(-1)


def test_exact_spline_passes_through_every_pair():
    pairs = noisy(2, warp=150)
    found = fit(pairs, model="tps", stiffness=0.0)
    np.testing.assert_allclose(found.residuals, 0, atol=1e-6)
    assert (found.leave_one_out > 1).all()


# ---- leave-one-out -----------------------------------------------------------------------


def refitted(pairs, params, mirrored=None):
    """Leave-one-out errors by fitting anew without each pair."""
    out = []
    for i in range(len(pairs.names)):
        keep = np.arange(len(pairs.names)) != i
        rest = pairs_of(pairs.source_points[keep], pairs.target_points[keep])
        found = register_landmarks(rest, params, JobContext())
        gap = found.transform.apply(pairs.source_points[i : i + 1]) - pairs.target_points[i]
        out.append(np.linalg.norm(gap))
    return np.array(out)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("model", ["rigid", "similarity", "affine"])
def test_linear_leave_one_out_equals_refits(model, mirror):
    pairs = noisy(5, n=9, mirror=mirror)
    found = fit(pairs, model=model)
    np.testing.assert_allclose(
        found.leave_one_out, refitted(pairs, LandmarkParams(model=model)), rtol=1e-9
    )


@pytest.mark.parametrize("stiffness", [0.0, 1e-3, 0.3])
def test_spline_leave_one_out_equals_refits(stiffness):
    pairs = noisy(6, n=12, warp=100)
    found = fit(pairs, model="tps", stiffness=stiffness)
    scale = found.transform.scale
    expected = []
    for i in range(12):
        keep = np.arange(12) != i
        source = pairs.source_points[keep]
        rest = np.sqrt(((source - source.mean(axis=0)) ** 2).sum(axis=1).mean())
        # The same smoothing of the kernel, said for one point less in another extent.
        same = stiffness * 12 / 11 * (scale / rest) ** 2
        spline = ThinPlateSpline.fit(source, pairs.target_points[keep], same)
        gap = spline.apply(pairs.source_points[i : i + 1]) - pairs.target_points[i]
        expected.append(np.linalg.norm(gap))
    np.testing.assert_allclose(found.leave_one_out, expected, rtol=1e-6)


def test_automatic_leave_one_out_is_that_of_the_whole_procedure():
    pairs = noisy(8, n=30, warp=200, noise=25)
    found = fit(pairs, model="tps")
    assert 0 < found.transform.stiffness < 1
    again = refitted(pairs, LandmarkParams(model="tps"))
    # The refit measures its extent without the pair, so the candidates differ a little.
    assert np.median(np.abs(found.leave_one_out - again)) < 0.02 * np.median(again)
    assert found.leave_one_out.mean() == pytest.approx(again.mean(), rel=0.05)


def test_without_bends_the_automatic_spline_is_the_affine_map():
    chosen = []
    for seed in range(20):
        pairs = noisy(seed, n=20)
        chosen.append(fit(pairs, model="tps").transform.stiffness)
    assert np.isinf(chosen).mean() >= 0.8
    found = fit(noisy(0, n=5), model="tps")
    assert np.isinf(found.transform.stiffness)
    np.testing.assert_allclose(
        found.leave_one_out, fit(noisy(0, n=5), model="affine").leave_one_out
    )


def test_leave_one_out_is_unknown_where_the_rest_holds_no_map():
    assert np.isnan(fit(noisy(0, n=2), model="rigid").leave_one_out).all()
    assert np.isnan(fit(noisy(0, n=3), model="affine").leave_one_out).all()
    # Without the corner the others lie on one line.
    line = [[0, 0], [1000, 0], [2000, 0], [3000, 0], [1500, 2000.0]]
    found = fit(pairs_of(line, np.array(line) + np.eye(5, 2) * 3), model="affine")
    assert np.isnan(found.leave_one_out).tolist() == [False] * 4 + [True]


def test_leave_one_out_foretells_the_error_elsewhere():
    ratios = []
    for seed in range(10):
        pairs = noisy(seed, n=40, warp=150)
        half = pairs_of(pairs.source_points[:25], pairs.target_points[:25])
        found = fit(half, model="tps")
        held = np.linalg.norm(
            found.transform.apply(pairs.source_points[25:]) - pairs.target_points[25:], axis=1
        )
        ratios.append(held.mean() / found.leave_one_out.mean())
    assert 0.7 < np.median(ratios) < 1.3


# ---- outliers ----------------------------------------------------------------------------


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_a_swapped_pair_is_flagged_and_no_other(model, mirror):
    pairs = noisy(4, n=14, mirror=mirror, scale=1.0)
    distance = np.linalg.norm(pairs.source_points - pairs.source_points[2], axis=1)
    far = int(distance.argmax())
    found = fit(swapped(pairs, 2, far), model=model)
    assert set(np.flatnonzero(found.outliers)) == {2, far}
    assert set(found.summary()["outliers"]) == {"L2", f"L{far}"}
    if model != "tps" or not mirror:
        clean = fit(swapped(pairs, 2, far), model=model, drop_outliers=True)
        others = np.setdiff1d(np.arange(14), [2, far])
        assert clean.residuals[others].max() < 60
        assert clean.leave_one_out[[2, far]].min() > 1000


@pytest.mark.parametrize("model", MODELS)
def test_several_wrong_pairs_are_found(model):
    rng = np.random.default_rng(0)
    hits, false, total = 0, 0, 0
    for seed in range(20):
        pairs = noisy(seed, n=20, scale=1.0)
        wrong = rng.choice(20, 6, replace=False)
        target = np.array(pairs.target_points)
        angle = rng.uniform(0, 2 * np.pi, 6)
        target[wrong] += rng.uniform(400, 1500, (6, 1)) * np.column_stack(
            [np.cos(angle), np.sin(angle)]
        )
        flags = fit(replace(pairs, target_points=target), model=model).outliers
        hits += flags[wrong].sum()
        false += flags.sum() - flags[wrong].sum()
        total += 6
    assert hits / total > 0.97
    assert false <= 3


def test_one_wrong_pair_of_six_is_found():
    pairs = noisy(7, n=6, noise=5, scale=1.0)
    target = np.array(pairs.target_points)
    target[3] += [600, -500]
    for model in ("rigid", "similarity"):
        found = fit(replace(pairs, target_points=target), model=model)
        assert np.flatnonzero(found.outliers).tolist() == [3]


def test_good_pairs_are_not_flagged():
    flags = [
        fit(noisy(s, warp=w), model=m).outliers
        for s in range(40)
        for w, m in ((0, "similarity"), (0, "affine"), (150, "affine"), (150, "tps"))
    ]
    assert np.mean(flags) < 0.01


def test_a_spline_forgives_what_neighbours_share():
    flagged = {"affine": 0, "tps": 0}
    for seed in range(6):
        rng = np.random.default_rng(seed)
        source = rng.uniform(0, 5000, (80, 2))
        bump = 400 * np.exp(-((source - 1500) ** 2).sum(axis=1) / 900**2)
        target = source + np.column_stack([bump, np.zeros(80)]) + rng.normal(0, 15, source.shape)
        for model in flagged:
            flagged[model] += int(fit(pairs_of(source, target), model=model).outliers.sum())
        alone = int(np.linalg.norm(source - 4000, axis=1).argmin())
        target[alone] += 400
        assert fit(pairs_of(source, target), model="tps").outliers[alone]
    assert flagged["affine"] > 20
    assert flagged["tps"] < 0.1 * flagged["affine"], flagged


def test_three_pairs_cannot_accuse_one_another():
    assert not fit(swapped(noisy(0, n=3), 0, 1), model="similarity").outliers.any()


# ---- mirroring ---------------------------------------------------------------------------


def test_a_mirror_needs_clear_evidence_and_leave():
    mirrored = noisy(0, mirror=True)
    with pytest.warns(UserWarning, match="mirrored"):
        found = fit(mirrored, model="similarity", allow_mirror=False)
    assert np.linalg.det(found.transform.matrix[:2, :2]) > 0
    for model in ("affine", "tps"):
        with pytest.raises(UserError, match="not allowed"):
            fit(mirrored, model=model, allow_mirror=False)
    two = noisy(0, n=2, mirror=True)
    assert np.linalg.det(fit(two, model="rigid").transform.matrix[:2, :2]) > 0
    line = np.column_stack([np.linspace(0, 1000, 6), np.linspace(0, 500, 6)])
    on_line = fit(
        pairs_of(line, line + np.random.default_rng(0).normal(0, 5, line.shape)), model="rigid"
    )
    assert np.linalg.det(on_line.transform.matrix[:2, :2]) > 0


def test_a_mirror_is_seen_through_wrong_pairs():
    found = fit(swapped(noisy(4, mirror=True), 0, 5), model="similarity")
    assert np.linalg.det(found.transform.matrix[:2, :2]) < 0


# ---- refusals ----------------------------------------------------------------------------

SQUARE = np.array([[0, 0], [100, 0], [0, 100], [100, 100], [50, 30.0]])


@pytest.mark.parametrize(
    ("model", "fewest"), [("rigid", 2), ("similarity", 2), ("affine", 3), ("tps", 4)]
)
def test_too_few_pairs_are_refused_and_enough_accepted(model, fewest):
    for n in range(fewest):
        with pytest.raises(UserError, match=f"needs {fewest} landmark pairs") as caught:
            fit(pairs_of(SQUARE[:n], SQUARE[:n]), model=model)
        assert f"Add {fewest - n} more" in caught.value.hint
    fit(pairs_of(SQUARE[:fewest], SQUARE[:fewest] * 2), model=model)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("side", ["source_points", "target_points"])
def test_degenerate_points_are_refused_by_name(model, side):
    good = pairs_of(SQUARE, SQUARE + 10)
    for bad_value in (np.nan, np.inf):
        points = SQUARE.copy()
        points[3, 1] = bad_value
        with pytest.raises(UserError, match=r"'L3'.*not a finite number"):
            fit(replace(good, **{side: points}), model=model)
    points = SQUARE.copy()
    points[4] = points[1]
    with pytest.raises(UserError, match="'L1', 'L4' are at the same place"):
        fit(replace(good, **{side: points}), model=model)
    line = np.column_stack([np.arange(5.0), 3 * np.arange(5.0)])
    if model in ("affine", "tps"):
        with pytest.raises(UserError, match="one line"):
            fit(replace(good, **{side: line}), model=model)
    else:
        fit(replace(good, **{side: line}), model=model)


def test_names_and_shapes_are_checked():
    good = pairs_of(SQUARE, SQUARE)
    with pytest.raises(UserError, match="more than one pair"):
        fit(replace(good, names=("a", "b", "a", "c", "d")))
    with pytest.raises(UserError, match="names come with"):
        fit(replace(good, names=("a", "b")))
    with pytest.raises(UserError, match="names come with"):
        fit(replace(good, source_points=np.zeros((5, 3))))
    with pytest.raises(UserError, match="there are 0"):
        fit(LandmarkPairs("A", "B", (), np.zeros(0), np.zeros((0, 2))))


def test_an_almost_straight_row_is_fitted_with_a_warning():
    x = np.linspace(0, 1000, 8)
    thin = np.column_stack([x, 10 * np.sin(x)])
    with pytest.warns(UserWarning, match="almost on one line"):
        fit(pairs_of(thin, thin + 5), model="affine")


def test_it_is_registered_and_can_be_cancelled():
    spec = registry().get("registration/landmarks")
    assert spec.params is LandmarkParams
    result = spec.run(noisy(0))
    assert result.kind == "registration"
    assert isinstance(result.transform, Affine)
    with pytest.raises(JobCancelled):
        register_landmarks(noisy(0), LandmarkParams(), JobContext(is_cancelled=lambda: True))


def test_a_fold_is_reported():
    source = [[0, 0], [1000, 0], [0, 1000], [1000, 1000], [400, 500], [600, 500.0]]
    target = [[0, 0], [1000, 0], [0, 1000], [1000, 1000], [900, 500], [100, 500.0]]
    found = fit(pairs_of(source, target), model="tps", stiffness=0.0)
    assert 0.02 < found.fold_fraction < 0.5


# ---- prediction and views ----------------------------------------------------------------


def test_a_partner_is_predicted_from_three_pairs_on():
    pairs = noisy(0, n=14, noise=0.0, mirror=True)
    for n in (0, 1, 2):
        few = pairs_of(pairs.source_points[:n], pairs.target_points[:n])
        assert predict_partner(few, np.zeros(2)) is None
    for n in range(3, 14):
        few = pairs_of(pairs.source_points[:n], pairs.target_points[:n])
        there = predict_partner(few, pairs.source_points[13])
        np.testing.assert_allclose(there, pairs.target_points[13], atol=1e-4)
        back = predict_partner(few, pairs.target_points[13], backward=True)
        np.testing.assert_allclose(back, pairs.source_points[13], atol=1e-4)
    wrong = swapped(pairs, 0, 6)
    there = predict_partner(
        pairs_of(wrong.source_points[:13], wrong.target_points[:13]), pairs.source_points[13]
    )
    np.testing.assert_allclose(there, pairs.target_points[13], atol=1e-4)
    same = pairs_of(np.zeros((3, 2)), np.zeros((3, 2)))
    assert predict_partner(same, np.zeros(2)) is None


def test_the_warped_grid_follows_the_map():
    shift = Affine(np.array([[1, 0, 5], [0, 2, 0], [0, 0, 1.0]]))
    grid = warp_grid(shift, (0, 0, 100, 50), 25)
    assert len(grid) == 5 + 3
    assert all(line.shape[1] == 2 and len(line) > 2 for line in grid)
    np.testing.assert_allclose(grid[1][:, 0], 30)
    np.testing.assert_allclose(grid[1][[0, -1], 1], [0, 100])
    np.testing.assert_allclose(grid[5 + 1][:, 1], 50)
    for extent, spacing in (((0, 0, 1, 1), 0), ((0, 0, 0, 1), 1), ((0, 0, 1e6, 1e6), 1)):
        with pytest.raises(UserError):
            warp_grid(shift, extent, spacing)


@pytest.mark.parametrize("mirror", [False, True])
def test_displacement_is_measured_against_the_pose(mirror):
    pose = fit(noisy(0, noise=0, mirror=mirror), model="similarity").transform
    extent = (0.0, 0.0, 5000.0, 4000.0)
    np.testing.assert_allclose(displacement_magnitude(pose, extent, (8, 10)), 0, atol=1e-6)
    absolute = displacement_magnitude(pose, extent, (8, 10), relative_to=None)
    corner = np.array([[250.0, 250.0]])
    assert absolute.shape == (8, 10)
    assert absolute[0, 0] == pytest.approx(np.linalg.norm(pose.apply(corner) - corner))
    assert displacement_magnitude(pose, extent, (8, 10), relative_to="rigid").max() > 100
    bent = fit(noisy(0, n=40, noise=0, warp=150, mirror=mirror), model="tps").transform
    bend = displacement_magnitude(bent, extent, (8, 10))
    assert 30 < bend.max() < 600


# ---- real landmarks ----------------------------------------------------------------------

PUBLISHED = {
    "mob_1_2": (51, 45),
    "mob_3_4": (61, 54),
    "mob_11_12": (29, 31),
    "lung_ki67": (14, 10),
    "lung_cd31": (9, 7),
}


@pytest.mark.data
@pytest.mark.parametrize("name", PUBLISHED)
def test_fits_reproduce_the_measured_baselines(name, stomics_data):
    pairs = read_pairs(name, stomics_data)
    rigid, affine = PUBLISHED[name]
    assert np.median(fit(pairs, model="rigid").residuals) == pytest.approx(rigid, abs=0.51)
    assert np.median(fit(pairs, model="affine").residuals) == pytest.approx(affine, abs=0.51)


@pytest.mark.data
@pytest.mark.parametrize("name", FILES)
def test_the_default_spline_predicts_no_worse_than_the_affine_map(name, stomics_data):
    pairs = read_pairs(name, stomics_data)
    spline = fit(pairs, model="tps").leave_one_out
    affine = fit(pairs, model="affine").leave_one_out
    assert np.median(spline) <= np.median(affine) * (1 + 1e-9)
    assert spline.mean() <= affine.mean() * (1 + 1e-9)
    assert np.sqrt((spline**2).mean()) <= np.sqrt((affine**2).mean()) * (1 + 1e-9)


@pytest.mark.data
def test_sections_with_the_y_axis_up_are_mirrored(stomics_data):
    pairs = read_pairs("magpie_msi_visium", stomics_data)
    for model in MODELS:
        found = fit(pairs, model=model)
        assert np.linalg.det(found.transform.linear_part().matrix[:2, :2]) < 0
        assert found.fold_fraction == 0


@pytest.mark.data
def test_a_swap_among_real_landmarks_is_flagged(stomics_data):
    pairs = read_pairs("mob_11_12", stomics_data)
    distance = np.linalg.norm(pairs.source_points - pairs.source_points[9], axis=1)
    far = int(distance.argmax())
    flags = fit(swapped(pairs, 9, far), model="affine").outliers
    assert flags[[9, far]].all()
    assert flags.sum() <= 3


@pytest.mark.data
def test_benchmark_lines_are_complete(stomics_data):
    found = list(lines())
    assert [line["name"] for line in found] == [f"register.landmarks.{name}" for name in FILES]
    for line in found:
        assert line["values"]["loo_tps_px"] <= line["values"]["loo_affine_px"] * (1 + 1e-9)
        assert line["protocol"]
