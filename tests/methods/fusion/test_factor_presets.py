import numpy as np
import pytest

from napari_stomics.core.registry import registry
from tests.methods.fusion.planted import block, counts, inputs_of, quarters, quiet, same_groups

LABELS = quarters(12)
NAMES = ("cellpie", "liger", "banksy", "banksy-cells", "seurat-wnn", "averaged-posteriors")


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_finds_what_is_there(name):
    spec = registry().get(f"fusion/{name}")
    inputs = inputs_of(
        block("rna", counts(LABELS, 40, 1)),
        block("protein", counts(LABELS, 12, 2), kind="protein"),
        side=12,
    )
    made = quiet(spec.function, inputs, spec.params())
    assert np.isfinite(made.values).all()
    assert same_groups(made.values, LABELS) > 0.8


def test_mefisto_is_the_spatial_model():
    assert registry().get("fusion/mefisto").params().spatial
    assert registry().preset("fusion/mefisto").method == "fusion/mofa"
