"""Load and save landmarks: ask what the file does not say, replace nothing unasked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from qtpy.QtWidgets import QFileDialog, QMessageBox, QWidget

from napari_stomics.core.errors import UserError
from napari_stomics.core.transforms import Affine
from napari_stomics.docks.messages import show_info
from napari_stomics.docks.workbench import Workbench, told_to_user
from napari_stomics.session.landmarks import Landmark

if TYPE_CHECKING:
    from napari_stomics.data.schema import LandmarkRecord

Unit = Literal["um", "px"]
Clash = Literal["replace", "rename", "cancel"]
LOAD_FILTER = "Landmarks (*.csv *.tsv *.txt *.geojson *.json);;All files (*)"
_CLASH = (
    "{} of the landmarks in the file have names that are taken ({}), at other places. "
    "Replace the positions, or keep both under new names?"
)


@dataclass(frozen=True)
class LoadChoice:
    """What a landmark file does not say about itself.

    Attributes
    ----------
    format
        One of the formats of :mod:`napari_stomics.data.landmark_files`; None guesses it.
    sections
        Sections of the file's columns, in its order.
    unit
        Unit of the coordinates where the file does not say.
    to_um
        Micrometres per pixel, or the map from pixels, by section.
    """

    format: str | None
    sections: tuple[str, ...]
    unit: Unit | None = None
    to_um: Mapping[str, float | Affine] = field(default_factory=dict)


@dataclass(frozen=True)
class SaveChoice:
    """A kind of file to write, as one line of the dialog's list."""

    label: str
    format: str
    sections: tuple[str, ...]
    unit: Unit = "um"


class LandmarkFiles:
    """Reads landmark files into the session and writes them.

    Parameters
    ----------
    bench
        The viewer's workbench.
    parent
        Widget that the dialogs belong to.
    """

    def __init__(self, bench: Workbench, parent: QWidget) -> None:
        self._session = bench.session
        self._parent = parent

    # -- with dialogs ------------------------------------------------------------------------

    def load(self) -> None:
        """Ask for files and read each of them."""
        names, _ = QFileDialog.getOpenFileNames(
            self._parent, "Load landmarks", str(self._folder()), LOAD_FILTER
        )
        for name in names:
            with told_to_user(f"Load {Path(name).name}"):
                choice = self._asked(Path(name))
                if choice is not None:
                    self.read(Path(name), choice)

    def save(self) -> None:
        """Ask for a file and its format, and write."""
        with told_to_user("Save landmarks"):
            choices = self.save_choices()
            filters = {f"{choice.label} (*.csv)": choice for choice in choices}
            name, chosen = QFileDialog.getSaveFileName(
                self._parent,
                "Save landmarks",
                str(self._folder() / "landmarks.csv"),
                ";;".join(filters),
                options=QFileDialog.Option.DontConfirmOverwrite,
            )
            if name:
                path = Path(name) if Path(name).suffix else Path(f"{name}.csv")
                if not path.exists() or self._may_replace(path):
                    self.write(path, filters[chosen], overwrite=path.exists())

    def _asked(self, path: Path) -> LoadChoice | None:
        from napari_stomics.docks.landmark_load_form import LoadForm

        form = LoadForm(path, self._session, self._parent)
        return form.choice() if form.exec() else None

    def _may_replace(self, path: Path) -> bool:
        answer = QMessageBox.question(
            self._parent, "Replace file", f"{path} exists already. Replace it?"
        )
        return answer == QMessageBox.StandardButton.Yes

    def ask_clash(self, names: Sequence[str]) -> Clash:
        """Ask what to do with names that are taken."""
        box = QMessageBox(self._parent)
        box.setWindowTitle("Names are taken")
        box.setText(_CLASH.format(len(names), ", ".join(names[:5])))
        replace = box.addButton("Replace", QMessageBox.ButtonRole.DestructiveRole)
        rename = box.addButton("Keep both", QMessageBox.ButtonRole.AcceptRole)
        box.addButton(QMessageBox.StandardButton.Cancel)
        box.exec()
        if box.clickedButton() is replace:
            return "replace"
        return "rename" if box.clickedButton() is rename else "cancel"

    # -- without -----------------------------------------------------------------------------

    def read(self, path: Path, choice: LoadChoice) -> int:
        """Add the landmarks of a file as one undoable action; return how many.

        Raises
        ------
        UserError
            If the file cannot be read as landmarks.
        """
        from napari_stomics.data.landmark_files import read_landmarks

        notes: list[str] = []
        found = read_landmarks(
            path,
            choice.sections,
            unit=choice.unit,
            to_um=choice.to_um,
            format=choice.format,
            notes=notes,
        )
        self._refuse_strangers(path, found)
        clashes = self.clashes(found)
        answer: Clash = self.ask_clash(clashes) if clashes else "replace"
        if answer == "cancel":
            return 0
        taken = set(clashes) if answer == "rename" else set()
        marks = [Landmark(self._name(m.name, taken), dict(m.positions)) for m in found]
        self._session.landmarks.extend(marks, f"Load {path.name}")
        show_info(" ".join([f"{len(marks)} landmarks read from {path}.", *notes]))
        return len(marks)

    def write(self, path: Path, choice: SaveChoice, *, overwrite: bool = False) -> Path:
        """Write the landmarks; an existing file is kept unless ``overwrite``.

        Raises
        ------
        UserError
            If there is nothing to write, or it cannot be written.
        """
        from napari_stomics.data.landmark_files import write_landmarks

        notes: list[str] = []
        written = write_landmarks(
            path,
            self._records(),
            choice.sections,
            format=choice.format,
            unit=choice.unit,
            to_um=pixel_frames(self._session, choice.sections),
            overwrite=overwrite,
            notes=notes,
        )
        show_info(" ".join([f"Landmarks written to {written}.", *notes]))
        return written

    def clashes(self, found: Sequence[LandmarkRecord]) -> list[str]:
        """Names that are taken by a landmark at another place of the same section."""
        mine = {mark.name: mark.positions for mark in self._session.landmarks.landmarks}
        out = []
        for mark in found:
            here = mine.get(mark.name, {})
            if any(here.get(section, xy) != xy for section, xy in mark.positions.items()):
                out.append(mark.name)
        return out

    def save_choices(self) -> list[SaveChoice]:
        """The kinds of files that the landmarks can be written to."""
        estimate = self._session.estimate
        pair = (estimate.source, estimate.target)
        out = [SaveChoice("All sections, µm", "study", ())]
        if all(pair) and pair[0] != pair[1]:
            out += [
                SaveChoice("BigWarp, µm", "bigwarp", pair),
                SaveChoice("BigWarp, px", "bigwarp", pair, "px"),
                SaveChoice("MAGPIE, px", "magpie", pair, "px"),
                SaveChoice("Xenium Explorer, px", "xenium", pair[::-1], "px"),
            ]
        for name in dict.fromkeys(name for name in pair if name):
            out += [
                SaveChoice(f"{name} alone, µm", "section", (name,)),
                SaveChoice(f"{name} alone, px", "section", (name,), "px"),
            ]
        return out

    def _records(self) -> list[LandmarkRecord]:
        from napari_stomics.data.schema import LandmarkRecord

        marks = self._session.landmarks.landmarks
        return [LandmarkRecord(name=m.name, positions=dict(m.positions)) for m in marks]

    def _refuse_strangers(self, path: Path, found: Sequence[LandmarkRecord]) -> None:
        known = self._session.section_names
        named = {section for mark in found for section in mark.positions}
        if not named & set(known):
            theirs = ", ".join(sorted(named))
            raise UserError(
                f"{path.name} holds landmarks of {theirs}; no such section is open.",
                f"Open these sections first; now open: {', '.join(known) or 'none'}.",
            )

    def _name(self, name: str, taken: set[str]) -> str:
        if name not in taken:
            return name
        names, number = set(self._session.landmarks.names), 2
        while f"{name} ({number})" in names:
            number += 1
        return f"{name} ({number})"

    def _folder(self) -> Path:
        path = self._session.study.path
        return path.parent if path is not None else Path.cwd()


def pixel_frames(session: Any, sections: Sequence[str]) -> dict[str, float | Affine]:
    """Map from image pixels to micrometres of each section for which it is known."""
    out: dict[str, float | Affine] = {}
    for name in sections:
        record = session.study.record.sections.get(name)
        if record is None:
            continue
        if record.images:
            out[name] = session.study.section(name).image().to_um
        elif record.pixel_size_um:
            out[name] = record.pixel_size_um
    return out
