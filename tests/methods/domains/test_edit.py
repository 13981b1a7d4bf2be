import numpy as np
import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.core.fusion import DomainInputs, Domains
from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.domains.edit import EditParams, edit_domains

SIDE = 20


@pytest.fixture
def inputs() -> DomainInputs:
    """Three stripes; the middle one holds two kinds of spots, and the last two pieces."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE].reshape(2, -1)
    stripe = np.minimum(x // 6, 2)
    kept = ~((stripe == 2) & (np.abs(y - 6) < 2))
    x, y, stripe = x[kept], y[kept], stripe[kept]
    names = ("A", "B", "C")
    probabilities = np.full((len(x), 3), 0.05)
    probabilities[np.arange(len(x)), stripe] = 0.9
    values = np.column_stack([5.0 * stripe, np.where(stripe == 1, 4.0 * (y > 9), 0.0)])
    values += rng.normal(0, 0.3, values.shape)
    domains = Domains(
        section="s",
        ids=np.array([f"s{i}" for i in range(len(x))], object),
        labels=np.array(names, object)[stripe],
        names=names,
        probabilities=probabilities,
        entropy=np.full(len(x), 0.5),
        stability=np.full(len(x), 0.8),
    )
    truth = np.where(stripe == 1, np.where(y > 9, "up", "down"), np.array(names)[stripe])
    return DomainInputs(domains, values, np.column_stack([x, y]).astype(float), truth)


def edit(inputs: DomainInputs, **params: object) -> Domains:
    return edit_domains(inputs, EditParams(**params), JobContext())


def test_renaming_changes_the_name_alone(inputs: DomainInputs) -> None:
    edited = edit(inputs, action="rename", domains="B", name="Cortex")
    assert edited.names == ("A", "Cortex", "C")
    assert ((edited.labels == "Cortex") == (inputs.domains.labels == "B")).all()
    np.testing.assert_array_equal(edited.probabilities, inputs.domains.probabilities)


def test_recolouring_changes_colours_alone(inputs: DomainInputs) -> None:
    edited = edit(inputs, action="recolour", domains="C, A", colours="#0000FF, #ff0000")
    assert edited.colours == {"C": "#0000ff", "A": "#ff0000"}
    assert edited.names == inputs.domains.names
    assert (edited.labels == inputs.domains.labels).all()


@pytest.mark.parametrize("colours", ["", "red", "#12345", "#123456,#123456"])
def test_what_is_no_colour_for_each_domain_is_refused(inputs: DomainInputs, colours: str) -> None:
    with pytest.raises(UserError, match="colour") as caught:
        edit(inputs, action="recolour", domains="A", colours=colours)
    assert "#1f77b4" in caught.value.hint


def test_merging_sums_posteriors_and_leaves_the_others(inputs: DomainInputs) -> None:
    edited = edit(inputs, action="merge", domains="C, A", name="rim")
    assert edited.names == ("B", "rim")
    np.testing.assert_allclose(edited.probabilities.sum(axis=1), 1)
    before = inputs.domains.probabilities
    np.testing.assert_allclose(edited.probabilities[:, 1], before[:, 0] + before[:, 2])
    assert ((edited.labels == "B") == (inputs.domains.labels == "B")).all()


def test_splitting_finds_the_two_kinds_within_a_domain(inputs: DomainInputs) -> None:
    edited = edit(inputs, action="split", domains="B")
    assert edited.names == ("A", "Ba", "Bb", "C")
    assert edited.ari == pytest.approx(1.0)
    np.testing.assert_allclose(edited.probabilities.sum(axis=1), 1)
    inside = inputs.domains.labels == "B"
    np.testing.assert_allclose(edited.stability[inside], 0.8)


def test_pieces_that_do_not_touch_become_domains(inputs: DomainInputs) -> None:
    edited = edit(inputs, action="split", domains="C", by="space")
    inside = inputs.domains.labels == "C"
    low = inputs.coordinates[:, 1] < 6
    for side in (inside & low, inside & ~low):
        assert len(set(edited.labels[side])) == 1
    assert (edited.labels[inside & ~low] == "Ca").all()  # the larger piece comes first
    with pytest.raises(UserError, match="one piece"):
        edit(inputs, action="split", domains="A", by="space")


def test_splitting_a_part_again_takes_free_letters(inputs: DomainInputs) -> None:
    once = edit(inputs, action="split", domains="B")
    again = DomainInputs(once, inputs.values, inputs.coordinates)
    merged = edit(again, action="merge", domains="Ba,C", name="B")
    twice = edit(
        DomainInputs(merged, inputs.values, inputs.coordinates), action="split", domains="B"
    )
    assert twice.names == ("A", "Ba", "Bc", "Bb")


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"action": "rename", "domains": "X", "name": "Y"}, "no domain 'X'"),
        ({"action": "rename", "domains": "A", "name": "B"}, "a domain 'B' already"),
        ({"action": "rename", "domains": "A", "name": " "}, "no name"),
        ({"action": "merge", "domains": "A"}, "at least two"),
        ({"action": "merge", "domains": "A,B,C"}, "Nothing would be told apart"),
        ({"action": "split", "domains": "A,B"}, "one domain"),
    ],
)
def test_what_cannot_be_done_is_refused(
    inputs: DomainInputs, params: dict[str, object], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        edit(inputs, **params)


def test_a_split_without_the_embedding_says_how_else(inputs: DomainInputs) -> None:
    bare = DomainInputs(inputs.domains, None, inputs.coordinates)
    with pytest.raises(UserError) as caught:
        edit(bare, action="split", domains="B")
    assert "space" in caught.value.hint
