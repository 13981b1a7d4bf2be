"""Further modalities, placed through the cells that have a place."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import Cells, MappingInputs
from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.mapping.omics import through
from napari_stomics.methods.mapping.ot import map_cells
from napari_stomics.methods.mapping.params import MappingParams
from tests.methods.mapping.tissues import case, error, gradients, layers, names

CTX = JobContext()


def activity(labels: bool = True, genes: int = 120, seed: int = 5) -> tuple[Cells, Any]:
    """Other cells of the same tissue with noisy, shallow gene activity, and their true places."""
    xy, mean = gradients()
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(xy), 150, replace=False)
    counts = rng.poisson(0.3 * mean[chosen][:, :genes] + 0.3).astype(np.float32)
    label = layers(xy)[chosen] if labels else None
    features = names("g", mean.shape[1])[:genes]
    return Cells("cells", names("a", 150), counts, features, "chromatin", label), xy[chosen]


@pytest.mark.parametrize("labels", [True, False])
def test_other_cells_find_their_places_through_the_first_ones(labels):
    inputs, _ = case()
    other, truth = activity(labels)
    first = inputs.cells if labels else replace(inputs.cells, labels=None)
    both = MappingInputs(first, inputs.space, (other,))
    found = map_cells(both, MappingParams(epsilon=0.02, n_groups=8), CTX)
    (more,) = found.more
    assert more.modality == "chromatin"
    assert more.positions.shape == (150, 2)
    chance = error(np.random.default_rng(0).permutation(truth), truth)
    assert error(more.positions, truth) < 0.5 * chance
    if labels:
        best = np.array(more.categories)[more.proportions.argmax(axis=1)]
        assert np.mean(best == inputs.space.labels) > 0.6


def test_the_same_cells_keep_their_places():
    inputs, _ = case(n=120)
    order = np.random.default_rng(0).permutation(len(inputs.cells.ids))
    again = Cells(
        "cells", inputs.cells.ids[order], inputs.cells.x[order], inputs.cells.features, "protein"
    )
    found = map_cells(replace(inputs, more=(again,)), MappingParams(), CTX)
    np.testing.assert_allclose(found.more[0].positions, found.positions[order], atol=1e-2)


def test_labels_alone_will_do_where_no_feature_is_shared():
    inputs, _ = case()
    other, _ = activity()
    strange = replace(other, features=names("peak", len(other.features)))
    shares, _, how = through(inputs.cells, strange, 8, 0, CTX)
    np.testing.assert_allclose(np.asarray(shares.sum(axis=1)).ravel(), 1)
    assert "4 groups" in how
    mine = strange.labels[:, None] == inputs.cells.labels[None, :]
    assert (shares.toarray() * mine).sum() > 0.9 * len(strange.ids)
    with pytest.raises(UserError, match="gene activity instead of peaks"):
        through(inputs.cells, replace(strange, labels=None), 8, 0, CTX)
