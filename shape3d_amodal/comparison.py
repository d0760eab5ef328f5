"""The pipeline beside the methods that learn nothing, on one data set: what the demo and the README's table show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.baselines import interface
from shape3d_amodal.baselines.convex_hull import ConvexHull
from shape3d_amodal.baselines.visible_only import VisibleOnly
from shape3d_amodal.completion import Completed, complete_dataset, to_result
from shape3d_amodal.data import masks
from shape3d_amodal.data.formats.coco_amodal import load_image
from shape3d_amodal.data.formats.results import AmodalResult
from shape3d_amodal.evaluation.completion import evaluate_completion
from shape3d_amodal.evaluation.completion_table import CompletionTable
from shape3d_amodal.pipeline import ShapePriorPipeline
from shape3d_amodal.structures import AmodalDataset, AmodalImage

SILHOUETTE = "silhouette"
FINAL = "ours"


@dataclass(frozen=True)
class Comparison:
    """What each method says, how it scores, and the pipeline's objects.

    Attributes:
        results: by method: "visible only", "convex hull", "silhouette" (the bare rendered mesh) and "ours".
        tables: their scores, under the same names.
        completed: what the pipeline gave, image by image.
    """

    results: dict[str, list[AmodalResult]]
    tables: dict[str, CompletionTable]
    completed: list[Completed]


def compare(
    pipeline: ShapePriorPipeline,
    dataset: AmodalDataset,
    images: Path,
    *,
    annotations: Path,
    fit_steps: int = 0,
) -> Comparison:
    """Run and score all of them; the arguments are those of ``complete_dataset``."""
    results = baseline_results(dataset, images, annotations=annotations)
    completed = list(complete_dataset(pipeline, dataset, images, annotations=annotations, fit_steps=fit_steps))
    results[SILHOUETTE] = list(_results(completed, silhouette=True))
    results[FINAL] = list(_results(completed, silhouette=False))
    return Comparison(results, score_all(dataset, results), completed)


def baseline_results(dataset: AmodalDataset, images: Path, *, annotations: Path) -> dict[str, list[AmodalResult]]:
    """The results of the methods that learn nothing, by name."""

    def read(image: AmodalImage) -> NDArray[np.uint8]:
        return load_image(images, image, file=annotations)

    methods: list[interface.CompletionMethod] = [VisibleOnly(), ConvexHull()]
    return {method.name: list(interface.run(method, dataset, read)) for method in methods}


def score_all(dataset: AmodalDataset, results: dict[str, list[AmodalResult]]) -> dict[str, CompletionTable]:
    return {name: evaluate_completion(dataset, own) for name, own in results.items()}


def _results(completed: Iterable[Completed], *, silhouette: bool) -> Iterator[AmodalResult]:
    for image, objects in completed:
        for instance, one in objects:
            result = to_result(image, instance, one, mesh=None)
            if silhouette:  # bare, not joined with the visible mask
                bare, hidden = masks.encode(one.silhouette), masks.encode(one.silhouette & ~one.visible)
                result = replace(result, segmentation=bare, occluded=hidden)
            yield result
