"""Paint mappings of single cells: cells where they may lie, labels over the spots, how sure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.mappings import CellMapping
from napari_stomics.core.transforms import Affine
from napari_stomics.layers.palette import MISSING, hex_rgba, natural, palette
from napari_stomics.layers.tags import TAG, UNITS, layer_affine, new_tag, true_size
from napari_stomics.layers.valued import Values

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_stomics.layers.easel import Easel

MANY_CELLS = 100_000
"""Of more cells than this a sample is drawn as points."""

_UNIT = (0.0, 1.0)
_NO_LABEL = "(none)"
_FAINTEST = 0.35
_SMALLEST = 0.5


def paint_mapping(easel: Easel, result: CellMapping) -> None:
    """Add the layers of a mapping.

    Cells are points at their expected positions in the colour of their label,
    the larger and the more opaque the more certain; spots show the mixture of
    the labels that they receive. Layers of uncertainty are hidden at first.
    """
    colours = palette(sorted(map(str, result.categories), key=natural))
    _spots(easel, result, colours)
    for part in (*reversed(result.more), result):
        suffix = "" if part is result else f"-{part.modality}"
        easel.put(f"cells{suffix}", _cells(easel, part, colours), visible=part is result)
        for what, values in (("spread (um)", part.spread), ("entropy", part.entropy)):
            layer = _cells(easel, part, colours, (what, np.asarray(values, np.float64)))
            easel.put(f"cell-{what.split()[0]}{suffix}", layer, visible=False)


def certainty(result: CellMapping) -> NDArray[np.float64]:
    """(n,) in [0, 1]: 1 for a cell at one place, 0 for one spread like all the spots' mass.

    The spread of a cell that knows nothing is that of the positions of all
    cells' mass together.
    """
    spread = np.asarray(result.spread, np.float64)
    known = np.isfinite(result.positions).all(axis=1)
    if not known.any():
        return np.zeros(len(spread))
    between = np.square(result.positions[known] - result.positions[known].mean(axis=0)).sum(axis=1)
    whole = float(np.sqrt(between.mean() + np.square(spread[known]).mean()))
    share = 1 - spread / whole if whole > 0 else np.ones(len(spread))
    return np.clip(np.nan_to_num(share, nan=0.0), 0, 1)


def mixed_colours(
    proportions: NDArray[Any], names: tuple[str, ...], colours: dict[str, str]
) -> Any:
    """(m, 3) mean colour of the labels at each spot, weighted by their shares; NaN without any."""
    table = np.array([hex_rgba(colours[name])[:3] for name in names])
    return np.asarray(proportions, np.float64) @ table


def _cells(
    easel: Easel,
    part: CellMapping,
    colours: dict[str, str],
    values: tuple[str, NDArray[np.float64]] | None = None,
) -> Layer:
    """Cells as points, by label and certainty or by a number."""
    from napari.layers import Points

    rows = np.flatnonzero(np.isfinite(part.positions).all(axis=1))
    note = ""
    if len(rows) > MANY_CELLS:
        note = f" ({MANY_CELLS:,} of {len(rows):,})"
        rows = np.sort(np.random.default_rng(0).choice(rows, MANY_CELLS, replace=False))
    sure = certainty(part)[rows]
    placed = easel.placement(part.section)
    labels = np.asarray(part.labels, object)[rows]
    diameter = _diameter(easel, part)
    shown = Values("label", labels, colours=colours)
    what = f"{part.reference} cells" + (f", {part.modality}" if part.modality != "rna" else "")
    title = f"{part.section}: {what}{note}"
    if values is not None:
        top = float(np.nanmax(values[1])) if np.isfinite(values[1]).any() else 1.0
        limits = _UNIT if values[0] == "entropy" else (0.0, max(top, 1e-6))
        shown = Values(values[0], values[1][rows], limits, "plasma")
        title = f"{part.section}: {what}: {values[0]}{note}"
    rgba = shown.rgba()
    if values is None:
        if not part.categories:
            rgba[:] = hex_rgba(MISSING)
        rgba[:, 3] = _FAINTEST + (1 - _FAINTEST) * sure
    entry = new_tag(
        part.section,
        "result",
        None,
        placed,
        legend=shown.legend(),
        limits=list(shown.range) if shown.numeric else None,
    )
    size = true_size(diameter * (_SMALLEST + (1 - _SMALLEST) * sure), placed)
    return Points(
        part.positions[rows][:, ::-1],
        ndim=2,
        name=title,
        size=size if len(rows) else 1.0,
        border_width=0,
        face_color=rgba if len(rows) else "white",
        features={
            "id": np.asarray(part.cell_ids)[rows],
            "label": np.where(labels == "", _NO_LABEL, labels),
            "certainty": sure,
            "spread_um": np.asarray(part.spread)[rows],
            "largest_match": np.asarray(part.largest_match)[rows],
        },
        canvas_size_limits=(2, 10_000),
        units=UNITS,
        affine=layer_affine(Affine.identity(), placed),
        metadata={TAG: entry},
    )


def _diameter(easel: Easel, part: CellMapping) -> float:
    """Of a cell in um: so that the cells of one spot could lie side by side in it."""
    section = easel.study.section(part.section)
    per_spot = max(len(part.cell_ids) / max(len(part.spot_ids), 1), 1.0)
    return float(max(section.diameter, 0.9 * section.pitch) / np.sqrt(per_spot))


def _spots(easel: Easel, result: CellMapping, colours: dict[str, str]) -> None:
    """What each spot receives: labels, their entropy, and its mass."""
    ids, section = result.spot_ids, result.section
    if result.categories:
        mixed = mixed_colours(result.proportions, result.categories, colours)
        title = f"Labels of {result.reference} (mixed)"
        easel.spots("proportions", section, ids, Values("labels", mixed), title, visible=False)
        best = _most(result)
        easel.spots(
            "labels",
            section,
            ids,
            Values("label", best, colours=colours),
            f"Largest label of {result.reference}",
        )
        easel.spots(
            "entropy",
            section,
            ids,
            Values("entropy", np.asarray(result.proportion_entropy, np.float64), _UNIT, "plasma"),
            f"Labels of {result.reference}: entropy",
            visible=False,
        )
    easel.spots(
        "mass",
        section,
        ids,
        Values("mass", np.asarray(result.spot_mass, np.float64), None, "magma"),
        f"Mass of {result.reference} (1 = all)",
        visible=False,
    )


def _most(result: CellMapping) -> NDArray[Any]:
    """(m,) label of the largest share, ``""`` where nothing arrives."""
    names = np.array(result.categories, object)
    known = np.isfinite(result.proportions).all(axis=1)
    best = np.full(len(result.spot_ids), "", object)
    best[known] = names[np.argmax(result.proportions[known], axis=1)]
    return best
