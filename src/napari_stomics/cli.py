"""The command ``napari-stomics``: recipes without a window, and the demonstration."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_stomics import __version__
from napari_stomics.core.errors import UserError

if TYPE_CHECKING:
    from napari_stomics.data.study import Study

DEMO_STORE = "olfactory_bulb.zarr"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 done, 1 failed, 2 wrong usage."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    try:
        return int(chosen.run(chosen))
    except UserError as error:
        print(f"Error: {error.message}\n       {error.hint}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Cancelled; nothing was saved.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="napari-stomics", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run a recipe without a window")
    run.add_argument("recipe", type=Path, help="recipe file (YAML)")
    run.add_argument("--study", type=Path, help="run on this store instead of the recipe's study")
    run.add_argument("--output", type=Path, help="SpatialData store (.zarr) to save the study to")
    run.add_argument("--overwrite", action="store_true", help="replace an existing store")
    run.add_argument("--summary", type=Path, help="also write the summaries as JSON")
    run.set_defaults(run=_run)

    demo = commands.add_parser("demo", help="run every task on the olfactory bulb sample")
    demo.add_argument("--output", type=Path, default=Path("demo-output"), help="folder to fill")
    demo.add_argument("--no-window", action="store_true", help="compute and save only")
    demo.add_argument(
        "--headless",
        action="store_true",
        default=os.environ.get("HEADLESS") == "1",
        help="take pictures and close (also HEADLESS=1)",
    )
    demo.set_defaults(run=_demo)

    methods = commands.add_parser("methods", help="list the registered methods and parameters")
    methods.add_argument("task", nargs="?", help="one task only")
    methods.add_argument("--json", action="store_true", help="machine-readable, with schemas")
    methods.set_defaults(run=_methods)

    report = commands.add_parser("report", help="report on alignments as a page of HTML")
    report.add_argument("study", type=Path, help="SpatialData store (.zarr)")
    which = report.add_mutually_exclusive_group()
    which.add_argument("--plan", nargs="+", help="transport plans; by default all of the study")
    which.add_argument("--compare", nargs=2, metavar="PLAN", help="two plans side by side")
    report.add_argument("-o", "--output", type=Path, required=True, help="page to write (.html)")
    report.add_argument("--overwrite", action="store_true", help="replace existing pages")
    report.set_defaults(run=_report)

    show = commands.add_parser("open", help="open a study or section files in napari")
    show.add_argument("paths", nargs="+", type=Path)
    show.set_defaults(run=_open)
    return parser


def _run(chosen: argparse.Namespace) -> int:
    from napari_stomics.data.study import open_study
    from napari_stomics.workflow.recipes import Recipe, run_recipe

    recipe = Recipe.read(chosen.recipe)
    _refuse_existing(chosen.output, chosen.overwrite)
    study = open_study(chosen.study) if chosen.study else None
    study, _ = run_recipe(
        recipe, study, folder=chosen.recipe.resolve().parent, ctx=_printing_context()
    )
    print(summary_text(study))
    if chosen.summary:
        text = json.dumps([run.summary for run in study.record.runs], indent=2)
        chosen.summary.write_text(text, encoding="utf-8")
    if chosen.output:
        _save(study, chosen.output, overwrite=chosen.overwrite)
    return 0


def _demo(chosen: argparse.Namespace) -> int:
    from napari_stomics.workflow.demo import demo_recipe
    from napari_stomics.workflow.recipes import run_recipe

    folder = chosen.output
    folder.mkdir(parents=True, exist_ok=True)
    recipe = demo_recipe()
    study, _ = run_recipe(recipe, ctx=_printing_context())
    text = summary_text(study)
    print(text)
    (folder / "summary.txt").write_text(text + "\n", encoding="utf-8")
    recipe.write(folder / "recipe.yaml", overwrite=True)
    _save(study, folder / DEMO_STORE, overwrite=True)
    if chosen.no_window:
        return 0
    # The window belongs to the docks; the manifest's command leads there without an import.
    return int(_command("show_demo")(study, folder if chosen.headless else None) or 0)


def _report(chosen: argparse.Namespace) -> int:
    from napari_stomics.data.study import open_study
    from napari_stomics.workflow.dossier import plan_names
    from napari_stomics.workflow.report import alignment_report, compare_alignments

    study, ctx = open_study(chosen.study), _printing_context()
    options: dict[str, Any] = {"overwrite": chosen.overwrite, "ctx": ctx}
    if chosen.compare:
        compare_alignments(study, chosen.compare, chosen.output, **options)
        print(chosen.output)
        return 0
    plans = chosen.plan or plan_names(study)
    if not plans:
        raise UserError("This study holds no transport plan.", "Align two of its sections first.")
    for path in alignment_report(study, plans, chosen.output, **options):
        print(path)
    return 0


def _open(chosen: argparse.Namespace) -> int:
    return int(_command("open_paths")(chosen.paths) or 0)


def _methods(chosen: argparse.Namespace) -> int:
    from napari_stomics.core.registry import registry

    specs = list(registry().specs(chosen.task))
    if chosen.task and not specs:
        raise UserError(
            f"There is no task {chosen.task!r}.", f"Tasks: {', '.join(registry().tasks())}."
        )
    if chosen.json:
        print(json.dumps([_described(spec) for spec in specs], indent=2))
        return 0
    for spec in specs:
        print(f"{spec.key}: {spec.title}\n    {spec.summary}\n    Source: {spec.reference}")
        for name, field in spec.params.model_fields.items():
            print(f"      {name} = {field.default!r}: {field.description}")
        print()
    return 0


def _described(spec: Any) -> dict[str, Any]:
    from napari_stomics.data.collect import COLLECTORS

    return {
        "method": spec.key,
        "title": spec.title,
        "summary": spec.summary,
        "reference": spec.reference,
        "result": spec.result.kind,
        "params": spec.params.model_json_schema(),
        "inputs": COLLECTORS[spec.inputs].refs.model_json_schema(),
    }


def summary_text(study: Study) -> str:
    """One line per run and per figure, as shown after a recipe."""
    lines = []
    for run in study.record.runs:
        lines.append(f"{run.step['method']} -> {run.key} ({run.seconds:.1f} s)")
        for name, value in run.summary.items():
            shown = f"{value:.4g}" if isinstance(value, float) else value
            lines.append(f"    {name}: {shown}")
    return "\n".join(lines)


def _refuse_existing(path: Path | None, overwrite: bool) -> None:
    """Refuse before an hour of work, not after it."""
    if path is not None and path.exists() and not overwrite:
        raise UserError(f"{path} exists already.", "Choose another --output, or add --overwrite.")


def _save(study: Study, path: Path, *, overwrite: bool) -> None:
    from napari_stomics.data.store import save_store

    print(save_store(study, path, overwrite=overwrite).message)


def _printing_context() -> Any:
    from napari_stomics.core.jobs import JobContext

    seen: list[str] = []

    def progress(fraction: float | None, message: str) -> None:
        if message and message not in seen[-1:]:
            seen.append(message)
            share = "   " if fraction is None else f"{fraction:4.0%}"
            print(f"[{share}] {message}", file=sys.stderr)

    return JobContext(progress, lambda text: print(f"Warning: {text}", file=sys.stderr))


def _command(name: str) -> Any:
    from npe2 import PluginManager

    manager = PluginManager.instance()
    manager.discover()
    return manager.commands.get(f"napari-stomics.{name}")


if __name__ == "__main__":
    raise SystemExit(main())
