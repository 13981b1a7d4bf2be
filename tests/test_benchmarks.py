"""The benchmark runner: its filter, its line format, its honest costs, its endings."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import __main__ as runner
from benchmarks import _harness as harness

GOOD = {"name": "align.fgw", "values": {"cpu_s": 1.5}, "peers": {}, "protocol": "seed 0"}


def hold(megabytes: int) -> int:
    """Hold memory for a moment; run by the tests in a process of its own."""
    held = np.ones(megabytes * 125_000)  # 8 bytes each
    return int(held.sum())


def spin(cpu_seconds: float) -> None:
    end = time.process_time() + cpu_seconds
    while time.process_time() < end:
        pass


def fail() -> None:
    raise ValueError("the reason")


def lack() -> None:
    harness.data_root("no-such-folder")


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        ((), True),
        (("register",), True),
        (("register.auto.mob_1_2",), True),
        (("register.landmarks",), False),
        (("open", "register.auto"), True),
        (("align",), False),
    ],
)
def test_filter_spares_modules_that_cannot_match(only: tuple[str, ...], expected: bool) -> None:
    assert harness.may_match(("register.auto",), only) is expected


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": "align"}, "dotted"),
        ({"name": 3}, "dotted"),
        ({"protocol": " "}, "protocol"),
        ({"values": {}}, "no values"),
        ({"values": {"ari": float("nan")}}, "finite"),
        ({"values": {"ari": "0.5"}}, "finite"),
        ({"peers": {"paste": {"ari": True}}}, "finite"),
        ({"extra": 1}, "a line has"),
    ],
)
def test_bad_lines_are_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        harness.checked(GOOD | change)


def test_numpy_numbers_become_plain_ones() -> None:
    row = harness.line(
        "a.b", {"n": np.int64(3), "x": np.float32(0.5)}, protocol="p", peers={"q": {"x": 1}}
    )
    assert json.loads(json.dumps(row)) == {
        "name": "a.b",
        "values": {"n": 3, "x": 0.5},
        "peers": {"q": {"x": 1}},
        "protocol": "p",
    }


def test_peak_memory_is_that_of_the_call_alone() -> None:
    before = np.ones(40_000_000)  # 320 MB here must not count there
    cost = harness.run_isolated("tests.test_benchmarks:hold", 200, imports=("numpy",))
    assert cost.result == before.sum() / 40_000_000 * 200 * 125_000
    assert 195 < cost.peak_mb < 240


def test_an_earlier_peak_does_not_hide_a_later_one() -> None:
    hold(300)
    _, values = harness.measure(lambda: hold(100))
    assert 90 < values["peak_mb"] < 160


def test_sampling_finds_the_peak_where_the_kernel_does_not_tell() -> None:
    found = [0.0]
    with harness._sampled_peak(found):
        held = np.ones(25_000_000)
        time.sleep(0.1)
    assert held.size
    assert 180 < found[0] < 260


def test_cpu_seconds_count_work_and_not_waiting() -> None:
    _, values = harness.measure(lambda: (spin(0.2), time.sleep(0.3)))
    assert 0.19 < values["cpu_s"] < 0.45


def test_failures_of_the_measured_process_are_told() -> None:
    with pytest.raises(RuntimeError, match="the reason"):
        harness.run_isolated("tests.test_benchmarks:fail")
    with pytest.raises(harness.DataMissing, match="STOMICS_DATA"):
        harness.run_isolated("tests.test_benchmarks:lack")


def test_every_module_is_found_with_the_names_it_declares() -> None:
    found = dict(runner.discover())
    assert found["start"] == ("start.import", "start.dock")
    assert not any(name.startswith("_") for name in found)


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Replace the benchmark modules by functions of the test's."""
    table: dict[str, Any] = {}
    monkeypatch.setattr(runner, "discover", lambda: [(name, (name,)) for name in table])
    monkeypatch.setattr(runner, "_lines", lambda name, wanted: table[name]())
    return table


def test_a_failing_module_stops_no_other(modules, tmp_path: Path, capsys) -> None:
    def broken():
        yield GOOD | {"name": "a.first"}
        raise ValueError("the reason")

    modules |= {"a": broken, "b": lambda: iter([GOOD | {"name": "b.second"}])}
    output = tmp_path / "results.jsonl"
    assert runner.main(["--output", str(output)]) == 1
    names = [json.loads(row)["name"] for row in output.read_text().splitlines()]
    assert names == ["a.first", "b.second"]
    told = capsys.readouterr()
    assert "a FAILED: the reason" in told.err
    assert "b.second" in told.out


def test_only_wanted_lines_are_written(modules, tmp_path: Path) -> None:
    modules["a"] = lambda: iter([GOOD | {"name": "a.one"}, GOOD | {"name": "a.two"}])
    output = tmp_path / "results.jsonl"
    assert runner.main(["--only", "a.two", "--output", str(output)]) == 0
    assert [json.loads(row)["name"] for row in output.read_text().splitlines()] == ["a.two"]


def test_missing_data_and_unknown_names_are_told(modules, tmp_path: Path, capsys) -> None:
    def absent():
        harness.data_root("no-such-folder")
        yield GOOD

    modules["a"] = absent
    arguments = ["--output", str(tmp_path / "results.jsonl")]
    assert runner.main(arguments) == 1
    assert "a: left out" in capsys.readouterr().err
    assert runner.main([*arguments, "--only", "zzz"]) == 1
    assert "zzz" in capsys.readouterr().err


def test_table_is_aligned_and_shows_peers() -> None:
    rows = [
        GOOD,
        GOOD | {"name": "b.c", "values": {"n": 1}, "peers": {"p": {"n": 2}, "q": {"m": 3}}},
    ]
    text = runner.table(rows).splitlines()
    assert text[0].split() == ["name", "metric", "value", "peers"]
    assert [row.split() for row in text[2:]] == [
        ["align.fgw", "cpu_s", "1.5"],
        ["b.c", "n", "1", "p", "2"],
        ["m", "q", "3"],
    ]
