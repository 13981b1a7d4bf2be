"""A running alignment in the viewer: the moving section and its arrows follow the iterations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.plans import AlignmentState
from napari_stomics.core.transforms import Affine
from napari_stomics.layers.tags import (
    TAG,
    UNITS,
    layer_affine,
    new_tag,
    own,
    placement,
    real_viewer,
    remove_layers,
    section_placement,
    set_tag,
    tag,
    tagged,
)

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer, Vectors

    from napari_stomics.data.study import Section

MOST_ARROWS = 2000
"""More arrows than these cannot be told apart, and cost time at every frame."""

ROLE = "live"
"""Role of the layer of arrows; it is neither saved nor moved with a section."""

_STILL = 0.02
"""Images stay where they are while the pose changes by less than this share of a spot."""

_SEE_THROUGH = 0.6
"""Opacity of the moving images, so that the section below can be seen."""

_LONG = 3.0
"""Spot distances at which an arrow has the last colour."""

Floats = NDArray[np.floating[Any]]


@dataclass
class _Before:
    """A layer as it was, and where it was last put."""

    layer: Layer
    data: Any
    affine: Any
    entry: dict[str, Any]
    opacity: float
    put: Any = None
    data_put: Any = None


class LiveAlignment:
    """Shows the states of one alignment; :meth:`close` puts every layer back.

    Spots follow their own positions; images and whatever else belongs to the
    moving section follow the affine map fitted to all of them, as hidden layers
    do. Data are replaced in place: no layer is removed and added again.

    Parameters
    ----------
    viewer
        A viewer or napari's viewer model, with both sections shown.
    source, target
        The moving and the fixed section.
    """

    def __init__(self, viewer: ViewerModel, source: Section, target: Section) -> None:
        self.viewer = real_viewer(viewer)
        self.pair = (source.name, target.name)
        self._own = np.asarray(source.coordinates, np.float64)
        self._diameter = float(source.diameter)
        self._reach = _LONG * max(source_pitch(self._own), self._diameter)
        self._base = section_placement(self.viewer, target.name)
        self._home = section_placement(self.viewer, source.name)
        self._before: dict[int, _Before] = {}
        self._rows = _subset(len(self._own), MOST_ARROWS)
        self._pose: Affine | None = None
        self._moved = False
        self._closed = False
        self._hidden: list[Layer] = []
        self._prepared = self._pointed = False
        self.arrows = self._new_arrows()

    def prepare(self) -> None:
        """Take the layers over where they lie, so that no frame later has to."""
        for _ in self.preparing():
            pass

    def preparing(self) -> Iterator[None]:
        """As :meth:`prepare`, piece by piece: each holds the window up for about 50 ms."""
        self._prepared = True
        for layer in [q for q in tagged(self.viewer, role="result") if self._is_former(q)]:
            self._hidden.append(layer)
            layer.visible = False
            yield
        selection = set(self.viewer.layers.selection)
        self.viewer.add_layer(self.arrows)
        yield
        if selection and self.viewer.layers.selection == {self.arrows}:
            self.viewer.layers.selection = selection  # it stays with the layer in use
            yield
        spots = next(iter(tagged(self.viewer, section=self.pair[0], role="spots")), None)
        lies = self._home.apply(self._own)
        if spots is not None and self._is_of_spots(self._remember(spots)):
            data = np.column_stack([spots.data, np.ones(len(spots.data))])
            lies = (data @ spots.affine.affine_matrix.T)[:, 1::-1]
        with self.viewer.dims.events.blocker_all():
            self._move(self._base.inverse().apply(lies))

    def show(self, state: AlignmentState) -> None:
        """Show one state; a state of other spots than the section has is ignored."""
        for _ in self.showing(state):
            pass

    def showing(self, state: AlignmentState) -> Iterator[None]:
        """As :meth:`show`; with the first arrows in a piece of their own."""
        if self._closed or len(state.positions) != len(self._own):
            return
        if not self._prepared:
            yield from self.preparing()
        with self.viewer.dims.events.blocker_all():
            self._move(np.asarray(state.positions, np.float64))
        if state.barycentres is not None:
            if not self._pointed:
                yield
            if not self._closed:
                with self.viewer.dims.events.blocker_all():
                    self._point(state.positions, state.barycentres)

    def close(self) -> None:
        """Take the arrows away and put every layer exactly where it was."""
        self.put_back()
        remove_layers(self.viewer, [self.arrows])

    def put_back(self) -> None:
        """Put every layer exactly where it was; the arrows are hidden until :meth:`close`."""
        if self._closed:
            return
        self._closed = True
        self.arrows.visible = False
        with self.viewer.dims.events.blocker_all():
            for before in self._before.values():
                if before.layer in self.viewer.layers:
                    self._put_back(before)
        self._before.clear()
        for layer in self._hidden:
            layer.visible = True
        self._hidden.clear()

    def _is_former(self, layer: Layer) -> bool:
        """Whether a layer shows the arrows of a plan, which would be taken for those of now."""
        return (
            hasattr(layer, "vector_style")
            and tag(layer).get("part") == "arrows"
            and tag(layer).get("section") in self.pair
            and layer.visible
        )

    # -- the section -------------------------------------------------------------------------

    def _move(self, positions: Floats) -> None:
        pose = fitted(self._own, positions)
        still = self._pose is not None and self._same(pose, self._pose)
        if not still:
            self._pose = pose
        assert self._pose is not None
        placed = self._pose.then(self._base)
        for layer in tagged(self.viewer, section=self.pair[0]):
            before = self._remember(layer)
            if layer.visible and self._is_of_spots(before):
                self._carry(before, positions, placed)
            elif before.data_put is None and (not still or before.put is None):
                self._place(before, placed)
        self._moved = True

    def _same(self, a: Affine, b: Affine) -> bool:
        (left, top), (right, bottom) = self._own.min(axis=0), self._own.max(axis=0)
        corners = np.array([[left, top], [right, top], [left, bottom], [right, bottom]])
        moved = np.abs(a.apply(corners) - b.apply(corners)).max()
        return bool(moved < _STILL * self._diameter)

    def _remember(self, layer: Layer) -> _Before:
        before = self._before.get(id(layer))
        if before is not None and not _was_moved(before):
            return before
        opacity = float(layer.opacity) if before is None else before.opacity
        entry = {name: tag(layer).get(name) for name in ("placement", "unwarped")}
        affine = np.array(layer.affine.affine_matrix)
        if before is None and self._moved:
            # It was added where the section lies by now; it belongs where that came from.
            affine = layer_affine(placement(layer).inverse(), self._home) @ affine
            entry["placement"] = self._home.matrix.tolist()
        if before is None and tag(layer)["role"] == "image":
            layer.opacity = opacity * _SEE_THROUGH
        self._before[id(layer)] = _Before(layer, layer.data, affine, entry, opacity)
        return self._before[id(layer)]

    def _is_of_spots(self, before: _Before) -> bool:
        """Whether a layer has one point for each spot, in the order of the spots."""
        layer = before.layer
        if tag(layer)["role"] not in ("spots", "result") or not hasattr(layer, "symbol"):
            return False
        known = tag(layer).get("of_spots")
        if known is None:
            unwarped = before.entry["unwarped"]
            data = np.asarray(before.data if unwarped is None else unwarped)
            known = len(data) == len(self._own) and bool(
                np.allclose(own(layer).apply(data[:, ::-1]), self._own, atol=0.01 * self._diameter)
            )
            set_tag(layer, of_spots=known)
        return bool(known)

    def _carry(self, before: _Before, positions: Floats, placed: Affine) -> None:
        layer = before.layer
        before.put = placed.matrix
        # As a map that bends leaves them, so that whoever moves the section next undoes it.
        unwarped = before.entry["unwarped"]
        set_tag(
            layer,
            unwarped=before.data if unwarped is None else unwarped,
            placement=placed.matrix.tolist(),
        )
        if before.data_put is not None and layer.data is before.data_put:
            _redraw(layer, positions[:, ::-1])
            return
        layer.data = positions[:, ::-1].copy()
        before.data_put = layer.data
        layer.affine = layer_affine(Affine.identity(), self._base)

    @staticmethod
    def _place(before: _Before, placed: Affine) -> None:
        """Move a layer as a whole; what a map bends in it stays bent."""
        before.put = placed.matrix
        lay = Affine(np.array(before.entry["placement"]))
        moved = layer_affine(lay.inverse(), placed)
        set_tag(before.layer, placement=placed.matrix.tolist())
        before.layer.affine = moved @ before.affine

    def _put_back(self, before: _Before) -> None:
        layer = before.layer
        layer.opacity = before.opacity
        set_tag(layer, of_spots=None)
        if before.put is None or _was_moved(before):
            return  # somebody else has moved the section since
        if before.data_put is not None:
            layer.data = before.data
        layer.affine = before.affine
        set_tag(layer, **before.entry)

    # -- the arrows --------------------------------------------------------------------------

    def _point(self, positions: Floats, barycentres: Floats) -> None:
        start, end = positions[self._rows], barycentres[self._rows]
        gap = np.where(np.isfinite(end), end - start, 0.0)
        data = np.stack([start, gap], axis=1)[..., ::-1]
        length = np.linalg.norm(gap, axis=1)
        if self.arrows not in self.viewer.layers:
            return  # the user has removed it
        with self.arrows.events.blocker_all():  # drawn once, with the data
            self.arrows.features = {"length_um": length}
            self.arrows.refresh_colors()
        if self._pointed:
            _redraw(self.arrows, data)
        else:
            self._pointed = True
            self.arrows.data[...] = data
            self.arrows.visible = True

    def _new_arrows(self) -> Vectors:
        """Return the layer of arrows from spots to barycentres, hidden until there is a plan."""
        from napari.layers import Vectors

        source, target = self.pair
        rows = len(self._rows)
        arrows = Vectors(
            np.zeros((rows, 2, 2)),
            ndim=2,
            name=f"Aligning {source} → {target}",
            features={"length_um": np.zeros(rows)},
            edge_width=self._diameter / 5,
            vector_style="arrow",
            visible=False,
            units=UNITS,
            affine=layer_affine(Affine.identity(), self._base),
            metadata={TAG: new_tag(target, ROLE, None, self._base)},
        )
        if rows:
            arrows.edge_color = "length_um"
            arrows.edge_colormap = "plasma"
            arrows.edge_contrast_limits = (0.0, self._reach)
        return arrows


def fitted(before: Floats, after: Floats, weights: Floats | None = None) -> Affine:
    """Affine map that carries (n, 2) points to others with least squares.

    Where the points do not determine it (fewer than three, or on a line) it is a shift.
    """
    usable = np.isfinite(after).all(axis=1)
    a, b = before[usable], after[usable]
    matrix = np.eye(3)
    if not len(a):
        return Affine(matrix)
    share = np.ones(len(a)) if weights is None else np.asarray(weights)[usable]
    share = (share / share.sum())[:, None]
    centre_a, centre_b = (share * a).sum(axis=0), (share * b).sum(axis=0)
    root = np.sqrt(share)
    linear, _, rank, _ = np.linalg.lstsq(root * (a - centre_a), root * (b - centre_b), rcond=1e-9)
    if rank == 2 and abs(np.linalg.det(linear)) > 1e-6:
        matrix[:2, :2] = linear.T
    matrix[:2, 2] = centre_b - matrix[:2, :2] @ centre_a
    return Affine(matrix)


def source_pitch(points: Floats) -> float:
    """Median distance between nearest neighbours; 0 for fewer than two points."""
    from scipy.spatial import cKDTree

    if len(points) < 2:
        return 0.0
    tree: Any = cKDTree(points)
    return float(np.median(tree.query(points[:2000], k=2)[0][:, 1]))


def _was_moved(before: _Before) -> bool:
    """Whether somebody else has moved a layer since it was put somewhere."""
    return before.put is not None and not np.array_equal(placement(before.layer).matrix, before.put)


def _subset(n: int, most: int) -> NDArray[np.intp]:
    """Rows of at most this many spots, always the same ones."""
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(0).choice(n, most, replace=False))


def _redraw(layer: Any, data: Floats) -> None:
    """Write data over those of a layer and draw them.

    Setting them anew would also make a thumbnail and have the viewer measure
    its extent again, which takes longer than the drawing.
    """
    layer.data[...] = data
    layer.refresh(thumbnail=False, highlight=False, extent=False)


__all__ = ["MOST_ARROWS", "ROLE", "LiveAlignment", "fitted"]
