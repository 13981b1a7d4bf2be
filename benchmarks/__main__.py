"""Run the benchmarks, write ``benchmarks/results.jsonl`` and print the lines as a table."""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import json
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks._harness import DataMissing, checked, may_match

HERE = Path(__file__).resolve().parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 if every wanted benchmark ran; those whose data are absent are only told of."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", action="append", default=[], help="beginnings of the lines' names, by comma"
    )
    parser.add_argument("--output", type=Path, default=HERE / "results.jsonl")
    parser.add_argument("--list", action="store_true", help="say which modules would run")
    options = parser.parse_args(arguments)
    only = tuple(part for text in options.only for part in text.replace(",", " ").split())
    modules = [module for module, prefixes in discover() if may_match(prefixes, only)]
    if options.list:
        print("\n".join(modules))
        return 0
    rows, failures = run(modules, lambda name: not only or name.startswith(only), options.output)
    if rows:
        print("\n" + table(rows))
        print(f"{len(rows)} lines in {options.output}")
    for failure in failures:
        print(failure, file=sys.stderr)
    if not rows and not failures:
        print(f"No benchmark gave a line named {', '.join(only) or 'anything'}.", file=sys.stderr)
    return 1 if failures or not rows else 0


def discover(folder: Path = HERE) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each benchmark module's name and the prefixes of its lines, without importing it."""
    for path in sorted(folder.glob("[!_]*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        if not any(isinstance(n, ast.FunctionDef) and n.name == "lines" for n in tree.body):
            continue
        prefixes: tuple[str, ...] = (path.stem,)
        for node in tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "NAMES":
                prefixes = tuple(ast.literal_eval(node.value))
        yield path.stem, prefixes


def run(
    modules: Sequence[str], wanted: Callable[[str], bool], output: Path
) -> tuple[list[dict[str, Any]], list[str]]:
    """Run modules one after the other; write each line as it comes.

    Returns
    -------
    rows
        The lines written.
    failures
        One message for each module that failed.
    """
    rows: list[dict[str, Any]] = []
    failures: list[str] = []
    with output.open("w", encoding="utf-8") as file:
        for name in modules:
            print(f"{name} ...", file=sys.stderr, flush=True)
            try:
                for raw in _lines(name, wanted):
                    row = checked(raw)
                    if wanted(row["name"]):
                        rows.append(row)
                        file.write(json.dumps(row) + "\n")
                        file.flush()
            except DataMissing as missing:
                print(f"{name}: left out: {missing}", file=sys.stderr)
            except Exception as error:
                traceback.print_exc()
                failures.append(f"{name} FAILED: {error}")
    return rows, failures


def _lines(name: str, wanted: Callable[[str], bool]) -> Iterator[dict[str, Any]]:
    function = importlib.import_module(f"benchmarks.{name}").lines
    if inspect.signature(function).parameters:
        yield from function(wanted)
    else:
        yield from function()


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the lines as aligned text: one row per metric, one column for the peers."""
    cells = [("name", "metric", "value", "peers")]
    for row in rows:
        label = row["name"]
        metrics = dict.fromkeys(row["values"])
        for peer in row["peers"].values():
            metrics.update(dict.fromkeys(peer))
        for metric in metrics:
            peers = [
                f"{peer} {_short(values[metric])}"
                for peer, values in row["peers"].items()
                if metric in values
            ]
            cells.append((label, metric, _short(row["values"].get(metric)), "  ".join(peers)))
            label = ""
    widths = [max(len(row[column]) for row in cells) for column in range(3)]
    text = [
        f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d}".rstrip()
        for a, b, c, d in cells
    ]
    return "\n".join([text[0], "-" * max(map(len, text)), *text[1:]])


def _short(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.4g}"


if __name__ == "__main__":
    sys.exit(main())
