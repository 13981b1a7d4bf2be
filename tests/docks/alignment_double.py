"""A stand-in for a solver: it hands out states, can be held, and knows where it started."""

from __future__ import annotations

import time
from typing import Literal

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from napari_stomics.core import registry as registry_module
from napari_stomics.core.inputs import SpotPair
from napari_stomics.core.params import Params, param
from napari_stomics.core.plans import AlignmentState, TransportPlan
from napari_stomics.core.registry import Registry, method, registry
from napari_stomics.core.results import Registration
from napari_stomics.core.transforms import Affine

KEY = "alignment/double"
SEEN: list[SpotPair] = []
"""What the solver was given, run by run."""


class DoubleParams(Params):
    """As the real solver's: three choices, and the rest."""

    prior: Literal["automatic", "registration", "landmarks", "pinned"] = param(
        "automatic", "Prior", "What is known beforehand."
    )
    marginals: Literal["unbalanced", "balanced"] = param("unbalanced", "Marginals", "Masses.")
    bend: bool = param(False, "Bend", "Non-rigid.")
    iterations: int = param(5, "Iterations", "At most.", ge=1)
    wait: float = param(0.0, "Wait", "Seconds per iteration.", ge=0, advanced=True)
    margin: float = param(0.5, "Margin", "The pose's lead, as it is reported.", advanced=True)
    fail: bool = param(False, "Fail", "Give up half-way.", advanced=True)


@method(
    task="alignment",
    name="double",
    title="Stand-in",
    summary="Couples nearest spots; for tests.",
    params=DoubleParams,
    inputs=SpotPair,
    result=TransportPlan,
    reference="none",
)
def align_double(inputs: SpotPair, params: DoubleParams, ctx) -> TransportPlan:
    """Slide the source into place and couple nearest spots."""
    SEEN.append(inputs)
    own, target = inputs.source.coordinates, inputs.target.coordinates
    objective = [] if inputs.start is None else [float(inputs.start.objective[-1])]
    errors: list[float] = []
    shift = target.mean(axis=0) - own.mean(axis=0)
    reason, converged = "settled", True
    for i in range(params.iterations):
        ctx.step(i / params.iterations, f"iteration {i + 1}")
        if ctx.finishing:
            reason, converged = "stopped by the user", False
            break
        if params.fail and i == params.iterations // 2:
            raise ZeroDivisionError("in the solver")
        placed = own + shift * (i + 1) / params.iterations
        objective.append((objective[-1] if objective else 1.0) * 0.9)
        errors.append(10.0 ** -(i + 1))
        if ctx.wants_states:
            near = target[cKDTree(target).query(placed)[1]]
            curves = np.array(objective), np.array(errors)
            ctx.show(AlignmentState("solve", i + 1, placed, near, *curves))
        time.sleep(params.wait)
    placed = own + shift
    partner = cKDTree(target).query(placed)[1]
    n, m = len(own), len(target)
    plan = sparse.csr_matrix((np.full(n, 1 / n), (np.arange(n), partner)), shape=(n, m))
    matrix = np.eye(3)
    matrix[:2, 2] = shift
    names = inputs.source.section, inputs.target.section
    return TransportPlan(
        *names,
        source_ids=inputs.source.ids,
        target_ids=inputs.target.ids,
        plan=plan,
        source_coordinates=placed,
        barycentres=target[partner],
        entropy=np.zeros(n),
        objective=np.array(objective),
        marginal_error=errors[-1] if errors else 1.0,
        alpha=0.5,
        converged=converged,
        reason=reason,
        marginal_errors=np.array(errors),
        margin=params.margin,
        registration=Registration(*names, Affine(matrix), "affine", "plan"),
    )


def install(monkeypatch) -> Registry:
    """Put the stand-in before the real methods of alignment."""
    SEEN.clear()
    known = registry()
    table = {KEY: f"{__name__}:align_double"}
    table |= {key: known._table[key] for key in known.keys(None) if known.preset(key) is None}
    found = Registry(table)
    for target in (
        "napari_stomics.core.registry.registry",
        "napari_stomics.workflow.steps.registry",
        "napari_stomics.docks.step_form.registry",
    ):
        monkeypatch.setattr(target, lambda: found)
    assert registry_module.registry() is found
    return found
