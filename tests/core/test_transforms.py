"""Maps: exactness, inverses, Jacobians, composition, and what a file may contain."""

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_stomics.core.errors import UserError
from napari_stomics.core.transforms import (
    Affine,
    Composite,
    DisplacementField,
    InverseTransform,
    ThinPlateSpline,
    Transform,
    compose,
    transform_from_dict,
)

THOUSANDTH_OF_A_PIXEL = 1e-3 * 0.25  # um, at the finest pixel size in use


def affine_from(angle: float, scale: float, shear: float, shift: tuple[float, float], mirror: bool):
    c, s = np.cos(angle), np.sin(angle)
    linear = scale * np.array([[c, -s], [s, c]]) @ np.array([[1, shear], [0, 1]])
    if mirror:
        linear = linear @ np.diag([-1.0, 1.0])
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = linear, shift
    return Affine(matrix)


affines = st.builds(
    affine_from,
    st.floats(-np.pi, np.pi),
    st.floats(0.05, 20),
    st.floats(-0.5, 0.5),
    st.tuples(st.floats(-1e5, 1e5), st.floats(-1e5, 1e5)),
    st.booleans(),
)
seeds = st.integers(0, 2**32 - 1)


def control_grid(rng: np.random.Generator, extent: float = 6000.0) -> np.ndarray:
    """25 points spread over a section, none close to another."""
    axis = np.linspace(0.1, 0.9, 5) * extent
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    return grid + rng.uniform(-0.05, 0.05, grid.shape) * extent


def moderate_spline(seed: int, pose: Affine) -> ThinPlateSpline:
    """A pose followed by bends of up to a few per cent of the section: no folds."""
    rng = np.random.default_rng(seed)
    source = control_grid(rng)
    size = np.sqrt(abs(np.linalg.det(pose.matrix[:2, :2])))
    target = pose.apply(source) + size * rng.uniform(-100, 100, source.shape)
    return ThinPlateSpline.fit(source, target, stiffness=float(rng.choice([0.0, 1e-3])))


def moderate_field(seed: int, interpolation: str) -> DisplacementField:
    """Displacements that change too little between nodes to fold: one that folds has no inverse."""
    rng = np.random.default_rng(seed)
    u = rng.uniform(-50, 50, (9, 11, 2)) + rng.uniform(-5000, 5000, 2)
    return DisplacementField(u, (-500.0, 300.0), (600.0, 700.0), interpolation)


def there_and_back(transform: Transform, points: np.ndarray) -> float:
    forward = transform.apply(points)
    back = transform.inverse().apply(forward)
    again = transform.apply(transform.inverse().apply(points))
    return max(np.abs(back - points).max(), np.abs(again - points).max())


@given(affines, seeds)
@settings(max_examples=50, deadline=None)
def test_affine_round_trip(pose, seed):
    points = np.random.default_rng(seed).uniform(-1e4, 1e4, (50, 2))
    assert there_and_back(pose, points) < THOUSANDTH_OF_A_PIXEL


@given(affines, seeds)
@settings(max_examples=40, deadline=None)
def test_spline_round_trip_mirrored_or_not(pose, seed):
    spline = moderate_spline(seed, pose)
    points = np.random.default_rng(seed).uniform(-500, 6500, (200, 2))
    forward = spline.apply(points)
    back = spline.inverse().apply(forward)
    assert np.abs(back - points).max() < 1e-6
    sign = np.sign(np.linalg.det(pose.matrix[:2, :2]))
    assert (np.sign(spline.jacobian_determinant(points)) == sign).all()


@given(seeds, st.sampled_from(["linear", "cubic"]), st.booleans())
@settings(max_examples=40, deadline=None)
def test_field_round_trip_mirrored_or_not(seed, interpolation, mirror):
    field = moderate_field(seed, interpolation)
    pose = affine_from(0.3, 1.0, 0.0, (10.0, 20.0), mirror)
    points = np.random.default_rng(seed).uniform(-2000, 8000, (200, 2))
    assert there_and_back(field, points) < 1e-6
    assert there_and_back(compose(pose, field), points) < 1e-6


def test_inverse_of_inverse_is_the_map_itself():
    spline = moderate_spline(1, Affine.identity())
    assert spline.inverse().inverse() is spline
    both = Composite((Affine.identity(), spline))
    points = control_grid(np.random.default_rng(5))
    np.testing.assert_allclose(both.inverse().inverse().apply(points), both.apply(points))


class Bowl(Transform):
    """x' = x^2: everything left of zero is out of its reach."""

    kind = "bowl"

    def apply(self, points):
        return np.column_stack([points[:, 0] ** 2, points[:, 1]])

    def inverse(self):
        return InverseTransform(self)

    def to_dict(self):
        return {"kind": self.kind}


def test_where_there_is_no_inverse_the_answer_is_nan():
    found = Bowl().inverse().apply(np.array([[4.0, 7.0], [-4.0, 7.0], [np.nan, 0.0]]))
    np.testing.assert_allclose(np.abs(found[0]), [2, 7], atol=1e-6)
    assert np.isnan(found[1:]).all()
    assert np.isnan(Bowl().inverse().jacobian_determinant(np.array([[-4.0, 7.0]]))).all()


def test_under_a_fold_a_true_preimage_is_returned():
    # x' = |x| inside the grid: two points share every image.
    x = np.linspace(-1000, 1000, 41)
    u = np.zeros((5, 41, 2))
    u[:, :, 0] = np.abs(x) - x
    field = DisplacementField(u, (-1000.0, 0.0), (50.0, 100.0), "linear")
    found = field.inverse().apply(np.array([[500.0, 100.0]]))
    np.testing.assert_allclose(field.apply(found), [[500.0, 100.0]], atol=1e-6)
    fold = ThinPlateSpline.fit(
        np.array([[0, 0], [1000, 0], [0, 1000], [1000, 1000], [400, 500], [600, 500.0]]),
        np.array([[0, 0], [1000, 0], [0, 1000], [1000, 1000], [900, 500], [100, 500.0]]),
    )
    points = np.random.default_rng(0).uniform(0, 1000, (500, 2))
    found = fold.inverse().apply(points)
    ok = np.isfinite(found).all(axis=1)
    assert ok.mean() > 0.9
    np.testing.assert_allclose(fold.apply(found[ok]), points[ok], atol=1e-5)
    assert (fold.jacobian_determinant(points) < 0).any()


def test_flat_affine_has_no_inverse():
    with pytest.raises(UserError, match="line"):
        Affine(np.diag([1.0, 0.0, 1.0])).inverse()


@pytest.mark.parametrize("stiffness", [0.0, 1e-3, 0.5])
def test_spline_equals_the_smoothing_rbf_of_scipy(stiffness):
    from scipy.interpolate import RBFInterpolator

    rng = np.random.default_rng(3)
    source = rng.uniform(0, 5000, (20, 2))
    target = source @ [[0.8, 0.3], [-0.4, 1.1]] + rng.normal(0, 60, source.shape)
    spline = ThinPlateSpline.fit(source, target, stiffness)
    # scipy takes the penalty of the kernel matrix in its own units of length.
    oracle = RBFInterpolator(
        source / spline.scale, target, kernel="thin_plate_spline", smoothing=20 * stiffness
    )
    points = rng.uniform(-1000, 6000, (300, 2))
    np.testing.assert_allclose(spline.apply(points), oracle(points / spline.scale), atol=1e-6)
    if stiffness == 0:
        np.testing.assert_allclose(spline.apply(source), target, atol=1e-8)


@given(seeds, st.floats(1e-4, 1e4), st.floats(1e-4, 10))
@settings(max_examples=30, deadline=None)
def test_stiffness_has_no_unit(seed, unit, stiffness):
    rng = np.random.default_rng(seed)
    source = rng.uniform(0, 1, (12, 2))
    target = source + rng.normal(0, 0.05, source.shape)
    points = rng.uniform(-0.5, 1.5, (20, 2))
    here = ThinPlateSpline.fit(source, target, stiffness).apply(points)
    there = ThinPlateSpline.fit(source * unit, target * unit, stiffness).apply(points * unit)
    np.testing.assert_allclose(there / unit, here, atol=1e-8)


def test_stiffness_runs_from_exact_to_affine():
    rng = np.random.default_rng(0)
    source = rng.uniform(0, 1000, (15, 2))
    target = source + rng.normal(0, 30, source.shape)

    def left(stiffness):
        return np.linalg.norm(
            ThinPlateSpline.fit(source, target, stiffness).apply(source) - target, axis=1
        )

    rms = [np.sqrt((left(s) ** 2).mean()) for s in (0, 1e-4, 1e-2, 1, np.inf)]
    assert rms[0] < 1e-8
    assert (np.diff(rms) > 0).all()
    design = np.column_stack([np.ones(15), source])
    affine = design @ np.linalg.lstsq(design, target, rcond=None)[0]
    np.testing.assert_allclose(
        ThinPlateSpline.fit(source, target, np.inf).apply(source), affine, atol=1e-8
    )
    np.testing.assert_allclose(
        ThinPlateSpline.fit(source, target, 1e9).apply(source), affine, atol=1e-3
    )


@pytest.mark.parametrize(
    "transform",
    [
        affine_from(1.0, 2.0, 0.2, (5.0, 6.0), True),
        moderate_spline(4, affine_from(0.5, 1.5, 0.1, (100.0, 0.0), True)),
        moderate_field(4, "linear"),
        moderate_field(4, "cubic"),
        moderate_spline(4, Affine.identity()).inverse(),
        compose(moderate_field(4, "cubic"), moderate_spline(4, Affine.identity())),
    ],
    ids=["affine", "spline", "linear", "cubic", "inverse", "composite"],
)
def test_jacobian_agrees_with_differences(transform):
    points = np.random.default_rng(2).uniform(0, 5500, (100, 2)) + 0.123
    exact = transform.jacobian(points)
    np.testing.assert_allclose(exact, Transform.jacobian(transform, points), atol=2e-6)
    np.testing.assert_allclose(transform.jacobian_determinant(points), np.linalg.det(exact))


def test_field_interpolates_its_nodes_and_holds_its_edge():
    for interpolation in ("linear", "cubic"):
        field = moderate_field(9, interpolation)
        j, i = 3, 7
        node = np.array([[-500 + i * 600.0, 300 + j * 700.0]])
        np.testing.assert_allclose(
            field.apply(node) - node, field.displacements[j, i][None], atol=1e-8
        )
        corner = np.array([[-500.0, 300.0]])
        far = corner - 1e4
        np.testing.assert_allclose(
            field.apply(far) - far, field.displacements[0, 0][None], atol=1e-8
        )
        np.testing.assert_allclose(field.jacobian(far)[0], np.eye(2))


def test_compose_multiplies_flattens_and_cancels():
    a, b = affine_from(0.2, 1.1, 0, (1, 2), False), affine_from(-1, 0.7, 0.1, (3, 4), True)
    spline, field = moderate_spline(7, Affine.identity()), moderate_field(7, "linear")
    points = control_grid(np.random.default_rng(1))
    both = compose(a, b)
    assert isinstance(both, Affine)
    np.testing.assert_allclose(both.apply(points), b.apply(a.apply(points)))
    chain = compose(compose(a, spline), compose(b, a))
    assert [part.kind for part in chain.parts] == ["affine", "thin_plate_spline", "affine"]
    np.testing.assert_allclose(chain.apply(points), a.apply(b.apply(spline.apply(a.apply(points)))))
    assert compose(spline, spline.inverse()).matrix.tolist() == np.eye(3).tolist()
    assert isinstance(compose(compose(a, field), field.inverse()), Affine)
    assert compose(Affine.identity(), field) is field


def test_spline_takes_many_points_in_little_memory():
    rng = np.random.default_rng(0)
    source = rng.uniform(0, 5000, (200, 2))
    spline = ThinPlateSpline.fit(source, source + rng.normal(0, 20, source.shape))
    points = rng.uniform(0, 5000, (100_000, 2))
    tracemalloc.start()
    out = spline.apply(points)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.isfinite(out).all()
    assert peak < 80e6  # 100,000 x 200 doubles alone would be 160 MB
    np.testing.assert_allclose(out[-3:], spline.apply(points[-3:]))


ALL_KINDS = [
    affine_from(1.0, 2.0, 0.2, (5.0, 6.0), True),
    moderate_spline(4, Affine.identity()),
    ThinPlateSpline.fit(control_grid(np.random.default_rng(0)), np.ones((25, 2)), np.inf),
    moderate_field(4, "cubic"),
    moderate_spline(4, Affine.identity()).inverse(),
    compose(affine_from(1.0, 2.0, 0.2, (5.0, 6.0), True), moderate_field(4, "linear")),
]


@pytest.mark.parametrize("transform", ALL_KINDS, ids=lambda t: t.kind)
def test_every_kind_survives_json(transform):
    read = transform_from_dict(json.loads(json.dumps(transform.to_dict(), allow_nan=False)))
    points = np.random.default_rng(0).uniform(0, 5000, (40, 2))
    assert type(read) is type(transform)
    np.testing.assert_array_equal(read.apply(points), transform.apply(points))


def deep(levels: int) -> dict:
    out = Affine.identity().to_dict()
    for _ in range(levels):
        out = {"kind": "inverse", "forward": out}
    return out


SPLINE = moderate_spline(4, Affine.identity()).to_dict()
FIELD = moderate_field(4, "linear").to_dict()


@pytest.mark.parametrize(
    "garbage",
    [
        None,
        [],
        "affine",
        {},
        {"kind": "os.system", "matrix": "ls"},
        {"kind": ["affine"], "matrix": np.eye(3).tolist()},
        {"kind": "affine"},
        {"kind": "affine", "matrix": np.eye(3).tolist(), "extra": 1},
        {"kind": "affine", "matrix": np.eye(2).tolist()},
        {"kind": "affine", "matrix": [[1, 0, 0], [0, 1], [0, 0, 1]]},
        {"kind": "affine", "matrix": [["1", 0, 0], [0, 1, 0], [0, 0, 1]]},
        {"kind": "affine", "matrix": [[float("nan"), 0, 0], [0, 1, 0], [0, 0, 1]]},
        {"kind": "affine", "matrix": [[1, 0, 0], [0, 1, 0], [1, 0, 1]]},
        {"kind": "affine", "matrix": [[10**400, 0, 0], [0, 1, 0], [0, 0, 1]]},
        {"kind": "affine", "matrix": "1 0 0"},
        {**SPLINE, "weights": SPLINE["weights"][:-1]},
        {**SPLINE, "scale": 0},
        {**SPLINE, "scale": True},
        {**SPLINE, "scale": 10**400},
        {**SPLINE, "stiffness": -1.0},
        {**SPLINE, "control": [[1, 2, 3]]},
        {**FIELD, "spacing": [0, 1]},
        {**FIELD, "origin": [0, 1, 2]},
        {**FIELD, "interpolation": "exec"},
        {**FIELD, "interpolation": ["linear"]},
        {**FIELD, "displacements": [[[1, 2]]]},
        {"kind": "composite", "parts": []},
        {"kind": "composite", "parts": "affine"},
        {"kind": "inverse", "forward": None},
        deep(40),
    ],
    ids=lambda garbage: type(garbage).__name__,
)
def test_garbage_is_refused_with_a_reason(garbage):
    with pytest.raises(UserError) as caught:
        transform_from_dict(garbage)
    assert caught.value.hint


def test_transforms_cannot_be_changed_after_they_are_made():
    for transform in (Affine.identity(), ALL_KINDS[1], ALL_KINDS[3]):
        array = getattr(transform, "matrix", None)
        array = transform.displacements if array is None else array
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 5


def test_a_spline_refuses_points_on_a_line_and_coincident_ones():
    line = np.column_stack([np.arange(6.0), 2 * np.arange(6.0)])
    with pytest.raises(UserError, match="line"):
        ThinPlateSpline.fit(line, line)
    twice = np.array([[0, 0], [1, 0], [0, 1], [1, 1], [1, 1.0]])
    with pytest.raises(UserError, match="coincide"):
        ThinPlateSpline.fit(twice, twice)
    assert isinstance(ThinPlateSpline.fit(twice, twice, 0.1).inverse(), InverseTransform)
