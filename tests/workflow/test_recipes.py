import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.workflow.provenance import plain
from napari_stomics.workflow.recipes import Recipe, run_recipe
from napari_stomics.workflow.steps import run_step
from tests.small import small_simulation
from tests.workflow.test_steps import ALL, DOMAINS, FUSE


def test_a_recipe_survives_its_file(tmp_path):
    recipe = Recipe(study={"sample": "olfactory-bulb"}, steps=list(ALL))
    path = recipe.write(tmp_path / "recipe.yaml")
    assert Recipe.read(path) == recipe


def test_the_log_of_a_study_replays_to_the_same_numbers(tmp_path):
    study = small_simulation().study
    first = [run_step(study, step) for step in ALL]
    path = Recipe.from_study(study).write(tmp_path / "recipe.yaml")
    replayed, second = run_recipe(Recipe.read(path), small_simulation().study)
    for a, b in zip(first, second, strict=True):
        assert plain(a.summary()) == plain(b.summary())
    hashes = [[run.inputs_hash for run in s.record.runs] for s in (study, replayed)]
    assert hashes[0] == hashes[1]


def test_landmarks_stand_in_the_log_by_value(tmp_path):
    study = small_simulation().study
    marks = [m.model_dump() for m in study.record.landmarks]
    step = ALL[0].model_copy(update={"inputs": {**ALL[0].inputs, "landmarks": marks}})
    first = run_step(study, step)
    recipe = Recipe.read(Recipe.from_study(study).write(tmp_path / "r.yaml"))
    other = small_simulation().study
    other.record.landmarks.clear()
    _, (second,) = run_recipe(recipe, other)
    assert plain(first.summary()) == plain(second.summary())


def test_every_step_is_checked_before_the_first_one_runs():
    study = small_simulation().study
    bad = DOMAINS.model_copy(update={"params": {"n_domains": "many"}})
    with pytest.raises(UserError, match="n_domains"):
        run_recipe(Recipe(steps=[FUSE, bad]), study)
    assert not study.record.runs


def test_a_simulated_study_can_be_named(tmp_path):
    source = {"simulate": {"n_spots": 60, "n_genes": 20, "um_per_px": None, "warp_rms": 0}}
    study, _ = run_recipe(Recipe(study=source))
    assert list(study.sections) == ["section_1", "section_2"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("steps: [", "not a recipe"),
        ("!!python/object/apply:os.system ['touch pwned']", "not a recipe"),
        ("- a\n- b", "not a valid recipe"),
        ("napari_stomics: 2", "napari_stomics"),
        ("napari_stomics: 1\noutput: /etc/passwd", "output"),
        ("napari_stomics: 1\nsteps: [{method: domains/gmm, code: x}]", "code"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused_and_runs_nothing(tmp_path, monkeypatch, text, told):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=told):
        Recipe.read(path)
    assert [p.name for p in tmp_path.iterdir()] == ["recipe.yaml"]


def test_a_missing_recipe_and_one_without_a_study_are_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        Recipe.read(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="sources"):
        run_recipe(Recipe())


def test_an_existing_recipe_is_not_overwritten_unasked(tmp_path):
    recipe = Recipe(study={"sample": "olfactory-bulb"})
    path = recipe.write(tmp_path / "r.yaml")
    with pytest.raises(UserError, match="exists"):
        recipe.write(path)
    recipe.write(path, overwrite=True)
