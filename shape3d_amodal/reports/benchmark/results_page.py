"""A benchmark as a page of documentation: what was aimed at, tables, margins, and images beside it, as Markdown.

``report.html`` has everything; this page has what a reader of the repository should see, and lies in it.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image as PillowImage

from shape3d_amodal.benchmarking.config import AimConfig, file_stem
from shape3d_amodal.benchmarking.runner import MethodScore, RunScores
from shape3d_amodal.drawing.overlays import Image
from shape3d_amodal.evaluation.tables import MISSING, Table, format_percent, markdown_table, summary_table
from shape3d_amodal.files.atomic import make_folder, write_atomic, write_text_atomic
from shape3d_amodal.reports.benchmark.aims import checklist, outcomes
from shape3d_amodal.reports.benchmark.completion_cases import cases, scored_objects
from shape3d_amodal.reports.benchmark.facts import facts_of, protocol
from shape3d_amodal.reports.benchmark.margin_lines import by_category, caption, summary
from shape3d_amodal.reports.benchmark.report import ExtraRun
from shape3d_amodal.reports.benchmark.tables import RunTables, title_of
from shape3d_amodal.reports.cases import COLORS, gallery

_SIDE = 112  # of an image, in pixels
_AIMED = (
    "Percent, or points over others. Met or missed is said of the number itself; in parentheses its 95 % bootstrap "
    "interval, drawn as those of the margins below."
)
_COLORS = 128  # of an image: a third of the bytes, and hardly visible


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
    """Write the page ``path``, and its images into the folder beside it that bears its name.

    Args:
        title, intro: plain text.
        command: the command line that makes the page again.
        extra: tables beside the runs.
        aims: the checklist at the top.

    Raises:
        DataError: a file cannot be written, or an image not be read.
        UsageError: an aim is about a category that its run does not have.
    """
    make_folder(path.parent)
    runs = [RunTables(one) for one in scores]
    parts = [f"# {title}\n", f"{' '.join(intro.split())}\n", f"    {command}\n"]
    if aims:
        parts += ["## What was aimed at\n", f"{_AIMED}\n", checklist(outcomes(aims, scores))]
    for run in runs:
        parts += [f"## {run.run.title}\n", f"{protocol(run.scores)} {_how(run.scores)}\n", _headline(run)]
        parts += [f"{_named(table)}\n\n{table.to_markdown()}" for table in run.categories()]
        parts += _margins(run)
        parts += _cases(run, path)
    for one in extra:
        parts += [f"## {one.title}\n", f"{one.note}\n", *one.page]
    metrics = {metric.name: metric for run in runs for metric in run.main}
    parts += [
        "## How it was measured\n",
        "".join(f"- {metric.title}: {metric.formula}\n" for metric in metrics.values()),
    ]
    parts.append("".join(f"- {name}: {value}\n" for name, value in facts_of(scores, command, notes=False)))
    write_text_atomic(path, "\n".join(parts))


def _named(table: Table) -> str:
    return f"{table.title}; {table.note}" if table.note else table.title


def _headline(run: RunTables) -> str:
    """A line a method: the main metrics with their intervals, its cost, and what one should know of it."""
    methods = run.scores.methods
    trained = any(method.options.trained for method in methods.values())
    told = ["note", "trained for"] if trained else ["note"]
    head = ["method", *map(title_of, run.main), "s an object", "parameters, million", *told]
    lines = []
    for name, cells in summary_table(run.of_methods, metrics=run.main).lines():
        options, numbers = methods[name].options, []
        for metric, (value, best) in zip(run.main, cells, strict=True):
            low, high = map(format_percent, run.interval(name, metric))
            interval = "" if MISSING in (low, high) else f" ({low} to {high})"
            numbers.append(f"**{value}**{interval}" if best else f"{value}{interval}")
        lines.append([name, *numbers, *_costs(methods[name]), *[options.note, options.trained][: len(told)]])
    return markdown_table(head, lines, ["---", *["---:"] * (len(run.main) + 2), *["---"] * len(told)])


def _costs(method: MethodScore) -> tuple[str, str]:
    """Seconds an object, and millions of parameters."""
    seconds = MISSING if method.seconds is None else f"{method.seconds:.3f}"
    parameters = MISSING if method.parameters is None else f"{method.parameters / 1e6:.1f}"
    return seconds, "0" if method.parameters == 0 else parameters


def _margins(run: RunTables) -> list[str]:
    """The margins of a run, in short, and by category where the configuration says so."""
    found = run.compared()
    counts = run.scores.mesh_counts
    parts = ["### Margins\n", f"{caption(counts)}\n"] if found else []
    for one, compared in found:
        parts.append(summary(one, compared))
        if one.by_category:
            parts.append(by_category(one, compared, counts))
    return parts


def _how(one: RunScores) -> str:
    threads = sorted({method.record.threads for method in one.methods.values() if method.record is not None})
    many = f" Times are medians over images, with {threads[0]} thread(s)." if len(threads) == 1 else ""
    return f"In parentheses 95 % bootstrap intervals over instances.{many}"


def _cases(run: RunTables, page: Path) -> list[str]:
    """An image a category: above the best case of the focused method, below the worst one."""
    config, scores = run.run, run.scores
    if not config.pictured:
        return []
    folder = page.with_suffix("")
    make_folder(folder)
    objects = sorted(scored_objects(scores), key=lambda scored: -scored.score)
    shown = "; ".join(["image", "given visible mask", *config.pictured, "ground truth"])
    text = f"Best (above) and worst case of *{config.focus}* in each category. From the left: {shown}. {COLORS}."
    parts = ["### Best and worst cases\n", f"{text}\n"]
    for category in run.of_methods[config.focus].names.values():
        own = [scored for scored in objects if scored.category == category]
        pair = [own[0], own[-1]] if len(own) > 1 else own
        file = folder / f"{file_stem(config.data)}-{file_stem(category)}.png"
        write_atomic(file, _small_png(gallery(cases(scores, pair, config.pictured), side=_SIDE)))
        numbers = " and ".join(format_percent(100 * scored.score) for scored in pair)
        parts.append(f"{category}: IoU {numbers}\n\n![{category}]({folder.name}/{file.name})\n")
    return parts


def _small_png(image: Image) -> bytes:
    buffer = io.BytesIO()
    small = PillowImage.fromarray(image).quantize(_COLORS, dither=PillowImage.Dither.NONE)
    small.save(buffer, "png", optimize=True)
    return buffer.getvalue()
