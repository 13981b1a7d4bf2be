"""The parts of the landmark dock that need no canvas: table, words, files, poses."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import LandmarkPairs
from napari_stomics.core.results import Candidate, Registration
from napari_stomics.core.transforms import Affine
from napari_stomics.docks.landmark_auto import map_from_pairs, margin_text, pose_text
from napari_stomics.docks.landmark_io import LandmarkFiles, LoadChoice, SaveChoice
from napari_stomics.docks.landmark_keys import KeyAction, KeyMap, help_html
from napari_stomics.docks.landmark_load_form import LoadForm
from napari_stomics.docks.landmark_quality import fold_text, quality_lines
from napari_stomics.docks.landmark_table import LandmarkTable, micrometres, natural_key
from napari_stomics.session.landmarks import Landmark
from napari_stomics.session.session import Session
from tests.layers.studies import pair, turned

pytestmark = pytest.mark.gui

PLACES = np.array(
    [[150, 90], [330, 100], [160, 270], [340, 280], [240, 180], [200, 120], [300, 230]], float
)


def mirror(x: float = 500.0) -> Affine:
    return Affine(np.array([[-1, 0, x], [0, 1, 0], [0, 0, 1.0]]))


def marks(truth: Affine, count: int = 7) -> list[Landmark]:
    there = truth.apply(PLACES)
    return [
        Landmark(f"L{i + 1}", {"B": tuple(PLACES[i]), "A": tuple(there[i])}) for i in range(count)
    ]


@pytest.fixture
def session() -> Session:
    session = Session()
    session.open(pair())
    assert (session.estimate.source, session.estimate.target) == ("B", "A")
    return session


class Bench:
    """What the files need of a workbench."""

    def __init__(self, session: Session) -> None:
        self.session = session


def shown(table: LandmarkTable) -> list[list[str]]:
    model = table.model()
    return [
        [model.index(row, column).data() for column in range(model.columnCount())]
        for row in range(model.rowCount())
    ]


# -- the table ---------------------------------------------------------------------------------


def test_rows_show_errors_outliers_and_what_is_missing(qtbot, session):
    moved = marks(turned())
    x, y = moved[6].positions["A"]
    moved[6] = Landmark("L7", {**moved[6].positions, "A": (x + 400.0, y)})
    session.landmarks.reset([*moved, Landmark("alone", {"A": (200.0, 200.0)})])
    table = LandmarkTable(session)
    qtbot.addWidget(table)
    table.rows.refresh()
    rows = {row[0]: row for row in shown(table)}
    found = session.estimate.registration
    assert rows["L7"][3] == "⚠ outlier"
    assert rows["L1"][3] == ""
    assert rows["L2"][1] == micrometres(found.residuals[1])
    assert rows["L2"][2] == micrometres(found.leave_one_out[1])
    assert rows["alone"][1:] == ["-", "-", "unpaired"]
    row = next(i for i, row in enumerate(shown(table)) if row[0] == "alone")
    tip = table.model().index(row, 3).data(Qt.ItemDataRole.ToolTipRole)
    assert tip == "Not placed in B yet."


def test_errors_sort_as_numbers_and_names_as_people_count(qtbot, session):
    names = [
        Landmark(f"L{n}", m.positions)
        for n, m in zip((10, 9, 2, 1), marks(turned(), 4), strict=True)
    ]
    session.landmarks.reset(names)
    table = LandmarkTable(session)
    qtbot.addWidget(table)
    table.rows.refresh()
    table.sortByColumn(0, Qt.SortOrder.AscendingOrder)
    assert [row[0] for row in shown(table)] == ["L1", "L2", "L9", "L10"]
    x, y = names[0].positions["A"]
    session.landmarks.place("L10", "A", (x + 150.0, y))
    table.rows.refresh()
    table.sortByColumn(2, Qt.SortOrder.DescendingOrder)
    found = session.estimate.registration
    left_out = dict(zip(found.names, found.leave_one_out, strict=True))
    expected = sorted(left_out, key=lambda n: -left_out[n] if np.isfinite(left_out[n]) else 1e9)
    assert [row[0] for row in shown(table)] == expected


def test_renaming_in_place_is_one_undoable_action_and_a_taken_name_is_refused(qtbot, session):
    session.landmarks.reset(marks(turned(), 3))
    table = LandmarkTable(session)
    qtbot.addWidget(table)
    table.rows.refresh()
    model = table.model()
    assert model.setData(model.index(1, 0), "hilus")
    assert session.landmarks.names == ["L1", "hilus", "L3"]
    table.rows.refresh()
    assert not model.setData(model.index(1, 0), "L3")
    assert session.landmarks.names == ["L1", "hilus", "L3"]
    session.undo.undo()
    assert session.landmarks.names == ["L1", "L2", "L3"]


def test_selection_goes_both_ways(qtbot, session):
    session.landmarks.reset(marks(turned(), 4))
    table = LandmarkTable(session)
    qtbot.addWidget(table)
    session.landmarks.selection_changed.connect(table.show_selection)
    table.rows.refresh()
    table.selectRow(2)
    assert session.landmarks.selected == "L3"
    session.landmarks.selected = "L1"
    assert table.selected_names() == ["L1"]
    session.landmarks.rename("L1", "first")
    table.rows.refresh()
    assert table.selected_names() == ["first"]


def test_letters_are_left_to_the_keys_and_delete_is_not(qtbot, session):
    session.landmarks.reset(marks(turned(), 3))
    table = LandmarkTable(session)
    qtbot.addWidget(table)
    table.rows.refresh()
    table.show()
    with qtbot.waitSignal(table.delete_wanted):
        qtbot.keyClick(table, Qt.Key.Key_Delete)
    with qtbot.assertNotEmitted(table.delete_wanted):
        qtbot.keyClick(table, Qt.Key.Key_L)
    assert table.selected_names() == []


@pytest.mark.parametrize(
    ("value", "text"), [(0.04, "0.0"), (9.94, "9.9"), (9.96, "10"), (251.4, "251"), (np.nan, "-")]
)
def test_distances_in_words(value, text):
    assert micrometres(value) == text


def test_natural_order():
    assert sorted(["b2", "a10", "A9", "b10"], key=natural_key) == ["A9", "a10", "b2", "b10"]


# -- words -------------------------------------------------------------------------------------


def test_quality_gives_both_percentiles_in_both_units(session):
    found = Registration(
        source="B",
        target="A",
        transform=mirror(),
        model="affine",
        driver="landmarks",
        names=("a", "b", "c"),
        residuals=[1.0, 2.0, 3.0],
        leave_one_out=[10.0, 20.0, 40.0],
        outliers=[False, False, True],
        fold_fraction=0.031,
    )
    text = "\n".join(quality_lines(found, 2.0))
    assert "3 pairs, affine map" in text
    assert "median 20 µm (10.0 px), 90th percentile 36 µm (18.0 px)" in text
    assert "⚠ c" in text
    assert "3.1 % of the area folds" in text
    assert "mirrored" in text
    assert "px" not in "\n".join(quality_lines(found, None))
    assert fold_text(0.0) == "no folds"


def registration(margin: float) -> Registration:
    poses = (Candidate(turned(), 0.9, False, -30.0), Candidate(mirror(), 0.89, True, 0.0))
    return Registration("B", "A", turned(), "affine", "image", candidates=poses, margin=margin)


@pytest.mark.parametrize(
    ("margin", "part"),
    [(0.12, "Clear"), (0.012, "⚠ Uncertain"), (-0.002, "mirrored pose"), (np.nan, "One pose")],
)
def test_margin_in_words(margin, part):
    text = margin_text(registration(margin))
    assert part in text
    assert ("mark the same two places" in text) == (part in ("⚠ Uncertain", "mirrored pose"))


def test_a_pose_in_a_line():
    assert pose_text(2, Candidate(mirror(), 0.8912, True, -0.2)) == (
        "2. turned 0°, mirrored, score 0.891"
    )


# -- two clicks --------------------------------------------------------------------------------


def pairs(truth: Affine, count: int) -> LandmarkPairs:
    names = tuple(f"L{i}" for i in range(count))
    return LandmarkPairs("B", "A", names, PLACES[:count], truth.apply(PLACES[:count]))


def test_two_pairs_are_taken_as_the_nearest_pose_mirrors_them():
    poses = registration(0.01).candidates
    for truth in (turned(), mirror()):
        found = map_from_pairs(pairs(truth, 2), poses)
        np.testing.assert_allclose(found.matrix, truth.matrix, atol=1e-9)


def test_pairs_without_a_search_start_unmirrored_and_one_pair_is_refused():
    found = map_from_pairs(pairs(turned(), 2))
    np.testing.assert_allclose(found.matrix, turned().matrix, atol=1e-9)
    with pytest.raises(UserError, match="only 1 landmark pair"):
        map_from_pairs(pairs(turned(), 1))


# -- keys --------------------------------------------------------------------------------------


def test_keys_give_back_what_they_replaced():
    from napari.components import ViewerModel

    viewer = ViewerModel()

    def former(viewer):
        """What the user had bound."""

    viewer.bind_key("T", former)
    before = dict(viewer.keymap)
    called = []
    keys = KeyMap(viewer, [KeyAction(k, k, lambda: called.append(1)) for k in ("T", "Q", "Space")])
    assert len(viewer.keymap) == 3
    assert viewer.keymap[next(iter(before))] is not former
    keys.unbind()
    assert dict(viewer.keymap) == before


def test_help_lists_every_key():
    actions = [
        KeyAction("Control-Shift-D", "Previous <one>", print),
        KeyAction("Escape", "Leave", print, replaces="nothing"),
    ]
    text = help_html(actions)
    assert "Ctrl+Shift+D" in text
    assert "Previous &lt;one&gt;" in text
    assert "Esc" in text


# -- files -------------------------------------------------------------------------------------


@pytest.fixture
def files(session) -> LandmarkFiles:
    return LandmarkFiles(Bench(session), None)


def test_every_kind_of_file_that_is_written_is_read_back(tmp_path, session, files):
    original = marks(turned())
    session.landmarks.reset(original)
    written = 0
    for number, choice in enumerate(files.save_choices()):
        path = files.write(tmp_path / f"{number}.csv", choice)
        session.landmarks.reset([])
        frames = {name: Affine(np.array([[4.0, 0, 100], [0, 4, 40], [0, 0, 1]])) for name in "AB"}
        files.read(path, LoadChoice(None, choice.sections, choice.unit, frames))
        for mark, back in zip(original, session.landmarks.landmarks, strict=True):
            for section, position in back.positions.items():
                np.testing.assert_allclose(position, mark.positions[section], atol=1e-6)
        assert {s for m in session.landmarks.landmarks for s in m.positions} == set(
            choice.sections or "AB"
        )
        session.landmarks.reset(original)
        written += 1
    assert written >= 9


def test_a_load_is_one_action_and_a_file_is_not_overwritten(tmp_path, session, files):
    session.landmarks.reset(marks(turned(), 4))
    path = files.write(tmp_path / "l.csv", SaveChoice("", "study", ()))
    with pytest.raises(UserError, match="exists already"):
        files.write(path, SaveChoice("", "study", ()))
    session.landmarks.reset([])
    assert files.read(path, LoadChoice(None, ())) == 4
    session.undo.undo()
    assert session.landmarks.names == []
    session.undo.redo()
    assert len(session.landmarks.names) == 4


@pytest.mark.parametrize("answer", ["replace", "rename", "cancel"])
def test_names_that_are_taken_are_asked_about(tmp_path, session, files, monkeypatch, answer):
    session.landmarks.reset(marks(turned(), 3))
    path = files.write(tmp_path / "l.csv", SaveChoice("", "study", ()))
    session.landmarks.place("L2", "A", (1.0, 2.0))
    asked = []
    monkeypatch.setattr(files, "ask_clash", lambda names: asked.append(names) or answer)
    files.read(path, LoadChoice(None, ()))
    assert asked == [["L2"]]
    at = session.landmarks.positions("A")
    if answer == "replace":
        assert at["L2"] != (1.0, 2.0)
    else:
        assert at["L2"] == (1.0, 2.0)
    assert ("L2 (2)" in at) == (answer == "rename")


def test_landmarks_of_other_sections_are_refused(tmp_path, session, files):
    path = tmp_path / "strange.csv"
    path.write_text("name,section,x_um,y_um\nL1,elsewhere,1,2\n", encoding="utf-8")
    with pytest.raises(UserError, match="no such section is open"):
        files.read(path, LoadChoice(None, ()))
    assert session.landmarks.names == []


def test_the_form_asks_for_units_and_knows_the_pixel_size(qtbot, tmp_path, session):
    path = tmp_path / "pairs.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [["X_left", "Y_left", "X_right", "Y_right"], [10, 20, 30, 40], [50, 60, 70, 80]]
        )
    form = LoadForm(path, session)
    qtbot.addWidget(form)
    assert form.format.currentData() == "magpie"
    choice = form.choice()
    assert (choice.sections, choice.unit) == (("B", "A"), "px")
    assert isinstance(choice.to_um["B"], Affine)
    assert form.pixel_sizes[0].text() == "4"
    form.pixel_sizes[0].setText("0.5")
    assert form.choice().to_um["B"] == 0.5
    form.pixel_sizes[0].setText("-1")
    with pytest.raises(UserError, match="not a positive number"):
        form.choice()
