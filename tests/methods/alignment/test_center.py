import numpy as np
import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.alignment.center import CentreParams, divergence, make_centre
from tests.methods.alignment.test_stack import inputs, simulated

PARAMS = CentreParams(factors=6, n_genes=120, rounds=4, tolerance=1e-2)


@pytest.fixture(scope="module")
def made():
    simulation = simulated(n_sections=3, warp_rms=0.3, rna_depth=400.0)
    given = inputs(simulation, 1)
    return simulation, given, make_centre(given, PARAMS, JobContext(on_warning=lambda text: None))


def test_the_consensus_is_nearer_to_the_truth_than_its_own_section(made):
    simulation, given, found = made
    home = given.sections[1]
    columns = [list(home.features).index(name) for name in found.features]
    truth = simulation.truth.expected("section_2", "rna")[:, columns]
    measured = np.asarray(home.x[:, columns].todense(), float)

    def error(x):
        share = x / x.sum(axis=1, keepdims=True)
        true = truth / truth.sum(axis=1, keepdims=True)
        return np.sqrt(((share - true) ** 2).mean())

    assert error(found.expression) < 0.5 * error(measured)


def test_factors_are_non_negative_and_of_the_rank_asked_for(made):
    _, given, found = made
    assert found.factors.shape == (len(given.sections[1].ids), 6)
    assert found.loadings.shape == (6, 120)
    assert found.factors.min() >= 0
    assert found.loadings.min() >= 0
    assert np.linalg.matrix_rank(found.expression) == 6


def test_the_plans_join_equal_labels_in_every_section(made):
    _, given, found = made
    assert found.sections == given.names
    assert found.label_accuracy.min() > 0.75
    assert found.mass.shape == found.entropy.shape == (len(found.ids), 3)
    assert found.mass.max() <= 1 + 1e-9


def test_the_objective_settles(made):
    _, _, found = made
    assert len(found.objective) >= 2
    assert found.objective[-1] <= found.objective[0]
    if found.converged:
        drop = abs(found.objective[-2] - found.objective[-1])
        assert drop <= PARAMS.tolerance * found.objective[-2]
    else:
        assert str(PARAMS.rounds) in found.reason


def test_stopping_early_is_said():
    given = inputs(simulated(n_sections=3, warp_rms=0.3, rna_depth=400.0), 1)
    warned: list[str] = []
    params = PARAMS.model_copy(update={"rounds": 1})
    found = make_centre(given, params, JobContext(on_warning=warned.append))
    assert not found.converged
    assert any("1 rounds" in text for text in warned)


def test_all_weight_on_one_section_makes_a_copy_of_it():
    given = inputs(simulated(n_sections=3, warp_rms=0.3, rna_depth=400.0), 1)
    params = PARAMS.model_copy(update={"weights": (0.0, 1.0, 0.0), "factors": 20})
    found = make_centre(given, params, JobContext(on_warning=lambda text: None))
    home = given.sections[1]
    columns = [list(home.features).index(name) for name in found.features]
    own = np.asarray(home.x[:, columns].todense(), float)
    strong = np.argsort(-own.var(axis=0))[:20]
    r = [np.corrcoef(own[:, g], found.expression[:, g])[0, 1] for g in strong]
    assert np.median(r) > 0.6
    np.testing.assert_allclose(found.weights, [0, 1, 0])


def test_weights_that_do_not_fit_are_refused():
    given = inputs(simulated())
    for weights in ((1.0,), (1.0, -1.0, 1.0, 1.0), (0.0, 0.0, 0.0, 0.0)):
        with pytest.raises(UserError, match="weights"):
            make_centre(given, CentreParams(weights=weights), JobContext())


def test_the_divergence_is_zero_for_equal_counts_and_positive_otherwise():
    rng = np.random.default_rng(0)
    data = rng.poisson(3.0, (20, 7)).astype(float)
    assert divergence(data, data) == pytest.approx(0, abs=1e-6)
    assert divergence(data, data + 1) > 0.01
