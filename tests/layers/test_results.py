"""Each kind of result is painted with its uncertainty, where it belongs."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from scipy.sparse import csr_matrix

from napari_stomics.core.errors import UserError
from napari_stomics.core.fusion import Domains, Embedding
from napari_stomics.core.plans import LabelTransfer, TransportPlan
from napari_stomics.core.results import Prediction, Registration
from napari_stomics.core.transforms import Affine, ThinPlateSpline
from napari_stomics.data.study import Study
from napari_stomics.layers import valued
from napari_stomics.layers.embedding import component_colours
from napari_stomics.layers.results import paint, paint_gene, unpaint
from napari_stomics.layers.section import add_section, find_section
from napari_stomics.layers.tags import section_placement, tag
from tests.layers.studies import grid, pair, to_um, turned

N = 36


@pytest.fixture
def shown() -> tuple[ViewerModel, Study]:
    viewer, study = ViewerModel(), pair()
    add_section(viewer, study, "A")
    add_section(viewer, study, "B")
    return viewer, study


def part(layers: list, name: str) -> Any:
    return next(layer for layer in layers if tag(layer)["part"] == name)


def ids(study: Study) -> Any:
    return study.section("A").ids


def domains(study: Study, section: str = "A") -> Domains:
    labels = np.array([f"D{i % 3 + 1}" for i in range(N)], dtype=object)
    certain = np.linspace(0, 1, N)
    shares = np.eye(3)[np.arange(N) % 3]
    names = ("D1", "D2", "D3")
    return Domains(section, ids(study), labels, names, shares, certain, 1 - certain)


def bent() -> ThinPlateSpline:
    points = np.array([[0, 0], [400, 0], [0, 400], [400, 400], [200, 200.0]])
    target = turned().apply(points) + np.array([[0, 0], [0, 0], [0, 0], [0, 0], [30, 20.0]])
    return ThinPlateSpline.fit(points, target)


def world_xy(layer: Any) -> np.ndarray:
    return np.array([layer.data_to_world(p) for p in layer.data])[:, ::-1]


def test_a_linear_registration_moves_every_layer_of_the_source(shown) -> None:
    viewer, study = shown
    transform = turned()
    paint(viewer, study, Registration("A", "B", transform, "rigid", "landmarks"), "reg")
    source, target = find_section(viewer, "A"), find_section(viewer, "B")
    np.testing.assert_allclose(world_xy(source.spots), transform.apply(grid()), atol=1e-9)
    pixel = transform.apply(to_um().apply(np.array([[5.5, 2.5]])))[0]
    np.testing.assert_allclose(source.images[0].data_to_world((2, 5)), pixel[::-1])
    np.testing.assert_allclose(world_xy(target.spots), grid())


def test_a_rigid_registration_has_a_grid_and_no_bend(shown) -> None:
    viewer, study = shown
    layers = paint(viewer, study, Registration("A", "B", turned(), "rigid", "landmarks"), "reg")
    assert [tag(layer)["part"] for layer in layers] == ["grid"]
    assert not layers[0].visible


def test_the_grid_lies_over_the_moved_source(shown) -> None:
    viewer, study = shown
    layers = paint(viewer, study, Registration("A", "B", turned(), "rigid", "landmarks"), "reg")
    segments = part(layers, "grid").data
    ends = np.vstack([segments[:, 0], segments[:, 0] + segments[:, 1]])[:, ::-1]
    back = turned().inverse().apply(ends)
    low, high = to_um().apply(np.array([[0.5, 0.5], [89.5, 79.5]]))
    assert (back >= low - 11).all()
    assert (back <= high + 11).all()
    assert np.ptp(back, axis=0).min() > 0.9 * np.ptp([low, high], axis=0).min()


def test_a_warp_carries_the_spots_and_images_follow_its_linear_part(shown) -> None:
    viewer, study = shown
    transform = bent()
    layers = paint(viewer, study, Registration("A", "B", transform, "tps", "landmarks"), "reg")
    source = find_section(viewer, "A")
    np.testing.assert_allclose(world_xy(source.spots), transform.apply(grid()), atol=1e-9)
    linear = transform.linear_part().apply(to_um().apply(np.array([[5.5, 2.5]])))[0]
    np.testing.assert_allclose(source.images[0].data_to_world((2, 5)), linear[::-1])
    magnitude = part(layers, "magnitude")
    assert magnitude.data.max() > 5
    unpaint(viewer, study, Registration("A", "B", transform, "tps", "landmarks"), "reg")
    np.testing.assert_allclose(world_xy(source.spots), grid())
    np.testing.assert_allclose(section_placement(viewer, "A").matrix, np.eye(3))
    assert not [layer for layer in viewer.layers if tag(layer).get("result")]


def test_a_warp_painted_again_starts_from_the_sections_own_spots(shown) -> None:
    viewer, study = shown
    for _ in range(2):
        paint(viewer, study, Registration("A", "B", bent(), "tps", "landmarks"), "reg")
    source = find_section(viewer, "A")
    np.testing.assert_allclose(world_xy(source.spots), bent().apply(grid()), atol=1e-9)
    paint(viewer, study, Registration("A", "B", turned(), "rigid", "landmarks"), "reg")
    np.testing.assert_allclose(world_xy(source.spots), turned().apply(grid()), atol=1e-9)


def test_taking_a_registration_back_returns_to_the_one_before(shown) -> None:
    from napari_stomics.data.schema import RegistrationRecord

    viewer, study = shown
    first = turned(10)
    names = {"id": "1", "source": "A", "target": "B", "model": "rigid", "driver": "landmarks"}
    study.record.registrations.append(RegistrationRecord(**names, transform=first.to_dict()))
    result = Registration("A", "B", turned(50), "rigid", "landmarks")
    paint(viewer, study, result, "reg")
    unpaint(viewer, study, result, "reg")
    np.testing.assert_allclose(section_placement(viewer, "A").matrix, first.matrix)


def test_results_of_a_moved_section_lie_on_it(shown) -> None:
    viewer, study = shown
    paint(viewer, study, Registration("A", "B", turned(), "rigid", "landmarks"), "reg")
    layers = paint(viewer, study, domains(study), "dom")
    np.testing.assert_allclose(world_xy(layers[0]), turned().apply(grid()), atol=1e-9)


def plan(study: Study) -> TransportPlan:
    identity = csr_matrix(np.eye(N)[::-1] / N)
    moved = turned().apply(grid())
    target = grid()[::-1].copy()
    target[3] = np.nan
    entropy = np.linspace(0, 1, N)
    return TransportPlan(
        source="A",
        target="B",
        source_ids=ids(study),
        target_ids=ids(study),
        plan=identity,
        source_coordinates=moved,
        barycentres=target,
        entropy=entropy,
        objective=np.array([1.0]),
        marginal_error=0.0,
        alpha=0.1,
        converged=True,
    )


def test_a_plan_is_arrows_from_the_aligned_spot_to_where_its_mass_lands(shown) -> None:
    viewer, study = shown
    layers = paint(viewer, study, plan(study), "plan")
    arrows = part(layers, "arrows")
    assert arrows.visible
    assert len(arrows.data) == N - 1
    keep = np.arange(N) != 3
    np.testing.assert_allclose(arrows.data[:, 0, ::-1], turned().apply(grid())[keep])
    np.testing.assert_allclose(arrows.data.sum(axis=1)[:, ::-1], grid()[::-1][keep])
    np.testing.assert_allclose(arrows.features["entropy"], np.linspace(0, 1, N)[keep])
    np.testing.assert_allclose(arrows.features["mass"], 1 / N)
    assert not np.allclose(arrows.edge_color[0], arrows.edge_color[-1])
    assert str(arrows.vector_style) == "arrow"
    assert not part(layers, "entropy").visible


def test_labels_have_the_colours_of_the_annotation_they_come_from(shown) -> None:
    viewer, study = shown
    labels = np.array(["inner", "outer", ""] * 12, dtype=object)
    names, shares = ("inner", "outer"), np.zeros((N, 2))
    result = LabelTransfer("A", "B", ids(study), names, shares, labels, np.zeros(N))
    layers = paint(viewer, study, result, "labels")
    from napari_stomics.layers.colour import colour_by

    spots = find_section(viewer, "A").spots
    colour_by(spots, study, "A", "layer")
    np.testing.assert_allclose(layers[0].face_color, spots.face_color, atol=1e-6)
    assert tag(layers[0])["legend"] == tag(spots)["legend"]
    assert [layer.visible for layer in layers] == [True, False]


def test_an_embedding_is_three_components_as_colours(shown) -> None:
    viewer, study = shown
    values = np.random.default_rng(0).normal(size=(N, 5))
    result = Embedding("A", ids(study), values, ("rna", "he"), np.linspace(0, 1, N), np.ones(5) / 5)
    layers = paint(viewer, study, result, "emb")
    np.testing.assert_allclose(layers[0].face_color[:, :3], component_colours(values), atol=1e-6)
    assert part(layers, "disagreement").visible is False
    two = component_colours(values[:, :2])
    assert two.shape == (N, 3)
    assert (two[:, 2] == 0).all()


def test_painting_again_keeps_what_the_user_set(shown) -> None:
    viewer, study = shown
    first = paint(viewer, study, domains(study), "dom")
    place = viewer.layers.index(first[1])
    first[1].visible = True
    first[1].opacity = 0.3
    first[1].blending = "additive"
    first[1].face_contrast_limits = (0.2, 0.7)
    count = len(viewer.layers)
    other = replace(domains(study), entropy=1 - domains(study).entropy)
    again = paint(viewer, study, other, "dom")
    assert len(viewer.layers) == count
    assert again[1] is not first[1]
    assert viewer.layers.index(again[1]) == place
    assert again[1].visible
    assert again[1].opacity == 0.3
    assert str(again[1].blending) == "additive"
    assert again[1].face_contrast_limits == (0.2, 0.7)
    assert [layer is old for layer, old in zip(again, first, strict=True)] == [True, False, True]
    unpaint(viewer, study, domains(study), "dom")
    assert len(viewer.layers) == count - 3


def prediction(study: Study) -> Prediction:
    values = np.random.default_rng(1).normal(size=(N, 3))
    zero = np.zeros(3)
    return Prediction(
        section="A",
        trained_on=("B",),
        ids=ids(study),
        genes=np.array(["Penk", "Spen", "Th"], dtype=object),
        values=values,
        scale="log1p",
        error=np.array([0.1, 0.2, 0.3]),
        novelty=np.linspace(0, 3, N),
        pearson=np.array([0.1, np.nan, 0.6]),
        pearson_mean=zero,
        pearson_depth=zero,
        rmse=zero,
        rmse_mean=zero,
    )


def test_a_prediction_shows_its_best_gene_beside_the_measured_one(shown) -> None:
    viewer, study = shown
    result = prediction(study)
    layers = paint(viewer, study, result, "pred")
    predicted = part(layers, "predicted")
    np.testing.assert_allclose(predicted.features["Th"], result.values[:, 2])
    assert "0.3" in predicted.name
    counts = study.section("A").table("rna").X.toarray()
    depth = counts.sum(axis=1)
    expected = np.log1p(counts[:, 2] / depth * np.median(depth))
    np.testing.assert_allclose(part(layers, "measured").features["Th"], expected)
    assert part(layers, "novelty").visible is False
    other = paint_gene(viewer, study, result, "pred", "Penk")
    np.testing.assert_allclose(part(other, "predicted").features["Penk"], result.values[:, 0])
    # Painting once more stays with the gene that was chosen.
    assert "Penk" in part(paint(viewer, study, result, "pred"), "predicted").features
    with pytest.raises(UserError, match="does not cover"):
        paint_gene(viewer, study, result, "pred", "Nope")


def test_a_result_whose_spots_are_gone_is_refused_and_leaves_nothing(shown) -> None:
    viewer, study = shown
    before = list(viewer.layers)
    gone = np.array([f"x{i}" for i in range(N)], dtype=object)
    stale = replace(domains(study), ids=gone)
    with pytest.raises(UserError, match="does not have"):
        paint(viewer, study, stale, "dom")
    assert list(viewer.layers) == before
    with pytest.raises(UserError, match="cannot be shown"):
        paint(viewer, study, object(), "thing")


def test_many_spots_are_painted_as_a_raster(shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valued, "MANY_SPOTS", 10)
    viewer, study = shown
    layers = paint(viewer, study, domains(study), "dom")
    y, x = layers[0].world_to_data(grid()[7][::-1])
    pixel = layers[0].data[0][round(float(y)), round(float(x))].ravel()
    wanted = dict(tag(layers[0])["legend"])["D2"]
    assert "#" + "".join(f"{v:02x}" for v in pixel[:3]) == wanted
    paint(viewer, study, Registration("A", "B", turned(), "rigid", "landmarks"), "reg")
    world = turned().apply(grid()[7:8])[0]
    np.testing.assert_allclose(layers[0].world_to_data(world[::-1]), (y, x), atol=1e-6)
    assert isinstance(turned(), Affine)
