"""The bounds of few layers, against a plain count and against Table 2 of the paper."""

from __future__ import annotations

import numpy as np
import pytest

from shape3d_amodal.papers.layered.sets import Shapes2dSetConfig, layer_bounds
from shape3d_amodal.papers.layered.shapes2d import Shapes2dConfig, make_shapes

TABLE_2 = {
    (6, 2): (0.8584, 0.9604, 0.8627),
    (6, 3): (0.9703, 0.9901, 0.9744),
    (12, 2): (0.6594, 0.8317, 0.6611),
    (12, 3): (0.8703, 0.9703, 0.8729),
    (12, 4): (0.9584, 0.9901, 0.9629),
}
"""AP, AP50 and AR100 by instances a class and layers."""


def _recall(config: Shapes2dConfig, count: int, layers: int) -> float:
    """Mean over thresholds of the share of instances whose first layers have that IoU."""
    shares = []
    for index in range(count):
        whole, _ = make_shapes(config, 0, index).on_grid(4)
        order = whole.cumsum(axis=0)  # which shape from the front each one is, at each pixel
        shares += ((whole & (order <= layers)).sum(axis=(1, 2)) / whole.sum(axis=(1, 2))).tolist()
    return float(np.mean([np.mean(np.array(shares) >= threshold) for threshold in np.linspace(0.5, 0.95, 10)]))


def test_recall_is_that_of_a_plain_count() -> None:
    shapes = Shapes2dConfig(per_class=6)
    tables = layer_bounds(Shapes2dSetConfig(shapes=shapes, count=8), (1, 2, 36))
    for layers in (1, 2):
        assert tables[layers].score["amodal_ar100"] == pytest.approx(_recall(shapes, 8, layers))
    assert tables[36].score["amodal_ap"] == 1.0
    assert tables[2].by_level()["none"]["amodal_ar100"] == 1.0


def test_average_precision_is_recall_in_steps() -> None:
    """No false positive stands before a true one, so that the precision is 1 up to the recall and 0 beyond."""
    table = layer_bounds(Shapes2dSetConfig(shapes=Shapes2dConfig(per_class=6), count=8), (1,))[1]
    steps = 101 * table.score["amodal_ap50"]
    assert steps == pytest.approx(round(steps))
    assert 0 <= table.score["amodal_ap"] - table.score["amodal_ar100"] + 0.01 <= 0.02


@pytest.mark.slow
@pytest.mark.parametrize("per_class", [6, 12])
def test_the_bounds_are_those_of_the_paper(per_class: int) -> None:
    config = Shapes2dSetConfig(shapes=Shapes2dConfig(per_class=per_class), seed=2019)
    own = {layers: values for (number, layers), values in TABLE_2.items() if number == per_class}
    for layers, table in layer_bounds(config, tuple(own)).items():
        found = [table.score[name] for name in ("amodal_ap", "amodal_ap50", "amodal_ar100")]
        assert found == pytest.approx(own[layers], abs=0.02)
