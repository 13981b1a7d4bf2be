from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import Constraint, LandmarkPairs, Spots
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.plans import TransportPlan
from napari_stomics.core.quality import AlignmentQuality, QualityInputs
from napari_stomics.core.results import Registration
from napari_stomics.core.transforms import Affine
from napari_stomics.methods.alignment.quality import judge_alignment
from napari_stomics.methods.alignment.quality_case import QualityParams

XY = 100.0 * np.stack(np.meshgrid(np.arange(18), np.arange(15)), -1).reshape(-1, 2)
N = len(XY)
ANGLE = np.deg2rad(40)
TURN = np.array([[np.cos(ANGLE), -np.sin(ANGLE)], [np.sin(ANGLE), np.cos(ANGLE)]])
MAP = Affine(np.vstack([np.column_stack([TURN, [900.0, -200.0]]), [0, 0, 1]]))
LAYERS = np.array(["L1", "L2", "L3"], object)[(XY[:, 1] // 500).astype(int)]
GENES = np.array([f"g{i}" for i in range(80)], object)


def _spots(section: str, xy: np.ndarray, seed: int) -> Spots:
    """Genes that change from spot to spot, the same in both sections, newly counted."""
    rates = np.random.default_rng(0).gamma(4.0, 5.0, (N, len(GENES)))
    counts = np.random.default_rng(seed).poisson(rates)
    ids = np.array([f"{section}{i}" for i in range(N)], object)
    return Spots(section, ids, xy, sparse.csr_matrix(counts), GENES, "rna", LAYERS, 100.0)


def _plan(coupling, **more) -> TransportPlan:
    target = MAP.apply(XY)
    mass = np.asarray(coupling.sum(axis=1)).ravel()
    with np.errstate(invalid="ignore"):
        landed = np.asarray(coupling @ target) / np.where(mass > 0, mass, np.nan)[:, None]
    given = {
        "source_coordinates": target,
        "barycentres": landed,
        "entropy": np.zeros(N),
        "objective": np.array([2.0, 1.0]),
        "marginal_error": 0.0,
        "alpha": 0.5,
        "converged": True,
        "features": GENES[:40],
        "registration": Registration("a", "b", MAP, "rigid", "plan"),
        "margin": 0.4,
    } | more
    ids = [np.array([f"{s}{i}" for i in range(N)], object) for s in "ab"]
    return TransportPlan("a", "b", *ids, sparse.csr_matrix(coupling), **given)


def _inputs(plan: TransportPlan, **more) -> QualityInputs:
    return QualityInputs(
        plan, "a_to_b", _spots("a", XY, 1), _spots("b", MAP.apply(XY), 2), "layer", **more
    )


def _judge(plan: TransportPlan, **more) -> AlignmentQuality:
    return judge_alignment(_inputs(plan, **more), QualityParams(), JobContext())


def _value(found: AlignmentQuality, name: str) -> float:
    figure = found.figure(name)
    assert figure is not None, name
    return figure.value


TRUE = sparse.eye_array(N, format="csr") / N
SHIFTED = sparse.csr_array(np.roll(np.eye(N), 3, axis=1) / N)  # three spots to the right


@pytest.fixture(scope="module")
def true() -> AlignmentQuality:
    return _judge(_plan(TRUE))


def test_the_true_match_scores_full_marks(true):
    for name in ("label_accuracy", "spot_accuracy", "ari", "macro_f1"):
        assert _value(true, name) == pytest.approx(1.0), name
    for name in ("unmatched", "edge_inconsistency", "round_trip", "turned_over", "folds"):
        assert _value(true, name) == pytest.approx(0.0, abs=1e-9), name
    assert _value(true, "dice") > 0.99
    assert _value(true, "inverse_consistency") < 1e-6
    assert np.nanmin(true.label_agreement) == 1


def test_chance_and_ceiling_bracket_the_label_accuracy(true):
    figure = true.figure("label_accuracy")
    assert figure.chance == pytest.approx(1 / 3)
    assert figure.ceiling == pytest.approx(1.0)


def test_features_that_the_plan_has_not_seen_judge_it_and_those_that_it_saw_do_not(true):
    assert set(true.genes) <= set(GENES[40:])
    assert len(true.genes) == 40
    figure = true.figure("gene_correlation")
    assert figure.value > 0.7
    assert abs(figure.chance) < 0.05
    assert np.nanmedian(true.expression_agreement) > 0.6


def test_a_match_of_wrong_neighbours_is_caught_by_genes_and_compared_with_the_pose():
    found = _judge(_plan(SHIFTED))
    figure = found.figure("gene_correlation")
    assert figure.value < figure.chance + 4 * figure.chance_sd
    assert figure.baseline > 0.7  # the pose itself is right
    assert any(r.level == "warning" and "coarse place" in r.text for r in found.remarks)


def test_transport_that_is_worse_than_its_pose_is_said_to_be():
    wrong = sparse.csr_array(np.random.default_rng(0).permutation(np.eye(N)) / N)
    found = _judge(_plan(wrong))
    assert found.figure("label_accuracy").baseline == pytest.approx(1.0)
    assert found.figure("label_accuracy").gain < -0.4
    assert any(r.level == "warning" and "worse than the pose" in r.text for r in found.remarks)


def test_a_pose_that_is_off_is_what_transport_improves_on():
    off = _plan(TRUE, source_coordinates=MAP.apply(XY + np.array([300.0, 300.0])))
    found = _judge(off)
    figure = found.figure("label_accuracy")
    assert figure.value == pytest.approx(1.0)
    assert figure.gain > 2 * figure.gain_noise > 0
    assert any(r.level == "good" and "adds to the pose" in r.text for r in found.remarks)


def _marks() -> LandmarkPairs:
    points = XY[[20, 60, 130, 200, 250]] + 13.0
    return LandmarkPairs(
        "a", "b", tuple("vwxyz"), points, MAP.apply(points) + np.array([30.0, 40.0])
    )


def test_landmarks_left_out_give_the_registration_error():
    found = _judge(_plan(TRUE, landmarks=("w", "y", "z")), landmarks=_marks())
    figure = found.figure("tre")
    assert figure.value == pytest.approx(50.0)
    assert figure.baseline == pytest.approx(50.0)
    assert "3 landmarks" in figure.protocol
    assert found.figure("landmark_error") is None


def test_landmarks_that_may_have_been_used_give_none():
    found = _judge(_plan(TRUE), landmarks=_marks())
    assert found.figure("tre") is None
    assert _value(found, "landmark_error") == pytest.approx(50.0)
    assert any("no target registration error" in r.text for r in found.remarks)


def test_without_a_map_landmarks_follow_the_spots_round_them():
    plan = _plan(TRUE, registration=None, landmarks=tuple("vwxyz"))
    found = _judge(plan, landmarks=_marks())
    assert _value(found, "tre") == pytest.approx(50.0, abs=1.0)
    assert found.figure("folds") is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"converged": False, "reason": "200 iterations"}, "did not converge (200 iterations)"),
        ({"margin": 0.05}, "Place two landmarks"),
        ({"features": np.zeros(0, object)}, "does not say which features"),
        ({"features": GENES}, "has seen every feature"),
        ({"overlap": (0.3, 0.9)}, "30% of one section"),
    ],
)
def test_the_verdict_says_what_is_wrong_or_missing(change, words):
    found = _judge(_plan(TRUE, **change))
    assert any(words in remark.text for remark in found.remarks), found.remarks


def test_warnings_come_first(true):
    levels = [r.level for r in _judge(_plan(TRUE, converged=False, reason="x")).remarks]
    assert levels == sorted(levels, key=["warning", "note", "good"].index)


def test_scattered_holes_are_warned_of_and_a_missing_half_is_not():
    keep = XY[:, 0] < 900
    scattered = np.random.default_rng(3).permutation(keep)
    found = [
        _judge(_plan(sparse.csr_array(sparse.diags_array(flags / N))))
        for flags in (keep, scattered)
    ]
    said = [any("scattered" in r.text for r in q.remarks) for q in found]
    assert said == [False, True]
    assert _value(found[0], "unmatched") == pytest.approx(0.5, abs=0.01)


def test_constraints_are_checked():
    rule = Constraint("cortex", "match", LAYERS == "L1", LAYERS == "L1")
    ban = Constraint("never", "forbid", LAYERS == "L1", LAYERS == "L1")
    found = _judge(_plan(TRUE), constraints=(rule, ban))
    assert _value(found, "constraint_cortex") == pytest.approx(1.0)
    assert _value(found, "constraint_never") == pytest.approx(0.0)
    assert any("never" in r.text and r.level == "warning" for r in found.remarks)


def test_type_and_region_need_a_second_column():
    sides = np.where(XY[:, 0] < 900, "left", "right").astype(object)
    found = _judge(_plan(SHIFTED), source_regions=sides, target_regions=sides)
    assert _value(found, "cri") == pytest.approx(1 - 3 * 30 / N, abs=0.02)


def test_without_labels_the_rest_is_measured():
    inputs = _inputs(_plan(TRUE))
    bare = replace(inputs, source=replace(inputs.source, labels=None))
    found = judge_alignment(bare, QualityParams(), JobContext())
    assert found.figure("label_accuracy") is None
    assert np.isnan(found.label_agreement).all()
    assert found.figure("gene_correlation") is not None


def test_an_empty_plan_and_one_of_other_spots_are_refused():
    with pytest.raises(UserError, match="empty"):
        _judge(_plan(sparse.csr_array((N, N))))
    inputs = _inputs(_plan(TRUE))
    fewer = replace(inputs.source, ids=inputs.source.ids[:5])
    with pytest.raises(UserError, match="does not belong"):
        judge_alignment(replace(inputs, source=fewer), QualityParams(), JobContext())


def test_the_same_seed_gives_the_same_figures(true):
    again = _judge(_plan(TRUE))
    for a, b in zip(true.figures, again.figures, strict=True):
        np.testing.assert_equal((a.value, a.noise, a.chance), (b.value, b.noise, b.chance))
