import numpy as np
import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.fusion.nets._train import Adam, NetParams, Weights, principal, train
from tests.small import hushed


def _bowl(offset=0.0):
    weights = Weights(0)
    leaf = weights.glorot(3, 2)
    return weights, lambda epoch: (leaf**2).sum() + offset


def test_the_objective_falls_and_the_training_stops_at_the_plateau():
    weights, loss = _bowl(1.0)
    params = NetParams(epochs=2000, learning_rate=0.05, patience=10)
    done = train(weights, loss, params, JobContext())
    assert done.converged
    assert len(done.objective) < 2000
    assert done.objective[0] > 1.5
    assert done.objective[-1] == pytest.approx(1.0, abs=0.05)


def test_a_training_that_ran_out_of_epochs_says_so():
    weights, loss = _bowl()
    said: list[str] = []
    done = train(weights, loss, NetParams(epochs=3), JobContext(on_warning=said.append))
    assert not done.converged
    assert len(done.objective) == 3
    assert "3 epochs" in said[0]


def test_epochs_of_the_warm_up_do_not_count_for_the_plateau():
    weights, loss = _bowl(1.0)
    params = NetParams(epochs=60, learning_rate=1e-6, patience=5)
    assert len(train(weights, loss, params, hushed()).objective) == 10
    assert len(train(weights, loss, params, hushed(), warm_up=30).objective) == 40


def test_no_epochs_leave_the_start_and_say_so():
    weights, loss = _bowl()
    before = weights.leaves[0].detach().numpy().copy()
    said: list[str] = []
    done = train(weights, loss, NetParams(epochs=0), JobContext(on_warning=said.append))
    assert done.objective == ()
    assert not done.converged
    assert "untrained" in said[0]
    np.testing.assert_array_equal(weights.leaves[0].detach().numpy(), before)


def test_a_training_that_diverges_is_refused_with_the_way_out():
    weights, _ = _bowl()
    with pytest.raises(UserError, match="Lower the learning rate"):
        train(weights, lambda epoch: weights.leaves[0].sum() / 0, NetParams(), JobContext())


def test_finishing_early_keeps_the_state_so_far():
    weights, loss = _bowl()
    asked: list[int] = []

    def finishing() -> bool:
        asked.append(1)
        return len(asked) >= 7

    done = train(weights, loss, NetParams(epochs=500), hushed(is_finishing=finishing))
    assert len(done.objective) == 7


def test_principal_axes_come_by_size_and_keep_distances():
    x = np.random.default_rng(0).standard_normal((50, 6)) * [1, 5, 2, 3, 1, 1]
    values, explained = principal(x, 6)
    assert (np.diff(explained) <= 0).all()
    assert explained.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(
        np.linalg.norm(values[0] - values[1]), np.linalg.norm(x[0] - x[1]), rtol=1e-4
    )
    np.testing.assert_allclose(principal(x, 3)[0], values[:, :3], atol=1e-4)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_the_optimiser_moves_as_torch_s_own(decay):
    import torch

    start = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    ours, theirs = (start.clone().requires_grad_() for _ in range(2))
    adam = Adam([ours], 0.05, decay)
    peer = torch.optim.Adam([theirs], 0.05, weight_decay=decay)
    for turn in range(30):
        # Large at first, so that the clipping takes part.
        scale = 100.0 if turn < 5 else 1.0
        for leaf in (ours, theirs):
            (scale * (leaf - 1).pow(4).sum()).backward()
        torch.nn.utils.clip_grad_norm_([theirs], 5.0)
        peer.step()
        peer.zero_grad()
        adam.step()
    assert ours.grad is None
    np.testing.assert_allclose(ours.detach(), theirs.detach(), rtol=1e-4, atol=1e-6)
