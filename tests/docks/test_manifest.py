"""The manifest: valid, and every command, menu, widget and sample in it leads somewhere."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
from npe2 import PluginManifest
from qtpy.QtWidgets import QWidget

import napari_stomics

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = Path(napari_stomics.__file__).parent / "napari.yaml"


@pytest.fixture
def manifest():
    found = PluginManifest.from_file(MANIFEST)
    found.validate_imports()
    return found


def test_it_is_valid_and_every_command_leads_somewhere(manifest):
    for command in manifest.contributions.commands:
        module, _, name = command.python_name.partition(":")
        assert callable(getattr(import_module(module), name)), command.id


def test_what_is_contributed_names_commands_that_exist(manifest):
    known = {command.id for command in manifest.contributions.commands}
    used = [w.command for w in manifest.contributions.widgets]
    used += [r.command for r in manifest.contributions.readers]
    used += [s.command for s in manifest.contributions.sample_data]
    used += [i.command for items in manifest.contributions.menus.values() for i in items]
    assert set(used) <= known
    assert len(manifest.contributions.widgets) == 9


def test_the_manifest_at_the_root_is_the_one_in_the_package():
    assert (ROOT / "napari.yaml").resolve() == MANIFEST.resolve()


def test_no_reader_claims_every_file(manifest):
    patterns = [p for r in manifest.contributions.readers for p in r.filename_patterns]
    assert "*" not in patterns
    assert "*.zarr" in patterns


@pytest.mark.gui
def test_menus_widgets_and_samples_appear_in_napari(make_napari_viewer):
    from napari._app_model import get_app_model

    viewer = make_napari_viewer()
    menus = get_app_model().menus
    for menu, command in (
        ("napari/layers/register", "napari-stomics.landmark_dock"),
        ("napari/layers/classify", "napari-stomics.task_dock"),
        ("napari/layers/visualize", "napari-stomics.compare_dock"),
    ):
        items = [getattr(item, "command", None) for item in menus.get_menu(menu)]
        assert any(getattr(item, "id", "").startswith(command) for item in items), menu
    for name in ("Study and sections", "Methods and results", "Metrics of domains"):
        dock, widget = viewer.window.add_plugin_dock_widget("napari-stomics", name)
        assert isinstance(widget, QWidget)
        assert name in dock.name
