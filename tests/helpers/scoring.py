"""Results scored in one go, and the boundary band that they are compared with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy import ndimage

from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.evaluation.given_masks.completion import CompletionEvaluator, CompletionTable
from shape3d_amodal.evaluation.given_masks.multimodal import MultimodalEvaluator, MultimodalTable
from shape3d_amodal.evaluation.instance.evaluator import InstanceEvaluator
from shape3d_amodal.evaluation.instance.table import InstanceTable
from shape3d_amodal.structures import AmodalDataset


def evaluate_completion(
    dataset: AmodalDataset, results: Iterable[AmodalResult], *, file: str | None = None, **options: Any
) -> CompletionTable:
    evaluator = CompletionEvaluator(dataset, **options)
    evaluator.process(results, file=file)
    return evaluator.evaluate()


def evaluate_multimodal(dataset: AmodalDataset, results: Iterable[AmodalResult]) -> MultimodalTable:
    evaluator = MultimodalEvaluator(dataset)
    evaluator.process(results)
    return evaluator.evaluate()


def evaluate_instances(
    dataset: AmodalDataset, results: Iterable[AmodalResult], *, file: str | None = None, **options: Any
) -> InstanceTable:
    evaluator = InstanceEvaluator(dataset, **options)
    evaluator.process(results, file=file)
    return evaluator.evaluate()


def boundary(mask: np.ndarray, reach: int) -> np.ndarray:
    """The pixels of a mask [H,W] bool that lie within ``reach`` pixels of its contour or of the image's border."""
    return mask & ~ndimage.binary_erosion(mask, np.ones((2 * reach + 1, 2 * reach + 1)))
