"""A study: one SpatialData object whose coordinate systems are tissue sections."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import HistologySpots, SectionImage, Spots
from napari_stomics.core.transforms import Affine, Transform, compose, transform_from_dict
from napari_stomics.data.schema import ATTRS_KEY, SectionRecord, StudyRecord

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

    from napari_stomics.data.single_cells import Reference, SingleCells


class Section:
    """One tissue section of a study: a view that reads from its SpatialData object.

    Parameters
    ----------
    study
        The study that it belongs to.
    record
        Which elements are its own.
    """

    def __init__(self, study: Study, record: SectionRecord) -> None:
        self.study = study
        self.record = record

    @property
    def name(self) -> str:
        """Name of the section and of its coordinate system."""
        return self.record.name

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities that have a table, in the order they were added."""
        return tuple(self.record.tables)

    def table(self, modality: str) -> AnnData:
        """Return the table of a modality.

        Raises
        ------
        UserError
            If the section has no such table.
        """
        key = self.record.tables.get(modality)
        if key is None or key not in self.study.sdata.tables:
            raise UserError(
                f"Section {self.name!r} has no table for {modality!r}.",
                f"It has: {', '.join(self.modalities) or 'no table at all'}.",
            )
        return self.study.sdata.tables[key]

    def element_affine(self, element: str) -> Affine:
        """Map from an element's own coordinates (x, y) to the section's micrometres."""
        from spatialdata.transformations import get_transformation

        found = get_transformation(self.study.sdata[element], get_all=True)
        transformation = found.get(self.name)
        if transformation is None:
            raise UserError(
                f"The element {element!r} has no transformation to section {self.name!r}.",
                "Add the section again, or set the transformation with spatialdata.",
            )
        return Affine(transformation.to_affine_matrix(("x", "y"), ("x", "y")))

    @property
    def ids(self) -> NDArray[Any]:
        """(n,) names of the spots or cells."""
        return np.asarray(self._circles().index, dtype=object)

    @property
    def coordinates(self) -> NDArray[np.float64]:
        """(n, 2) centres (x, y) of the spots or cells in micrometres."""
        import shapely

        geometry = self._circles().geometry.values
        centres = geometry if (geometry.geom_type == "Point").all() else shapely.centroid(geometry)
        xy = np.column_stack([shapely.get_x(centres), shapely.get_y(centres)])
        return np.asarray(self.element_affine(self._spots_name()).apply(xy))

    @property
    def diameter(self) -> float:
        """Median diameter of the spots or cells in micrometres."""
        frame = self._circles()
        if "radius" in frame:
            own = 2 * float(np.median(frame["radius"]))
        else:
            own = 2 * float(np.sqrt(np.median(frame.geometry.area) / np.pi))
        matrix = self.element_affine(self._spots_name()).matrix
        return own * float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))

    @property
    def diameters(self) -> NDArray[np.float64]:
        """(n,) diameter of each spot or cell in micrometres; of outlines that of equal area."""
        frame = self._circles()
        if "radius" in frame:
            own = 2 * np.asarray(frame["radius"], np.float64)
        else:
            own = 2 * np.sqrt(np.asarray(frame.geometry.area, np.float64) / np.pi)
        matrix = self.element_affine(self._spots_name()).matrix
        return np.asarray(own * np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))

    @property
    def pitch(self) -> float:
        """Median distance to the nearest neighbour in micrometres."""
        from scipy.spatial import cKDTree

        xy = self.coordinates
        if len(xy) < 2:
            return self.diameter
        some = xy[:: max(1, len(xy) // 20_000)]
        distances, _ = cKDTree(xy).query(some, k=2)
        return float(np.median(np.asarray(distances)[:, 1]))

    def labels(self, column: str | None = None) -> NDArray[Any] | None:
        """(n,) annotation as strings, ``""`` where there is none; None without the column.

        Parameters
        ----------
        column
            Column of ``obs`` in any of the section's tables; by default the
            section's annotation.
        """
        column = column or self.record.annotation
        for modality in self.modalities if column else ():
            obs = self.table(modality).obs
            if column in obs:
                values = obs[column].astype(object)
                if len(values) != len(self.ids):  # the table lacks spots
                    values = values.reindex(self.ids)
                text = values.where(values.notna(), "").astype(str).to_numpy(dtype=object)
                return np.where(np.isin(text, ("NA", "nan", "None", "<NA>")), "", text)
        return None

    def spots(self, modality: str, labels: str | None = None) -> Spots:
        """Return the spots on which a modality was measured, with its matrix."""
        table, coordinates, names = self.table(modality), self.coordinates, self.labels(labels)
        if table.n_obs != len(coordinates):
            at = {name: i for i, name in enumerate(self.ids)}
            rows = np.array([at[name] for name in table.obs_names], np.intp)
            coordinates = coordinates[rows]
            names = None if names is None else names[rows]
        return Spots(
            section=self.name,
            ids=table.obs_names.to_numpy(dtype=object),
            coordinates=coordinates,
            x=table.X,
            features=table.var_names.to_numpy(dtype=object),
            modality=modality,
            labels=names,
            pitch=self.pitch,
        )

    def image(self, element: str | None = None) -> SectionImage:
        """Return an image as a lazy pyramid (y, x, channel); by default the first one."""
        if element is None:
            if not self.record.images:
                raise UserError(
                    f"Section {self.name!r} has no image.",
                    "Add one: Add section > Image, or Study.add_image.",
                )
            element = self.record.images[0]
        from spatialdata.models import get_channel_names

        data = self.study.sdata.images[element]
        arrays = (
            [data] if hasattr(data, "dtype") else [next(iter(s.values())) for s in _scales(data)]
        )
        return SectionImage(
            section=self.name,
            levels=tuple(a.transpose("y", "x", "c").data for a in arrays),
            to_um=self.element_affine(element),
            channels=tuple(str(c) for c in get_channel_names(data)),
        )

    def histology(self, modality: str, image: str | None = None) -> HistologySpots:
        """Return the spots of a modality on the section's image."""
        return HistologySpots(self.spots(modality), self.image(image), self.diameter)

    def _spots_name(self) -> str:
        if self.record.spots is None:
            raise UserError(
                f"Section {self.name!r} has no spots or cells.",
                "Choose a section with a table, or add one to this section.",
            )
        return self.record.spots

    def _circles(self) -> Any:
        return self.study.sdata.shapes[self._spots_name()]


class Study:
    """All sections of a study, their registrations and the record of what was done.

    Parameters
    ----------
    sdata
        The SpatialData object; a new empty one by default. Sections are read
        from its record, or guessed from its coordinate systems where it was
        written by other software.
    path
        The store on disk that it came from, if any.
    """

    def __init__(self, sdata: SpatialData | None = None, path: Path | None = None) -> None:
        self._sdata = sdata
        self.path = path
        self.record = StudyRecord() if sdata is None else _read_record(sdata)

    @property
    def sdata(self) -> SpatialData:
        """The SpatialData object; an empty study makes it when it is first needed."""
        if self._sdata is None:
            # The import takes seconds, which an empty window need not wait for.
            from spatialdata import SpatialData

            self._sdata = SpatialData()
        return self._sdata

    @property
    def sections(self) -> dict[str, Section]:
        """Sections by name, in the order they were added."""
        return {name: Section(self, record) for name, record in self.record.sections.items()}

    def section(self, name: str) -> Section:
        """Return a section by name.

        Raises
        ------
        UserError
            If the study has no such section.
        """
        if name not in self.record.sections:
            raise UserError(
                f"There is no section {name!r} in this study.",
                f"It has: {', '.join(self.record.sections) or 'none yet; add one first'}.",
            )
        return Section(self, self.record.sections[name])

    def add(self, other: SpatialData | Study) -> list[str]:
        """Add the sections of another object and return their names.

        Raises
        ------
        UserError
            If a section or an element of that name is in the study already;
            nothing is added then.
        """
        theirs = other if isinstance(other, Study) else Study(other)
        clash = [n for n in theirs.record.sections if n in self.record.sections]
        clash += [n for n in theirs.record.references if n in self.record.references]
        mine = {name for _, name, _ in self.sdata.gen_elements()}
        clash += [n for _, n, _ in theirs.sdata.gen_elements() if n in mine and n not in clash]
        if clash:
            raise UserError(
                f"The study already holds {', '.join(map(repr, clash))}.",
                "Give the new section another name.",
            )
        for _, name, element in theirs.sdata.gen_elements():
            self.sdata[name] = element
        self.record.sections.update(theirs.record.sections)
        self.record.references.update(theirs.record.references)
        self.record.registrations.extend(theirs.record.registrations)
        self.record.landmarks.extend(theirs.record.landmarks)
        self.record.constraints.extend(theirs.record.constraints)
        if theirs.record.credit and theirs.record.credit not in self.record.credit:
            self.record.credit = "\n".join(filter(None, [self.record.credit, theirs.record.credit]))
        self.sync()
        return list(theirs.record.sections)

    @property
    def references(self) -> dict[str, Reference]:
        """Single cells without positions, by name, in the order they were added."""
        from napari_stomics.data.single_cells import Reference

        return {name: Reference(self, record) for name, record in self.record.references.items()}

    def reference(self, name: str) -> Reference:
        """Return single cells by name.

        Raises
        ------
        UserError
            If the study has none of that name.
        """
        if name not in self.record.references:
            raise UserError(
                f"There are no single cells {name!r} in this study.",
                f"It has: {', '.join(self.record.references) or 'none yet; add some first'}.",
            )
        return self.references[name]

    def add_reference(self, cells: SingleCells) -> str:
        """Add single cells without positions and return their name.

        Raises
        ------
        UserError
            If there are such already, or they cannot be stored.
        """
        from napari_stomics.data.single_cells import add_reference

        return add_reference(self, cells)

    def sync(self) -> None:
        """Write the record into ``sdata.attrs``, from where it goes to disk with the store."""
        self.sdata.attrs[ATTRS_KEY] = self.record.model_dump(mode="json")

    def registration(self, source: str, target: str) -> Transform | None:
        """Return the map from one section to another that the stored registrations give.

        The latest of a pair counts; maps are inverted and composed where the two
        are registered through other sections.

        Returns
        -------
        Transform or None
            Carries source (x, y) um to target um; None if they are not registered.
        """
        # Breadth first: the fewest maps in a row, of each pair the one stored last.
        reached: dict[str, Transform] = {source: Affine.identity()}
        waiting = [source]
        while waiting and target not in reached:
            here = waiting.pop(0)
            for stored in reversed(self.record.registrations):
                if stored.source == here and stored.target not in reached:
                    step, there = transform_from_dict(stored.transform), stored.target
                elif stored.target == here and stored.source not in reached:
                    step, there = transform_from_dict(stored.transform).inverse(), stored.source
                else:
                    continue
                reached[there] = compose(reached[here], step)
                waiting.append(there)
        return reached.get(target)


def open_study(path: str | Path) -> Study:
    """Open a SpatialData zarr store as a study.

    Raises
    ------
    UserError
        If there is no store at ``path`` or it cannot be read.
    """
    from napari_stomics.data.store import read_store

    path = Path(path)
    return Study(read_store(path), path)


def _read_record(sdata: SpatialData) -> StudyRecord:
    from pydantic import ValidationError

    stored = sdata.attrs.get(ATTRS_KEY)
    if stored is None:
        from napari_stomics.data.foreign import guess_sections

        return guess_sections(sdata)
    try:
        return StudyRecord.model_validate(stored)
    except ValidationError as error:
        raise UserError(
            f"The record of this study cannot be read: {error.errors()[0]['msg']} "
            f"(at {'.'.join(map(str, error.errors()[0]['loc']))}).",
            "It may come from a newer version of napari-stomics: update, and open it again.",
        ) from error


def _scales(tree: Any) -> list[Any]:
    return [tree[key] for key in sorted(tree, key=lambda k: int(str(k).removeprefix("scale")))]
