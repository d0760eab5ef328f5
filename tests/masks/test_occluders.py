"""What may hide an object, from hand-made rows of pixels."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from shape3d_amodal import masks
from shape3d_amodal.masks.occlusion import known_order, occluders, order_of_ranks
from shape3d_amodal.structures import AmodalImage, AmodalInstance


def row(*columns: int) -> np.ndarray:
    """A mask of one row of six pixels."""
    mask = np.zeros((1, 6), bool)
    mask[0, list(columns)] = True
    return mask


A, B, C = row(0, 1), row(2, 3), row(4)


@pytest.mark.parametrize(
    ("ranks", "expected"),
    [
        ((None, None, None), (row(2, 3, 4), row(0, 1, 4), row(0, 1, 2, 3))),
        ((0, 1, 2), (row(), row(0, 1), row(0, 1, 2, 3))),
        ((2, 0, 1), (row(2, 3, 4), row(), row(2, 3))),
        ((0, None, 1), (row(2, 3), row(0, 1, 4), row(0, 1, 2, 3))),  # nothing is known about the second
        ((1, 1, 1), (row(2, 3, 4), row(0, 1, 4), row(0, 1, 2, 3))),  # equal ranks say nothing
    ],
)
def test_occluders(ranks: tuple[int | None, ...], expected: tuple[np.ndarray, ...]) -> None:
    for mask, wanted in zip(occluders([A, B, C], order_of_ranks(ranks)), expected, strict=True):
        np.testing.assert_array_equal(mask, wanted)
    for mask, place in zip(occluders([A, B, C], order_of_ranks(ranks), [2, 0]), (2, 0), strict=True):
        np.testing.assert_array_equal(mask, expected[place])


def image(
    ranks: tuple[int | None, ...], clusters: tuple[int | None, ...], pairs: tuple[tuple[int, int], ...] = ()
) -> AmodalImage:
    """An image whose annotation ids are 10, 11, ..."""
    instances = tuple(
        AmodalInstance(id=10 + i, category_id=1, visible=masks.encode(A), depth_order=rank, cluster=cluster)
        for i, (rank, cluster) in enumerate(zip(ranks, clusters, strict=True))
    )
    return AmodalImage(id=1, file_name="a", width=6, height=1, instances=instances, depth_constraint=pairs)


def test_ranks_of_different_clusters_say_nothing() -> None:
    assert known_order(image((1, 2, 2), (0, 0, 1))) == {(0, 1)}


def test_constraints_say_who_is_in_front_of_whom_and_nothing_of_other_pairs() -> None:
    assert known_order(image((None, None, None), (None,) * 3, ((12, 10), (10, 11)))) == {(2, 0), (0, 1)}


@pytest.mark.parametrize("ranks", [*permutations((0, 1, 2)), (None, 0, 1)])
def test_ranks_of_an_image_and_of_a_list_agree(ranks: tuple[int | None, ...]) -> None:
    assert known_order(image(ranks, (None,) * 3)) == order_of_ranks(ranks)


def test_occluders_leave_the_object_itself_out() -> None:
    first, second = occluders([row(0, 1, 2), row(2, 3)])
    np.testing.assert_array_equal(first, row(3))
    np.testing.assert_array_equal(second, row(0, 1))


def test_occluders_of_one_or_none() -> None:
    assert occluders([]) == []
    assert not occluders([A])[0].any()
