"""The docks of napari-spatialdata work on our layers."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from napari_stomics.core.transforms import Affine
from napari_stomics.layers.section import add_section, find_section
from napari_stomics.layers.tags import place_section, tag
from tests.layers.studies import grid, pair, turned

pytestmark = pytest.mark.gui


@pytest.fixture(params=["dock first", "sections first"])
def opened(
    make_napari_viewer: Callable[..., Any], request: pytest.FixtureRequest
) -> Iterator[tuple[Any, Any, Any]]:
    """A viewer with our sections, and the SpatialData dock, which the other docks need."""
    from napari.utils.events import EventedList
    from napari_spatialdata._sdata_widgets import SdataWidget

    viewer, study = make_napari_viewer(show=False), pair()
    if request.param == "sections first":
        for name in study.sections:
            add_section(viewer, study, name)
    dock = SdataWidget(viewer, EventedList([study.sdata]))
    viewer.window.add_dock_widget(dock, name="SpatialData", area="left")
    for name in study.sections:
        add_section(viewer, study, name)
    viewer.layers.selection = {find_section(viewer, "A").spots}
    yield viewer, study, dock
    worker = dock.worker_thread
    worker.quit()
    worker.wait()


def test_view_colours_spots_by_gene_and_by_annotation(opened: Any) -> None:
    from napari_spatialdata._view import QtAdataViewWidget

    viewer, _, _ = opened
    view = QtAdataViewWidget(viewer)
    viewer.window.add_dock_widget(view, name="View")
    spots = find_section(viewer, "A").spots
    assert [view.table_name_widget.itemText(i) for i in range(view.table_name_widget.count())] == [
        "A_rna"
    ]
    view.var_widget._onAction(["Penk"])
    colours = np.array(spots.face_color)
    assert len(np.unique(colours, axis=0)) == 36
    view.obs_widget._onAction(["layer"])
    after = np.array(spots.face_color)
    assert len(np.unique(after[:2], axis=0)) == 2
    # Its features replaced ours; the layer is still known to be the section's spots.
    assert "layer" in spots.features
    assert tag(spots)["role"] == "spots"


def test_view_follows_the_selection_to_another_section_and_an_image(opened: Any) -> None:
    from napari_spatialdata._view import QtAdataViewWidget

    viewer, _, _ = opened
    view = QtAdataViewWidget(viewer)
    viewer.window.add_dock_widget(view, name="View")
    viewer.layers.selection = {find_section(viewer, "B").spots}
    assert view.table_name_widget.currentText() == "B_rna"
    viewer.layers.selection = {find_section(viewer, "B").images[0]}
    viewer.layers.selection = {find_section(viewer, "A").spots}
    assert view.table_name_widget.currentText() == "A_rna"


def test_scatter_offers_the_tables_columns(opened: Any) -> None:
    from napari_spatialdata._view import QtAdataScatterWidget

    viewer, _, _ = opened
    scatter = QtAdataScatterWidget(viewer)
    viewer.window.add_dock_widget(scatter, name="Scatter")
    viewer.layers.selection = {find_section(viewer, "B").spots}
    viewer.layers.selection = {find_section(viewer, "A").spots}
    assert scatter.table_name_widget.currentText() == "A_rna"
    chooser = scatter.x_widget
    chooser.selection_widget.setCurrentText("obs")
    names = {chooser.widget.item(i).text() for i in range(chooser.widget.count())}
    assert {"layer", "depth"} <= names
    chooser.selection_widget.setCurrentText("var")
    assert "Penk" in {chooser.widget.item(i).text() for i in range(chooser.widget.count())}


def test_annotation_opens_on_our_layers(opened: Any) -> None:
    from napari_spatialdata._view import QtAdataAnnotationWidget

    viewer, _, _ = opened
    annotation = QtAdataAnnotationWidget(viewer)
    viewer.window.add_dock_widget(annotation, name="Annotation")
    viewer.layers.selection = {find_section(viewer, "B").spots}


def test_its_change_of_coordinate_system_puts_a_section_in_its_own_micrometres(
    opened: Any,
) -> None:
    viewer, _, dock = opened
    place_section(viewer, "A", turned())
    dock.viewer_model._affine_transform_layers("A")
    found = find_section(viewer, "A")
    spots = found.spots
    world = np.array([spots.data_to_world(p) for p in spots.data])[:, ::-1]
    np.testing.assert_allclose(world, grid())
    # Half a pixel is in the layer's translate, so that its affine is right for images too.
    np.testing.assert_allclose(found.images[0].data_to_world((-0.5, -0.5)), (40, 100))
    place_section(viewer, "A", Affine.identity())


def test_our_layers_can_be_removed_beside_the_dock(opened: Any) -> None:
    viewer, _, _ = opened
    viewer.layers.remove(find_section(viewer, "A").spots)
    viewer.layers.remove(find_section(viewer, "B").images[0])
    assert find_section(viewer, "A").spots is None
