import numpy as np
import pytest
from napari.components import ViewerModel

from napari_stomics.core.errors import UserError
from napari_stomics.layers.results import paint, paint_gene
from napari_stomics.layers.section import add_section
from napari_stomics.layers.tags import tag
from tests.data.test_morphology import judged  # noqa: F401 - a fixture


@pytest.fixture
def viewer(judged):  # noqa: F811
    viewer = ViewerModel()
    add_section(viewer, judged[0], judged[1])
    return viewer


def _parts(layers):
    return {tag(layer)["part"]: layer for layer in layers}


def test_one_feature_is_shown_at_a_time_with_its_map_hidden(viewer, judged):  # noqa: F811
    study, _, features, _ = judged
    parts = _parts(paint(viewer, study, features, "features"))
    assert parts["feature"].visible
    assert not parts["map"].visible
    column = list(features.features).index("haematoxylin_mean_1x")
    np.testing.assert_allclose(
        parts["feature"].features["haematoxylin_mean_1x"], features.values[:, column], rtol=1e-6
    )
    count = len(viewer.layers)
    other = _parts(paint_gene(viewer, study, features, "features", "eosin_mean_1x"))
    assert "eosin_mean" in other["map"].name
    assert len(viewer.layers) == count
    with pytest.raises(UserError, match="does not cover"):
        paint_gene(viewer, study, features, "features", "nothing")


def test_the_map_lies_on_the_section(viewer, judged):  # noqa: F811
    study, section, features, _ = judged
    layer = _parts(paint(viewer, study, features, "features"))["map"]
    xy = study.section(section).coordinates
    inside = np.array([layer.world_to_data((y, x)) for x, y in xy])
    assert (inside > -1).all()
    assert (inside < np.array(layer.data.shape)).all()


def test_a_feature_and_its_gene_lie_side_by_side(viewer, judged):  # noqa: F811
    study, section, _, plane = judged
    name = str(plane.features[3])
    parts = _parts(paint_gene(viewer, study, plane, "plane", name))
    xy = study.section(section).coordinates
    feature, gene = parts["feature"].data[:, ::-1], parts["gene"].data[:, ::-1]
    np.testing.assert_allclose(feature, xy)
    assert gene[:, 0].min() > feature[:, 0].max()
    np.testing.assert_allclose(np.ptp(gene - feature, axis=0), 0, atol=1e-6)
    assert str(plane.gene[3]) in parts["gene"].name
