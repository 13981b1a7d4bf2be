import importlib
import sys

import numpy as np
import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import SpotPair
from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.alignment import moscot
from napari_stomics.methods.alignment.moscot import MoscotParams, align_moscot
from tests.small import shared_simulation


@pytest.fixture(scope="module")
def pair() -> SpotPair:
    made = shared_simulation()
    first, second = made.study.sections
    return SpotPair(*(made.study.section(s).spots("rna") for s in (first, second)))


def test_without_the_library_the_way_out_is_told(pair, monkeypatch):
    monkeypatch.setitem(sys.modules, "moscot", None)
    monkeypatch.setitem(sys.modules, "moscot.problems", None)
    monkeypatch.setitem(sys.modules, "moscot.problems.space", None)
    with pytest.raises(UserError, match=r"napari-stomics\[moscot\]"):
        align_moscot(pair, MoscotParams(), JobContext())


class _Solution:
    cost = 0.7

    def __init__(self, n: int, m: int, converged: bool) -> None:
        rng = np.random.default_rng(0)
        plan = rng.random((n, m)) ** 8
        self.transport_matrix = plan / plan.sum() if n else plan
        self.converged = converged


class _Problem:
    """Stands for the library: remembers what it was asked."""

    asked: dict
    converged = True

    def __init__(self, both):
        self.both = both

    def prepare(self, **how):
        _Problem.asked = {"both": self.both, "prepare": how}
        return self

    def solve(self, **how):
        _Problem.asked["solve"] = how
        sizes = self.both.obs["section"].value_counts()
        self.solutions = {
            ("source", "target"): _Solution(sizes["source"], sizes["target"], self.converged)
        }
        return self


def test_the_library_is_given_joint_components_and_asked_as_the_parameters_say(pair, monkeypatch):
    monkeypatch.setattr(moscot, "_library", lambda: _Problem)
    plan = align_moscot(pair, MoscotParams(alpha=0.7, tau_a=0.9, n_components=12), JobContext())
    both, n = _Problem.asked["both"], len(pair.source.ids)
    assert both.obsm["X_joint"].shape == (n + len(pair.target.ids), 12)
    np.testing.assert_array_equal(both.obsm["spatial"][:n], pair.source.coordinates)
    assert _Problem.asked["prepare"]["joint_attr"] == "X_joint"
    assert _Problem.asked["solve"] == {
        "alpha": 0.7, "epsilon": 0.01, "tau_a": 0.9, "tau_b": 1.0, "rank": -1,
    }  # fmt: skip
    assert plan.plan.shape == (n, len(pair.target.ids))
    assert plan.solver == "moscot"
    assert plan.marginals == "unbalanced"
    assert plan.marginal_error > 0.01
    assert np.isfinite(plan.barycentres).all()


def test_a_run_that_did_not_converge_says_so(pair, monkeypatch):
    monkeypatch.setattr(moscot, "_library", lambda: _Problem)
    monkeypatch.setattr(_Problem, "converged", False)
    said = []
    plan = align_moscot(pair, MoscotParams(), JobContext(on_warning=said.append))
    assert not plan.converged
    assert "did not converge" in plan.reason
    assert said == ["Moscot's solver did not converge."]


def test_a_section_that_is_too_large_is_refused(pair, monkeypatch):
    monkeypatch.setattr(moscot, "_library", lambda: _Problem)
    with pytest.raises(UserError, match="GB"):
        align_moscot(pair, MoscotParams(max_spots=10), JobContext())


@pytest.mark.slow
def test_the_library_itself_aligns(pair):
    pytest.importorskip("moscot", reason="the extra 'moscot' is not installed")
    importlib.import_module("moscot.problems.space")
    plan = align_moscot(pair, MoscotParams(), JobContext(on_warning=lambda text: None))
    assert plan.plan.sum() == pytest.approx(1.0, rel=0.05)
    assert np.isfinite(plan.barycentres).all()
    assert plan.marginal_error < 0.1
