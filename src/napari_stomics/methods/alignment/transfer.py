"""Labels carried from one section to another along a transport plan."""

from __future__ import annotations

import numpy as np

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import LabelTransferInputs
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.params import Params
from napari_stomics.core.plans import LabelTransfer
from napari_stomics.core.registry import method
from napari_stomics.metrics.label_transfer import accuracy_ceiling, one_hot, plan_accuracy


class LabelTransferParams(Params):
    """Label transfer has no parameters."""


@method(
    task="transfer",
    name="plan-labels",
    title="Transfer labels along a plan",
    summary="Gives each target spot the labels of the source spots that send it mass.",
    params=LabelTransferParams,
    inputs=LabelTransferInputs,
    result=LabelTransfer,
    reference="Accuracy as in Zeira et al. 2022 (PASTE), Nat Methods 19:567",
)
def transfer_labels(
    inputs: LabelTransferInputs, params: LabelTransferParams, ctx: JobContext
) -> LabelTransfer:
    """Carry labels along a plan and, where the target has labels too, score them.

    Raises
    ------
    UserError
        If no source spot has a label.
    """
    names = sorted({str(name) for name in inputs.source_labels if name})
    if not names:
        raise UserError(
            "No spot of the source section has a label.", "Choose a column that holds labels."
        )
    ctx.step(0.1, "Carrying labels")
    source = one_hot(inputs.source_labels, names)
    received = np.asarray(inputs.plan.T @ source)
    mass = received.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        probabilities = received / mass
    arrived = mass[:, 0] > 0
    best = np.where(arrived, received.argmax(axis=1), 0)
    labels = np.where(arrived, np.array(names, object)[best], "")
    scale = np.log(len(names)) if len(names) > 1 else 1.0
    logs = np.log(np.where(probabilities > 0, probabilities, 1.0))
    entropy = np.where(arrived, -(np.nan_to_num(probabilities) * logs).sum(axis=1) / scale, np.nan)
    accuracy = ceiling = spot_accuracy = float("nan")
    if inputs.target_labels is not None and (inputs.target_labels != "").any():
        accuracy = plan_accuracy(inputs.plan, inputs.source_labels, inputs.target_labels)
        ceiling = accuracy_ceiling(inputs.source_labels, inputs.target_labels)
        scored = (inputs.target_labels != "") & arrived
        if scored.any():
            spot_accuracy = float((labels == inputs.target_labels)[scored].mean())
    return LabelTransfer(
        source=inputs.source,
        target=inputs.target,
        target_ids=inputs.target_ids,
        categories=tuple(names),
        probabilities=probabilities,
        labels=labels,
        entropy=np.maximum(entropy, 0.0),
        accuracy=accuracy,
        ceiling=ceiling,
        spot_accuracy=spot_accuracy,
    )
