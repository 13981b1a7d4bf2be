"""The proximal solver on torch, for a GPU: step by step what the compiled kernels do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.methods.alignment._kernels import HUGE, SILENT, TINY
from napari_stomics.methods.alignment.proximal import FLOOR, ProximalOptions
from napari_stomics.methods.alignment.structure import FusedProblem

Floats = NDArray[np.floating[Any]]

_BLOCK = 1 << 20


def usable_device(device: str) -> str:
    """Return the device to run on.

    Parameters
    ----------
    device
        ``cpu``; ``cuda`` for the GPU; ``auto`` for the GPU where torch sees one.
        Torch is imported only for the latter two.

    Raises
    ------
    UserError
        If a GPU is asked for and torch sees none.
    """
    if device == "cpu":
        return device
    try:
        import torch

        seen = torch.cuda.is_available()
    except ImportError:
        seen = False
    if device == "auto":
        return "cuda" if seen else "cpu"
    if device.startswith("cuda") and not seen:
        raise UserError(
            "torch sees no CUDA device on this machine.",
            "Choose the device 'cpu' (or 'auto'): the answer is the same. For a GPU, install a "
            "CUDA build of torch and the driver of the card.",
        )
    return device


def torch_steps(
    problem: FusedProblem, start: Floats, options: ProximalOptions, device: str
) -> Iterator[tuple[Floats, float, float]]:
    """Yield what :func:`~napari_stomics.methods.alignment.proximal.proximal_steps` yields.

    Parameters
    ----------
    problem, start, options
        As there.
    device
        Name of a torch device.
    """
    import torch

    here = _Problem(problem, device)
    values = torch.clamp(here.array(start), min=0.0)
    values = values * (options.mass / max(float(values.sum()), 1e-300))
    potential = torch.zeros(len(problem.q), dtype=torch.float64, device=device)
    change = np.inf
    while True:
        gradient, objective = here.gradient(values)
        yield values.cpu().numpy(), objective + here.price(values, options.tau), change
        logk = torch.log(torch.clamp(values, min=FLOOR)) - gradient / options.epsilon
        after = here.scaled(logk, potential, options)
        change = float((after - values).abs().sum())
        values = after


class _Problem:
    """A fused problem on a device."""

    def __init__(self, problem: FusedProblem, device: str) -> None:
        import torch

        self.torch, self.device, self.alpha = torch, device, problem.alpha
        band = problem.band
        self.shape = band.shape
        self.i, self.j = (self.array(x, torch.int64) for x in (band.i, band.j))
        starts = range(0, len(band.i), _BLOCK)  # a block at a time, for the memory
        self.blocks = [slice(low, low + _BLOCK) for low in starts]
        self.cost, self.p, self.q = (self.array(x) for x in (problem.cost, problem.p, problem.q))
        held = problem.held or tuple(np.zeros(k, bool) for k in band.shape)
        self.held = tuple(self.array(h, torch.bool) for h in held)
        self.marginals = tuple(zip(self.held, (self.p, self.q), strict=True))
        self.sides = [
            (self.array(d.factors), self.array(d.core)) for d in (problem.source, problem.target)
        ]
        self.weighted = [factors @ core for factors, core in self.sides]

    def array(self, x: Any, kind: Any = None) -> Any:
        """The array on the device, float64 unless said."""
        torch = self.torch
        return torch.as_tensor(np.asarray(x)).to(self.device, kind or torch.float64)

    def rows(self, values: Any) -> Any:
        """(n,) sums by source spot."""
        return self.p.new_zeros(self.shape[0]).index_add_(0, self.i, values)

    def columns(self, values: Any) -> Any:
        """(m,) sums by target spot."""
        return self.p.new_zeros(self.shape[1]).index_add_(0, self.j, values)

    def gradient(self, values: Any) -> tuple[Any, float]:
        """Gradient and value, as of :meth:`FusedProblem.gradient`."""
        linear = float(self.cost @ values)
        if self.alpha == 0.0:
            return self.cost, linear
        (fa, ca), (fb, cb) = self.sides
        spread = values.new_zeros((self.shape[0], fb.shape[1]))
        for at in self.blocks:
            spread.index_add_(0, self.i[at], values[at, None] * fb[self.j[at]])
        core = ca @ (fa.T @ spread) @ cb
        left = fa @ core
        cross = values.new_empty(len(values))
        for at in self.blocks:
            cross[at] = (left[self.i[at]] * fb[self.j[at]]).sum(dim=1)
        slope = -4.0 * cross
        slope += 2.0 * self._squares(0, self.rows(values))[self.i]
        slope += 2.0 * self._squares(1, self.columns(values))[self.j]
        structure = 0.5 * float(slope @ values)
        slope = self.alpha * slope + (1.0 - self.alpha) * self.cost
        return slope, (1.0 - self.alpha) * linear + self.alpha * structure

    def _squares(self, side: int, mass: Any) -> Any:
        factors, weighted = self.sides[side][0], self.weighted[side]
        gram = factors.T @ (mass[:, None] * factors)
        return ((weighted @ gram) * weighted).sum(dim=1)

    def price(self, values: Any, tau: float) -> float:
        """What relaxed marginals cost."""
        if np.isinf(tau):
            return 0.0
        out = 0.0
        for mass, asked, held in (
            (self.rows(values), self.p, self.held[0]),
            (self.columns(values), self.q, self.held[1]),
        ):
            free = ~held & (asked > 0)
            mass, asked = mass[free], asked[free]
            logs = self.torch.where(mass > 0, mass / asked, self.torch.ones_like(mass)).log()
            out += float((mass * logs - mass + asked).sum())
        return tau * out

    def scaled(self, logk: Any, g: Any, options: ProximalOptions) -> Any:
        """The kernel scaled towards the marginals; ``g`` is moved on in place."""
        torch = self.torch
        power = 1.0 if np.isinf(options.tau) else options.tau / (options.tau + options.epsilon)
        # Of two numbers torch.where would make single precision.
        powers = [torch.where(held, 1.0, torch.full_like(a, power)) for held, a in self.marginals]
        shifted = logk + g[self.j]
        top = self.p.new_full((self.shape[0],), -torch.inf)
        top = top.scatter_reduce(0, self.i, shifted, "amax")
        filled = torch.isfinite(top)
        kernel = torch.exp(shifted - top[self.i])
        middle = top[filled].mean() if bool(filled.any()) else 0.0
        excess = torch.where(filled, (1.0 - powers[0]) * (top - middle), 0.0)
        level = torch.exp(torch.clamp(excess, -SILENT, SILENT))
        hold = torch.exp(torch.clamp((powers[1] - 1.0) * g, -SILENT, SILENT))
        u, v = torch.zeros_like(self.p), torch.ones_like(self.q)
        for done in range(options.inner):
            new = self._quotient(self.p, self.rows(kernel * v[self.j]), powers[0], level, u * 0)
            moved = torch.where(new > 0, self.p * (1.0 - u / new).abs(), 0.0)
            u = new
            if done and float(moved.sum()) <= options.inner_tolerance:
                break
            total = self.columns(kernel * u[self.i])
            v = torch.where(self.q > 0, self._quotient(self.q, total, powers[1], hold, v), 0.0)
        out = u[self.i] * kernel * v[self.j]
        g += torch.where(v > 0, torch.log(torch.where(v > 0, v, 1.0)), 0.0)
        g -= g.mean()
        total = float(out.sum())
        return out * (options.mass / total) if power < 1.0 and total > 0.0 else out

    def _quotient(self, asked: Any, total: Any, power: Any, factor: Any, otherwise: Any) -> Any:
        torch = self.torch
        found = (asked / torch.clamp(total, min=TINY)) ** power * factor
        return torch.where((total > 0) & (asked > 0), torch.clamp(found, max=HUGE), otherwise)
