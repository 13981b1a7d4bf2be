"""Scores of a partition of spots: each with the space and the protocol that it was measured in.

Rows are spots: all of the first section, then all of the next. Coordinates are
micrometres, (x, y).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.fusion import Block

Array = NDArray[Any]
Floats = NDArray[np.floating[Any]]
Better = Literal["higher", "lower", ""]


@dataclass(frozen=True)
class ScoreInputs:
    """A partition of spots and what it can be judged by.

    Attributes
    ----------
    sections, of
        Names of the sections, and the (n,) index of each spot's section.
    ids
        (n,) names of the spots, unique within a section.
    coordinates
        (n, 2) centres in each section's own frame.
    label_name, labels
        The partition that is judged: its name, and (n,) names, ``""`` where a spot has none.
    truth_name, truth
        An annotation to compare with, in the same form; None without one.
    embedding_name, embedding
        (n, d) embedding, NaN where a spot has none; None without one.
    blocks
        Modalities whose neighbourhoods the embedding should keep.
    singles
        Partitions found from single modalities, (n,) names by the name of each: what
        fusing has to beat.
    """

    sections: tuple[str, ...]
    of: NDArray[np.intp]
    ids: Array
    coordinates: Floats
    label_name: str
    labels: Array
    truth_name: str = ""
    truth: Array | None = None
    embedding_name: str = ""
    embedding: Floats | None = None
    blocks: tuple[Block, ...] = ()
    singles: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Score:
    """One score.

    Attributes
    ----------
    name, title
        Name for programs and for people.
    value
        The score; NaN where it has no meaning for these spots.
    better
        Which way is better; ``""`` where it only describes.
    space
        What it was measured in: ``annotation``, ``coordinates``, or the name of an embedding.
    protocol
        How it was measured.
    """

    name: str
    title: str
    value: float
    better: Better
    space: str
    protocol: str


@dataclass(frozen=True)
class ScoreTable:
    """Scores of one partition.

    Attributes
    ----------
    section
        Name of the (first) section.
    ids
        (n,) names of the spots.
    label_name, truth_name
        Names of the partition and of the annotation; the latter ``""`` without one.
    rows
        The scores, those that could be measured.
    names, sizes
        Names of the domains, and the number of spots of each.
    truth_names, counts
        Names in the annotation, and the (t, k) number of spots of each with each domain;
        empty without an annotation.
    matches
        The annotation's name that each domain overlaps most, one to one.
    isolated
        (n,) 1 where most of a spot's neighbours are in another domain, else 0; NaN without
        a label.
    sections, of
        Names of all sections, and the index of each spot's section.
    """

    kind: ClassVar[str] = "scores"

    section: str
    ids: Array
    label_name: str
    truth_name: str
    rows: tuple[Score, ...]
    names: tuple[str, ...]
    sizes: NDArray[np.intp]
    truth_names: tuple[str, ...]
    counts: NDArray[np.intp]
    matches: Mapping[str, str]
    isolated: Floats
    sections: tuple[str, ...] = ()
    of: NDArray[np.intp] = None  # type: ignore[assignment]
    converged: bool = True

    def __post_init__(self) -> None:
        if not self.sections:
            object.__setattr__(self, "sections", (self.section,))
        if self.of is None:
            object.__setattr__(self, "of", np.zeros(len(self.ids), np.intp))

    def score(self, name: str) -> Score | None:
        """Return a score by its name, None if it was not measured."""
        return next((row for row in self.rows if row.name == name), None)

    def summary(self) -> dict[str, Any]:
        """Key figures in plain JSON types."""
        out: dict[str, Any] = {"section": self.section, "labels": self.label_name}
        if len(self.sections) > 1:
            out["sections"] = list(self.sections)
        if self.truth_name:
            out["annotation"] = self.truth_name
        out["sizes"] = {n: int(c) for n, c in zip(self.names, self.sizes, strict=True)}
        return out | {row.name: float(row.value) for row in self.rows}
