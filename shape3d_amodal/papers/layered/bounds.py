"""How well masks of few layers of depth can do at best: Table 2 of Layered Embeddings (Liu et al., 2019).

Each instance gets those of its pixels that lie in the first layers. Every instance has one such mask, ranked by its
true IoU: all of the paper's numbers are multiples of 1/101 (of 1/1010 for the mean over ten thresholds), which they are
only if no false positive stands before a true one. Classes do not count, as in the authors' evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shape3d_amodal import masks
from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.evaluation.instance.evaluator import InstanceEvaluator
from shape3d_amodal.evaluation.interface import ScoreTable
from shape3d_amodal.evaluation.workers import score
from shape3d_amodal.papers.layered.sets import CATEGORIES, Shapes2dSetConfig, annotated_scenes, enlarge
from shape3d_amodal.papers.layered.shapes2d import depth_layers
from shape3d_amodal.structures import AmodalDataset, AmodalImage


def layer_bounds(config: Shapes2dSetConfig, layers: Sequence[int]) -> dict[int, ScoreTable]:
    """The scores of perfect masks of as many ``layers``, by their number.

    Raises:
        DataError: there are no shapes in the scenes.
    """
    images: list[AmodalImage] = []
    results: dict[int, list[AmodalResult]] = {count: [] for count in layers}
    for scene, image in annotated_scenes(config):
        images.append(image)
        whole, _ = scene.on_grid(config.stride)
        depths = depth_layers(whole, max(layers))
        for count, own in results.items():
            for number, amodal in enumerate(whole, 1):
                kept = np.any(depths[:count] == number, axis=0)
                own.append(
                    AmodalResult(
                        image_id=image.id,
                        category_id=CATEGORIES[0].id,  # any, for classes do not count
                        score=float(kept.sum() / amodal.sum()),
                        segmentation=masks.encode(enlarge(kept, config.stride)),
                    )
                )
    dataset = AmodalDataset(images=tuple(images), categories=CATEGORIES)
    return {count: score(InstanceEvaluator(dataset, class_agnostic=True), own) for count, own in results.items()}
