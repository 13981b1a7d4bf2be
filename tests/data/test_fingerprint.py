"""A fingerprint changes with every change of what would be written, and with nothing else."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import shapely

from napari_stomics.data.fingerprint import content_fingerprint, lazy_fingerprint

sys.path.insert(0, str(Path(__file__).parent))
import tiny


def table() -> Any:
    made = tiny.table()
    made.obs["text"] = ["ab", "c"] * 6
    made.obs["kind"] = pd.Categorical(["x", "y"] * 6)
    made.obs["count"] = pd.array([1, None] * 6, dtype="Int64")
    made.obsm["e"] = np.zeros((12, 2))
    made.uns["nested"] = {"a": [1, 2.5, None], "b": np.array(["s"])}
    return made


def set_text(t: Any) -> None:
    t.obs["text"] = ["a", "bc"] * 6  # the same letters, cut differently


def set_kind(t: Any) -> None:
    t.obs["kind"] = t.obs["kind"].cat.rename_categories(["y", "x"])


def set_order(t: Any) -> None:
    t.obs["kind"] = t.obs["kind"].cat.as_ordered()


def set_nested(t: Any) -> None:
    t.uns["nested"]["a"][1] = 2.25


def set_count(t: Any) -> None:
    t.obs["count"] = pd.array([1, 0] * 6, dtype="Int64")


def set_name(t: Any) -> None:
    t.obs_names = [*t.obs_names[:-1], "last"]


def set_matrix(t: Any) -> None:
    t.X.data[0] += 1


def set_type(t: Any) -> None:
    t.obsm["e"] = t.obsm["e"].astype(np.float32)


def set_layer(t: Any) -> None:
    t.layers["counts"] = t.X.copy()


def set_columns(t: Any) -> None:
    t.obs = t.obs[["kind", "text", "count"]]


CHANGES = [
    set_text, set_kind, set_order, set_nested, set_count, set_name, set_matrix, set_type,
    set_layer, set_columns,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_each_change_of_a_table_is_seen(change: Callable[[Any], None]) -> None:
    made = table()
    before = content_fingerprint(made)
    assert before is not None
    assert before == content_fingerprint(table())
    change(made)
    assert content_fingerprint(made) not in (None, before)


def test_what_cannot_be_judged_counts_as_changed() -> None:
    made = table()
    made.uns["handle"] = object()
    assert content_fingerprint(made) is None


def shapes(kind: str) -> Any:
    sdata = tiny.study().sdata
    frame = sdata["one_spots"]
    if kind == "polygons":
        frame = frame.set_geometry(frame.buffer(3))
        frame.attrs = dict(sdata["one_spots"].attrs)
    return frame


@pytest.mark.parametrize("kind", ["circles", "polygons"])
def test_each_change_of_shapes_is_seen_but_not_their_place(kind: str) -> None:
    from spatialdata.transformations import Identity, set_transformation

    frame = shapes(kind)
    before = content_fingerprint(frame)
    assert before == content_fingerprint(shapes(kind))
    set_transformation(frame, Identity(), "elsewhere")  # written apart from the content
    assert content_fingerprint(frame) == before
    marks = {before}
    for change in ("geometry", "radius", "index", "column"):
        frame = shapes(kind)
        if change == "geometry":
            moved = shapely.transform(frame.geometry.iloc[0], lambda xy: xy + 1e-9)
            frame = frame.set_geometry([moved, *frame.geometry.iloc[1:]])
        elif change == "radius":
            frame["radius"] += 1
        elif change == "index":
            frame.index = [*frame.index[1:], frame.index[0]]
        else:
            frame["quality"] = 1
        marks.add(content_fingerprint(frame))
    assert len(marks) == 5


def test_lazy_elements_are_told_by_their_graphs() -> None:
    sdata = tiny.study().sdata
    for name in ("one_he", "one_cells", "one_molecules"):
        mark = lazy_fingerprint(sdata[name])
        assert mark is not None
        assert mark == lazy_fingerprint(sdata[name])
    image = sdata["one_he"]
    assert lazy_fingerprint(image.copy(data=image.data + 0)) != lazy_fingerprint(image)
    assert lazy_fingerprint(image.copy(data=image.data.compute())) is None
    points = sdata["one_molecules"]
    assert lazy_fingerprint(points.assign(x=points.x + 1)) != lazy_fingerprint(points)
