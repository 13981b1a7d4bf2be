"""What a study says about itself: the plain record kept in ``SpatialData.attrs``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

ATTRS_KEY = "napari_stomics"
"""Key of our record in ``SpatialData.attrs``; it is written to the store's root."""

Modality = str
"""``rna``, ``protein``, ``chromatin``, ``metabolite``, ``image`` or a name of the user's."""

KNOWN_MODALITIES = ("rna", "protein", "chromatin", "metabolite", "image")


class _Record(BaseModel):
    """Records ignore what a later version added, and refuse what they cannot read."""

    model_config = ConfigDict(extra="ignore")


class SectionRecord(_Record):
    """Which elements belong to a section; all names are element names in the store."""

    name: str
    spots: str | None = None
    """Shapes element of the spots or cells that the tables annotate."""
    images: list[str] = Field(default_factory=list)
    """Image elements, the one to show first in front."""
    labels: list[str] = Field(default_factory=list)
    points: list[str] = Field(default_factory=list)
    shapes: list[str] = Field(default_factory=list)
    """Further shapes: cell boundaries, drawn regions."""
    tables: dict[Modality, str] = Field(default_factory=dict)
    """Table per modality, all annotating ``spots``."""
    annotation: str | None = None
    """Column of ``obs`` that holds the expert's annotation, if there is one."""
    pixel_size_um: float | None = None
    """Micrometres per pixel of the finest level of the first image."""
    donor: str = ""
    replicate: str = ""
    z_um: float | None = None
    """Height of the section in a stack."""
    technology: str = ""
    source: str = ""
    """File or folder that it was read from."""


class ReferenceRecord(_Record):
    """Single cells without positions: which tables hold them, by modality.

    Tables of two modalities list the same cells or others.
    """

    name: str
    tables: dict[Modality, str] = Field(default_factory=dict)
    """Table element per modality; the tables annotate nothing."""
    labels: str | None = None
    """Column of ``obs`` with the cells' labels, if there is one."""
    technology: str = ""
    source: str = ""
    """File that it was read from."""


class RegistrationRecord(_Record):
    """A registration as stored: enough to apply it again."""

    id: str
    source: str
    target: str
    model: str
    driver: str
    transform: dict[str, Any]
    summary: dict[str, Any] = Field(default_factory=dict)
    details: dict[str, Any] = Field(default_factory=dict)
    """Errors per landmark pair and the other poses considered, as plain lists."""
    run: str | None = None


class LandmarkRecord(_Record):
    """One landmark: a name and its position (x, y) um in each section where it is placed."""

    name: str
    positions: dict[str, tuple[float, float]]


class ConstraintRecord(_Record):
    """What the user says about the match of two regions; see `core.inputs.Constraint`."""

    name: str
    kind: Literal["match", "forbid"]
    regions: dict[str, list[list[tuple[float, float]]]]
    """Per section the polygons (x, y) um in its own frame whose union is the region."""


class RunRecord(_Record):
    """Provenance of one step: what ran, on what, with which versions, and what it wrote."""

    id: str
    key: str
    """Name of the result in the study."""
    kind: str
    """Kind of the result."""
    step: dict[str, Any]
    started: str
    seconds: float
    versions: dict[str, str] = Field(default_factory=dict)
    inputs_hash: str = ""
    summary: dict[str, Any] = Field(default_factory=dict)


class StudyRecord(_Record):
    """The whole record of a study."""

    version: Literal[1] = 1
    sections: dict[str, SectionRecord] = Field(default_factory=dict)
    references: dict[str, ReferenceRecord] = Field(default_factory=dict)
    registrations: list[RegistrationRecord] = Field(default_factory=list)
    landmarks: list[LandmarkRecord] = Field(default_factory=list)
    constraints: list[ConstraintRecord] = Field(default_factory=list)
    runs: list[RunRecord] = Field(default_factory=list)
    origin: dict[str, Any] = Field(default_factory=dict)
    """What a recipe must open to start from the same data: ``{"sample": name}``,
    ``{"simulate": {...}}`` or ``{"sections": [{"path": ..., "name": ...}]}``; beside
    one of these ``{"references": [{"path": ..., "name": ...}]}``."""
    session: dict[str, Any] = Field(default_factory=dict)
    """How the study was shown when it was saved: layers, colours, view, docks."""
    credit: str = ""
    """Where the data come from and under which licence."""
