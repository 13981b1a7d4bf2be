"""Fusion under sliders: the answers of the methods, without computing anything twice."""

from __future__ import annotations

import numpy as np
import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.data.fusion import FusionRefs, collect_fusion
from napari_stomics.methods.domains.gmm import DomainsParams, find_domains
from napari_stomics.methods.fusion import preparation
from napari_stomics.methods.fusion.smooth import SmoothParams, fuse_smooth
from napari_stomics.session.live_fusion import LiveChoice, LiveFusion, resized
from tests.small import hushed, shared_simulation


@pytest.fixture(scope="module")
def inputs():
    refs = FusionRefs(section="section_1", modalities=("rna", "protein"), histology=False)
    return collect_fusion(shared_simulation().study, refs)


def live(inputs, **params):
    return LiveFusion(inputs, SmoothParams(**params), {"members": 3})


def test_settled_answers_are_those_of_the_methods(inputs):
    choice = LiveChoice(3, {"rna": 0.2, "protein": 0.8}, 4)
    answer = live(inputs).answer(choice, hushed(), quick=False)
    fused = fuse_smooth(inputs, SmoothParams(steps=3, weights="rna=0.2, protein=0.8"), hushed())
    assert answer.weights == pytest.approx(dict(fused.weights))
    embedding = live(inputs)._embedding(fused.values)
    found = find_domains(embedding, DomainsParams(n_domains=4, members=3), hushed())
    assert (answer.domains.labels == found.labels).all()
    assert not answer.quick


def test_sections_are_corrected_as_the_method_does():
    refs = FusionRefs(
        section="section_1", others=("section_2",), modalities=("rna",), histology=False
    )
    both = collect_fusion(shared_simulation().study, refs)
    values = {}
    for batch in ("none", "centre", "neighbours"):
        params = SmoothParams(steps=2, batch=batch)
        fused = fuse_smooth(both, params, hushed())
        made = LiveFusion(both, params, {"members": 3})
        answer = made.answer(LiveChoice(2, None, 3), hushed(), quick=False)
        ours = DomainsParams(n_domains=3, members=3)
        found = find_domains(made._embedding(fused.values), ours, hushed())
        assert (answer.domains.labels == found.labels).all()
        assert np.allclose(answer.domains.probabilities, found.probabilities)
        values[batch] = fused.values
    assert not np.allclose(values["none"], values["neighbours"])


def test_settled_domains_are_judged_by_the_annotation_of_who_asks(inputs):
    from dataclasses import replace

    made = live(inputs)
    params = DomainsParams(n_domains=3, members=3)
    fused = fuse_smooth(inputs, SmoothParams(steps=2), hushed())
    plain = made._embedding(fused.values)
    first = made.find(plain, params, hushed())
    assert np.isnan(first.ari)
    truth = np.asarray(first.labels, object)
    again = made.find(replace(plain, labels=truth, name="mine"), params, hushed())
    assert (again.ari, again.nmi) == pytest.approx((1.0, 1.0))
    assert again.embedding == "mine"
    assert again.probabilities is first.probabilities


def test_what_no_slider_has_moved_is_as_in_the_parameters(inputs):
    made = live(inputs, steps=6, weights="rna=1, protein=3")
    answer = made.answer(LiveChoice(n_domains=3), hushed())
    assert answer.steps == 6
    assert answer.weights == pytest.approx({"rna": 0.25, "protein": 0.75})
    assert made.answer(LiveChoice(steps=2, n_domains=3), hushed()).steps == 2


def test_modalities_are_prepared_once_and_fused_once_for_equal_sliders(inputs, monkeypatch):
    from napari_stomics.methods.fusion import blocks

    counts = {"prepare": 0, "fuse": 0}
    real_prepare, real_fuse = preparation.prepare, blocks.fuse_prepared

    def prepare(*args, **more):
        counts["prepare"] += 1
        return real_prepare(*args, **more)

    def fuse(*args, **more):
        counts["fuse"] += 1
        return real_fuse(*args, **more)

    monkeypatch.setattr(preparation, "prepare", prepare)
    monkeypatch.setattr(blocks, "fuse_prepared", fuse)
    made = live(inputs)
    for steps, count in ((2, 3), (2, 4), (3, 4), (2, 5)):
        made.answer(LiveChoice(steps, None, count), hushed())
    assert counts == {"prepare": 1, "fuse": 2}


def test_another_number_of_domains_starts_from_those_shown(inputs):
    made = live(inputs)
    before = made.answer(LiveChoice(n_domains=4), hushed()).domains
    values = np.random.default_rng(0).normal(size=(inputs.n, 5))
    fewer, more = resized(before, values, 3), resized(before, values, 6)
    assert len(set(fewer.labels)) == 3
    merged = [name for name in before.names if name not in set(fewer.labels)]
    assert len(merged) == 1
    kept = before.labels != merged[0]
    assert (fewer.labels[kept] == before.labels[kept]).all()
    assert len(set(more.labels)) == 6
    for name in set(more.labels):
        assert len(set(before.labels[more.labels == name])) == 1
    answer = made.answer(LiveChoice(n_domains=6), hushed(), before=before)
    assert len(answer.domains.names) == 6
    same = resized(before, values, 4)
    assert (same.labels == before.labels).all()


def test_what_cannot_be_answered_is_refused_with_the_way_out(inputs):
    made = live(inputs)
    with pytest.raises(UserError, match="All weights are 0"):
        made.answer(LiveChoice(1, {"rna": 0.0, "protein": 0.0}, 3), hushed())
    with pytest.raises(UserError, match="too few"):
        made.answer(LiveChoice(1, None, 90), hushed())


def test_weights_are_written_as_the_method_reads_them():
    assert LiveChoice(weights={"rna": 0.5, "protein": 1.0}).weights_text() == "rna=0.5, protein=1"
    assert LiveChoice().weights_text() == ""
