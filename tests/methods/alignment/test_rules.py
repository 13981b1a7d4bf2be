import numpy as np
import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import Constraint
from napari_stomics.methods.alignment.band import Band
from napari_stomics.methods.alignment.overlap import ask_for, find_overlap
from napari_stomics.methods.alignment.rules import Pins, Rules

GRID = np.stack(np.meshgrid(np.arange(10.0), np.arange(10.0)), axis=-1).reshape(-1, 2)
LEFT, RIGHT = GRID[:, 0] < 3, GRID[:, 0] > 6


def rules(*constraints):
    return Rules(tuple(Constraint(*c) for c in constraints), 100, 100)


def test_without_constraints_nothing_changes():
    band = Band.nearest(GRID, GRID, 5)
    none = rules()
    assert not none
    assert none.applied(band, GRID, GRID, 5) is band
    assert none.allows(band.i, band.j).all()


def test_a_match_binds_both_regions_and_opens_ways_to_far_partners():
    bound = rules(("m", "match", LEFT, RIGHT))
    band = bound.applied(Band.nearest(GRID, GRID, 5), GRID, GRID, 4)
    assert (LEFT[band.i] == RIGHT[band.j]).all()
    rows = np.bincount(band.i, minlength=100)
    columns = np.bincount(band.j, minlength=100)
    assert rows.min() > 0
    assert columns[RIGHT].min() > 0
    # Regions of the same shape are laid upon each other.
    opposite = np.flatnonzero(LEFT)[:, None], np.flatnonzero(LEFT)[:, None] + 7
    assert np.isin(opposite[0] * 100 + opposite[1], band.keys).all()


def test_a_forbidden_match_is_cut_and_spots_without_any_are_banned():
    cut = rules(("f", "forbid", LEFT, RIGHT | LEFT))
    band = cut.applied(Band.full(100, 100), GRID, GRID, 4)
    assert len(band) == 10_000 - 30 * 60
    assert not cut.banned[0].any()
    alone = rules(("f", "forbid", LEFT, np.ones(100, bool)))
    np.testing.assert_array_equal(alone.banned[0], LEFT)
    masses = ask_for(find_overlap(GRID, GRID), "balanced", alone.banned)
    assert masses.p[LEFT].sum() == 0
    assert masses.p.sum() == pytest.approx(1) == masses.q.sum()


def test_contradictions_name_the_constraints():
    with pytest.raises(UserError, match="'a', 'b' contradict"):
        rules(("a", "match", LEFT, RIGHT), ("b", "forbid", LEFT, RIGHT))
    with pytest.raises(UserError, match="'c' belongs to other spots"):
        rules(("c", "match", LEFT[:50], RIGHT))


def test_pins_raise_the_cost_away_from_their_partner_and_fade():
    pins = Pins(np.array([[2.0, 2.0]]), np.array([[4.0, 2.0]]))
    band = Band.full(100, 100)
    cost = band.matrix(pins.cost(band, GRID, GRID, np.eye(2))).toarray()
    at = 22  # the spot at the pin
    assert cost[at].argmin() == 24
    assert cost[at, 24] == 0
    assert cost[at, 22] > 1
    assert cost[at].max() > cost[99].max()


def test_pins_pull_the_tissue_onto_their_partners_and_leave_the_rest():
    wide = 8 * GRID
    pins = Pins(np.array([[8.0, 8.0], [64.0, 64.0]]), np.array([[10.0, 8.0], [64.0, 63.0]]))
    pull = pins.pull(wide, pins.source)
    np.testing.assert_allclose(pull[11], [2, 0], atol=0.02)
    np.testing.assert_allclose(pull[88], [0, -1], atol=0.02)
    assert np.abs(pull[9]).max() < 1e-3


def test_overlap_and_masses_of_a_cropped_section():
    wide = np.stack(np.meshgrid(np.arange(40.0), np.arange(30.0)), axis=-1).reshape(-1, 2)
    cropped = wide[wide[:, 0] < 24] + 0.2
    overlap = find_overlap(wide, cropped)
    np.testing.assert_array_equal(overlap.source, wide[:, 0] < 24)
    assert overlap.shares == (0.6, 1.0)
    partial = ask_for(overlap, "partial")
    assert partial.mass == 0.6 == pytest.approx(partial.p.sum()) == pytest.approx(partial.q.sum())
    assert (partial.p[~overlap.source] == 0).all()
    whole = partial.whole()
    assert whole.mass == 1 == pytest.approx(whole.p.sum())
    relaxed = ask_for(overlap, "unbalanced")
    assert relaxed.p.sum() == pytest.approx(1.0)
    assert relaxed.q.sum() == pytest.approx(0.6)
    assert ask_for(overlap, "balanced").q.sum() == pytest.approx(1.0)
    with pytest.raises(UserError, match="do not overlap"):
        ask_for(find_overlap(GRID, GRID + 100), "partial")


def test_a_lost_spot_within_the_tissue_does_not_end_it():
    holed = np.delete(GRID, 55, axis=0)
    assert find_overlap(GRID, holed).source.all()
