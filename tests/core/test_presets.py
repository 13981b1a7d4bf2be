"""A preset is a method with other defaults, and nothing else."""

import numpy as np
import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import SpotPair, Spots
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.presets import Preset
from napari_stomics.core.registry import Registry

TABLE = {"alignment/fgw-dense": "napari_stomics.methods.alignment.dense:align_dense"}


def _preset(**params: object) -> Preset:
    return Preset("mine", "alignment/fgw-dense", "Mine", "As in my paper.", "Me 2026", params)


def test_a_preset_has_its_own_defaults_and_leaves_those_of_its_method_alone():
    registry = Registry(TABLE, [_preset(alpha=0.1)])
    mine, base = registry.get("alignment/mine"), registry.get("alignment/fgw-dense")
    assert mine.params().alpha == 0.1
    assert base.params().alpha == 0.5
    assert mine.key == "alignment/mine"
    assert mine.params().n_genes == base.params().n_genes
    field = mine.params.model_fields["alpha"]
    assert field.title == base.params.model_fields["alpha"].title
    assert field.json_schema_extra == base.params.model_fields["alpha"].json_schema_extra
    with pytest.raises(ValueError, match="less than or equal to 1"):
        mine.params(alpha=2)


def test_it_runs_the_function_of_its_method():
    rng = np.random.default_rng(0)
    xy = 100.0 * np.stack(np.meshgrid(np.arange(6), np.arange(5)), -1).reshape(-1, 2)
    x = rng.poisson(3, (30, 20))
    names = np.array([f"g{i}" for i in range(20)], object)
    a, b = (
        Spots(s, np.arange(30).astype(str).astype(object), xy, x, names, "rna", None, 100.0)
        for s in "ab"
    )
    plan = (
        Registry(TABLE, [_preset(alpha=0.25)])
        .get("alignment/mine")
        .run(SpotPair(a, b), None, JobContext())
    )
    assert plan.alpha == 0.25


def test_a_preset_that_does_not_fit_says_so():
    registry = Registry(TABLE, [_preset(beta=1)])
    with pytest.raises(UserError, match="no parameter beta"):
        registry.get("alignment/mine")


def test_presets_are_offered_with_the_methods_of_their_task():
    registry = Registry(TABLE, [_preset()])
    assert registry.keys("alignment") == ["alignment/fgw-dense", "alignment/mine"]
    assert registry.preset("alignment/mine") == _preset()
    assert registry.preset("alignment/fgw-dense") is None
