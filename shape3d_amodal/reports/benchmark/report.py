"""The report of a benchmark: report.html, tables.md, tables.tex, scores.csv and scores.json."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from shape3d_amodal.benchmarking import provenance
from shape3d_amodal.benchmarking.methods import KINDS, MethodOptions, options_class
from shape3d_amodal.benchmarking.runner import MethodScore, RunScores
from shape3d_amodal.benchmarking.store import RunRecord
from shape3d_amodal.evaluation.metrics import Metric
from shape3d_amodal.evaluation.tables import Table, format_percent
from shape3d_amodal.files.atomic import write_atomic
from shape3d_amodal.reports.benchmark.completion_cases import MOST_PANELS, case_groups
from shape3d_amodal.reports.benchmark.extra import ExtraRun
from shape3d_amodal.reports.benchmark.image_cases import image_groups
from shape3d_amodal.reports.benchmark.latex import to_latex
from shape3d_amodal.reports.benchmark.tables import RunViews
from shape3d_amodal.reports.html import CaseGroup, Figure, Section, write_report

Facts = list[tuple[str, str]]


def write_reports(
    out: Path,
    scores: Sequence[RunScores],
    *,
    title: str,
    intro: str,
    command: str,
    extra: Sequence[ExtraRun] = (),
) -> None:
    """Write all forms of the report into the folder ``out``.

    Args:
        scores: the runs; each has tables of its own, for numbers of two tracks or of two data sets do not compare.
        title, intro: plain text.
        command: the command line that makes the report again.
        extra: tables beside the runs.

    Raises:
        DataError: a file cannot be written, or a picture not be read.
    """
    views = [RunViews(one) for one in scores]
    facts = facts_of(scores, command)
    metrics = list({metric.name: metric for view in views for metric in view.metrics}.values())
    more = [Section(title=one.title, note=one.note, blocks=one.tables) for one in extra]
    metrics += [metric for one in extra for metric in one.metrics]
    write_report(
        out / "report.html",
        title=title,
        intro=intro,
        figures=_figures(views[0]) if views else [],
        sections=[
            section
            for one, view in zip(scores, views, strict=True)
            for section in _sections(one, view, MOST_PANELS // len(scores))
        ]
        + more,
        metrics=metrics,
        facts=facts,
    )
    write_atomic(out / "tables.md", markdown(title, views, scores, metrics, facts, more).encode())
    write_atomic(out / "tables.tex", latex(views, facts).encode())
    write_atomic(out / "scores.csv", tidy_csv(views, scores).encode())
    content: dict[str, Any] = {"facts": dict(facts), "runs": [_json(one) for one in scores]}
    content |= {one.key: one.scores for one in extra}
    write_atomic(out / "scores.json", json.dumps(content, indent=1, allow_nan=False).encode())


def markdown(
    title: str,
    views: Sequence[RunViews],
    scores: Sequence[RunScores],
    metrics: Sequence[Metric],
    facts: Facts,
    more: Sequence[Section] = (),
) -> str:
    """All tables, definitions and facts as Markdown."""
    parts = [f"# {title}\n"]
    for one, view in zip(scores, views, strict=True):
        parts.append(f"## {view.run.title}\n\n{protocol(one)}\n")
        parts += [f"{table.title}\n\n{table.to_markdown()}" for table in view.printed()]
    for section in more:
        parts.append(f"## {section.title}\n\n{section.note}\n")
        parts += [f"{table.title}\n\n{table.to_markdown()}" for table in section.blocks if isinstance(table, Table)]
    parts.append("## How it was measured\n")
    parts.append("".join(f"- {metric.title}: {metric.formula} ({metric.source})\n" for metric in metrics))
    parts.append("".join(f"- {name}: {value}\n" for name, value in facts))
    return "\n".join(parts)


def latex(views: Sequence[RunViews], facts: Facts) -> str:
    """All tables for a LaTeX document that uses booktabs; the facts are comments."""
    lines = [f"% {' '.join(f'{name}: {value}'.split())}\n" for name, value in facts]
    lines.append("% needs \\usepackage{booktabs}\n")
    for view in views:
        lines.append(f"\n% {' '.join(view.run.title.split())}\n\n")
        lines.append("\n".join(to_latex(table) for table in view.printed()))
    return "".join(lines)


def tidy_csv(views: Sequence[RunViews], scores: Sequence[RunScores]) -> str:
    """Every number on a line of its own, in percent for shares; low and high are the 95 % interval."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["data", "track", "method", "metric", "category", "value", "low", "high"])
    for one, view in zip(scores, views, strict=True):
        for name, method in one.methods.items():
            for metric, category, value in _numbers(method):
                interval = view.interval(name, metric, category)
                cells = ["" if math.isnan(number) else f"{number:.4f}" for number in (value, *interval)]
                writer.writerow([one.run.data, one.run.track, name, metric, category, *cells])
            for metric, cost in (("seconds", method.seconds), ("parameters", method.parameters)):
                writer.writerow(
                    [one.run.data, one.run.track, name, metric, "mean", "" if cost is None else cost, "", ""]
                )
    return text.getvalue()


def _numbers(method: MethodScore) -> Iterator[tuple[str, str, float]]:
    """Metric, category and value, in percent for shares."""
    scores = {"mean": method.table.score, **method.table.by_category()}
    for metric in method.table.metrics:
        factor = 100 if metric.unit == "share" else 1
        for category, score in scores.items():
            if metric.name in score.values:
                yield metric.name, category, factor * score[metric.name]


def _figures(view: RunViews) -> list[Figure]:
    """The focused method's main numbers beside the best of the others."""
    figures = []
    for metric in view.main:

        def value(name: str, metric: Metric = metric) -> float:
            return (100 if metric.unit == "share" else 1) * view.tables[name].score[metric.name]

        low, high = view.interval(view.run.focus, metric.name)
        others = [name for name in view.tables if name != view.run.focus and not math.isnan(value(name))]
        best = (max if metric.higher_is_better else min)(others, key=value, default=None)
        beside = "" if best is None else f"; {best} {format_percent(value(best))}"
        figures.append(
            Figure(
                label=f"{metric.title}, {view.run.focus}",
                value=format_percent(value(view.run.focus)),
                note=f"{format_percent(low)} to {format_percent(high)}{beside}",
            )
        )
    return figures


def _sections(one: RunScores, view: RunViews, panels: int) -> list[Section]:
    title = view.run.title
    return [
        Section(title=title, note=protocol(one), blocks=tuple(view.printed())),
        Section(title=f"{title}: charts", blocks=tuple(view.charts())),
        Section(
            title=f"{title}: cases", note=f"Ordered by the IoU of {view.run.focus}.", blocks=_pictures(one, panels)
        ),
    ]


def _pictures(one: RunScores, panels: int) -> tuple[CaseGroup, ...]:
    kinds = {"completion": case_groups, "instance": image_groups}
    return tuple(kinds[one.run.track](one, panels)) if one.run.track in kinds else ()


def protocol(one: RunScores) -> str:
    """Under which conditions the numbers of a run were taken."""
    table, images = one.tables[one.run.focus], len(one.data.dataset.images)
    aligned = f" 'Aligned elsewhere' is by the turns found on the data {one.run.align!r}." if one.run.align else ""
    return f"Protocol: {table.protocol}. {table.score.counts['instances']} objects in {images} images.{aligned}"


def facts_of(scores: Sequence[RunScores], command: str, *, notes: bool = True) -> Facts:
    """What the numbers hang on: code, machine, data and methods, each of them once.

    Args:
        scores: the runs.
        command: the command line that makes the report again.
        notes: with the notes of the methods, for a report that does not show them elsewhere.
    """
    facts = [
        ("command", command),
        ("commit", provenance.commit()),
        ("versions", provenance.versions()),
        ("machine", provenance.machine()),
    ]
    data = {one.data.name: one.data for one in scores}
    data.update({one.aligned.name: one.aligned for one in scores if one.aligned is not None})
    facts += [(f"data: {name}", f"{one.origin}; SHA-256 {one.sha256[:16]}") for name, one in data.items()]
    methods = {name: method.options for one in scores for name, method in one.methods.items()}
    for name, options in methods.items():
        note = f"{options.note}; " if options.note and notes else ""
        facts.append((f"method: {name}", note + _told(options)))
    if methods:
        facts.append(("run", _ran(scores)))
    facts.append(("time of an object", "median over images of the time of an image by the number of its objects"))
    return facts


def _told(options: MethodOptions) -> str:
    """What a method is and what it was told."""
    parts = [next(kind for kind in KINDS if type(options) is options_class(kind))]
    chosen = _chosen(options).items()
    parts += [f"{key} {json.dumps(value)}" for key, value in chosen if key not in (*options.TOLD, "depth_order")]
    parts.append("depth order given" if options.depth_order else "depth order not given")
    return "; ".join(parts)


def _ran(scores: Sequence[RunScores]) -> str:
    """How methods ran; which of them are meant is told where they did not all run alike."""
    ways: dict[str, list[str]] = {}
    for one in scores:
        for name, method in one.methods.items():
            ways.setdefault(_way(method.record), []).append(f"{one.run.title}: {name}")
    if len(ways) == 1:
        return next(iter(ways))
    return "; ".join(f"{way} ({'; '.join(names)})" for way, names in ways.items())


def _way(run: RunRecord | None) -> str:
    if run is None:
        return "elsewhere"
    machine = f" of {run.machine}" if run.machine != provenance.machine() else ""
    return f"{run.threads} thread(s) in {run.processes} process(es) on {run.device}{machine}, commit {run.commit}"


def _chosen(options: MethodOptions) -> dict[str, Any]:
    """The options that are names, such as weights, and those that are not at their defaults, as JSON values."""
    chosen = {}
    for field in fields(options):
        value = getattr(options, field.name)
        if value == "" or (value == field.default and not isinstance(value, str)):
            continue
        chosen[field.name] = to_jsonable_python(value)
    return chosen


def _json(one: RunScores) -> dict[str, Any]:
    return {
        "data": one.run.data,
        "track": one.run.track,
        "title": one.run.title,
        "data_sha256": one.data.sha256,
        "methods": {
            name: {
                "options": to_jsonable_python(method.options),
                "run": None if method.record is None else asdict(method.record),
                "scores": method.table.to_dict(),
            }
            for name, method in one.methods.items()
        },
    }
