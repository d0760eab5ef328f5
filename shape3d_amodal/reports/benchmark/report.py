"""The report of a benchmark: report.html, tables.md, tables.tex, scores.csv and scores.json."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from shape3d_amodal.benchmarking.runner import RunScores
from shape3d_amodal.evaluation.metrics import Metric
from shape3d_amodal.evaluation.tables import MISSING, Table, counted, format_interval, format_percent, metric_value
from shape3d_amodal.files.atomic import write_text_atomic
from shape3d_amodal.reports.benchmark.completion_cases import MOST_PANELS, Pictures, case_groups
from shape3d_amodal.reports.benchmark.facts import Facts, facts_of, protocol
from shape3d_amodal.reports.benchmark.image_cases import LEGEND as IMAGE_LEGEND
from shape3d_amodal.reports.benchmark.image_cases import image_groups
from shape3d_amodal.reports.benchmark.run_charts import RunCharts
from shape3d_amodal.reports.benchmark.tables import RunTables
from shape3d_amodal.reports.cases import KEYS, LEGEND
from shape3d_amodal.reports.html import CaseGroup, Figure, Fold, Key, Section, write_report

_LATEX = str.maketrans({
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", MISSING: "--",
})  # fmt: skip


@dataclass(frozen=True)
class ExtraRun:
    """A table that a benchmark shows beside its runs, made by a room of its own (``papers``).

    Attributes:
        key: its name in scores.json.
        title: heading.
        note: protocol and what a reader should know, plain text.
        tables: all tables, for the report.
        page: parts of the results page, Markdown.
        metrics: what is defined at the end of the report.
        scores: JSON values, for scores.json.
    """

    key: str
    title: str
    note: str
    tables: tuple[Table, ...]
    page: tuple[str, ...]
    metrics: tuple[Metric, ...]
    scores: dict[str, Any]


def write_reports(
    out: Path, scores: Sequence[RunScores], *, title: str, intro: str, command: str, extra: Sequence[ExtraRun] = ()
) -> None:
    """Write all forms of the report into the folder ``out``.

    Args:
        out: an existing folder.
        scores: the runs; each has tables of its own, for numbers of two tracks or of two data sets do not compare.
        title, intro: plain text.
        command: the command line that makes the report again.
        extra: tables beside the runs.

    Raises:
        DataError: a file cannot be written, or an image not be read.
    """
    runs = [RunTables(one) for one in scores]
    facts = facts_of(scores, command)
    metrics = list({metric.name: metric for run in runs for metric in run.metrics}.values())
    metrics += [metric for one in extra for metric in one.metrics]
    sections = [_section(run, MOST_PANELS // len(runs)) for run in runs]
    sections += [_extra_section(one) for one in extra]
    write_report(
        out / "report.html",
        title=title,
        intro=intro,
        figures=_figures(runs[0]) if runs else [],
        sections=sections,
        metrics=metrics,
        facts=facts,
    )
    write_text_atomic(out / "tables.md", markdown(title, runs, extra, metrics, facts))
    write_text_atomic(out / "tables.tex", latex(runs, facts))
    write_text_atomic(out / "scores.csv", tidy_csv(runs))
    content: dict[str, Any] = {"facts": dict(facts), "runs": [_json(one) for one in scores]}
    content |= {one.key: one.scores for one in extra}
    write_text_atomic(out / "scores.json", json.dumps(content, indent=1, allow_nan=False))


def markdown(
    title: str, runs: Sequence[RunTables], extra: Sequence[ExtraRun], metrics: Sequence[Metric], facts: Facts
) -> str:
    """All tables, definitions and facts as Markdown."""
    parts = [f"# {title}\n"]
    sections = [(run.run.title, protocol(run.scores), run.printed()) for run in runs]
    for heading, note, tables in [*sections, *((one.title, one.note, one.tables) for one in extra)]:
        parts.append(f"## {heading}\n\n{note}\n")
        parts += [_markdown_table(table) for table in tables]
    parts.append("## How it was measured\n")
    parts.append("".join(f"- {metric.title}: {metric.formula} ({metric.source})\n" for metric in metrics))
    parts.append("".join(f"- {name}: {value}\n" for name, value in facts))
    return "\n".join(parts)


def _markdown_table(table: Table) -> str:
    return f"{table.title}\n\n{table.to_markdown()}" + (f"\n{table.note}\n" if table.note else "")


def latex(runs: Sequence[RunTables], facts: Facts) -> str:
    """All tables for a LaTeX document that uses booktabs; the facts are comments."""
    lines = [f"% {' '.join(f'{name}: {value}'.split())}\n" for name, value in facts]
    lines.append("% needs \\usepackage{booktabs}\n")
    for run in runs:
        lines.append(f"\n% {' '.join(run.run.title.split())}\n\n")
        lines.append("\n".join(to_latex(table) for table in run.printed()))
    return "".join(lines)


def to_latex(table: Table) -> str:
    """``table`` as a floating table, the best numbers bold, a rule before the rows that sum up the others."""
    rows = [" & ".join(name.translate(_LATEX) for name in (table.corner, *table.columns)) + r" \\", r"\midrule"]
    summed = False
    for (name, cells), ends in zip(table.lines(), table.printed_intervals(), strict=True):
        if name in table.summary and not summed:
            rows.append(r"\midrule")
            summed = True
        numbers = [rf"\textbf{{{text}}}" if best else text.translate(_LATEX) for text, best in cells]
        numbers = [f"{one} ({end.translate(_LATEX)})" if end else one for one, end in zip(numbers, ends, strict=True)]
        rows.append(" & ".join([name.translate(_LATEX), *numbers]) + r" \\")
    head = [r"\begin{table}", r"\centering", rf"\caption{{{table.title.translate(_LATEX)}}}"]
    head += [rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}", r"\toprule"]
    return "\n".join([*head, *rows, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def tidy_csv(runs: Sequence[RunTables]) -> str:
    """Every number on a line of its own, in percent for shares; low and high are the 95 % interval."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["data", "track", "method", "metric", "category", "value", "low", "high"])
    for run in runs:
        for name, method in run.scores.methods.items():
            own = [run.run.data, run.run.track, name]
            categories = {"mean": method.table.score, **method.table.by_category()}
            for metric in method.table.metrics:
                for category, score in categories.items():
                    if metric.name in score.values:
                        numbers = (metric_value(score, metric), *run.interval(name, metric, category))
                        cells = ["" if math.isnan(number) else f"{number:.4f}" for number in numbers]
                        writer.writerow([*own, metric.name, category, *cells])
            for title, cost in (("seconds", method.seconds), ("parameters", method.parameters)):
                writer.writerow([*own, title, "mean", "" if cost is None else cost, "", ""])
    return text.getvalue()


def _figures(run: RunTables) -> list[Figure]:
    """The focused method's main numbers beside the best of the others."""
    focus, figures = run.run.focus, []
    for metric in run.main:
        values = {name: metric_value(table.score, metric) for name, table in run.of_methods.items()}
        interval = format_interval(*run.interval(focus, metric))
        others = {name: value for name, value in values.items() if name != focus and not math.isnan(value)}
        best = (max if metric.higher_is_better else min)(others, key=others.__getitem__, default=None)
        notes = [] if interval == MISSING else [f"95 % interval {interval}"]
        notes += [] if best is None else [f"best other: {best} {format_percent(others[best])}"]
        value = format_percent(values[focus])
        unit = " %" if metric.unit == "share" and value != MISSING else ""
        figures.append(Figure(label=f"{metric.title}, {focus}", value=f"{value}{unit}", note=" · ".join(notes)))
    return figures


def _section(run: RunTables, panels: int) -> Section:
    """Pictures first, then one table; all others, and charts, are behind folds."""
    pictures, note = Pictures([], []), protocol(run.scores)
    keys: tuple[Key, ...] = ()
    if run.run.track == "completion":
        pictures, note, keys = case_groups(run.scores, panels), f"{note} {LEGEND}", KEYS
    elif run.run.track == "instance":
        pictures, note = image_groups(run.scores, panels), f"{note} {IMAGE_LEGEND}"
    if pictures.first:
        note += f" Best, median and worst are by the IoU of {run.run.focus}."
    charts = RunCharts(run).by_topic()
    folds = (
        Fold(title=_more(pictures.more), blocks=tuple(pictures.more)),
        Fold(title="By category", blocks=(*run.by_category(), *charts["categories"])),
        Fold(title="By occlusion", blocks=(*run.by_level(), *charts["occlusion"])),
        Fold(title="Margins", blocks=tuple(run.by_margin())),
        Fold(title="Other means", blocks=tuple(run.other_means())),
        Fold(title="Means as charts", blocks=tuple(charts["means"])),
    )
    shown = [fold for fold in folds if fold.blocks]
    return Section(title=run.run.title, note=note, keys=keys, blocks=(*pictures.first, run.means(), *shown))


def _more(groups: Sequence[CaseGroup]) -> str:
    return counted(sum(len(group.cases) for group in groups), "more case")


def _extra_section(one: ExtraRun) -> Section:
    """The first table, the others behind a fold."""
    first, others = one.tables[:1], one.tables[1:]
    folds = (Fold(title=counted(len(others), "more table"), blocks=others),) if others else ()
    return Section(title=one.title, note=one.note, blocks=(*first, *folds))


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
