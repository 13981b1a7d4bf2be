"""No damage to a file may end in anything but a section or an error that a person can act on."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.data.readers import detect, inspect, read_section
from tests.data.readers import make

CASES: dict[str, Callable[[Path], object]] = {
    "visium": make.visium,
    "visium_mtx": lambda folder: make.visium(folder, fmt="mtx"),
    "visium_old": lambda folder: make.visium(folder, fmt="old", header=False),
    "visium_hd": make.visium_hd,
    "hd_cells": make.hd_cells,
    "xenium": make.xenium,
    "cosmx": make.cosmx,
}
DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "tail": lambda data: data[:-7],
    "text": lambda data: b"hello world\n1,2,3\n",
    "bytes": lambda data: bytes(range(256)) * 8,
}


@pytest.mark.parametrize("case", CASES)
def test_damage(tmp_path: Path, case: str) -> None:
    folder = tmp_path / "run"
    CASES[case](folder)
    kind = detect(folder)
    hints: list[str] = []
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        data = file.read_bytes()
        for damage in (None, *DAMAGE.values()):
            if damage is None:
                file.unlink()
            else:
                file.write_bytes(damage(data))
            for action in (lambda: read_section(folder, kind=kind), lambda: inspect(folder, kind)):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    try:
                        action()
                    except UserError as error:
                        hints.append(error.hint)
            file.write_bytes(data)
    assert hints
    assert all(hints)
