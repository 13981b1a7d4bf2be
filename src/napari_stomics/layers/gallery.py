"""Sections that are not registered to each other, each in a view of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stomics.layers.stack3d import stack_view
from napari_stomics.layers.tags import TAG, UNITS, new_tag, real_viewer, remove_layers, tag, tagged

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_stomics.data.study import Study


def frames(study: Study) -> list[list[str]]:
    """Sections that share a frame: those joined by stored registrations, in the study's order."""
    names = list(study.record.sections)
    frame = {name: name for name in names}
    for stored in study.record.registrations:
        if stored.source in frame and stored.target in frame:
            old, new = frame[stored.source], frame[stored.target]
            frame = {name: new if at == old else at for name, at in frame.items()}
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(frame[name], []).append(name)
    return list(groups.values())


def joined(groups: Sequence[Sequence[str]], pair: tuple[str, str]) -> list[list[str]]:
    """Groups of sections, those of two sections made one."""
    source, target = pair
    moving = next((list(group) for group in groups if source in group), [])
    fixed = next((list(group) for group in groups if target in group), [])
    if not moving or not fixed or moving == fixed:
        return [list(group) for group in groups]
    return [
        fixed + moving if target in group else list(group)
        for group in groups
        if source not in group
    ]


def stride_and_gaps(cells: Sequence[Sequence[bool]], former: int = 1) -> tuple[int, list[int]]:
    """Stride of napari's grid at which groups of layers need the fewest empty layers.

    Napari gives a view to every ``stride`` layers among which one is visible: what
    is visible of a group has to lie within one such row, after that of the group before.
    Hidden layers have no view, so that they may lie anywhere.

    Parameters
    ----------
    cells
        Of each group, from the bottom of the list, whether its layers are visible.
    former
        A stride that is kept where no other needs fewer.

    Returns
    -------
    stride
        Layers of a row.
    gaps
        Number of empty layers to put before each group.
    """
    spans = []
    for cell in cells:
        seen = [i for i, visible in enumerate(cell) if visible]
        spans.append((seen[0], seen[-1] - seen[0] + 1) if seen else (0, 0))
    least = max(1, *(length for _, length in spans))
    most = max(least, *map(len, cells), 1)

    def gaps_at(stride: int) -> list[int]:
        gaps, end, free = [], 0, 0
        for cell, (first, length) in zip(cells, spans, strict=True):
            gap = 0
            if length:
                place = max(end + first, free)
                if place % stride + length > stride:
                    place = -(-place // stride) * stride
                gap, free = place - end - first, (place // stride + 1) * stride
            gaps.append(gap)
            end += gap + len(cell)
        return gaps

    strides = range(least, most + 1)
    stride = min(strides, key=lambda s: (sum(gaps_at(s)), s != former))
    return stride, gaps_at(stride)


class Gallery:
    """Shows groups of sections beside each other in napari's grid, with one camera.

    Napari counts off the grid's views by position in the layer list, so the
    layers of a group are kept together, and as many hidden, empty layers as that
    takes lie between the groups. Switching the grid off by hand ends the gallery.

    Parameters
    ----------
    viewer
        A viewer or napari's viewer model.
    is_busy
        Whether something else arranges the layers at present.
    later
        Called when layers came, went or were moved; it is to call :meth:`arrange`
        once that is over. Without it layers are arranged at once.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        is_busy: Callable[[], bool] = lambda: False,
        later: Callable[[], object] | None = None,
    ) -> None:
        self.viewer = real_viewer(viewer)
        self._is_busy = is_busy
        self._later = later
        self._groups: list[list[str]] = []
        self._before: dict[str, Any] | None = None
        self._arranging = False
        self._left_on = False
        self.dismissed = False
        """Whether the user switched the grid off."""

    @property
    def groups(self) -> list[list[str]]:
        """Sections of each view; empty while the gallery is off."""
        return [list(group) for group in self._groups]

    def _waits(self) -> bool:
        """Whether something else arranges the layers for now."""
        return self._is_busy() or stack_view(self.viewer) is not None

    def show(self, groups: Sequence[Sequence[str]]) -> bool:
        """Show these groups of sections beside each other; fewer than two end the gallery.

        Returns
        -------
        bool
            Whether the layout has changed, so that the view should be fitted anew.
        """
        wanted = [list(group) for group in groups]
        if wanted == self._groups or (len(wanted) < 2 and not self._groups):
            return False
        if len(wanted) < 2:
            self.close()
            return True
        if self._before is None:
            self._take_over()
        self._groups = wanted
        self.arrange()
        return True

    def close(self) -> None:
        """Put the grid back as it was before."""
        before, self._before = self._before, None
        self._groups = []
        if before is None:
            return
        for event, react in self._reactions():
            event.disconnect(react)
        grid = self.viewer.canvas.grid
        grid.events.enabled.disconnect(self._on_grid)
        for layer in self.viewer.layers:
            layer.events.visible.disconnect(self._on_visible)
        remove_layers(self.viewer, tagged(self.viewer, role="gap"))
        self._left_on = self._waits()
        if not self._left_on:
            for name, value in before.items():
                setattr(grid, name, value)
            self.viewer.canvas.overlays.scale_bar.gridded = False

    def resume(self) -> None:
        """Arrange the layers again after something else did."""
        if self._left_on and not self._groups and not self._waits():
            self._left_on = False
            self.viewer.canvas.grid.enabled = False
            self.viewer.canvas.overlays.scale_bar.gridded = False
        self.arrange()

    def arrange(self) -> None:
        """Keep the layers of each group together and the grid in step with them."""
        if self._arranging or not self._groups or self._waits():
            return
        self._arranging = True
        try:
            cells = self._cells()
            if not any(cells):  # the user has removed everything: so do we
                remove_layers(self.viewer, tagged(self.viewer, role="gap"))
                return
            grid = self.viewer.canvas.grid
            shown = [[layer.visible for layer in cell] for cell in cells]
            stride, gaps = stride_and_gaps(shown, grid.stride)
            order = self._filled(cells, gaps)
            for index, layer in enumerate(order):
                current = self.viewer.layers.index(layer)
                if current != index:
                    self.viewer.layers.move(current, index)
            grid.stride, grid.shape, grid.spacing = stride, (-1, -1), 0.0
            grid.enabled = True
            self.viewer.canvas.overlays.scale_bar.gridded = True
        finally:
            self._arranging = False

    def _take_over(self) -> None:
        grid = self.viewer.canvas.grid
        self._before = {name: getattr(grid, name) for name in ("stride", "shape", "spacing")}
        self._before["enabled"] = grid.enabled
        for event, react in self._reactions():
            # After napari's own, which still have to make room for the layer.
            event.connect(react, position="last")
        grid.events.enabled.connect(self._on_grid)

    def _reactions(self) -> list[tuple[Any, Callable[..., None]]]:
        events = self.viewer.layers.events
        return [
            (events.inserted, self.arrange),
            (events.reordered, self.arrange),
            (events.removed, self._on_removed),
        ]

    def _on_removed(self, event: Any) -> None:
        """Fill up again, but never against somebody who empties the layer list."""
        if self._arranging:
            return
        if tag(event.value).get("role") == "gap" or not all(self._cells()):
            self.close()
        else:
            self.arrange()

    def _on_layers(self) -> None:
        if self._arranging or not self._groups:
            return
        if self._later is not None:
            self._later()
        else:
            self.arrange()

    def _on_visible(self) -> None:
        """A layer that is shown needs a place in the view of its group."""
        self._on_layers()

    def _on_grid(self) -> None:
        if not self._arranging and not self._waits() and not self.viewer.canvas.grid.enabled:
            self.dismissed = True
            self.close()

    def _cells(self) -> list[list[Layer]]:
        """Layers of each group; whatever belongs to none lies over the first."""
        of = {name: i for i, group in enumerate(self._groups) for name in group}
        cells: list[list[Layer]] = [[] for _ in self._groups]
        for layer in self.viewer.layers:
            if tag(layer).get("role") != "gap":
                cells[of.get(tag(layer).get("section", ""), 0)].append(layer)
                layer.events.visible.connect(self._on_visible)  # once, however often it is asked
        return cells

    def _filled(self, cells: list[list[Layer]], gaps: list[int]) -> list[Layer]:
        there = tagged(self.viewer, role="gap")
        order = []
        for cell, missing in zip(cells, gaps, strict=True):
            fill = [there.pop() if there else self._gap() for _ in range(missing)]
            order += [*fill, *cell]
        remove_layers(self.viewer, there)
        return order

    def _gap(self) -> Layer:
        from napari.layers import Points

        selected = set(self.viewer.layers.selection)
        gap = self.viewer.add_layer(
            Points(
                np.zeros((0, 2)),
                ndim=2,
                name="(empty place)",
                visible=False,
                units=UNITS,
                metadata={TAG: new_tag("", "gap")},
            )
        )
        self.viewer.layers.selection = selected
        return gap
