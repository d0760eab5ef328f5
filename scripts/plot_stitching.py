"""Draw what a trained ARCNN has learned of who hides whom, for one category (figure 5 of its paper).

python scripts/plot_stitching.py outputs/open13/arcnn_small/weights chair chair.png
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from shape3d_amodal.baselines.rcnn.arcnn import ArcnnHead
from shape3d_amodal.errors import AmodalError, UsageError
from shape3d_amodal.files.atomic import make_folder, write_atomic
from shape3d_amodal.files.pretrained import load_network
from shape3d_amodal.segmentation.model import Rcnn
from shape3d_amodal.segmentation.systems import RcnnConfig

_COLORS = {"visible": "#7a8ea8", "occluded": "#c2571a"}
_INCHES_A_CATEGORY = 0.3


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path, help="folder of weights that a training of arcnn wrote")
    parser.add_argument("category", help="whose amodal mask it is")
    parser.add_argument("out", type=Path, help="PNG file to write")
    given = parser.parse_args(arguments)
    try:
        make_folder(given.out.parent)
        write_atomic(given.out, chart(given.weights, given.category))
    except AmodalError as error:
        parser.exit(error.exit_status, f"error: {error}\n")


def chart(weights: Path, category: str) -> bytes:
    """The chart as a PNG.

    Raises:
        WeightsError: the weights cannot be used.
        UsageError: they are of another system, or know no such category.
    """
    model, config = load_network(weights, RcnnConfig, Rcnn)
    if not isinstance(model.mask_head, ArcnnHead):
        raise UsageError(f"{weights}: expected weights of arcnn, got {config.system}; the others stitch nothing")
    names = config.detector.categories
    if category not in names:
        raise UsageError(f"category: expected one of {', '.join(names)}, got {category!r}")
    row = names.index(category)
    visible, occluded = (weight[row].tolist() for weight in model.mask_head.weights())
    return draw_stitching(category, names, visible, occluded)


@rc_context({"text.parse_math": False})  # names of categories are no formulas
def draw_stitching(category: str, names: Sequence[str], visible: Sequence[float], occluded: Sequence[float]) -> bytes:
    """``stitching_figure`` as a PNG."""
    stream = BytesIO()
    stitching_figure(category, names, visible, occluded).savefig(stream, format="png", dpi=110)
    return stream.getvalue()


def stitching_figure(
    category: str, names: Sequence[str], visible: Sequence[float], occluded: Sequence[float]
) -> Figure:
    """The weights by which the masks of all categories enter the amodal mask of one.

    By the paper's reading, a weight above zero says that this mask and the amodal mask go together; that of another
    category's visible mask, how much it hides ``category``, and that of its occluded mask, how much ``category`` hides
    it. The weights of its own masks, which are larger by far, have an axis of their own.

    Args:
        category: whose amodal mask it is; one of ``names``.
        names: all C categories, along the axis.
        visible, occluded: their C weights, the rows of VW and OW (equation 1) of ``category``.
    """
    own = names.index(category)
    rows = [row for row in ([own], [i for i in range(len(names)) if i != own]) if row]
    width = max(6.5, 3 + _INCHES_A_CATEGORY * len(names))
    figure = Figure(figsize=(width, 4), layout="constrained")
    figure.suptitle(f"Weights of all masks in the amodal mask of {category}")
    panels = figure.subplots(1, len(rows), width_ratios=[max(2, len(row)) for row in rows], squeeze=False)[0]
    for axes, row in zip(panels, rows, strict=True):
        _panel(axes, [names[i] for i in row], [visible[i] for i in row], [occluded[i] for i in row])
    panels[0].set_ylabel("weight")
    panels[-1].legend(*panels[-1].get_legend_handles_labels(), frameon=False, ncols=2, loc="upper right")
    return figure


def _panel(axes: Axes, names: Sequence[str], visible: Sequence[float], occluded: Sequence[float]) -> None:
    for label, values, side in (("visible", visible, -0.2), ("occluded", occluded, 0.2)):
        places = [place + side for place in range(len(names))]
        axes.bar(places, values, 0.4, color=_COLORS[label], label=f"{label} mask")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(names)), [name[:24] for name in names], rotation=60, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.margins(y=0.15)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
