"""A fusion dock in a frame: empty, with a study, with domains, with a preview."""

from __future__ import annotations

import pytest
from napari.components import ViewerModel
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_stomics.docks.fusion_dock import FusionDock
from napari_stomics.docks.workbench import workbench
from napari_stomics.session.live_fusion import DOMAINS
from tests.docks.desk import finish
from tests.docks.fusion.desk import settled
from tests.small import small_simulation


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def bench(viewer):
    return workbench(viewer)


@pytest.fixture
def dock(viewer, qtbot):
    frame = QWidget()
    qtbot.addWidget(frame)
    QVBoxLayout(frame)
    frame.resize(360, 900)
    frame.show()
    made = FusionDock(viewer)
    frame.layout().addWidget(made)
    yield made
    frame.close()


@pytest.fixture
def opened(dock, bench):
    bench.session.open(small_simulation().study)
    return dock


@pytest.fixture
def clustered(opened, bench, qtbot):
    opened.fusion.start()
    finish(qtbot, bench)
    opened.domains.params.set_value(opened.domains.params.model(n_domains=4, members=3))
    opened.domains.start()
    finish(qtbot, bench)
    return opened


@pytest.fixture
def live(opened, bench, qtbot):
    opened.domains.choose(DOMAINS)
    opened.domains.params.set_value(opened.domains.params.model(n_domains=3, members=3))
    opened.live.start()
    settled(opened, bench, qtbot)
    return opened.live
