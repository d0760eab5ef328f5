"""Draw what a trained ARCNN has learned of who hides whom, for one category (figure 5 of its paper).

python scripts/plot_stitching.py outputs/open13/arcnn_small/weights chair chair.png
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from shape3d_amodal.baselines.rcnn.arcnn import ArcnnHead
from shape3d_amodal.drawing.stitching import draw_stitching
from shape3d_amodal.errors import AmodalError, UsageError
from shape3d_amodal.files.atomic import make_folder, write_atomic
from shape3d_amodal.files.pretrained import load_network
from shape3d_amodal.segmentation.model import Rcnn
from shape3d_amodal.segmentation.systems import RcnnConfig


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path, help="folder of weights that a training of arcnn wrote")
    parser.add_argument("category", help="whose amodal mask it is")
    parser.add_argument("out", type=Path, help="PNG file to write")
    given = parser.parse_args(arguments)
    try:
        make_folder(given.out.parent)
        write_atomic(given.out, picture(given.weights, given.category))
    except AmodalError as error:
        parser.exit(error.exit_status, f"error: {error}\n")


def picture(weights: Path, category: str) -> bytes:
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


if __name__ == "__main__":
    main()
