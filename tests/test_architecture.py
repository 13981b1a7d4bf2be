"""The house stands as docs/architecture.md says: its arrows, its fast start, its manifest."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "napari_stomics"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONTRACTS = PROJECT["tool"]["importlinter"]["contracts"]
DOCUMENT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

GUI = {"napari", "qtpy", "PyQt6"}
HEAVY = {"torch", "scanpy", "spatialdata"}
SLOW = {"sklearn", "skimage", "SimpleITK", "pandas", "ot"}
FORBIDDEN = {
    "core": GUI | HEAVY | SLOW,
    "metrics": GUI | HEAVY | SLOW,
    "methods": GUI | HEAVY | SLOW,
    "data": GUI | HEAVY | SLOW,
    "workflow": GUI | HEAVY | SLOW,
    "cli": GUI | HEAVY | SLOW,
    "session": GUI | HEAVY | SLOW,
    # napari itself imports scikit-image and pandas.
    "layers": {"qtpy", "PyQt6"} | HEAVY,
    "docks": HEAVY,
}

IMPORT_ROOM = """
import importlib, json, pkgutil, sys
room = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(getattr(room, "__path__", []), sys.argv[1] + "."):
    importlib.import_module(module.name)
print(json.dumps(sorted(sys.modules)))
"""


def fenced(language: str) -> list[str]:
    """Return the lines of the document's one block in a language."""
    (block,) = re.findall(rf"```{language}\n(.*?)```", DOCUMENT, flags=re.DOTALL)
    return block.strip().splitlines()


def imported_with(module: str) -> set[str]:
    """Return the modules that a fresh interpreter holds after importing all of a package."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ROOM, module], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_import_linter_keeps_every_contract() -> None:
    run = "import importlinter.cli as c; c.lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", run, "--config", "pyproject.toml", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(CONTRACTS)} kept, 0 broken" in done.stdout


def test_documented_arrows_are_the_contract() -> None:
    (line,) = fenced("arrows")
    documented = [f"napari_stomics.{room}" for room in line.split(" -> ")]
    (layers,) = (c["layers"] for c in CONTRACTS if c["type"] == "layers")
    assert documented == layers


def test_documented_missing_arrows_are_the_contract() -> None:
    documented = [
        tuple({name.strip() for name in side.split(",")} for side in line.split(" -> "))
        for line in fenced("no-arrows")
    ]
    contract = [
        (
            {n.removeprefix("napari_stomics.") for n in c["source_modules"]},
            {*c["forbidden_modules"]},
        )
        for c in CONTRACTS
        if c["type"] == "forbidden"
    ]
    assert documented == contract


def test_every_room_is_in_the_contract() -> None:
    (layers,) = (c["layers"] for c in CONTRACTS if c["type"] == "layers")
    found = {
        p.stem if p.is_file() else p.name
        for p in SOURCE.iterdir()
        if (p.is_dir() and (p / "__init__.py").exists())
        or (p.suffix == ".py" and not p.name.startswith("__"))
    }
    assert found == {name.removeprefix("napari_stomics.") for name in layers} == set(FORBIDDEN)


def test_importing_the_package_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import json, sys, napari_stomics; print(json.dumps([*sys.modules]))",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(json.loads(done.stdout))
    assert "napari_stomics" in loaded
    assert not loaded & (GUI | HEAVY | SLOW | {"scipy", "matplotlib"})


@pytest.mark.parametrize(
    "room", [pytest.param(r, marks=pytest.mark.gui) if r == "docks" else r for r in FORBIDDEN]
)
def test_heavy_libraries_wait_until_they_are_used(room: str) -> None:
    loaded = imported_with(f"napari_stomics.{room}")
    assert f"napari_stomics.{room}" in loaded
    assert not loaded & FORBIDDEN[room]


def test_top_level_manifest_is_the_packaged_one() -> None:
    link, real = ROOT / "napari.yaml", SOURCE / "napari.yaml"
    if link.is_symlink():
        assert link.resolve() == real
    else:
        # A checkout without symbolic links holds the link's target as text.
        text = link.read_text(encoding="utf-8")
        assert text in ("src/napari_stomics/napari.yaml", real.read_text(encoding="utf-8"))


def test_manifest_is_valid_and_its_commands_exist() -> None:
    npe2 = pytest.importorskip("npe2")
    manifest = npe2.PluginManifest.from_file(SOURCE / "napari.yaml")
    assert manifest.name == PROJECT["project"]["name"]
    manifest.validate_imports()


def test_constraints_pin_what_the_project_asks_for() -> None:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    rows = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(row.split("==") for row in rows if row and not row.startswith("#"))
    assert pins["torch"] == "2.13.0"
    extras = PROJECT["project"]["optional-dependencies"]
    for text in PROJECT["project"]["dependencies"] + [r for e in extras.values() for r in e]:
        wanted = Requirement(text)
        name = canonicalize_name(wanted.name)
        if name != PROJECT["project"]["name"]:
            assert wanted.specifier.contains(pins[name]), text
