"""One section as napari layers: images below, spots above, all in micrometres."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stomics.core.transforms import Affine
from napari_stomics.layers.host import guard_removal, host_metadata, image_table
from napari_stomics.layers.kept import contrast_of, kept
from napari_stomics.layers.raster import SpotRaster
from napari_stomics.layers.tags import (
    TAG,
    UNITS,
    layer_affine,
    new_tag,
    remove_layers,
    section_placement,
    set_tag,
    tag,
    tagged,
    true_size,
)

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_stomics.data.study import Section, Study

MANY_SPOTS = 50_000
"""Above this, spots are shown as a raster: drawn as markers, each frame costs per spot."""
MANY_POINTS = 200_000
MANY_SHAPES = 5_000
_SHOWN_CHANNELS = 3
_CHANNEL_COLOURS = ("green", "magenta", "cyan", "yellow", "red", "blue")
_PLAIN = "#9e9e9e"
_HALF_PIXEL = (0.5, 0.5)
"""napari puts pixel centres on integers, our pixels span [j, j + 1]."""


@dataclass
class SectionLayers:
    """The layers of one section.

    Attributes
    ----------
    section
        Name of the section.
    images
        One layer per brightfield image, one per channel otherwise.
    spots
        Points layer in true size; hidden where ``overview`` stands for it.
    overview
        Raster of the spots, where there are more than :data:`MANY_SPOTS`.
    labels, points, shapes
        Further elements.
    """

    section: str
    images: list[Any] = field(default_factory=list)
    spots: Any | None = None
    overview: Any | None = None
    labels: list[Any] = field(default_factory=list)
    points: list[Any] = field(default_factory=list)
    shapes: list[Any] = field(default_factory=list)

    @property
    def all(self) -> list[Layer]:
        """Every layer, from the bottom up."""
        single = [q for q in (self.overview, self.spots) if q is not None]
        return [*self.images, *self.labels, *self.shapes, *self.points, *single]

    @property
    def colourable(self) -> Any | None:
        """The layer to colour by a feature: the spots."""
        return self.spots


def add_section(
    viewer: ViewerModel, study: Study, name: str, *, visible: bool = True
) -> SectionLayers:
    """Show a section, or return its layers if it is shown already.

    Images are read lazily, window by window. Above :data:`MANY_SPOTS` the
    spots are painted as a raster, with the Points layer hidden above it.

    Parameters
    ----------
    viewer
        A viewer or napari's viewer model.
    study, name
        The study and the name of its section.
    visible
        Whether the layers that are shown first are visible.

    Raises
    ------
    UserError
        If the study has no such section.
    """
    section = study.section(name)
    existing = find_section(viewer, name)
    if existing is not None:
        return existing
    layers = _make_layers(section, section_placement(viewer, name), visible)
    was_empty = not viewer.layers
    guard_removal(viewer)
    for layer in layers.all:
        viewer.add_layer(layer)
    viewer.canvas.overlays.scale_bar.visible = True
    if was_empty:
        viewer.reset_view()
    return layers


def show_missing(viewer: ViewerModel, study: Study, name: str) -> list[Layer]:
    """Add the layers of a section that the user removed; return those that were added.

    Parameters
    ----------
    viewer
        A viewer or napari's viewer model.
    study, name
        The study and the name of its section.

    Raises
    ------
    UserError
        If the study has no such section.
    """
    shown = find_section(viewer, name)
    if shown is None:
        return add_section(viewer, study, name).all
    pair = [q for q in (shown.spots, shown.overview) if q is not None]
    if len(pair) == 1 and (pair[0] is shown.overview or tag(pair[0]).get("companion") is not None):
        remove_layers(viewer, pair)  # the two refer to each other
    there = {_identity(layer) for layer in tagged(viewer, section=name)}
    made = _make_layers(study.section(name), section_placement(viewer, name), visible=True)
    added = [layer for layer in made.all if _identity(layer) not in there]
    for layer in added:
        viewer.add_layer(layer)
    return added


def hide_elements(viewer: ViewerModel, names: Collection[str]) -> None:
    """Remove the layers of elements that are no longer in the study."""
    remove_layers(viewer, [q for q in viewer.layers if tag(q).get("element") in names])


def _identity(layer: Layer) -> tuple[Any, ...]:
    entry = tag(layer)
    return tuple(entry.get(name) for name in ("role", "element", "channel", "result", "part"))


def clear_study(viewer: ViewerModel) -> None:
    """Remove every layer of ours: another study is about to be shown."""
    remove_layers(viewer, [layer for layer in viewer.layers if tag(layer)])


def find_section(viewer: ViewerModel, name: str) -> SectionLayers | None:
    """Return the layers of a section that is shown, or None."""
    roles = ("image", "labels", "shapes", "points", "spots", "overview")
    found = SectionLayers(name)
    for layer in tagged(viewer, section=name, role=roles):
        role = tag(layer)["role"]
        if role in ("spots", "overview"):
            setattr(found, role, layer)
        else:
            getattr(found, role if role.endswith("s") else f"{role}s").append(layer)
    return found if found.all else None


def is_brightfield(channels: tuple[str, ...]) -> bool:
    """Whether the channels are the colours of one picture."""
    return tuple(c.lower() for c in channels) in (("r", "g", "b"), ("r", "g", "b", "a"))


def _make_layers(section: Section, placed: Affine, visible: bool) -> SectionLayers:
    layers = SectionLayers(section.name)
    for position, element in reversed(list(enumerate(section.record.images))):
        layers.images += _image_layers(section, element, placed, visible and position == 0)
    for element in section.record.labels:
        layers.labels.append(_labels_layer(section, element, placed))
    for element in section.record.shapes:
        layers.shapes.append(_shapes_layer(section, element, placed))
    for element in section.record.points:
        layers.points.append(_points_layer(section, element, placed))
    if section.record.spots is not None:
        _add_spots(layers, section, placed, visible)
    return layers


def _common(section: Section, element: str, role: str, placed: Affine, **more: Any) -> Any:
    """Keyword arguments that all layers of elements share."""
    own = section.element_affine(element)
    metadata = host_metadata(section, element)
    metadata[TAG] = new_tag(section.name, role, own, placed, element=element, **more)
    return {"affine": layer_affine(own, placed), "units": UNITS, "metadata": metadata}


def _image_layers(section: Section, element: str, placed: Affine, visible: bool) -> list[Layer]:
    from napari.layers import Image

    image = section.image(element)
    if is_brightfield(image.channels):
        common = _common(section, element, "image", placed)
        common["metadata"]["adata"] = image_table(["RGB(A)"])
        levels = [kept(level) for level in image.levels]
        data = levels if len(levels) > 1 else levels[0]
        multiscale = len(image.levels) > 1
        return [
            Image(
                data,
                rgb=True,
                multiscale=multiscale,
                name=element,
                translate=_HALF_PIXEL,
                visible=visible,
                **common,
            )
        ]
    layers: list[Layer] = []
    limits = contrast_of(image.levels[-1])
    for i, channel in enumerate(image.channels):
        common = _common(section, element, "image", placed, channel=channel)
        common["metadata"]["adata"] = image_table([channel])
        levels = [level[..., i] for level in image.levels]
        single = len(image.channels) == 1
        layers.append(
            Image(
                levels if len(levels) > 1 else levels[0],
                rgb=False,
                multiscale=len(levels) > 1,
                name=element if single else f"{element} [{channel}]",
                translate=_HALF_PIXEL,
                colormap="gray" if single else _CHANNEL_COLOURS[i % len(_CHANNEL_COLOURS)],
                blending="additive",
                contrast_limits=limits[i],
                visible=visible and i < _SHOWN_CHANNELS,
                **common,
            )
        )
    return layers[::-1]


def _labels_layer(section: Section, element: str, placed: Affine) -> Layer:
    from napari.layers import Labels

    data = section.study.sdata.labels[element]
    if hasattr(data, "dims"):
        levels = [data]
    else:
        keys = sorted(data, key=lambda k: int(str(k).removeprefix("scale")))
        levels = [next(iter(data[key].values())) for key in keys]
    arrays = [level.transpose("y", "x").data for level in levels]
    return Labels(
        arrays if len(arrays) > 1 else arrays[0],
        multiscale=len(arrays) > 1,
        name=element,
        translate=_HALF_PIXEL,
        opacity=0.5,
        visible=False,
        **_common(section, element, "labels", placed),
    )


def _shapes_layer(section: Section, element: str, placed: Affine) -> Layer:
    """Polygons as Shapes; circles, or more polygons than napari can hold, as Points."""
    import shapely
    from napari.layers import Shapes

    frame = section.study.sdata.shapes[element]
    geometry = frame.geometry.values
    if "radius" in frame or len(frame) > MANY_SHAPES:
        return _circles_layer(section, element, "shapes", placed)
    parts, index = shapely.get_parts(geometry, return_index=True)
    largest: dict[int, Any] = {}
    for part, row in zip(parts, index, strict=True):
        if row not in largest or part.area > largest[row].area:
            largest[int(row)] = part
    rings = [np.asarray(p.exterior.coords)[:, :2][:, ::-1] for p in largest.values()]
    common = _common(section, element, "shapes", placed)
    common["metadata"]["indices"] = [frame.index[row] for row in largest]
    return Shapes(
        rings,
        ndim=2,
        shape_type="polygon",
        name=element,
        face_color="transparent",
        edge_color="white",
        edge_width=_edge_width(rings),
        visible=False,
        **common,
    )


def _edge_width(rings: list[Any]) -> float:
    if not rings:
        return 1.0
    return float(np.median([np.ptp(r, axis=0).max() for r in rings])) / 40 or 1.0


def _circles_layer(
    section: Section, element: str, role: str, placed: Affine, visible: bool = False
) -> Layer:
    import shapely
    from napari.layers import Points

    frame = section.study.sdata.shapes[element]
    geometry = frame.geometry.values
    # Circles are their centres; taking centroids of a million of them costs seconds.
    centres = geometry if "radius" in frame else shapely.centroid(geometry)
    if "radius" in frame:
        diameters: Any = 2 * np.asarray(frame["radius"], dtype=np.float64)
    else:
        diameters = 2 * np.sqrt(shapely.area(geometry) / np.pi)
    if len(diameters) and np.ptp(diameters) < 1e-9 * diameters.max():
        diameters = float(diameters[0])
    common = _common(section, element, role, placed, diameter=diameters)
    own = section.element_affine(element)
    many = len(frame) > MANY_SPOTS
    layer = Points(
        np.column_stack([shapely.get_y(centres), shapely.get_x(centres)]),
        ndim=2,
        name=element,
        size=true_size(diameters, own.then(placed)) if len(frame) else 1.0,
        border_width=0,
        face_color=_PLAIN,
        antialiasing=0 if many else 1,
        canvas_size_limits=(1, 10_000),
        visible=visible,
        **common,
    )
    if role == "spots" and not many:
        layer.features = {"id": np.asarray(frame.index, dtype=object)}
    return layer


def _points_layer(section: Section, element: str, placed: Affine) -> Layer:
    """Transcripts and the like; a random part of them where there are many."""
    from napari.layers import Points

    frame = section.study.sdata.points[element]
    total = len(frame)
    if total > MANY_POINTS:
        frame = frame.sample(frac=MANY_POINTS / total, random_state=0)
    frame = frame.compute()
    common = _common(section, element, "points", placed, of=total)
    common["metadata"].update(indices=frame.index.to_list(), _n_indices=total)
    columns = frame.drop(columns=["x", "y"])
    common["metadata"]["_columns_df"] = columns if columns.shape[1] else None
    return Points(
        frame[["y", "x"]].to_numpy(),
        ndim=2,
        name=element,
        size=1.0,
        border_width=0,
        face_color="#ffcc33",
        antialiasing=0,
        canvas_size_limits=(2, 6),
        visible=False,
        **common,
    )


def _add_spots(layers: SectionLayers, section: Section, placed: Affine, visible: bool) -> None:
    from napari.layers import Image

    element = section.record.spots
    assert element is not None
    many = len(section.ids) > MANY_SPOTS
    layers.spots = _circles_layer(section, element, "spots", placed, visible and not many)
    if not many:
        return
    grey = np.broadcast_to(np.array([158, 158, 158, 255], np.uint8), (len(section.ids), 4))
    raster = SpotRaster(section.coordinates, section.diameter, grey)
    layers.overview = Image(
        raster.levels,
        rgb=True,
        multiscale=True,
        name=f"{element} (overview)",
        scale=(raster.pixel_size, raster.pixel_size),
        translate=raster.origin[::-1] + raster.pixel_size / 2,
        affine=layer_affine(Affine.identity(), placed),
        units=UNITS,
        visible=visible,
        metadata={TAG: new_tag(section.name, "overview", None, placed, element=element)},
    )
    set_tag(layers.spots, companion=layers.overview)
    set_tag(layers.overview, raster=raster)
