"""Results that leave out what was asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn import CATEGORIES, dataset, drawn, instance, result

from shape3d_amodal.errors import DataError
from shape3d_amodal.evaluation.given_masks.evaluator import refuse_missing

CHAIR = CATEGORIES[0].id
PIXEL, PAIR = drawn("#.."), drawn("##.")


def refuse(count: int, found: int) -> None:
    """``count`` objects with a pixel that is visible, beside one wholly hidden, one ignored and one without a mask."""
    asked = [instance(10 + i, CHAIR, PIXEL, PAIR) for i in range(count)]
    hidden, ignored = instance(1, CHAIR, np.zeros_like(PIXEL), PAIR), replace(asked[0], id=2, ignore=True)
    data = dataset(hidden, ignored, instance(3, CHAIR, PIXEL, None), *asked)
    results = [result(10 + i, CHAIR, PAIR) for i in range(found)]
    refuse_missing(data, results, file=Path("r.json"), option="--missing 0")


def test_answers_with_a_chance_are_beside_the_result_that_is_wanted() -> None:
    answer = replace(result(10, CHAIR, PAIR), chance=0.5)
    with pytest.raises(DataError, match="1 have none"):
        refuse_missing(dataset(instance(10, CHAIR, PIXEL, PAIR)), [answer], file=Path("r.json"), option="--missing 0")


def test_all_there() -> None:
    refuse(3, 3)


@pytest.mark.parametrize(
    ("found", "ids"),
    [
        (6, "1 have none (id 16);"),
        (2, "5 have none (id 12, 13, 14, 15, 16);"),
        (1, "6 have none (id 11, 12, 13, 14, 15, ...);"),
    ],
)
def test_what_is_missing_is_named(found: int, ids: str) -> None:
    with pytest.raises(DataError) as caught:
        refuse(7, found)
    message = str(caught.value)
    assert message.startswith("r.json: ") and f"expected a result for each of 7 annotations, {ids}" in message
    assert message.endswith("count them as 0 with --missing 0")
