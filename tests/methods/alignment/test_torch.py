import numpy as np
import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.methods.alignment._torch import check_device, torch_steps
from napari_stomics.methods.alignment.band import Band
from napari_stomics.methods.alignment.proximal import ProximalOptions, proximal_steps
from napari_stomics.methods.alignment.structure import FusedProblem, common_distances

torch = pytest.importorskip("torch")


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
        np.testing.assert_allclose(theirs, ours, rtol=1e-6, atol=1e-9)
        assert objective_2 == pytest.approx(objective, rel=1e-7)
        assert change_2 == pytest.approx(change, rel=1e-5, abs=1e-8)


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


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_is_not_there_is_refused():
    check_device("cpu")
    with pytest.raises(UserError, match="no CUDA device"):
        check_device("cuda")
