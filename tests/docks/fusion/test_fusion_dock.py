"""The dock as a whole: alone, in order, narrow."""

from __future__ import annotations

import pytest
from qtpy.QtWidgets import QScrollArea

from napari_stomics.core.fusion import FusionInputs
from napari_stomics.core.registry import registry
from napari_stomics.docks.domain_edit import METHOD as EDIT
from napari_stomics.docks.layout import Fold
from napari_stomics.layers.tags import tag, tagged
from napari_stomics.session.live_fusion import DOMAINS, FUSION
from tests.docks.desk import finish
from tests.small import small_simulation

pytestmark = pytest.mark.gui


def test_alone_it_says_what_to_do_and_nothing_breaks(dock):
    assert not dock.fusion.run.isEnabled()
    assert "open a study" in dock.fusion.run.text()
    assert not dock.live.on.isEnabled()
    assert "Open a study" in dock.live.told.text()
    assert "fuse modalities first" in dock.domains.run.text()
    assert dock.found.told.text() == "No domains yet."
    assert "Find domains first" in dock.edit.hint.text()
    assert dock.compare.told.text() == "Find domains first."
    assert "Fuse modalities first" in dock.factors.told.text()
    dock.fusion.start()
    assert "Failed" in dock.fusion.problem.toPlainText()
    dock.domains.start()
    assert "nothing to choose" in dock.domains.problem.toPlainText()
    dock.live.start()
    assert "nothing to choose" in dock.live.problem.toPlainText()
    dock.live.keep()
    dock.edit.merge_selected()
    dock.compare.match_colours()


def test_every_fusion_and_clustering_has_its_form(opened):
    for form in (opened.fusion, opened.domains):
        for key in form._keys():
            form.choose(key)
            assert form.key == key
            assert form.params.value() == registry().get(key).params()
            assert form.problem.toPlainText() == ""
    assert FUSION in list(opened.fusion._keys())
    assert EDIT not in list(opened.domains._keys())
    assert registry().get(FUSION).inputs is FusionInputs


def test_domains_before_fusion_name_the_way_out(opened):
    assert not opened.domains.run.isEnabled()
    opened.domains.start()
    assert "Run the step that makes it first" in opened.domains.problem.toPlainText()


def test_fusing_leads_on_to_domains_and_their_layers(clustered, bench, viewer):
    runs = bench.session.results()
    assert [run.step["method"] for run in runs] == [FUSION, DOMAINS]
    assert runs[1].step["inputs"]["embedding"] == runs[0].key
    key = clustered.choice.key
    assert key == runs[1].key
    assert clustered.edit.table.names() == ["D1", "D2", "D3", "D4"]
    assert "4 domains" in clustered.found.told.text()
    for part in ("entropy", "stability", "domains"):
        clustered.found.buttons[part].click()
        shown = {tag(q)["part"] for q in tagged(viewer, result=key) if q.visible}
        assert shown == {part}


def test_nothing_is_cut_at_the_side_of_a_narrow_dock(clustered, qtbot):
    for fold in clustered.findChildren(Fold):
        fold.open()
    qtbot.wait(20)
    content = clustered.findChild(QScrollArea).widget()
    assert content.minimumSizeHint().width() <= clustered.minimumWidth() - 20


def test_another_study_wipes_what_was_told_of_the_former(opened, bench, qtbot):
    opened.fusion.params.set_value(opened.fusion.params.model(weights="nobody=1"))
    opened.fusion.start()
    finish(qtbot, bench)
    assert "nobody" in opened.fusion.bar.text
    bench.session.open(small_simulation(n_sections=1).study)
    finish(qtbot, bench)
    assert opened.fusion.bar.text == ""
