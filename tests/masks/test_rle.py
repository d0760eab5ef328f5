"""Mask codes against hand-written codes, a plain encoder in Python, and numpy on whole masks."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from shape3d_amodal import masks
from shape3d_amodal.errors import DataError
from shape3d_amodal.structures import Rle

QUICK = settings(max_examples=60, deadline=None)
LONG = settings(max_examples=1000, deadline=None)

MASKS = array_shapes(min_dims=2, max_dims=2, max_side=24).flatmap(lambda shape: arrays(np.bool_, shape))
PAIRS = array_shapes(min_dims=2, max_dims=2, max_side=24).flatmap(
    lambda shape: st.tuples(arrays(np.bool_, shape), arrays(np.bool_, shape))
)
BOXES = st.tuples(*[st.integers(0, 19), st.integers(0, 14), st.integers(1, 20), st.integers(1, 15)])
LETTERS = st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=30)


def runs_of(mask: np.ndarray) -> list[int]:
    """Run lengths, column by column, background first."""
    pixels = mask.ravel(order="F").tolist()
    runs = [len(list(group)) for _, group in groupby(pixels)]
    return [0, *runs] if pixels[0] else runs


def text_of(runs: list[int]) -> str:
    """COCO's text of ``runs``: differences of runs two apart from the fourth on, in groups of five bits with a sign."""
    letters = ""
    for index, run in enumerate(runs):
        value = run - runs[index - 2] if index > 2 else run
        more = True
        while more:
            group, value = value & 31, value >> 5
            more = value != (-1 if group & 16 else 0)
            letters += chr(48 + group + 32 * more)
    return letters


def disc(height: int, width: int, row: float, column: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


def parse(value: object, height: int = 4, width: int = 5) -> Rle:
    return masks.from_annotation(value, height, width, file="set.json", field="annotations[0].visible_mask")


@pytest.mark.parametrize(
    ("runs", "text"),
    [
        ([5, 3, 12], "53<"),
        ([2, 3, 4, 1, 10], "234N6"),  # 1 - 3 = -2 is 30 with the sign bit, 10 - 4 = 6
        ([0, 20], "0d0"),  # 20 has its fifth bit set, so a group of zero follows it
        ([20], "d0"),
    ],
)
def test_codes_by_hand(runs: list[int], text: str) -> None:
    pixels = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    expected = pixels.reshape(5, 4).T
    assert text_of(runs) == text
    for counts in (runs, text, text.encode()):
        np.testing.assert_array_equal(masks.decode(parse({"size": [4, 5], "counts": counts})), expected)
    assert masks.encode(expected) == Rle(4, 5, text)


@pytest.mark.parametrize(
    ("counts", "runs"),
    [
        ([3, 4, 0, 0, 13], [3, 4, 13]),
        ([0, 0, 0, 20], [0, 20]),
        ([5, 3, 12, 0], [5, 3, 12]),
        ([4, 4, 0, 12], [4, 16]),
        ("4408", [4, 16]),  # the same, compressed: 12 - 4 = 8
    ],
)
def test_empty_runs_are_dropped(counts: list[int] | str, runs: list[int]) -> None:
    assert parse({"size": [4, 5], "counts": counts}).counts == text_of(runs)


def round_trip(mask: np.ndarray) -> None:
    rle = masks.encode(mask)
    height, width = mask.shape
    assert rle.counts == text_of(runs_of(mask))
    np.testing.assert_array_equal(masks.decode(rle), mask)
    assert masks.area(rle) == mask.sum()
    assert parse(rle.to_coco(), height, width) == rle
    assert parse({"size": [height, width], "counts": runs_of(mask)}, height, width) == rle
    assert masks.encode(mask.astype(np.uint8) * 255) == rle


def box_is_tight(mask: np.ndarray) -> None:
    rows, columns = np.nonzero(mask)
    expected = (0, 0, 0, 0)
    if len(rows):
        expected = (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
    assert masks.bbox(masks.encode(mask)) == expected


def crop_is_the_box(mask: np.ndarray) -> None:
    cut, left, top = masks.crop(masks.encode(mask))
    height, width = cut.shape
    np.testing.assert_array_equal(cut, mask[top : top + height, left : left + width])
    assert cut.sum() == mask.sum()
    if mask.any():
        assert cut[0].any() and cut[-1].any() and cut[:, 0].any() and cut[:, -1].any()


def set_operations(pair: tuple[np.ndarray, np.ndarray]) -> None:
    first, second = pair
    codes = masks.encode(first), masks.encode(second)
    assert masks.subtract(*codes) == masks.encode(first & ~second)
    assert masks.union(codes) == masks.encode(first | second)
    assert masks.overlap(*codes) == (first & second).sum()
    if first.any():
        rate = masks.occlude_rate(visible=codes[1], amodal=codes[0])
        assert rate == pytest.approx((first & ~second).sum() / first.sum())


def box_polygon(box: tuple[int, int, int, int]) -> None:
    x, y, width, height = box
    expected = np.zeros((30, 40), dtype=bool)
    expected[y : y + height, x : x + width] = True
    corners = [x, y, x + width, y, x + width, y + height, x, y + height]
    assert masks.bbox(parse([corners], 30, 40)) == (x, y, width, height)
    np.testing.assert_array_equal(masks.decode(parse([corners], 30, 40)), expected)
    np.testing.assert_array_equal(masks.decode(parse([float(corner) for corner in corners], 30, 40)), expected)


def convex_polygon(seed: int) -> None:
    """Pixels more than a pixel inside all edges are in, those more than a pixel outside any edge are not."""
    generator = np.random.default_rng(seed)
    angles = np.sort(generator.uniform(0, 2 * np.pi, generator.integers(3, 9)))
    corners = [20, 15] + generator.uniform(3, 25, 2) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    edges = np.roll(corners, -1, axis=0) - corners
    normals = np.stack([-edges[:, 1], edges[:, 0]], axis=1) / np.linalg.norm(edges, axis=1)[:, None]
    rows, columns = np.mgrid[:30, :40] + 0.5
    centres = np.stack([columns, rows], axis=-1)  # [30,40,2]
    depth = np.einsum("hwed,ed->hwe", centres[:, :, None] - corners, normals).min(axis=-1)
    mask = masks.decode(parse([corners.ravel().tolist()], 30, 40))
    assert mask[depth > 1].all()
    assert not mask[depth < -1].any()


def any_text(letters: str) -> None:
    """Whatever the text, it is refused or a code of exactly 20 pixels."""
    try:
        rle = parse({"size": [4, 5], "counts": letters})
    except DataError:
        return
    mask = masks.decode(rle)
    assert mask.shape == (4, 5)
    assert masks.encode(mask) == Rle(4, 5, text_of(runs_of(mask)))
    assert masks.area(rle) == mask.sum()


PROPERTIES = [
    (round_trip, MASKS),
    (crop_is_the_box, MASKS),
    (box_is_tight, MASKS),
    (set_operations, PAIRS),
    (box_polygon, BOXES),
    (convex_polygon, st.integers(0, 2**32)),
    (any_text, LETTERS),
]
by_name = pytest.mark.parametrize(("check", "inputs"), PROPERTIES, ids=lambda value: getattr(value, "__name__", ""))


@by_name
def test_properties(check, inputs) -> None:  # type: ignore[no-untyped-def]
    QUICK(given(inputs)(check))()


@pytest.mark.slow
@by_name
def test_properties_at_length(check, inputs) -> None:  # type: ignore[no-untyped-def]
    LONG(given(inputs)(check))()


def test_the_empty_mask() -> None:
    assert masks.empty(4, 5) == masks.encode(np.zeros((4, 5), bool))
    assert masks.crop(masks.empty(4, 5))[0].shape == (0, 0)


@pytest.mark.parametrize("dtype", [np.int16, np.float64])
def test_polygons_and_runs_may_be_arrays(dtype: type) -> None:
    corners = [0, 0, 2, 0, 2, 2, 0, 2]
    assert parse([np.array(corners, dtype)]) == parse(np.array(corners, dtype)) == parse([corners])
    assert parse({"size": [4, 5], "counts": np.array([5, 3, 12])}) == parse({"size": [4, 5], "counts": [5, 3, 12]})


def test_two_polygons_are_united() -> None:
    polygons = [[0, 0, 2, 0, 2, 2, 0, 2], [3, 2, 5, 2, 5, 4, 3, 4]]
    expected = np.zeros((4, 5), dtype=bool)
    expected[:2, :2] = expected[2:, 3:] = True
    np.testing.assert_array_equal(masks.decode(parse(polygons)), expected)


def test_a_polygon_is_cut_at_the_border() -> None:
    assert masks.area(parse([[-9, -9, 30, -9, 30, 30, -9, 30]])) == 20


def test_the_largest_allowed_polygon_is_quick() -> None:
    rle = masks.from_annotation([[0, 0, 8000, 0, 8000, 8000, 0, 8000]], 8000, 8000, file=None, field=None)
    assert masks.area(rle) == 64_000_000


def test_a_large_disc_keeps_its_size() -> None:
    mask = disc(375, 1242, 180, 600, 150)
    rle = masks.encode(mask)
    assert masks.area(rle) == mask.sum()
    assert masks.occlude_rate(masks.encode(disc(375, 1242, 180, 600, 75)), rle) == pytest.approx(0.75, abs=0.001)


@pytest.mark.parametrize("mask", [np.zeros((2, 2, 2), bool), np.zeros((2, 2), float), np.zeros((0, 2), bool)])
def test_encode_refuses_what_is_no_mask(mask: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected a mask"):
        masks.encode(mask)


def test_masks_of_two_sizes_do_not_mix() -> None:
    small, large = masks.encode(np.ones((2, 2), bool)), masks.encode(np.ones((3, 2), bool))
    with pytest.raises(ValueError, match="one size"):
        masks.subtract(small, large)
    with pytest.raises(ValueError, match="one size"):
        masks.union([small, large])
    with pytest.raises(ValueError, match="one or more"):
        masks.union([])
