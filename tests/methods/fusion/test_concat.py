from dataclasses import replace

import numpy as np
import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.core.fusion import EmbeddingInputs
from napari_stomics.core.jobs import JobContext
from napari_stomics.data.fusion import FusionRefs, collect_fusion
from napari_stomics.methods.domains.gmm import GaussianMixtureParams, find_domains
from napari_stomics.methods.fusion.concat import (
    ConcatParams,
    fuse_concatenated,
    neighbour_disagreement,
)
from tests.small import small_simulation


@pytest.fixture(scope="module")
def section():
    simulation = small_simulation(rna_sees="pairs", protein_sees="shifted pairs", n_domains=4)
    return simulation.study.sections["section_1"]


def _fuse(section, modalities, histology=False, **params):
    refs = FusionRefs(section=section.name, modalities=modalities, histology=histology)
    return fuse_concatenated(
        collect_fusion(section.study, refs), ConcatParams(**params), JobContext()
    )


def _ari(section, embedding):
    inputs = EmbeddingInputs(
        "s", embedding.ids, embedding.values, section.coordinates, section.labels()
    )
    return find_domains(inputs, GaussianMixtureParams(n_domains=4), JobContext()).ari


def test_complementary_modalities_together_tell_more_than_each_alone(section):
    both = _ari(section, _fuse(section, ("rna", "protein")))
    assert both > _ari(section, _fuse(section, ("rna",)))
    assert both > _ari(section, _fuse(section, ("protein",)))


def test_the_image_becomes_a_block_of_its_own(section):
    with_image = _fuse(section, ("rna",), histology=True)
    assert with_image.modalities == ("rna", "image")
    assert np.isfinite(with_image.values).all()
    without = _fuse(section, ("rna",), histology=True, image_weight=0.0)
    assert without.modalities == ("rna",)
    assert not np.allclose(with_image.values[:, :5], without.values[:, :5], atol=1e-3)


def test_disagreement_is_between_zero_and_one_and_needs_two_modalities(section):
    both = _fuse(section, ("rna", "protein")).disagreement
    assert ((both >= 0) & (both <= 1)).all()
    assert np.isnan(_fuse(section, ("rna",)).disagreement).all()


def test_equal_blocks_never_disagree_and_unrelated_ones_nearly_always():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 200, 5))
    assert (neighbour_disagreement([a, a], 10) == 0).all()
    assert neighbour_disagreement([a, b], 10).mean() == pytest.approx(1 - 10 / 199, abs=0.02)


def test_it_repeats_to_the_bit(section):
    first = _fuse(section, ("rna", "protein"))
    np.testing.assert_array_equal(first.values, _fuse(section, ("rna", "protein")).values)


def test_a_modality_that_lacks_spots_is_refused(section):
    inputs = collect_fusion(section.study, FusionRefs(section=section.name, histology=False))
    block = inputs.blocks[0]
    fewer = replace(inputs, blocks=(replace(block, x=block.x[5:], rows=block.rows[5:]),))
    with pytest.raises(UserError, match="5 spots lack"):
        fuse_concatenated(fewer, ConcatParams(), JobContext())
