"""What napari-spatialdata's own docks look for in the metadata of a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from napari_stomics.layers.tags import real_viewer, tag

if TYPE_CHECKING:
    from anndata import AnnData
    from napari.components import ViewerModel

    from napari_stomics.data.study import Section


def host_metadata(section: Section, element: str) -> dict[str, Any]:
    """Metadata with which the View, Scatter and Annotation docks work on a layer.

    The tables are handed over as they are: a join with the element would copy
    them, and the docks make it themselves once they need it.
    """
    sdata = section.study.sdata
    names = annotating_tables(section, element)
    table = sdata.tables[names[0]] if names else None
    attrs = table.uns["spatialdata_attrs"] if table is not None else {}
    frame = sdata.shapes.get(element)
    indices: list[Any] = []
    columns = None
    if frame is not None:
        indices = frame.index.to_list()
        own = frame.drop(columns=[c for c in ("geometry", "radius") if c in frame])
        columns = own if own.shape[1] else None
    elif table is not None:
        indices = table.obs[attrs["instance_key"]].to_list()
    return {
        "sdata": sdata,
        "adata": _of_element(table, element),
        "name": element,
        "region_key": attrs.get("region_key"),
        "instance_key": attrs.get("instance_key"),
        "table_names": names or None,
        "indices": indices,
        "_n_indices": len(indices),
        "_columns_df": columns,
        "_current_cs": section.name,
        "_active_in_cs": {section.name},
    }


def annotating_tables(section: Section, element: str) -> list[str]:
    """Names of the tables that annotate an element, the section's own order first."""
    found = []
    for name, table in section.study.sdata.tables.items():
        regions = table.uns.get("spatialdata_attrs", {}).get("region")
        regions = [regions] if isinstance(regions, str) else list(regions or ())
        if element in regions:
            found.append(name)
    first = [name for name in section.record.tables.values() if name in found]
    return first + sorted(name for name in found if name not in first)


def image_table(channels: list[str]) -> AnnData:
    """An empty table that names the channels, as the View dock expects of an image."""
    import pandas as pd
    from anndata import AnnData

    return AnnData(shape=(0, len(channels)), var=pd.DataFrame(index=channels))


def _of_element(table: AnnData | None, element: str) -> AnnData | None:
    if table is None:
        return None
    attrs = table.uns["spatialdata_attrs"]
    if attrs["region"] == element:
        return table
    return table[(table.obs[attrs["region_key"]] == element).to_numpy()]


class RemovalGuard:
    """Let a layer of ours be removed without an error from the SpatialData dock.

    The dock keeps a list of the layers that came after it and fails over the
    removal of one that came before it; a layer without an element's name it
    leaves alone.

    Parameters
    ----------
    viewer
        The viewer to watch.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._layers = viewer.layers
        self._window = getattr(viewer, "window", None)
        viewer.layers.events.removing.connect(self._on_removing)

    def _on_removing(self, event: Any) -> None:
        layer = self._layers[event.index]
        docks = getattr(self._window, "dock_widgets", {})
        if not tag(layer) or "SpatialData" not in docks:
            return
        known = getattr(docks["SpatialData"].viewer_model, "layer_names", ())
        if layer.name not in known:
            layer.metadata["name"] = None


_guards: WeakKeyDictionary[Any, RemovalGuard] = WeakKeyDictionary()


def guard_removal(viewer: ViewerModel) -> None:
    """Watch a viewer; once is enough. See :class:`RemovalGuard`."""
    viewer = real_viewer(viewer)
    if viewer not in _guards:
        _guards[viewer] = RemovalGuard(viewer)
