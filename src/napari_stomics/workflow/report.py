"""Reports on alignments: one self-contained page of HTML each, or two side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_stomics import __version__
from napari_stomics.core.errors import UserError
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.quality import AlignmentQuality, QualityFigure
from napari_stomics.methods.alignment.certainty import doubtful_regions, spot_doubt
from napari_stomics.workflow import report_page as html
from napari_stomics.workflow import report_pictures as draw
from napari_stomics.workflow.dossier import SURE, Comparison, Dossier, compare, dossier
from napari_stomics.workflow.report_gallery import pairs, pictures

if TYPE_CHECKING:
    from napari_stomics.data.study import Study

_REGIONS = 8


def alignment_report(
    study: Study,
    plans: str | Sequence[str],
    path: str | Path,
    *,
    overwrite: bool = False,
    ctx: JobContext | None = None,
) -> list[Path]:
    """Write a report on each of some alignments.

    Parameters
    ----------
    study
        The study; nothing in it is changed.
    plans
        Names of transport plans, that is, of their tables.
    path
        File to write. With several plans the name of each is put behind its stem.
    overwrite
        Replace files that exist.
    ctx
        Progress and cancellation.

    Returns
    -------
    list of Path
        The files written: each is one page with its pictures inside.

    Raises
    ------
    UserError
        If there is no such plan, or a file exists already.
    """
    names = [plans] if isinstance(plans, str) else list(plans)
    path, ctx = Path(path), ctx or JobContext()
    files = [path] if len(names) == 1 else [_beside(path, name) for name in names]
    for file in files:
        _refuse(file, overwrite)
    found = [dossier(study, name) for name in names]
    for i, (file, one) in enumerate(zip(files, found, strict=True)):
        write_report(one, file, ctx.part(i / len(files), (i + 1) / len(files)))
    return files


def write_report(one: Dossier, path: str | Path, ctx: JobContext | None = None) -> Path:
    """Judge an alignment and write its report; reads nothing from the study."""
    ctx = ctx or JobContext()
    judged = one.judge(ctx.part(0.0, 0.5))
    ctx.step(0.5, "Pictures")
    plan = one.plan
    text = html.page(
        f"Alignment of {plan.source} onto {plan.target}",
        _facts(one),
        [
            html.section("Verdict", html.verdict([(r.level, r.text) for r in judged.remarks])),
            html.section("Figures", _figures_table(judged.figures), _figures_note()),
            html.section("Pictures", html.gallery(pictures(one, judged, ctx))),
            html.section("Where it is least certain", *_uncertain(one)),
            html.section("How it was made", *_provenance(one, judged)),
        ],
    )
    ctx.step(0.99, "Writing")
    return _write(Path(path), text)


def compare_alignments(
    study: Study,
    plans: Sequence[str],
    path: str | Path,
    *,
    overwrite: bool = False,
    ctx: JobContext | None = None,
) -> Comparison:
    """Write two alignments side by side in one page.

    Parameters
    ----------
    study
        The study; nothing in it is changed.
    plans
        Names of two transport plans.
    path
        File to write.
    overwrite
        Replace a file that exists.
    ctx
        Progress and cancellation.

    Returns
    -------
    Comparison
        What the page says.

    Raises
    ------
    UserError
        If these are not two different plans of the study, or the file exists already.
    """
    if len(plans) != 2 or plans[0] == plans[1]:
        raise UserError(
            "A comparison needs two different alignments.", "Name two plans of the study."
        )
    _refuse(Path(path), overwrite)
    ctx = ctx or JobContext()
    found = compare([dossier(study, name) for name in plans], ctx.part(0.0, 0.5))
    write_comparison(found, path, ctx.part(0.5, 1.0))
    return found


def write_comparison(found: Comparison, path: str | Path, ctx: JobContext | None = None) -> Path:
    """Write the page of a comparison."""
    ctx = ctx or JobContext()
    names = [d.name for d in found.dossiers]
    parts = []
    if not found.same_sections:
        remark = (
            "The two plans do not join the same spots: their figures stand beside each other, "
            "and none is called better."
        )
        parts.append(html.verdict([("warning", remark)]))
    parts.append(html.section("Figures", _comparison_table(found), _comparison_note(found)))
    for name, judged in zip(names, found.judged, strict=True):
        parts.append(
            html.section(
                f"Verdict on {name}", html.verdict([(r.level, r.text) for r in judged.remarks])
            )
        )
    parts.append(html.section("Pictures", html.gallery(pairs(found, ctx), pairs=True)))
    for one, judged in zip(found.dossiers, found.judged, strict=True):
        parts.append(html.section(f"How {one.name} was made", *_provenance(one, judged)))
    ctx.step(0.99, "Writing")
    title = f"{names[0]} and {names[1]}"
    return _write(Path(path), html.page(title, "Two alignments side by side", parts))


# -- text ------------------------------------------------------------------------------------


def _facts(one: Dossier) -> str:
    plan = one.plan
    parts = [
        f"Plan {one.name}",
        f"{len(plan.source_ids):,} and {len(plan.target_ids):,} spots",
        f"pitch {one.pitch:.0f} µm",
    ]
    if one.run is not None:
        parts += [one.run.step["method"], f"{one.run.seconds:.1f} s", one.run.started]
    return " · ".join(parts)


def _figures_table(figures: Sequence[QualityFigure]) -> str:
    head = ("Figure", "Value", "± error", "Pose alone", "Chance", "Best possible", "How measured")
    rows = [
        (
            (_title(f), f.meaning),
            float(f.value),
            float(f.noise),
            float(f.baseline),
            float(f.chance),
            float(f.ceiling),
            ("", f.protocol),
        )
        for f in figures
    ]
    return html.table(head, rows)


def _title(figure: QualityFigure) -> str:
    way = {"higher": "↑", "lower": "↓", "": ""}[figure.better]
    unit = f" ({figure.unit.replace('um', 'µm')})" if figure.unit else ""
    return f"{figure.title}{unit} {way}".rstrip()


def _figures_note() -> str:
    return html.paragraph(
        "↑ higher is better, ↓ lower is better; a dash is not known. Pose alone: the same figure "
        "with each spot matched to its nearest under the linear pose, so that the difference is "
        "what transport added.",
        small=True,
    )


def _comparison_table(found: Comparison) -> str:
    head = ("Figure", *(d.name for d in found.dossiers), "Difference", "± error", "How measured")
    rows, best = [], {}
    for i, row in enumerate(found.differences):
        values = [float("nan") if f is None else float(f.value) for f in (row.first, row.second)]
        gap = values[1] - values[0] if found.same_sections else float("nan")
        rows.append(
            (
                (_title(row.figure), row.figure.meaning), *values, gap, float(row.noise),
                ("", row.figure.protocol),
            )
        )  # fmt: skip
        if row.better is not None:
            best[i] = 1 + row.better
    return html.table(head, rows, best)


def _comparison_note(found: Comparison) -> str:
    return html.paragraph(
        f"★ marks the better one where the difference exceeds {SURE:g} standard errors; where the "
        "error is not known, nothing is marked. Errors of label accuracy and of unseen features "
        "are of the paired difference. Features that either plan has seen judge neither.",
        small=True,
    )


def _uncertain(one: Dossier) -> list[str]:
    regions = _regions(one)
    if not regions:
        return [html.paragraph("No region of spots stands out.")]
    figure = draw.regions(
        "Least certain regions", one.placed, [r.spots for r in regions], one.pitch
    )
    rows = [
        (str(i), region.text, float(region.error), str(len(region.spots)))
        for i, region in enumerate(regions, 1)
    ]
    caption = "Regions whose matches are least certain or contradict each other, worst first."
    return [
        html.gallery([html.picture(draw.png(figure), caption)]),
        html.table(("Region", "What speaks against it", "Expected error (pitches)", "Spots"), rows),
    ]


def _regions(one: Dossier) -> tuple[Any, ...]:
    doubt = spot_doubt(one.plan, one.inputs.target.coordinates.astype(float), one.pitch)
    return doubtful_regions(one.plan, doubt, at_most=_REGIONS)[:_REGIONS]


def _provenance(one: Dossier, judged: AlignmentQuality) -> list[str]:
    parts = []
    if one.run is not None:
        run = one.run
        made = {
            "method": run.step["method"],
            "started": run.started,
            "seconds": run.seconds,
            "hash of the inputs": run.inputs_hash,
            "versions": run.versions,
        }
        read = {k: v for k, v in run.step["inputs"].items() if v not in (None, [], ())}
        parts += [html.listing(made), "<h3>Parameters</h3>", html.listing(run.step["params"])]
        parts += ["<h3>Read</h3>", html.listing(read)]
    else:
        parts.append(html.paragraph("The study's log does not say how this plan was made."))
    judge = {
        "labels": judged.label_name or "none",
        "features that judged": [str(g) for g in judged.genes],
        "parameters of the judgement": one.params.model_dump(mode="json"),
        "report written by": f"napari-stomics {__version__}",
    }
    return [*parts, "<h3>Judged by</h3>", html.listing(judge)]


# -- files -----------------------------------------------------------------------------------


def _beside(path: Path, name: str) -> Path:
    return path.with_name(f"{path.stem}_{name}{path.suffix or '.html'}")


def _refuse(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists already.", "Choose another name, or overwrite it.")


def _write(path: Path, text: str) -> Path:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"The report cannot be written to {path}: {error.strerror}.", "Choose another place."
        ) from error
    return path
