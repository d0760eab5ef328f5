"""Masks packed while JSON is parsed: lists of numbers become arrays, all else stays for the readers to refuse."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import numpy as np
import pytest

from shape3d_amodal.annotations.formats.fields import pack_masks


def packed(text: str) -> Any:
    return json.loads(text, object_hook=partial(pack_masks, keys=("segmentation", "a_segm")))


@pytest.mark.parametrize(
    ("text", "dtype"),
    [
        ("[0, 1, 2, 3, 4, 32767]", np.int16),
        ("[0, 1, 2, 3, 4, 32768]", np.float64),
        ("[0.5, 1, 2, 3, 4, 5]", np.float64),
        ("[-7, 1e30, 2, 3, 4, 5]", np.float64),
    ],
)
def test_polygons(text: str, dtype: type) -> None:
    flat = packed(f'{{"segmentation": {text}}}')["segmentation"]
    (listed,) = packed(f'{{"a_segm": [{text}]}}')["a_segm"]
    for polygon in (flat, listed):
        assert polygon.dtype == dtype
        assert polygon.tolist() == json.loads(text)


def test_runs() -> None:
    counts = packed('{"i_segm": {"size": [2, 3], "counts": [1, 5]}}')["i_segm"]["counts"]
    assert counts.dtype == np.int64
    assert counts.tolist() == [1, 5]


@pytest.mark.parametrize(
    "text",
    [
        '{"segmentation": []}',
        '{"segmentation": "text"}',
        '{"segmentation": ["a", 1]}',
        '{"segmentation": [["a", 1]]}',
        '{"segmentation": [[null]]}',
        '{"segmentation": [[[0, 1], [2, 3]]]}',
        '{"counts": ["1"]}',
        '{"counts": [1.5]}',
        '{"counts": [100000000000000000000]}',
        '{"counts": "P3"}',
        '{"bbox": [0, 1, 2, 3]}',
    ],
)
def test_what_is_no_list_of_numbers_stays(text: str) -> None:
    assert packed(text) == json.loads(text)
