"""One HTML file that tells how good the masks are: tables, bar charts and pictures. No network, no script."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from shape3d_amodal.evaluation.metrics import Metric
from shape3d_amodal.evaluation.tables import Table
from shape3d_amodal.files.atomic import write_atomic
from shape3d_amodal.reports.charts import Chart
from shape3d_amodal.reports.style import STYLE

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Browsers refuse whatever the page would load from elsewhere."""
_WIDE_TABLE = 7
"""Tables with more columns get a row of the page to themselves."""
_PANELS_A_ROW = 6


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A number to begin with: ``label`` "occluded mIoU", ``value`` "71.2", ``note`` "visible only: 0.0"."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One picture of a case.

    Attributes:
        label: below the picture.
        image: [H,W,3] or [H,W] uint8.
        value: a number beside the label, may be empty.
    """

    label: str
    image: NDArray[np.uint8]
    value: str = ""


@dataclass(frozen=True, kw_only=True)
class ReportCase:
    """One object in pictures, left to right; ``score`` orders cases (higher is better)."""

    title: str
    caption: str
    panels: tuple[Panel, ...]
    score: float = float("nan")


@dataclass(frozen=True, kw_only=True)
class CaseGroup:
    """Cases under one heading."""

    title: str
    cases: tuple[ReportCase, ...]
    note: str = ""


Block = Table | Chart | CaseGroup
"""What a section is made of."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page: tables that follow each other stand side by side where they fit."""

    title: str
    blocks: tuple[Block, ...]
    note: str = ""


def write_report(
    path: str | Path,
    *,
    title: str,
    intro: str,
    figures: Sequence[Figure] = (),
    sections: Sequence[Section] = (),
    metrics: Sequence[Metric] = (),
    facts: Sequence[tuple[str, str]] = (),
) -> None:
    """Write the report; its folder must exist. Sections without content are left out.

    Args:
        title, intro: plain text.
        figures: the numbers to begin with.
        sections: in their order.
        metrics: definitions of the numbers.
        facts: what the numbers hang on, e.g. ("command", "..."), ("seed", "0").

    Raises:
        DataError: the file cannot be written.
    """
    write_atomic(path, render_report(title, intro, figures, sections, metrics, facts).encode("utf-8"))


def render_report(
    title: str,
    intro: str,
    figures: Sequence[Figure],
    sections: Sequence[Section],
    metrics: Sequence[Metric],
    facts: Sequence[tuple[str, str]],
) -> str:
    """The HTML text that ``write_report`` writes."""
    parts = [(section.title, _section(section)) for section in sections if section.blocks]
    if metrics or facts:
        parts.append(("How it was measured", _measured(metrics, facts)))
    links = "".join(f'<a href="#part-{i}">{escape(heading)}</a>' for i, (heading, _) in enumerate(parts))
    body = "".join(
        f'<section id="part-{i}"><h2>{escape(heading)}</h2>{content}</section>\n'
        for i, (heading, content) in enumerate(parts)
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{STYLE}\n</style>\n</head>\n"
        f'<body>\n<div class="page">\n<header><p class="kicker">shape3d_amodal</p>\n<h1>{escape(title)}</h1>\n'
        f'<p class="intro">{escape(intro)}</p>\n{_figures(figures)}'
        f'<nav aria-label="Sections">{links}</nav></header>\n<main>\n{body}</main>\n</div>\n</body>\n</html>\n'
    )


def _section(section: Section) -> str:
    content = [f'<p class="note">{escape(section.note)}</p>'] if section.note else []
    for are_tables, blocks in groupby(section.blocks, lambda block: isinstance(block, Table)):
        shown = "".join(map(_block, blocks))
        content.append(f'<div class="tables">{shown}</div>' if are_tables else shown)
    return "".join(content)


def _block(block: Block) -> str:
    if isinstance(block, Table):
        return _table(block)
    return _group(block) if isinstance(block, CaseGroup) else _chart(block)


def data_uri(image: NDArray[np.uint8]) -> str:
    """An image as a ``data:`` address: colour [H,W,3] uint8 as JPEG, grey [H,W] uint8 (masks) as PNG."""
    buffer = io.BytesIO()
    kind = "png" if image.ndim == 2 else "jpeg"
    if kind == "png":
        PillowImage.fromarray(image).save(buffer, kind)
    else:  # colour at full resolution, which thin contours need
        PillowImage.fromarray(image).save(buffer, kind, quality=85, subsampling=0)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _figures(figures: Sequence[Figure]) -> str:
    if not figures:
        return ""
    items = "".join(
        f'<div><dt>{escape(one.label)}</dt><dd class="value">{escape(one.value)}</dd>'
        f'<dd class="small">{escape(one.note)}</dd></div>'
        for one in figures
    )
    return f'<dl class="figures">{items}</dl>\n'


def _table(table: Table) -> str:
    wide = " wide" if len(table.columns) > _WIDE_TABLE else ""
    sums = [name in table.summary for name in table.columns]
    head = "".join(
        f'<th scope="col"{_class(sum=total)}>{escape(name)}</th>'
        for name, total in zip(table.columns, sums, strict=True)
    )
    lines = []
    for (name, _), cells, marks in zip(table.rows, table.cells(), table.best(), strict=True):
        row = "".join(
            f"<td{_class(best=mark, sum=total)}>{cell}</td>"
            for cell, mark, total in zip(cells, marks, sums, strict=True)
        )
        lines.append(f'<tr{_class(sum=name in table.summary)}><th scope="row">{escape(name)}</th>{row}</tr>')
    return (
        f'<div class="scroll{wide}" tabindex="0" role="region" aria-label="{escape(table.title)}">'
        f'<table><caption>{escape(table.title)}</caption><thead><tr><th scope="col">{escape(table.corner)}</th>'
        f"{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _class(**names: bool) -> str:
    chosen = " ".join(name for name, given in names.items() if given)
    return f' class="{chosen}"' if chosen else ""


def _chart(chart: Chart) -> str:
    note = f'<p class="note">{escape(chart.note)}</p>' if chart.note else ""
    title = escape(chart.title)
    return (
        f'<figure class="figure"><figcaption><h3>{title}</h3>{note}{chart.legend()}</figcaption>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{title}">{chart.svg()}</div></figure>'
    )


def _group(group: CaseGroup) -> str:
    note = f'<p class="note">{escape(group.note)}</p>' if group.note else ""
    return f'<div class="group"><h3>{escape(group.title)}</h3>{note}{"".join(map(_case, group.cases))}</div>'


def _case(case: ReportCase) -> str:
    return (
        f'<article class="case"><div class="head"><h4>{escape(case.title)}</h4><p>{escape(case.caption)}</p></div>'
        f'<div class="panels" style="--panels:{_columns(len(case.panels))}">{"".join(_panels(case))}</div></article>'
    )


def _columns(panels: int) -> int:
    """Columns that give about equally full rows of at most ``_PANELS_A_ROW``."""
    rows = math.ceil(panels / _PANELS_A_ROW)
    return math.ceil(panels / max(rows, 1))


def _panels(case: ReportCase) -> Iterator[str]:
    for panel in case.panels:
        height, width = panel.image.shape[:2]
        value = f"<b>{escape(panel.value)}</b>" if panel.value else ""
        yield (
            f'<figure class="panel"><img src="{data_uri(panel.image)}" width="{width}" height="{height}" '
            f'alt="{escape(case.title)}: {escape(panel.label)}">'
            f"<figcaption><span>{escape(panel.label)}</span>{value}</figcaption></figure>"
        )


def _measured(metrics: Sequence[Metric], facts: Sequence[tuple[str, str]]) -> str:
    items = [
        f'<dt>{escape(metric.title)}</dt><dd><span class="formula">{escape(metric.formula)}</span><br>'
        f"{escape(metric.source)}</dd>"
        for metric in metrics
    ]
    items += [f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts]
    return f'<dl class="facts">{"".join(items)}</dl>' if items else ""
