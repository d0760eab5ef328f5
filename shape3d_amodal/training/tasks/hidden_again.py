"""Validation without amodal masks: what is visible is hidden once more, always in the same way, and known beneath."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.crops.reocclusion import Covers, reocclude
from shape3d_amodal.crops.sources import CropSource
from shape3d_amodal.structures import SupervisedCrops
from shape3d_amodal.training.tasks.scores import VALIDATION_BATCH, batches, clearly_hidden

_PURPOSE = 1_006
_MOST = 512
"""Crops that are validated on, at most."""


def hidden_again(crops: CropSource) -> Iterator[SupervisedCrops]:
    """Batches of crops of which an eraser has hidden over 10 % of what was visible; ``amodal`` is what was visible.

    Which crops, and what hides them, depends on ``crops`` alone.
    """
    parts = (hidden_batch(crops, number) for number in range(hidden_batches(crops)))
    return (batch for batch in parts if len(batch.amodal))


def hidden_batches(crops: CropSource) -> int:
    """How many batches there are."""
    return len(batches(spread(len(crops.hidden)), VALIDATION_BATCH))


def hidden_batch(crops: CropSource, number: int) -> SupervisedCrops:
    """The batch of this number, from 0; it may be empty."""
    rows = batches(spread(len(crops.hidden)), VALIDATION_BATCH)[number]
    given, generator = crops.supervised(rows).crops, np.random.default_rng((_PURPOSE, number))
    batch = reocclude(given, given, Covers.draw(generator, np.arange(len(given))))
    assert batch.known is not None
    whole = (batch.amodal * batch.known).sum(dim=(1, 2))
    left = (batch.crops.visible * batch.known).sum(dim=(1, 2))
    return batch[clearly_hidden(1 - left / whole.clamp(min=1)).tolist()]


def spread(count: int) -> NDArray[np.int64]:
    """Up to ``_MOST`` of ``count`` rows, evenly spread."""
    return np.linspace(0, count - 1, min(count, _MOST)).round().astype(np.int64)
