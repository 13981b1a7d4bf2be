"""A page of HTML that needs nothing but itself: text, tables and embedded pictures."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
       max-width: 1180px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; }
h2 { font-size: 1.15rem; margin-top: 2rem; border-bottom: 1px solid #ccc; }
.facts { color: #555; margin-top: .2rem; }
ul.verdict { list-style: none; padding: 0; }
ul.verdict li { border-left: .4rem solid; padding: .25rem .7rem; margin: .3rem 0; }
.warning { border-color: #b3261e; background: #fdf0ef; }
.note { border-color: #8a6d00; background: #fdf8e6; }
.good { border-color: #1b6e3c; background: #eef8f1; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .25rem .6rem .25rem 0;
         border-bottom: 1px solid #e2e2e2; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.best { font-weight: 700; }
.small { font-size: .82rem; color: #555; }
.pictures { display: grid; gap: 1rem;
            grid-template-columns: repeat(auto-fill, minmax(340px, 1fr)); }
.pairs { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; }
figure { margin: 0; }
figure img { width: 100%; height: auto; }
figcaption { font-size: .85rem; color: #333; }
pre { white-space: pre-wrap; font-size: .82rem; }
"""


def page(title: str, facts: str, parts: Sequence[str]) -> str:
    """Return a whole page."""
    return (
        "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>"
        f"<h1>{html.escape(title)}</h1><p class='facts'>{html.escape(facts)}</p>"
        f"{''.join(parts)}</body></html>\n"
    )


def section(title: str, *parts: str) -> str:
    """Return a heading with what belongs under it."""
    return f"<h2>{html.escape(title)}</h2>{''.join(parts)}"


def paragraph(text: str, small: bool = False) -> str:
    """Return a paragraph of plain text."""
    return f"<p{' class=small' if small else ''}>{html.escape(text)}</p>"


def verdict(remarks: Sequence[tuple[str, str]]) -> str:
    """Return remarks (level, text) as a list, each with its level in words."""
    items = "".join(
        f"<li class='{html.escape(level)}'><b>{html.escape(level.capitalize())}.</b> "
        f"{html.escape(text)}</li>"
        for level, text in remarks
    )
    return f"<ul class='verdict'>{items}</ul>"


def table(
    head: Sequence[str], rows: Sequence[Sequence[Any]], best: Mapping[int, int] | None = None
) -> str:
    """Return a table; floats are numbers, and cells may hold two lines as a tuple.

    Parameters
    ----------
    head
        Titles of the columns.
    rows
        Cells: text, numbers, or (text, small text).
    best
        By row, the column to be marked.
    """
    best = best or {}
    numeric = {c for row in rows for c, cell in enumerate(row) if isinstance(cell, float)}
    titles = "".join(
        f"<th{' class=number' if c in numeric else ''}>{html.escape(t)}</th>"
        for c, t in enumerate(head)
    )
    lines = [
        "<tr>" + "".join(_cell(cell, best.get(r) == c) for c, cell in enumerate(row)) + "</tr>"
        for r, row in enumerate(rows)
    ]
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _cell(cell: Any, best: bool) -> str:
    if isinstance(cell, float):
        mark = " ★" if best else ""
        return f"<td class='number{' best' if best else ''}'>{number(cell)}{mark}</td>"
    if isinstance(cell, tuple):
        return (
            f"<td>{html.escape(cell[0])}<br><span class='small'>{html.escape(cell[1])}</span></td>"
        )
    return f"<td>{html.escape(str(cell))}</td>"


def number(value: float) -> str:
    """A number as a person reads it; a dash where it is not known."""
    if not math.isfinite(value):
        return "–"
    if abs(value) < 1e-6:
        return "0"
    return f"{value:.3f}" if 1e-3 <= abs(value) < 10 else f"{value:.4g}"


def picture(png: str, caption: str) -> str:
    """Return a picture (PNG in base64) with its caption, which also describes it to a reader."""
    text = html.escape(caption)
    return (
        f"<figure><img src='data:image/png;base64,{png}' alt='{html.escape(caption, quote=True)}'>"
        f"<figcaption>{text}</figcaption></figure>"
    )


def gallery(pictures: Sequence[str], pairs: bool = False) -> str:
    """Return pictures beside each other, or in pairs."""
    return f"<div class='{'pairs' if pairs else 'pictures'}'>{''.join(pictures)}</div>"


def listing(values: Mapping[str, Any]) -> str:
    """Return names and values as a table of two columns."""
    return table(("", ""), [(name, _words(value)) for name, value in values.items()])


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k}: {_words(v)}" for k, v in value.items()) or "none"
    if isinstance(value, list | tuple):
        shown = ", ".join(_words(v) for v in value[:12])
        return f"{shown} … ({len(value)} in all)" if len(value) > 12 else shown or "none"
    if isinstance(value, float):
        return number(value)
    return "none" if value is None else str(value)
