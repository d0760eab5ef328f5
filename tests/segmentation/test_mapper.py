"""Training samples made of annotated images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.data.transforms import ResizeShortestEdge

from shape3d_amodal import masks
from shape3d_amodal.segmentation.config import AugmentConfig, InputConfig
from shape3d_amodal.segmentation.mapper import Mapper, image_targets, mirrored, resized_shape
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance, Category

HEIGHT, WIDTH = 32, 64
NAMES = ("car", "van", "occluder")
INDEX = {1: 0, 2: 1}


def region(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:bottom, left:right] = True
    return mask


def instance(
    identity: int, amodal: np.ndarray | None, visible: np.ndarray, category: int = 1, **more
) -> AmodalInstance:
    whole = None if amodal is None else masks.encode(amodal)
    return AmodalInstance(id=identity, category_id=category, visible=masks.encode(visible), amodal=whole, **more)


def record(*instances: AmodalInstance) -> AmodalImage:
    return AmodalImage(id=1, file_name="a.png", width=WIDTH, height=HEIGHT, instances=instances)


class Drawn:
    """Images in memory; every pixel tells its column."""

    def __init__(self, *images: AmodalImage) -> None:
        self.dataset = AmodalDataset(images=images, categories=tuple(Category(i + 1, n) for i, n in enumerate(NAMES)))

    def image(self, image: AmodalImage) -> np.ndarray:  # noqa: ARG002
        return np.broadcast_to(np.arange(WIDTH, dtype=np.uint8)[None, :, None], (HEIGHT, WIDTH, 3)).copy()


FRONT, BACK = region(10, 10, 20, 30), region(4, 20, 16, 50)


def test_boxes_masks_and_what_hides() -> None:
    targets = image_targets(
        record(instance(7, FRONT, FRONT), instance(9, BACK, BACK & ~FRONT, category=2)), INDEX, HEIGHT, WIDTH
    )
    assert targets.boxes.tolist() == [[10, 10, 30, 20], [20, 4, 50, 16]]
    assert targets.category.tolist() == [0, 1]
    assert targets.annotation.tolist() == [7, 9]
    np.testing.assert_array_equal(targets.amodal, [FRONT, BACK])
    np.testing.assert_array_equal(targets.visible, [FRONT, BACK & ~FRONT])
    np.testing.assert_array_equal(targets.occluder, [BACK & ~FRONT, FRONT], "without an order, each may hide the other")
    np.testing.assert_allclose(targets.hidden, [0, 60 / 360], rtol=1e-6)


def test_what_is_known_to_be_behind_hides_nothing() -> None:
    known = record(instance(1, FRONT, FRONT, depth_order=0), instance(2, BACK, BACK & ~FRONT, depth_order=1))
    targets = image_targets(known, INDEX, HEIGHT, WIDTH)
    assert not targets.occluder[0].any()
    np.testing.assert_array_equal(targets.occluder[1], FRONT)


@pytest.mark.parametrize(
    "other",
    [
        instance(2, FRONT, FRONT, category=3),
        instance(2, None, FRONT),
        instance(2, FRONT, FRONT, crowd=True, ignore=True),
    ],
    ids=["another category", "no amodal mask", "a crowd"],
)
def test_what_is_no_target_still_hides(other: AmodalInstance) -> None:
    targets = image_targets(record(other, instance(1, BACK, BACK & ~FRONT)), INDEX, HEIGHT, WIDTH)
    assert targets.annotation.tolist() == [1]
    np.testing.assert_array_equal(targets.occluder[0], FRONT)


def test_no_objects_and_a_fully_hidden_one() -> None:
    nothing = image_targets(record(), INDEX, HEIGHT, WIDTH)
    assert len(nothing) == 0
    assert nothing.boxes.shape == (0, 4) and nothing.amodal.shape == (0, HEIGHT, WIDTH)
    hidden = image_targets(record(instance(1, FRONT, region(0, 0, 0, 0))), INDEX, HEIGHT, WIDTH)
    assert hidden.hidden.tolist() == [1.0]
    assert not hidden.visible.any() and hidden.amodal.any()


def test_objects_too_small_for_the_size_are_left_out() -> None:
    speck = region(1, 1, 2, 2)
    targets = image_targets(record(instance(1, speck, speck), instance(2, BACK, BACK)), INDEX, 4, 8)
    assert targets.annotation.tolist() == [2]
    assert targets.boxes.tolist() == [[20 / 8, 4 / 8, 50 / 8, 16 / 8]]


def test_mirrored_twice_is_the_same() -> None:
    targets = image_targets(record(instance(1, BACK, BACK)), INDEX, HEIGHT, WIDTH)
    once = mirrored(targets, WIDTH)
    assert once.boxes.tolist() == [[14, 4, 44, 16]]
    np.testing.assert_array_equal(once.amodal[0], BACK[:, ::-1])
    torch.testing.assert_close(mirrored(once, WIDTH).boxes, targets.boxes)


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((375, 1242), InputConfig(short_side=800, long_side=3000), (800, 2650)),
        ((480, 640), InputConfig(short_side=800, long_side=1333), (800, 1067)),
        ((300, 900), InputConfig(short_side=800, long_side=1333), (444, 1333)),
        ((900, 300), InputConfig(short_side=800, long_side=1333), (1333, 444)),
    ],
)
def test_sizes_as_published(shape: tuple[int, int], size: InputConfig, expected: tuple[int, int]) -> None:
    assert resized_shape(*shape, size) == expected


@pytest.mark.parametrize("shape", [(400, 800), (480, 640), (375, 1242), (800, 500)])
@pytest.mark.parametrize("scale", [0.8, 0.9, 1.25])
def test_jitter_is_detectron2s(shape: tuple[int, int], scale: float) -> None:
    """Its ``ResizeShortestEdge`` with another shorter side and the same longest one."""
    size = InputConfig(short_side=800, long_side=1333)
    theirs = ResizeShortestEdge.get_output_shape(*shape, int(800 * scale), 1333)
    assert resized_shape(*shape, size, scale) == theirs


def test_what_is_drawn_hangs_on_the_generator_alone() -> None:
    size = InputConfig(short_side=HEIGHT, long_side=WIDTH)
    mapper = Mapper(Drawn(record(), record()), NAMES[:2], size, AugmentConfig(flip=0.5, scale=(0.5, 2.0)))
    first, again = (mapper.draw(np.random.default_rng(5), 32) for _ in range(2))
    assert (first.rows, first.flips, first.scales) == (again.rows, again.flips, again.scales)
    assert 4 < sum(first.flips) < 28
    assert 0.5 <= min(first.scales) < 0.8 < 1.6 < max(first.scales) <= 2.0
    part = mapper.samples(first[3:5])
    assert len(part) == 2
    for image, scale, flip in zip(part.images, first.scales[3:5], first.flips[3:5], strict=True):
        assert image.shape == (3, *resized_shape(HEIGHT, WIDTH, size, scale))
        assert (image[0, 0, 0] > image[0, 0, -1]) == flip
