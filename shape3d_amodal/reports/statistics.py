"""The statistics of a data set as Markdown and as charts, after tables 1 and 2 and figure 4 of the KINS paper."""

from __future__ import annotations

from collections import Counter
from io import BytesIO
from typing import TYPE_CHECKING

from shape3d_amodal.annotations.statistics import KINDS, LEVELS, DatasetStatistics
from shape3d_amodal.evaluation.tables import counted, markdown_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

_COLORS = {"inmodal": "#7a8ea8", "amodal": "#c2571a"}
_CLASSES = 20  # drawn by name; free text gives thousands


def to_markdown(found: DatasetStatistics, *, title: str) -> str:
    """All tables; the paper's numbers for KINS stand in its own tables 1 and 2."""
    facts = found.to_dict()
    rows = [
        ("images", f"{found.images:,}"),
        ("objects", f"{found.objects:,}"),
        ("objects an image", _number(facts["objects_an_image"])),
        ("pixels inside an amodal mask", _percent(facts["covered_share"])),
        ("objects that are occluded", _percent(facts["occluded_share"])),
        ("mean occlusion of those", _percent(facts["mean_occlusion_of_occluded"])),
        ("objects that are fully hidden", f"{found.hidden:,}"),
    ]
    levels = {f"{i / LEVELS:.1f} to {(i + 1) / LEVELS:.1f}": count for i, count in enumerate(found.levels())}
    shapes = [
        (measure, *(_number(facts["shapes"][kind][measure], 3) for kind in KINDS))
        for measure in ("convexity", "simplicity")
    ]
    parts = [
        f"# Statistics of {title}\n",
        markdown_table(("measure", "value"), rows),
        "## Objects by class\n",
        markdown_table(("class", "objects", "share"), _shares(found.by_class)),
        "## Shape: mean convexity and simplicity\n",
        markdown_table(("", *KINDS), shapes),
        "## Occlusion level of the occluded objects\n",
        markdown_table(("hidden / amodal area", "objects", "share"), _shares(levels)),
        "## Max occlusion order: occluded objects in a cluster of two or more\n",
        markdown_table(("order", "clusters", "share"), _shares(_by_key(found.max_orders))),
        "## Max match number: other objects that an object overlaps\n",
        markdown_table(("number", "objects", "share"), _shares(_by_key(found.matches))),
    ]
    return "\n".join(parts)


def draw_statistics(found: DatasetStatistics, *, title: str) -> bytes:
    """Six charts as one PNG."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    stream = BytesIO()
    with rc_context({"text.parse_math": False}):  # names of classes are no formulas
        figure = Figure(figsize=(13, 7.5), layout="constrained")
        figure.suptitle(f"{title}: {counted(found.objects, 'object')} in {counted(found.images, 'image')}")
        (classes, levels, orders), (convexity, simplicity, matches) = figure.subplots(2, 3)
        _draw_classes(classes, found)
        edges = [index / LEVELS for index in range(LEVELS)]
        levels.bar(edges, found.levels(), width=0.9 / LEVELS, align="edge", color=_COLORS["amodal"])
        _name(levels, "occlusion level", "hidden / amodal area", "occluded objects", levels.yaxis)
        _draw_shape(convexity, found, 0, "convexity")
        _draw_shape(simplicity, found, 1, "simplicity")
        for axes, counts in ((orders, found.max_orders), (matches, found.matches)):
            axes.bar(list(counts), list(counts.values()), color=_COLORS["amodal"])
        _name(orders, "max occlusion order", "occluded objects in a cluster", "clusters", orders.xaxis, orders.yaxis)
        _name(matches, "max match number", "overlapping objects", "objects", matches.xaxis, matches.yaxis)
        figure.savefig(stream, format="png", dpi=110)
    return stream.getvalue()


def _draw_classes(axes: Axes, found: DatasetStatistics) -> None:
    names = list(found.by_class)[:_CLASSES]
    axes.barh([name[:24] for name in names], [found.by_class[name] for name in names], color=_COLORS["amodal"])
    axes.invert_yaxis()
    more = len(found.by_class) - len(names)
    _name(axes, "objects by class" + (f", {more} more classes" if more else ""), "objects", "", axes.xaxis)


def _draw_shape(axes: Axes, found: DatasetStatistics, place: int, name: str) -> None:
    """The distribution of convexity (0) or simplicity (1), with the means in the legend."""
    for kind in KINDS:
        values = [shape[place] for shape in found.shapes[kind]]
        if values:
            label = f"{kind}, mean {sum(values) / len(values):.3f}"
            axes.hist(values, bins=25, range=(0, 1), histtype="step", linewidth=2, color=_COLORS[kind], label=label)
    if axes.get_legend_handles_labels()[0]:
        axes.set_ylim(top=1.25 * axes.get_ylim()[1])
        axes.legend(loc="upper left", frameon=False)
    _name(axes, name, name, "objects", axes.yaxis)


def _name(axes: Axes, title: str, x: str, y: str, *counts: Axis) -> None:
    """Name the chart and its axes, ``counts`` among them, which show whole numbers alone."""
    from matplotlib.ticker import MaxNLocator

    for axis in counts:
        axis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)


def _shares(counts: dict[str, int]) -> list[tuple[str, ...]]:
    total = sum(counts.values())
    return [(name, f"{count:,}", _percent(count / total if total else None)) for name, count in counts.items()]


def _by_key(counts: Counter[int]) -> dict[str, int]:
    return {str(key): counts[key] for key in sorted(counts)}


def _number(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"
