import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import SpotPair
from napari_stomics.methods.alignment._torch import torch_steps, usable_device
from napari_stomics.methods.alignment.band import Band
from napari_stomics.methods.alignment.fgw import FGWParams, align_fgw
from napari_stomics.methods.alignment.proximal import ProximalOptions, proximal_steps
from napari_stomics.methods.alignment.structure import FusedProblem, common_distances
from tests.small import hushed, small_simulation

torch = pytest.importorskip("torch")


@cache
def pair_of():
    """Two sections of about 200 spots with a registration."""
    made = small_simulation()
    one, two = list(made.study.sections)
    spots = [made.study.section(name).spots("rna") for name in (one, two)]
    return SpotPair(*spots, initial=made.truth.transform(one, two).linear_part())


def problem(alpha, held=False, seed=0):
    rng = np.random.default_rng(seed)
    a = rng.uniform(0, 14, (200, 2))
    b = a[rng.permutation(200)[:180]] + rng.normal(0, 0.1, (180, 2))
    band = Band.nearest(a, b, 12)
    band = band.keep(band.i != 7)  # a spot without any way
    p, q = np.full(200, 1 / 200), np.full(180, 1 / 180)
    p[11] = 0
    flags = (rng.random(200) < 0.1, rng.random(180) < 0.1) if held else None
    distances = common_distances(a, b, 30)
    return FusedProblem(band, rng.random(len(band)), *distances, alpha, p, q, flags)


@pytest.mark.parametrize("alpha", [0.0, 0.5])
@pytest.mark.parametrize("tau", [0.45, np.inf])
@pytest.mark.parametrize("held", [False, True])
def test_torch_takes_the_same_steps_as_the_kernels(alpha, tau, held):
    fused = problem(alpha, held)
    options = ProximalOptions(tau=tau, mass=0.9 if np.isfinite(tau) else 1.0, inner=15)
    start = np.random.default_rng(1).random(len(fused.band))
    both = zip(
        proximal_steps(fused, start, options),
        torch_steps(fused, start, options, "cpu"),
        range(12),
        strict=False,
    )
    for (ours, objective, change), (theirs, objective_2, change_2), _ in both:
        np.testing.assert_allclose(theirs, ours, rtol=1e-9, atol=1e-15)
        assert objective_2 == pytest.approx(objective, rel=1e-12)
        assert change_2 == pytest.approx(change, rel=1e-9, abs=1e-12)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_gives_the_same_plan():
    fused = problem(0.5)
    start = np.random.default_rng(1).random(len(fused.band))
    steps = (
        list(zip(f, range(12), strict=False))[-1][0][0]
        for f in (
            proximal_steps(fused, start, ProximalOptions()),
            torch_steps(fused, start, ProximalOptions(), "cuda"),
        )
    )
    ours, theirs = steps
    np.testing.assert_allclose(theirs, ours, atol=1e-5 * ours.max())


@pytest.mark.parametrize("marginals", ["unbalanced", "balanced"])
def test_an_alignment_on_torch_is_that_of_the_kernels(marginals):
    pair = pair_of()
    given = {"bend": False, "prior": "registration", "marginals": marginals}
    ours = align_fgw(pair, FGWParams(**given), hushed())
    # A name of the CPU that only torch knows: the path of a GPU on any machine.
    on_torch = FGWParams(**given).model_copy(update={"device": "cpu:0"})
    theirs = align_fgw(pair, on_torch, hushed())
    assert abs(ours.plan - theirs.plan).max() < 1e-6 * ours.plan.max()
    np.testing.assert_allclose(theirs.objective, ours.objective, rtol=1e-9)
    assert theirs.converged == ours.converged


def test_the_kernels_need_no_torch():
    code = (
        "import sys\n"
        "from napari_stomics.core.inputs import SpotPair\n"
        "from napari_stomics.methods.alignment.fgw import FGWParams, align_fgw\n"
        "from tests.small import hushed, small_simulation\n"
        "sections = small_simulation().study.sections.values()\n"
        "pair = SpotPair(*(section.spots('rna') for section in sections))\n"
        "align_fgw(pair, FGWParams(), hushed())\n"
        "assert FGWParams().device == 'cpu'\n"
        "assert 'torch' not in sys.modules\n"
    )
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, timeout=300)


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert usable_device("cpu") == "cpu"
    assert usable_device("auto") == "cpu"
    with pytest.raises(UserError, match="no CUDA device") as refused:
        align_fgw(pair_of(), FGWParams(device="cuda"), hushed())
    assert "'cpu'" in refused.value.hint
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert usable_device("auto") == "cuda"
