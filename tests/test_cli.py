import json
import subprocess
import sys

import pytest

from napari_stomics.cli import main
from napari_stomics.core.registry import registry
from napari_stomics.data.study import open_study
from napari_stomics.workflow.demo import demo_recipe
from napari_stomics.workflow.recipes import Recipe
from tests.workflow.test_steps import ALL, DOMAINS, FUSE

SIMULATED = {
    "simulate": {
        "n_spots": 220,
        "n_genes": 120,
        "n_domains": 3,
        "um_per_px": 12.0,
        "warp_rms": 0.0,
        "seed": 3,
    }
}


@pytest.fixture
def recipe_file(tmp_path):
    return Recipe(study=SIMULATED, steps=list(ALL)).write(tmp_path / "recipe.yaml")


def test_a_recipe_runs_without_a_window_and_leaves_a_store_that_opens(
    recipe_file, tmp_path, capsys
):
    store, summary = tmp_path / "out.zarr", tmp_path / "summary.json"
    assert main(["run", str(recipe_file), "--output", str(store), "--summary", str(summary)]) == 0
    assert str(store) in capsys.readouterr().out
    study = open_study(store)
    assert [run.step["method"] for run in study.record.runs] == [step.method for step in ALL]
    figures = json.loads(summary.read_text())
    assert figures[-1]["genes"] == 20
    assert study.section("section_1").table("rna").obs["gmm"].nunique() == 3


def test_no_qt_is_imported_by_a_recipe(recipe_file):
    code = (
        "import sys; from napari_stomics.cli import main; "
        f"main(['run', {str(recipe_file)!r}]); "
        "print([m for m in sys.modules if m.split('.')[0] in ('qtpy', 'PyQt6', 'PySide6')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]"), done.stdout[-500:]


def test_a_recipe_runs_on_another_study(tmp_path):
    store, again = tmp_path / "a.zarr", tmp_path / "b.zarr"
    first = Recipe(study=SIMULATED, steps=[FUSE]).write(tmp_path / "first.yaml")
    assert main(["run", str(first), "--output", str(store)]) == 0
    second = Recipe(steps=[DOMAINS]).write(tmp_path / "second.yaml")
    assert main(["run", str(second), "--study", str(store), "--output", str(again)]) == 0
    assert [run.key for run in open_study(again).record.runs] == ["concat_pcs", "gmm"]
    assert [run.key for run in open_study(store).record.runs] == ["concat_pcs"]


def test_an_existing_store_is_refused_before_any_work(recipe_file, tmp_path, capsys):
    store = tmp_path / "out.zarr"
    store.mkdir()
    (store / "mine.txt").write_text("keep me")
    assert main(["run", str(recipe_file), "--output", str(store)]) == 1
    assert "exists already" in capsys.readouterr().err
    assert (store / "mine.txt").read_text() == "keep me"


def test_a_folder_that_is_no_store_survives_even_overwrite(tmp_path):
    recipe = Recipe(
        study={"simulate": {"n_spots": 60, "n_genes": 20, "um_per_px": None, "warp_rms": 0}}
    )
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "mine.txt").write_text("keep me")
    path = recipe.write(tmp_path / "r.yaml")
    assert main(["run", str(path), "--output", str(folder), "--overwrite"]) == 1
    assert (folder / "mine.txt").read_text() == "keep me"


def test_errors_are_words_and_a_status_not_a_traceback(tmp_path, capsys):
    bad = tmp_path / "bad.yaml"
    bad.write_text("napari_stomics: 1\nsteps: [{method: no/such}]\nstudy: {sample: olfactory-bulb}")
    assert main(["run", str(bad)]) == 1
    assert main(["run", str(tmp_path / "none.yaml")]) == 1
    assert main(["methods", "no-task"]) == 1
    err = capsys.readouterr().err
    assert "no/such" in err
    assert "Traceback" not in err


def test_methods_lists_every_registered_method_with_its_parameters(capsys):
    assert main(["methods"]) == 0
    text = capsys.readouterr().out
    for spec in registry().specs():
        assert spec.key in text
        assert all(name in text for name in spec.params.model_fields)


def test_methods_as_json_hold_the_schemas(capsys):
    assert main(["methods", "domains", "--json"]) == 0
    (entry,) = [e for e in json.loads(capsys.readouterr().out) if e["method"] == "domains/gmm"]
    assert entry["params"]["properties"]["n_domains"]["default"] == 0
    assert "embedding" in entry["inputs"]["properties"]


def test_the_demonstration_runs_its_recipe_on_the_sample(tmp_path, capsys):
    assert main(["demo", "--no-window", "--output", str(tmp_path / "demo")]) == 0
    study = open_study(tmp_path / "demo" / "olfactory_bulb.zarr")
    runs = {run.step["method"]: run.summary for run in study.record.runs}
    assert list(runs) == [step.method for step in demo_recipe().steps]
    assert {"registration", "alignment", "transfer", "fusion", "domains", "prediction"} == {
        method.split("/")[0] for method in runs
    }
    assert runs["transfer/plan-labels"]["accuracy"] > 0.7
    assert runs["domains/gmm"]["ari"] > 0.25
    prediction = runs["prediction/ridge"]
    assert prediction["median_pearson"] > prediction["median_pearson_depth"] + 0.1
    assert prediction["median_rmse"] < prediction["median_rmse_mean"]
    text = (tmp_path / "demo" / "summary.txt").read_text()
    assert "median_pearson" in text
    replayed = Recipe.read(tmp_path / "demo" / "recipe.yaml")
    assert len(replayed.steps) == len(study.record.runs)
