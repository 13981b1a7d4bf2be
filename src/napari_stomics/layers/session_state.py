"""The look of a viewer as plain JSON, and back: no code is run and no path is followed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_stomics.core.errors import UserError
from napari_stomics.layers.palette import GREY_GAPS
from napari_stomics.layers.stack3d import StackView, stack_view
from napari_stomics.layers.tags import real_viewer, tag, tagged

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_stomics.data.study import Study

Pair = tuple[float, float]
Blending = Literal[
    "translucent", "translucent_no_depth", "additive", "minimum", "opaque", "multiplicative"
]
_ROLES = ("image", "labels", "spots", "overview", "points", "shapes", "result")


class _State(BaseModel):
    """Anything that is not asked for is refused: a session may come from a stranger."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class ColourState(_State):
    """What a spots layer is coloured by."""

    key: str
    kind: Literal["feature", "obs", "obsm"]
    modality: str
    limits: Pair | None = None
    colormap: str = Field(default="viridis", pattern=r"^[A-Za-z0-9 _.-]{1,64}$")


class LayerState(_State):
    """One layer: what it shows, by name, and how."""

    role: Literal["image", "labels", "spots", "overview", "points", "shapes", "result"]
    section: str
    element: str | None = None
    channel: str | None = None
    result: str | None = None
    part: str | None = None
    gene: str | None = None
    visible: bool = True
    opacity: float = Field(default=1.0, ge=0, le=1)
    blending: Blending = "translucent"
    colormap: str | None = Field(default=None, pattern=r"^[A-Za-z0-9 _.-]{1,64}$")
    contrast_limits: Pair | None = None
    gamma: float | None = Field(default=None, gt=0, le=10)
    colour: ColourState | None = None


class ViewState(_State):
    """Where the camera looks, and the grid."""

    center: tuple[float, float, float]
    zoom: float = Field(gt=0)
    grid: bool = False
    grid_stride: int = Field(default=1, ge=-1000, le=1000)
    grid_shape: tuple[int, int] = (-1, -1)


class SessionState(_State):
    """The layers from the bottom up, and the view."""

    version: Literal[1] = 1
    layers: list[LayerState] = Field(default_factory=list, max_length=10_000)
    view: ViewState


def capture(viewer: ViewerModel) -> dict[str, Any]:
    """Return the look of the viewer's own layers in plain JSON types.

    While a stack is shown in three dimensions it is the look that comes back afterwards.
    """
    viewer = real_viewer(viewer)
    camera, grid, stack = viewer.scene.camera, viewer.canvas.grid, stack_view(viewer)
    flat = {"center": camera.center, "zoom": camera.zoom, "grid": grid.enabled}
    if stack is not None:
        flat = stack.before
    state = SessionState(
        layers=[_layer_state(layer, stack) for layer in tagged(viewer, role=_ROLES)],
        view=ViewState(
            center=_triple(flat["center"]),
            zoom=float(flat["zoom"]),
            grid=bool(flat["grid"]),
            grid_stride=int(grid.stride),
            grid_shape=(int(grid.shape[0]), int(grid.shape[1])),
        ),
    )
    return state.model_dump(mode="json")


def read_state(state: Any) -> SessionState:
    """Check a state that was read from a file.

    Raises
    ------
    UserError
        If it is not what :func:`capture` writes.
    """
    try:
        return SessionState.model_validate(state)
    except ValidationError as error:
        first = error.errors()[0]
        where = " > ".join(map(str, first["loc"]))
        raise UserError(
            f"The session cannot be read: {first['msg']} (at {where or 'its start'}).",
            "It may come from another version of napari-stomics; open the study without it.",
        ) from error


def restore(viewer: ViewerModel, study: Study, state: Any) -> list[str]:
    """Give the viewer the look that :func:`capture` saw.

    Sections that are not shown are added; results must have been painted
    before. Layers of which the state says nothing are left on top.

    Parameters
    ----------
    viewer, study
        Where to restore, and the study that the layers show.
    state
        As returned by :func:`capture`.

    Returns
    -------
    list of str
        What could not be restored, in words.

    Raises
    ------
    UserError
        If the state is not valid; nothing is changed then.
    """
    from napari_stomics.layers.plan import restore_part
    from napari_stomics.layers.section import add_section

    checked = read_state(state)
    viewer = real_viewer(viewer)
    missing: list[str] = []
    for name in dict.fromkeys(layer.section for layer in checked.layers if not layer.result):
        if name in study.record.sections:
            add_section(viewer, study, name)
    order = []
    for wanted in checked.layers:
        layer = _find(viewer, wanted)
        if layer is None and wanted.result and wanted.part:
            restore_part(viewer, study, wanted.result, wanted.part, wanted.gene)
            layer = _find(viewer, wanted)
        if layer is None:
            missing.append(_named(wanted))
            continue
        missing += _apply(layer, wanted, study)
        order.append(layer)
    for index, layer in enumerate(order):
        current = viewer.layers.index(layer)
        if current != index:
            viewer.layers.move(current, index)
    _apply_view(viewer, checked.view)
    return missing


def _triple(center: Any) -> tuple[float, float, float]:
    z, y, x = (0.0, 0.0, *center)[-3:]
    return float(z), float(y), float(x)


def _layer_state(layer: Layer, stack: StackView | None) -> LayerState:
    entry = tag(layer)
    colour = entry.get("colour")
    colormap, limits, gamma = _colormap(layer)
    return LayerState(
        role=entry["role"],
        section=entry["section"],
        element=entry.get("element"),
        channel=entry.get("channel"),
        result=entry.get("result"),
        part=entry.get("part"),
        gene=entry.get("gene"),
        visible=bool(layer.visible) if stack is None else stack.was_visible(layer),
        opacity=float(layer.opacity),
        blending=str(layer.blending),  # type: ignore[arg-type]
        colormap=colormap,
        contrast_limits=limits,
        gamma=gamma,
        colour=_colour_state(layer, colour) if colour else None,
    )


def _colour_state(layer: Layer, colour: dict[str, Any]) -> ColourState:
    limits = colour["limits"]
    shown = getattr(layer, "face_contrast_limits", None)
    if limits is not None and shown is not None and not entry_pending(layer):
        limits = [float(v) for v in shown]
    return ColourState(**{**colour, "limits": limits})


def entry_pending(layer: Layer) -> bool:
    """Whether a hidden layer has yet to take the colours that it was given."""
    return tag(layer).get("pending") is not None


def _colormap(layer: Layer) -> tuple[str | None, Pair | None, float | None]:
    """Colormap, limits and gamma of an image of numbers, or of spots with values."""
    if hasattr(layer, "gamma") and not getattr(layer, "rgb", False):
        low, high = layer.contrast_limits
        return _plain(layer.colormap.name), (float(low), float(high)), float(layer.gamma)
    limits = getattr(layer, "face_contrast_limits", None)
    if tag(layer)["role"] == "result" and limits is not None:
        return _plain(layer.face_colormap.name), (float(limits[0]), float(limits[1])), None
    return None, None, None


def _plain(name: str) -> str | None:
    """Name of a colormap that a session can name; None for one that the user made."""
    from napari.utils.colormaps import AVAILABLE_COLORMAPS

    name = name.removesuffix(GREY_GAPS)
    return name if name in AVAILABLE_COLORMAPS else None


def _find(viewer: ViewerModel, wanted: LayerState) -> Layer | None:
    names = ("role", "section", "element", "channel", "result", "part")
    for layer in tagged(viewer, role=wanted.role, section=wanted.section):
        if all(tag(layer).get(name) == getattr(wanted, name) for name in names):
            return layer
    return None


def _named(wanted: LayerState) -> str:
    if wanted.result:
        return f"result {wanted.result!r} ({wanted.part}) of section {wanted.section!r}"
    return f"{wanted.role} {wanted.element!r} of section {wanted.section!r}"


def _apply(layer: Layer, wanted: LayerState, study: Study) -> list[str]:
    """Set the look of one layer; return what could not be set, in words."""
    from napari_stomics.layers.colour import colour_by

    problems = []
    layer.visible = wanted.visible
    layer.opacity = wanted.opacity
    layer.blending = wanted.blending
    if wanted.colour is not None and wanted.role == "spots":
        c = wanted.colour
        try:
            colour_by(
                layer,
                study,
                wanted.section,
                c.key,
                c.modality,
                kind=c.kind,
                limits=c.limits,
                colormap=c.colormap,
            )
        except UserError as error:
            problems.append(f"colour of {_named(wanted)}: {error.message}")
    is_image = hasattr(layer, "gamma") and not getattr(layer, "rgb", False)
    if is_image:
        problems += _apply_intensity(layer, wanted)
    elif wanted.role == "result" and wanted.contrast_limits and hasattr(layer, "face_colormap"):
        low, high = wanted.contrast_limits
        if low < high and layer.face_contrast_limits is not None:
            layer.face_contrast_limits = (low, high)
    return problems


def _apply_intensity(layer: Any, wanted: LayerState) -> list[str]:
    from napari.utils.colormaps import AVAILABLE_COLORMAPS

    if wanted.gamma is not None:
        layer.gamma = wanted.gamma
    if wanted.contrast_limits is not None:
        low, high = wanted.contrast_limits
        if not low < high:
            return [f"contrast of {_named(wanted)}: {low:g} to {high:g} is not an interval"]
        first, last = layer.contrast_limits_range
        layer.contrast_limits_range = (min(first, low), max(last, high))
        layer.contrast_limits = (low, high)
    if wanted.colormap is not None:
        if wanted.colormap not in AVAILABLE_COLORMAPS:
            return [f"colormap {wanted.colormap!r} of {_named(wanted)}"]
        layer.colormap = wanted.colormap
    return []


def _apply_view(viewer: ViewerModel, view: ViewState) -> None:
    grid = viewer.canvas.grid
    grid.stride = view.grid_stride or 1
    grid.shape = tuple(n if n > 0 else -1 for n in view.grid_shape)
    grid.enabled = view.grid
    viewer.scene.camera.center = tuple(np.asarray(view.center, dtype=float))
    viewer.scene.camera.zoom = view.zoom
