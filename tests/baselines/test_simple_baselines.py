from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.spatial import Delaunay, QhullError

from shape3d_amodal import masks
from shape3d_amodal.baselines.convex_hull import ConvexHull, convex_hull
from shape3d_amodal.baselines.visible_only import VisibleOnly
from shape3d_amodal.methods.ground_truth import shown
from shape3d_amodal.methods.results import completion_result
from shape3d_amodal.structures import AmodalImage, AmodalInstance

IMAGE = np.zeros((6, 8, 3), np.uint8)


def drawn(*rows: str) -> np.ndarray:
    return np.array([[letter == "#" for letter in row] for row in rows])


def record(*visible: np.ndarray, order: tuple[int | None, ...] | None = None, **more: object) -> AmodalImage:
    instances = tuple(
        AmodalInstance(
            id=10 + i,
            category_id=1,
            visible=masks.encode(mask),
            depth_order=None if order is None else order[i],
            **more,  # type: ignore[arg-type]
        )
        for i, mask in enumerate(visible)
    )
    height, width = visible[0].shape
    return AmodalImage(id=3, file_name="a.png", height=height, width=width, instances=instances, camera={"focal": 1.0})


# A ring with an opening; another object stands in its middle and right.
RING = drawn("######..", "#.......", "#.......", "#.......", "#.......", "######..")
OTHER = drawn("........", "........", "...###..", "...###..", "........", "........")
RING_HULL = drawn("######..", "######..", "######..", "######..", "######..", "######..")


def test_visible_only_returns_what_is_seen():
    (result,) = VisibleOnly().complete(IMAGE, record(RING))
    np.testing.assert_array_equal(masks.decode(result.segmentation), RING)
    assert (result.image_id, result.annotation_id, result.category_id) == (3, 10, 1)
    assert result.occluded is not None and masks.area(result.occluded) == 0


def test_plain_hull():
    result = ConvexHull(background=False).complete(IMAGE, record(RING, OTHER))[0]
    np.testing.assert_array_equal(masks.decode(result.segmentation), RING_HULL)


def test_hull_leaves_out_known_background():
    first, second = ConvexHull().complete(IMAGE, record(RING, OTHER))
    np.testing.assert_array_equal(masks.decode(first.segmentation), RING | OTHER)
    assert first.occluded is not None
    np.testing.assert_array_equal(masks.decode(first.occluded), OTHER)
    np.testing.assert_array_equal(masks.decode(second.segmentation), OTHER)


@pytest.mark.parametrize(("order", "completed"), [((1, 0), True), ((0, 1), False), ((0, None), True)])
def test_what_is_known_to_be_behind_hides_nothing(order, completed):
    first = ConvexHull().complete(IMAGE, record(RING, OTHER, order=order))[0]
    np.testing.assert_array_equal(masks.decode(first.segmentation), RING | OTHER if completed else RING)


def test_ranks_of_different_clusters_say_nothing():
    image = record(RING, OTHER, order=(0, 1))
    apart = [replace(one, cluster=index) for index, one in enumerate(image.instances)]
    first = ConvexHull().complete(IMAGE, replace(image, instances=tuple(apart)))[0]
    np.testing.assert_array_equal(masks.decode(first.segmentation), RING | OTHER)


def test_no_instances():
    empty = AmodalImage(id=1, file_name="a", height=6, width=8, instances=())
    assert ConvexHull().complete(IMAGE, empty) == []
    assert VisibleOnly().complete(IMAGE, empty) == []


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (drawn("...", "..."), drawn("...", "...")),
        (drawn(".#.", "..."), drawn(".#.", "...")),
        (drawn("#..#"), drawn("####")),
        (drawn("#", ".", "#"), drawn("#", "#", "#")),
        (drawn("#....", ".....", "..#..", ".....", "....#"), np.eye(5, dtype=bool)),
        (drawn("#....", ".....", "....."), drawn("#....", ".....", ".....")),
        (drawn("..#..", ".....", "#...#"), drawn("..#..", ".###.", "#####")),
    ],
)
def test_hull_literals(mask, expected):
    np.testing.assert_array_equal(convex_hull(mask), expected)


@settings(max_examples=150, deadline=None)
@given(st.tuples(st.integers(1, 14), st.integers(1, 14)).flatmap(lambda shape: arrays.arrays(bool, shape)))
def test_hull_equals_triangulation(mask):
    hull = convex_hull(mask)
    assert (hull & mask).sum() == mask.sum()
    points = np.argwhere(mask)
    if len(points) < 4:
        return
    try:
        triangles = Delaunay(points)
    except QhullError:  # all on one line
        return
    grid = np.argwhere(np.ones_like(mask))
    np.testing.assert_array_equal(hull.ravel(), triangles.find_simplex(grid, tol=1e-9) >= 0)


def test_a_result_keeps_the_visible_mask():
    one = record(RING)
    result = completion_result(one, one.instances[0], OTHER, score=0.5)
    np.testing.assert_array_equal(masks.decode(result.segmentation), RING | OTHER)
    assert result.occluded is not None and result.visible == one.instances[0].visible and result.score == 0.5
    np.testing.assert_array_equal(masks.decode(result.occluded), OTHER)


def test_methods_do_not_see_the_ground_truth():
    secrets = {
        "amodal": masks.encode(RING_HULL),
        "occlude_rate": 0.5,
        "mesh": "secret",
        "viewpoint": {"azimuth_deg": 1.0},
    }
    image = record(RING, **secrets, ignore=True, crowd=True, order=(2,))
    seen = shown(image, "masks")
    (instance,) = seen.instances
    assert seen.camera is None
    assert {getattr(instance, name) for name in secrets} == {None}
    assert (instance.ignore, instance.crowd) == (False, False)
    assert (instance.visible, instance.depth_order) == (image.instances[0].visible, 2)
