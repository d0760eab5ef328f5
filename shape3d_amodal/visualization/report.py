"""One HTML file that tells how good the masks are: tables, bar charts and pictures. No network, no script."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from shape3d_amodal.data.atomic import write_atomic
from shape3d_amodal.evaluation.metrics import Metric
from shape3d_amodal.evaluation.tables import Table
from shape3d_amodal.visualization.charts import BarChart, legend, svg
from shape3d_amodal.visualization.report_style import STYLE

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Browsers refuse whatever the page would load from elsewhere."""
_WIDE_TABLE = 7
"""Tables with more columns get a row of the page to themselves."""


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


def best_and_worst(cases: Sequence[ReportCase], count: int = 4, *, note: str = "") -> tuple[CaseGroup, ...]:
    """The best ``count`` cases first, then the worst (worst first), then the others in their given order.

    ``note`` stands below the first heading.
    """
    order = sorted(range(len(cases)), key=lambda index: -cases[index].score)
    count = min(count, len(cases) // 2)
    best, worst = order[:count], order[len(order) - count :][::-1]
    shown = {*best, *worst}
    groups = (
        CaseGroup(title="Best", note=note, cases=tuple(cases[index] for index in best)),
        CaseGroup(title="Worst", cases=tuple(cases[index] for index in worst)),
        CaseGroup(title="All others", cases=tuple(case for index, case in enumerate(cases) if index not in shown)),
    )
    return tuple(group for group in groups if group.cases)


def write_report(
    path: str | Path,
    *,
    title: str,
    intro: str,
    figures: Sequence[Figure] = (),
    tables: Sequence[Table] = (),
    charts: Sequence[BarChart] = (),
    groups: Sequence[CaseGroup] = (),
    metrics: Sequence[Metric] = (),
    facts: Sequence[tuple[str, str]] = (),
) -> None:
    """Write the report; its folder must exist. Sections without content are left out.

    Args:
        title, intro: plain text.
        figures: the numbers to begin with.
        tables: shown as they are; transpose those that are too wide.
        charts: bars by category.
        groups: pictures (``best_and_worst`` orders them).
        metrics: definitions of the numbers.
        facts: what the numbers hang on, e.g. ("command", "..."), ("seed", "0").

    Raises:
        DataError: the file cannot be written.
    """
    write_atomic(path, render_report(title, intro, figures, tables, charts, groups, metrics, facts).encode("utf-8"))


def render_report(
    title: str,
    intro: str,
    figures: Sequence[Figure],
    tables: Sequence[Table],
    charts: Sequence[BarChart],
    groups: Sequence[CaseGroup],
    metrics: Sequence[Metric],
    facts: Sequence[tuple[str, str]],
) -> str:
    """The HTML text that ``write_report`` writes."""
    sections = [
        ("results", "Results", _tables(tables) if tables else ""),
        ("categories", "By category", "".join(map(_chart, charts))),
        ("cases", "Cases", "".join(map(_group, groups))),
        ("method", "How it was measured", _measured(metrics, facts)),
    ]
    shown = [section for section in sections if section[2]]
    links = "".join(f'<a href="#{name}">{heading}</a>' for name, heading, _ in shown)
    body = "".join(f'<section id="{name}"><h2>{heading}</h2>{content}</section>\n' for name, heading, content in shown)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{STYLE}\n</style>\n</head>\n"
        f'<body>\n<div class="page">\n<header><p class="kicker">shape3d_amodal</p>\n<h1>{escape(title)}</h1>\n'
        f'<p class="intro">{escape(intro)}</p>\n{_figures(figures)}'
        f'<nav aria-label="Sections">{links}</nav></header>\n<main>\n{body}</main>\n</div>\n</body>\n</html>\n'
    )


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


def _tables(tables: Sequence[Table]) -> str:
    return f'<div class="tables">{"".join(map(_table, tables))}</div>'


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


def _chart(chart: BarChart) -> str:
    note = f'<p class="note">{escape(chart.note)}</p>' if chart.note else ""
    return (
        f'<figure class="figure"><figcaption><h3>{escape(chart.title)}</h3>{note}{legend(chart)}</figcaption>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(chart.title)}">{svg(chart)}</div></figure>'
    )


def _group(group: CaseGroup) -> str:
    note = f'<p class="note">{escape(group.note)}</p>' if group.note else ""
    return f'<div class="group"><h3>{escape(group.title)}</h3>{note}{"".join(map(_case, group.cases))}</div>'


def _case(case: ReportCase) -> str:
    return (
        f'<article class="case"><div class="head"><h4>{escape(case.title)}</h4><p>{escape(case.caption)}</p></div>'
        f'<div class="panels" style="--panels:{len(case.panels)}">{"".join(_panels(case))}</div></article>'
    )


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
