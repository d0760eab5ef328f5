"""A benchmark as a page of documentation: what was aimed at, tables, margins, and pictures beside it, as Markdown.

``report.html`` has everything; this page has what a reader of the repository should see, and lies in it.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from shape3d_amodal.benchmarking.config import AimConfig, file_stem
from shape3d_amodal.benchmarking.runner import MethodScore, RunScores
from shape3d_amodal.evaluation.metrics import Metric
from shape3d_amodal.evaluation.tables import MISSING, format_percent, markdown_lines
from shape3d_amodal.files.atomic import make_folder, write_atomic
from shape3d_amodal.reports.benchmark.aims import checklist, outcomes
from shape3d_amodal.reports.benchmark.completion_cases import ScoredObject, cases, scored_objects
from shape3d_amodal.reports.benchmark.extra import ExtraRun
from shape3d_amodal.reports.benchmark.margin_lines import by_category, caption, summary
from shape3d_amodal.reports.benchmark.report import facts_of, protocol
from shape3d_amodal.reports.benchmark.tables import RunViews, title_of
from shape3d_amodal.reports.cases import COLORS, gallery

_SIDE = 112
"""Side of a picture in pixels."""
_AIMED = (
    "Percent, or points over others. Met or missed is said of the number itself; in parentheses its 95 % bootstrap "
    "interval, drawn as those of the margins below."
)
_COLORS = 128
"""Colours of a file: a third of the bytes, and hardly to be seen."""


def write_results_page(
    path: Path,
    scores: Sequence[RunScores],
    *,
    title: str,
    intro: str,
    command: str,
    extra: Sequence[ExtraRun] = (),
    aims: Sequence[AimConfig] = (),
) -> None:
    """Write the page ``path``, and its pictures into the folder beside it that bears its name.

    Args:
        path: the Markdown file.
        scores: the runs.
        title, intro: plain text.
        command: the command line that makes the page again.
        extra: tables beside the runs.
        aims: the checklist at the top.

    Raises:
        DataError: a file cannot be written, or a picture not be read.
        UsageError: an aim is about a category that its run does not have.
    """
    make_folder(path.parent)
    views = [RunViews(one) for one in scores]
    parts = [f"# {title}\n", f"{' '.join(intro.split())}\n", f"    {command}\n"]
    if aims:
        parts += ["## What was aimed at\n", f"{_AIMED}\n", checklist(outcomes(aims, scores))]
    for one, view in zip(scores, views, strict=True):
        parts += [f"## {view.run.title}\n", f"{protocol(one)} {_how(one)}\n", _headline(one, view)]
        parts += [f"{table.title}\n\n{table.to_markdown()}" for table in view.categories()]
        parts += _margins(view)
        parts += _cases(one, view, path)
    for one_more in extra:
        parts += [f"## {one_more.title}\n", f"{one_more.note}\n", *one_more.page]
    metrics = {metric.name: metric for view in views for metric in view.main}
    parts += ["## How it was measured\n", "".join(f"- {one.title}: {one.formula}\n" for one in metrics.values())]
    parts.append("".join(f"- {name}: {value}\n" for name, value in facts_of(scores, command, notes=False)))
    write_atomic(path, "\n".join(parts).encode())


def _headline(one: RunScores, view: RunViews) -> str:
    """A line a method: the main metrics with their intervals, its cost, and what one should know of it."""
    best = {metric.name: _best(view, metric) for metric in view.main}
    trained = any(method.options.trained for method in one.methods.values())
    told = ["note", "trained for"] if trained else ["note"]
    head = ["method", *(title_of(metric) for metric in view.main), "s an object", "parameters, million", *told]
    lines = [head, ["---", *["---:"] * (len(view.main) + 2), *["---"] * len(told)]]
    for name, method in one.methods.items():
        numbers = [_number(view, name, metric, best[metric.name]) for metric in view.main]
        words = [method.options.note, method.options.trained][: len(told)]
        lines.append([name, *numbers, *_costs(method), *words])
    return markdown_lines(lines)


def _costs(method: MethodScore) -> tuple[str, str]:
    """Seconds an object, and millions of parameters."""
    seconds = MISSING if method.seconds is None else f"{method.seconds:.3f}"
    parameters = MISSING if method.parameters is None else f"{method.parameters / 1e6:.1f}"
    return seconds, "0" if method.parameters == 0 else parameters


def _margins(view: RunViews) -> list[str]:
    """The margins of a run, in short, and by category where the configuration says so."""
    found = [(one, compared) for one, compared in zip(view.run.margins, view.compared(), strict=True) if compared]
    parts = ["### Margins\n", f"{caption(view.mesh_counts)}\n"] if found else []
    for one, compared in found:
        parts.append(summary(one, compared))
        if one.by_category:
            parts.append(by_category(one, compared, view.mesh_counts))
    return parts


def _number(view: RunViews, method: str, metric: Metric, best: str) -> str:
    value = format_percent(view.value(method, metric))
    low, high = (format_percent(end) for end in view.interval(method, metric.name))
    shown = f"**{value}**" if value == best else value
    return shown if MISSING in (low, high) else f"{shown} ({low} to {high})"


def _best(view: RunViews, metric: Metric) -> str:
    """The best number as it is printed."""
    values = [view.value(name, metric) for name in view.tables]
    known = [value for value in values if not np.isnan(value)]
    return format_percent((max if metric.higher_is_better else min)(known)) if len(known) > 1 else ""


def _how(one: RunScores) -> str:
    threads = sorted({method.record.threads for method in one.methods.values() if method.record is not None})
    many = f" Times are medians over images, with {threads[0]} thread(s)." if len(threads) == 1 else ""
    return f"In parentheses 95 % bootstrap intervals over instances.{many}"


def _cases(one: RunScores, view: RunViews, page: Path) -> list[str]:
    """A picture a category: above the best case of the focused method, below the worst one."""
    if not view.run.pictured:
        return []
    folder = page.with_suffix("")
    make_folder(folder)
    objects = sorted(scored_objects(one), key=lambda scored: -scored.score)
    shown = "; ".join(["image", "given visible mask", *view.run.pictured, "ground truth"])
    text = f"Best (above) and worst case of *{view.run.focus}* in each category. From the left: {shown}. {COLORS}."
    parts = ["### Best and worst cases\n", f"{text}\n"]
    for category in one.tables[view.run.focus].names.values():
        own = [scored for scored in objects if scored.category == category]
        pair = [own[0], own[-1]] if len(own) > 1 else own
        file = folder / f"{file_stem(view.run.data)}-{file_stem(category)}.png"
        write_atomic(file, _png(_drawn(one, pair, view.run.pictured)))
        numbers = " and ".join(format_percent(100 * scored.score) for scored in pair)
        parts.append(f"{category}: IoU {numbers}\n\n![{category}]({folder.name}/{file.name})\n")
    return parts


def _drawn(one: RunScores, objects: Sequence[ScoredObject], pictured: tuple[str, ...]) -> NDArray[np.uint8]:
    return gallery(cases(one, objects, pictured), side=_SIDE)


def _png(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    small = PillowImage.fromarray(image).quantize(_COLORS, dither=PillowImage.Dither.NONE)
    small.save(buffer, "png", optimize=True)
    return buffer.getvalue()
