"""Clusters, orders and visible masks against hand-made scenes and numpy."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from drawn_datasets import images
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from shape3d_amodal import masks
from shape3d_amodal.masks import clusters, occlusion
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance


def box(left: int, right: int) -> np.ndarray:
    mask = np.zeros((4, 20), dtype=bool)
    mask[:, left:right] = True
    return mask


def instances(
    *regions: np.ndarray, orders: tuple[int | None, ...], groups: tuple[int, ...] = ()
) -> tuple[AmodalInstance, ...]:
    codes = [masks.encode(region) for region in regions]
    return tuple(
        AmodalInstance(
            id=index,
            category_id=1,
            visible=code,
            amodal=code,
            depth_order=orders[index],
            cluster=groups[index] if groups else None,
        )
        for index, code in enumerate(codes)
    )


def image_of(*objects: AmodalInstance) -> AmodalImage:
    return AmodalImage(id=1, file_name="a", width=20, height=4, instances=objects)


CHAIN = (box(0, 5), box(10, 15), box(4, 11), box(16, 20))
"""The third overlaps the first two; the last is alone."""


def test_overlaps_and_clusters_of_a_chain() -> None:
    regions = [masks.encode(region) for region in CHAIN]
    assert list(clusters.overlapping(regions)) == [(0, 2), (1, 2)]
    assert clusters.clusters(regions) == [0, 0, 0, 1]
    assert clusters.clusters([]) == []


def test_boxes_that_touch_do_not_overlap() -> None:
    assert list(clusters.overlapping([masks.encode(box(0, 5)), masks.encode(box(5, 9))])) == []


@settings(max_examples=60, deadline=None)
@given(st.lists(arrays(np.bool_, (5, 7)), max_size=5))
def test_overlaps_are_those_of_the_pixels(regions: list[np.ndarray]) -> None:
    expected = [(i, j) for i, j in combinations(range(len(regions)), 2) if (regions[i] & regions[j]).any()]
    assert list(clusters.overlapping([masks.encode(region) for region in regions])) == expected


@pytest.mark.parametrize(
    ("orders", "expected"),
    [
        ((7, 2, 5, 0), [(0, 3), (0, 1), (0, 2), (1, 0)]),
        ((1, 1, 0, 9), [(0, 2), (0, 2), (0, 1), (1, 0)]),
        ((1, None, 0, None), [(0, None), (0, None), (0, None), (1, 0)]),
    ],
)
def test_kins_counts_orders_in_clusters(orders: tuple[int | None, ...], expected: list[tuple[int, int | None]]) -> None:
    """0 for an object that overlaps no other, else from 1 on (KINS paper, section 3.1)."""
    assert clusters.kins_orders(image_of(*instances(*CHAIN, orders=orders))) == expected


def test_given_clusters_stay() -> None:
    objects = instances(*CHAIN, orders=(3, 2, 1, None), groups=(4, 4, 4, 9))
    assert clusters.kins_orders(image_of(*objects)) == [(4, 3), (4, 2), (4, 1), (9, None)]


def test_one_order_for_the_image() -> None:
    objects = instances(*CHAIN, orders=(3, 2, 2, None), groups=(4, 4, 5, 9))
    assert clusters.image_orders(image_of(*objects)) == [2, 0, 1, None]
    plain = instances(*CHAIN, orders=(3, 2, 2, None))
    assert clusters.image_orders(image_of(*plain)) == [3, 2, 2, None]


@settings(max_examples=60, deadline=None)
@given(images(0, [1], whole=True))
def test_visible_masks_are_what_nearer_ones_leave(image: AmodalImage) -> None:
    for index, one in enumerate(image.instances):
        expected = masks.decode(one.amodal)  # type: ignore[arg-type]
        for other in image.instances:
            known = other.depth_order is not None and one.depth_order is not None
            if known and other.cluster == one.cluster and other.depth_order < one.depth_order:  # type: ignore[operator]
                expected = expected & ~masks.decode(other.amodal)  # type: ignore[arg-type]
        np.testing.assert_array_equal(masks.decode(occlusion.visible_by_order(image.instances, index)), expected)


def test_without_invisible() -> None:
    visible, hidden = instances(box(0, 3), np.zeros((4, 20), dtype=bool), orders=(None, None))
    both = replace(image_of(visible, hidden), depth_constraint=((0, 1),))
    dataset = AmodalDataset(images=(both, image_of(hidden)), categories=())
    images = occlusion.without_invisible(dataset).images
    assert [(image.instances, image.depth_constraint) for image in images] == [((visible,), ()), ((), ())]
