"""Samples and scores of hidden parts, on masks of four pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from shape3d_amodal.errors import UsageError
from shape3d_amodal.structures import InstanceCrops, SupervisedCrops
from shape3d_amodal.training.tasks.scores import clearly_hidden, completion_scores, mask_iou, partly_hidden

HIDDEN = np.array([0.0, 0.02, 0.03, 0.1, 0.11, 1.0], np.float32)


def masks(*rows: list[int]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 2, 2)


def test_rows_with_a_hidden_part() -> None:
    assert partly_hidden(HIDDEN, "pool").tolist() == [2, 3, 4, 5]
    assert clearly_hidden(np.array([0.1, 0.11, 1.0], np.float64)).tolist() == [1, 2]


def test_nothing_hidden_is_told_by_its_place() -> None:
    told = "^train: expected crops with a hidden part, none of 2 .*train.count, or learn .*supervision=visible$"
    with pytest.raises(UsageError, match=told):
        partly_hidden([0.0, 0.01], "train")


def test_iou_of_masks() -> None:
    a, b = masks([1, 1, 0, 0], [0, 0, 0, 0]) > 0, masks([1, 0, 1, 0], [0, 0, 0, 0]) > 0
    assert mask_iou(a, b).tolist() == pytest.approx([1 / 3, 0])


def test_scores_are_means_over_all_crops_not_over_batches() -> None:
    # Objects of four, three and two pixels, of each of which one is seen.
    truth, seen = masks([1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0]), masks([1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0])
    found = masks([1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 0])
    both, third = [0, 1], [2]
    scores = completion_scores((batch(truth[rows], seen[rows]), {"final": found[rows]}) for rows in (both, third))
    assert scores["final_iou"] == pytest.approx(100 * (2 / 4 + 3 / 3 + 1 / 2) / 3)
    assert scores["final_occluded_iou"] == pytest.approx(100 * (1 / 3 + 2 / 2 + 0 / 1) / 3)


def batch(truth: Tensor, seen: Tensor) -> SupervisedCrops:
    count = len(truth)
    crops = InstanceCrops(
        rgb=torch.zeros(count, 3, 2, 2),
        visible=seen,
        occluder=truth - seen,
        category=torch.zeros(count, dtype=torch.int64),
        window=torch.zeros(count, 4),
    )
    return SupervisedCrops(crops, truth)
