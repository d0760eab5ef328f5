"""Names of shapes by tracks, and rows that may not be drawn."""

from __future__ import annotations

import numpy as np

from shape3d_amodal.training.tasks.pairs import ShapePairs, tracks


def test_crops_without_a_track_are_alone() -> None:
    shape = ShapePairs(tracks(np.array([4, -1, 4, -1, 7]))).shape
    assert shape[0] == shape[2] and len(set(shape.tolist())) == 4


def test_rows_that_are_not_usable_are_in_no_pair() -> None:
    pairs = ShapePairs(np.array(["a", "a", "a", "b", "b"]), np.array([0, 1, 3]))
    drawn = pairs.drawn_into(np.zeros(40, np.int64), 1.0, np.random.default_rng(0))
    assert set(drawn.tolist()) == {0, 1}
