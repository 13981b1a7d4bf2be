"""Reports are whole pages that say what the study's alignments are worth."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from napari_stomics.cli import main
from napari_stomics.core.errors import UserError
from napari_stomics.data.results import load_result
from napari_stomics.workflow.dossier import check_step, compare, dossier, last_check, plan_names
from napari_stomics.workflow.report import alignment_report, compare_alignments, write_comparison
from napari_stomics.workflow.steps import Step, run_step
from tests.aligned import FIRST, SECOND, aligned_study


@pytest.fixture(scope="module")
def study():
    return aligned_study()


class _Tags(HTMLParser):
    """Collects tags; fails on one that is closed without having been opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict]] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def _parsed(path):
    parser = _Tags()
    parser.feed(path.read_text(encoding="utf-8"))
    assert parser.open == []
    return parser


def _pictures(path):
    found = re.findall(r"base64,([^']+)'", path.read_text(encoding="utf-8"))
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one))).convert("L")) for one in found]


def test_a_report_is_one_page_that_needs_nothing_else(study, tmp_path):
    (path,) = alignment_report(study, FIRST, tmp_path / "page.html")
    parser = _parsed(path)
    for tag, attributes in parser.seen:
        assert tag not in ("script", "link", "iframe")
        if tag == "img":
            assert attributes["src"].startswith("data:image/png;base64,")
            assert attributes["alt"]
    pictures = _pictures(path)
    assert len(pictures) >= 9
    assert all(picture.std() > 5 for picture in pictures)


def test_a_report_says_what_is_measured_how_and_what_is_missing(study, tmp_path):
    (path,) = alignment_report(study, FIRST, tmp_path / "page.html")
    text = path.read_text(encoding="utf-8")
    run = next(r for r in study.record.runs if r.key == "fine")
    for words in (
        "Label transfer: mass on the right label",
        "Correlation of unseen features",
        "no target registration error",
        "Pose alone",
        run.inputs_hash,
        "n_genes",
        "POT",
        "Where it is least certain",
    ):
        assert words in text, words


def test_what_the_user_named_is_escaped(study, tmp_path):
    one = dossier(study, FIRST)
    from napari_stomics.workflow.report import write_report

    odd = replace(one, inputs=replace(one.inputs, label_name="<b>x</b>&"))
    path = write_report(odd, tmp_path / "page.html")
    assert "<b>x</b>" not in path.read_text(encoding="utf-8")
    _parsed(path)


def test_a_plan_that_did_not_converge_is_reported_as_such(study, tmp_path):
    from napari_stomics.workflow.report import write_report

    one = dossier(study, FIRST)
    plan = replace(one.plan, converged=False, reason="stopped by the user", margin=0.02)
    path = write_report(replace(one, inputs=replace(one.inputs, plan=plan)), tmp_path / "p.html")
    text = path.read_text(encoding="utf-8")
    assert "did not converge (stopped by the user)" in text
    assert "Place two landmarks" in text


def test_several_plans_get_a_page_each(study, tmp_path):
    paths = alignment_report(study, [FIRST, SECOND], tmp_path / "page.html")
    assert [p.name for p in paths] == [f"page_{FIRST}.html", f"page_{SECOND}.html"]
    assert all(p.stat().st_size > 100_000 for p in paths)


def test_a_page_that_exists_is_kept_unless_told_otherwise(study, tmp_path):
    path = tmp_path / "page.html"
    path.write_text("mine")
    with pytest.raises(UserError, match="exists already"):
        alignment_report(study, FIRST, path)
    assert path.read_text() == "mine"
    alignment_report(study, FIRST, path, overwrite=True)
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_a_plan_that_is_not_there_is_named_with_those_that_are(study, tmp_path):
    with pytest.raises(UserError, match="nothing") as caught:
        alignment_report(study, "nothing", tmp_path / "page.html")
    assert FIRST in caught.value.hint
    assert plan_names(study) == [FIRST, SECOND]


def test_the_better_one_is_marked_only_beyond_the_noise(study, tmp_path):
    found = compare_alignments(study, [FIRST, SECOND], tmp_path / "page.html")
    by_name = {row.figure.name: row for row in found.differences}
    accuracy = by_name["label_accuracy"]
    assert accuracy.better == 0  # distances tell what expression alone does not
    assert accuracy.first.value - accuracy.second.value > 2 * accuracy.noise > 0
    for row in found.differences:
        if not np.isfinite(row.noise):
            assert row.better is None
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.count("★") == 1 + sum(row.better is not None for row in found.differences)


def test_an_alignment_is_not_better_than_itself(study):
    one = dossier(study, FIRST)
    found = compare([one, one])
    assert all(row.better is None for row in found.differences)


def test_features_that_either_plan_has_seen_judge_neither(study):
    one, two = dossier(study, FIRST), dossier(study, SECOND)
    names = one.inputs.source.features
    one = replace(one, inputs=replace(one.inputs, plan=replace(one.plan, features=names[:60])))
    two = replace(two, inputs=replace(two.inputs, plan=replace(two.plan, features=names[40:120])))
    found = compare([one, two])
    for judged in found.judged:
        assert not set(judged.genes) & set(names[:120])
        assert len(judged.genes)
    assert set(found.judged[0].genes) == set(found.judged[1].genes)


def test_plans_of_other_spots_are_not_ranked(study, tmp_path):
    one, two = dossier(study, FIRST), dossier(study, SECOND)
    other = replace(two.plan, source_ids=two.plan.source_ids[::-1])
    found = compare([one, replace(two, inputs=replace(two.inputs, plan=other))])
    assert not found.same_sections
    assert all(row.better is None for row in found.differences)
    path = write_comparison(found, tmp_path / "page.html")
    assert "do not join the same spots" in path.read_text(encoding="utf-8")


def test_a_check_is_stored_and_read_back_from_disk(tmp_path):
    from napari_stomics.data.store import save_store
    from napari_stomics.data.study import open_study

    study = aligned_study()
    assert last_check(study, FIRST) is None
    made = run_step(study, check_step(study, FIRST))
    other = run_step(study, check_step(study, SECOND))
    save_store(study, tmp_path / "study.zarr")
    again = open_study(tmp_path / "study.zarr")
    for name, result in ((FIRST, made), (SECOND, other)):
        run = last_check(again, name)
        back = load_result(again, run)
        assert back.plan == name
        assert back.remarks == result.remarks
        for a, b in zip(back.figures, result.figures, strict=True):
            np.testing.assert_equal(vars(a), vars(b))
        np.testing.assert_array_equal(back.label_agreement, result.label_agreement)
        np.testing.assert_array_equal(back.genes, result.genes)


def test_a_check_is_out_of_date_once_the_plan_is_made_anew():
    study = aligned_study()
    run_step(study, check_step(study, FIRST))
    refs = {"source": "section_1", "target": "section_2"}
    params = {"n_genes": 100, "max_iterations": 5}
    run_step(study, Step(method="alignment/fgw-dense", inputs=refs, params=params, key="fine"))
    assert last_check(study, FIRST) is None
    assert last_check(study, SECOND) is None


def test_the_command_writes_reports_and_comparisons(study, tmp_path, capsys):
    from napari_stomics.data.store import save_store

    store, page = tmp_path / "s.zarr", tmp_path / "page.html"
    save_store(study, store)
    assert main(["report", str(store), "--plan", FIRST, "-o", str(page)]) == 0
    assert str(page) in capsys.readouterr().out
    assert main(["report", str(store), "--compare", FIRST, SECOND, "-o", str(page)]) == 1
    assert "exists already" in capsys.readouterr().err
    more = ["--compare", FIRST, SECOND, "-o", str(page), "--overwrite"]
    assert main(["report", str(store), *more]) == 0
    assert "side by side" in page.read_text(encoding="utf-8")
    assert main(["report", str(store), "--plan", "none", "-o", str(tmp_path / "x.html")]) == 1
