"""Recipes: a study and the steps to run on it, as YAML that anyone may read.

A recipe names methods and data; it holds no code, and the only thing it can
make the program write is the store that the caller names.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_stomics.core.errors import UserError
from napari_stomics.core.jobs import JobContext
from napari_stomics.workflow.steps import Step, run_step

if TYPE_CHECKING:
    from napari_stomics.data.study import Study

_MAX_BYTES = 10_000_000


class SectionSource(BaseModel):
    """A file or folder that is read as a section."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    name: str | None = None
    um_per_px: float | None = None
    modality: str | None = None


class ReferenceSource(BaseModel):
    """A file that is read as single cells without positions."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    name: str | None = None
    labels: str | None = None
    modality: str | None = None


class StudySource(BaseModel):
    """What a recipe opens: a sample, a store, files, or a simulation; exactly one of them.

    Single cells are read beside it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample: str | None = None
    store: str | None = None
    sections: list[SectionSource] | None = None
    simulate: dict[str, Any] | None = None
    references: list[ReferenceSource] | None = None

    def open(self, folder: Path) -> Study:
        """Open the study; relative paths start from ``folder``."""
        kinds = [name for name in type(self).model_fields if name != "references"]
        given = [name for name in kinds if getattr(self, name) is not None]
        if len(given) != 1:
            raise UserError(
                f"The recipe's 'study' names {len(given)} sources.",
                "Name one of: sample, store, sections, simulate; or pass --study.",
            )
        study = self._open_sections(folder)
        from napari_stomics.data.readers import read_reference

        for source in self.references or []:
            # A store that was saved since holds them already.
            if source.name not in study.record.references:
                study.add_reference(
                    read_reference(
                        folder / source.path,
                        name=source.name,
                        labels=source.labels,
                        modality=source.modality,
                    )
                )
        return study

    def _open_sections(self, folder: Path) -> Study:
        from napari_stomics.data.study import Study, open_study

        if self.sample is not None:
            from napari_stomics.data.samples import open_sample

            return open_sample(self.sample)
        if self.store is not None:
            return open_study(folder / self.store)
        if self.simulate is not None:
            from napari_stomics.data.simulate import SimulationParams, simulate

            return simulate(SimulationParams.model_validate(self.simulate)).study
        from napari_stomics.data.readers import read_section

        study = Study()
        for source in self.sections or []:
            study.add(
                read_section(
                    folder / source.path,
                    name=source.name,
                    um_per_px=source.um_per_px,
                    modality=source.modality,
                )
            )
        return study


class Recipe(BaseModel):
    """A study and the steps to run on it.

    Attributes
    ----------
    napari_stomics
        Version of the recipe format.
    study
        What to open.
    steps
        What to run, in order.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    napari_stomics: Literal[1] = 1
    study: StudySource = Field(default_factory=StudySource)
    steps: list[Step] = Field(default_factory=list)

    @classmethod
    def from_study(cls, study: Study) -> Recipe:
        """Return the recipe of everything that was run on a study, in order."""
        origin = study.record.origin
        if set(origin) <= {"references"} and study.path is not None:
            origin = {"store": str(study.path), **origin}
        steps = [Step.model_validate(run.step) for run in study.record.runs]
        return cls(study=StudySource.model_validate(origin), steps=steps)

    @classmethod
    def read(cls, path: str | Path) -> Recipe:
        """Read a recipe file (YAML, plain data only).

        Raises
        ------
        UserError
            If it cannot be read or is not a recipe.
        """
        import yaml

        path = Path(path)
        try:
            if path.stat().st_size > _MAX_BYTES:
                raise UserError(f"{path} is too large for a recipe.", "Choose a recipe file.")
            loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(
                f"The recipe {path} cannot be read: {error.strerror}.", "Check the path."
            ) from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(
                f"{path} is not a recipe: {error}.",
                "A recipe is plain YAML; export one from the log to see the form.",
            ) from error
        try:
            return cls.model_validate(loaded)
        except ValidationError as error:
            first = error.errors()[0]
            raise UserError(
                f"{path} is not a valid recipe: {'.'.join(map(str, first['loc']))}: "
                f"{first['msg']}.",
                "Known parts: napari_stomics, study, steps.",
            ) from error

    def text(self) -> str:
        """The recipe as YAML."""
        import yaml

        return yaml.safe_dump(
            self.model_dump(mode="json", exclude_none=True), sort_keys=False, width=100
        )

    def write(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the recipe; an existing file is kept unless ``overwrite``."""
        path = Path(path)
        if path.exists() and not overwrite:
            raise UserError(f"{path} exists already.", "Choose another name, or overwrite it.")
        path.write_text(self.text(), encoding="utf-8")
        return path


def run_recipe(
    recipe: Recipe,
    study: Study | None = None,
    *,
    folder: Path | None = None,
    ctx: JobContext | None = None,
) -> tuple[Study, list[Any]]:
    """Run a recipe's steps in order.

    Parameters
    ----------
    recipe
        What to run. All steps are checked before the first one runs.
    study
        Run on this study instead of the recipe's own.
    folder
        Where the recipe's relative paths start.
    ctx
        Progress and cancellation.

    Returns
    -------
    study
        The study with all results, in memory.
    results
        One result per step.
    """
    ctx = ctx or JobContext()
    for step in recipe.steps:
        step.resolve()
    if study is None:
        ctx.step(0.0, "Opening the study")
        study = recipe.study.open(folder or Path())
    count = max(len(recipe.steps), 1)
    results = []
    for i, step in enumerate(recipe.steps):
        results.append(run_step(study, step, ctx.part(i / count, (i + 1) / count)))
    return study, results
