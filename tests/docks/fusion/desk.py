"""What the tests of the fusion dock share: waiting for settled domains, and what they must be."""

from __future__ import annotations

import numpy as np

from napari_stomics.layers.domains import labels_of
from napari_stomics.layers.tags import tagged
from tests.docks.desk import finish
from tests.small import small_simulation


def settled(dock, bench, qtbot):
    """Wait for the thorough answer to where the sliders stand."""

    def there():
        answer = dock.live.answer
        choice = dock.live.sliders.choice()
        return answer is not None and answer.choice == choice and not answer.quick

    qtbot.waitUntil(there, timeout=60_000)
    finish(qtbot, bench)


def shown_labels(viewer):
    """Names on the preview's layers, sections one after the other."""
    layers = tagged(viewer, role="live", part="domains")
    return np.concatenate([labels_of(q) for q in layers]) if layers else np.array([], object)


def directly(dock, bench, n_domains, **params):
    """Labels of the two methods run by themselves on a copy of the study."""
    fusion = dock.fusion.step().model_copy(update={"params": params})
    steps = [fusion, dock.live.domain_step(dock.live.sliders.choice(), fusion.result_key)]
    steps[1] = steps[1].model_copy(update={"params": {"n_domains": n_domains, "members": 3}})
    study = small_simulation().study
    for step in steps:
        outcome = step.resolve().collect(study).run()
        outcome.commit(study)
    return outcome.result.labels
