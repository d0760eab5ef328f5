"""The shapes set: sizes, order of depth, layers, seeds; the bounds of Table 2."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.registry import read_dataset
from shape3d_amodal.annotations.images import ImageFiles
from shape3d_amodal.papers.layered.sets import CATEGORIES, Shapes2dSetConfig, annotated_scenes, rgb, write_shapes_set
from shape3d_amodal.papers.layered.shapes2d import (
    CLASSES,
    ShapeClass,
    Shapes2dConfig,
    ShapeScene,
    depth_layers,
    make_shapes,
    visible_parts,
)

STACK = np.array([[[1, 1, 0, 0]], [[0, 1, 1, 0]], [[1, 1, 1, 0]]], bool)  # three shapes on four pixels, nearest first


def test_layers_and_visible_parts_by_hand() -> None:
    assert depth_layers(STACK, 3)[:, 0].tolist() == [[1, 1, 2, 0], [3, 2, 3, 0], [0, 3, 0, 0]]
    assert depth_layers(STACK, 1)[:, 0].tolist() == [[1, 1, 2, 0]]
    assert visible_parts(STACK)[:, 0].tolist() == [[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]


def test_layers_of_nothing() -> None:
    nothing = np.zeros((0, 2, 3), bool)
    assert depth_layers(nothing, 2).tolist() == np.zeros((2, 2, 3)).tolist()
    assert visible_parts(nothing).shape == (0, 2, 3)


@pytest.mark.parametrize(
    ("kind", "area"),
    [
        ("circle", np.pi * (32 + 1) ** 2),
        # Half a line's width more on every side, with corners that stay sharp.
        ("triangle", np.sqrt(3) / 4 * (76.8 + 2 * np.sqrt(3)) ** 2),
        ("rectangle", (25.6 + 2) * (102.4 + 2)),
    ],
)
def test_shapes_have_the_stated_sizes(kind: ShapeClass, area: float) -> None:
    config = Shapes2dConfig(classes=(kind,), per_class=1, rectangle=(0.1, 0.4), margin=0.45)
    # A rectangle that is hung up in the middle may reach over the border: only those are measured that do not.
    scenes = [make_shapes(config, 0, index) for index in range(40)]
    whole = [scene.masks[0] for scene in scenes if not _touches_border(scene.masks[0])]
    assert len(whole) >= 20
    assert np.mean([mask.sum() for mask in whole]) == pytest.approx(area, rel=2e-3)
    assert np.std([mask.sum() for mask in whole]) < 0.01 * area


def _touches_border(mask: np.ndarray) -> bool:
    return bool(mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())


def test_a_scene_depends_on_configuration_seed_and_index_alone() -> None:
    config = Shapes2dConfig(per_class=2)
    first, again = make_shapes(config, 7, 3), make_shapes(config, 7, 3)
    assert np.array_equal(first.image, again.image) and np.array_equal(first.masks, again.masks)
    for other in (make_shapes(config, 7, 4), make_shapes(config, 8, 3)):
        assert not np.array_equal(first.image, other.image)


def test_outlines_alone_are_black_and_what_is_hidden_has_none() -> None:
    scene = make_shapes(Shapes2dConfig(per_class=4), 0, 5)
    assert set(np.unique(scene.image)) == {0, 255}
    black = scene.image == 0
    assert not black[~scene.masks.any(axis=0)].any()
    for number, part in enumerate(visible_parts(scene.masks)):
        mask = scene.masks[number]
        edge = mask & ~_eroded(mask, 1)
        assert black[part & edge].all()  # where it is seen, its edge is drawn
        assert not black[part & _eroded(mask, 4)].any()  # and nothing of what lies behind it


def _eroded(mask: np.ndarray, steps: int) -> np.ndarray:
    padded = np.pad(mask, steps, constant_values=True)
    height, width = mask.shape
    shifted = [
        padded[steps + dy : steps + dy + height, steps + dx : steps + dx + width]
        for dy in range(-steps, steps + 1)
        for dx in range(-steps, steps + 1)
        if abs(dy) + abs(dx) <= steps
    ]
    return np.logical_and.reduce(shifted)


def test_what_is_not_visible_is_left_out() -> None:
    crowded = Shapes2dConfig(per_class=40)
    scene = make_shapes(crowded, 0, 0)
    assert 0 < len(scene.masks) < 120
    assert visible_parts(scene.masks).any(axis=(1, 2)).all()
    whole, classes = scene.on_grid(8)
    assert len(whole) == len(classes) < len(scene.masks)
    assert whole.shape[1:] == (32, 32)
    assert visible_parts(whole).any(axis=(1, 2)).all()


def test_the_grid_keeps_every_fourth_pixel() -> None:
    scene = ShapeScene(np.zeros((8, 8), np.uint8), np.zeros((1, 8, 8), bool), np.array([2]))
    scene.masks[0, 6, 2] = True
    whole, classes = scene.on_grid(4)
    assert np.argwhere(whole).tolist() == [[0, 1, 0]] and classes.tolist() == [2]


def test_a_scene_may_be_empty() -> None:
    scene = make_shapes(Shapes2dConfig(per_class=0), 0, 0)
    assert scene.masks.shape == (0, 256, 256) and (scene.image == 255).all()


def test_annotations_tell_the_scene() -> None:
    config = Shapes2dSetConfig(shapes=Shapes2dConfig(per_class=2), count=2, stride=4)
    assert [category.name for category in CATEGORIES] == list(CLASSES)
    images = [image for _, image in annotated_scenes(config)]
    ids = [one.id for image in images for one in image.instances]
    assert ids == list(range(1, len(ids) + 1))
    for index, image in enumerate(images):
        whole, classes = make_shapes(config.shapes, config.seed, index).on_grid(4)
        for rank, (one, mask, kind) in enumerate(zip(image.instances, whole, classes, strict=True)):
            assert one.amodal is not None and one.depth_order == rank and one.category_id == kind + 1
            assert np.array_equal(masks.decode(one.amodal)[1::4, 3::4], mask)
            assert masks.area(one.amodal) == 16 * mask.sum()
            assert one.occlude_rate == pytest.approx(1 - visible_parts(whole)[rank].sum() / mask.sum())


def test_a_set_on_disk_is_that_in_memory(tmp_path: Path) -> None:
    config = Shapes2dSetConfig(shapes=Shapes2dConfig(size=64, per_class=1), count=2)
    own = write_shapes_set(config, tmp_path)
    read = read_dataset(tmp_path / "annotations.json")
    assert own.images == tuple(image for _, image in annotated_scenes(config))
    assert [[(one.id, one.amodal, one.visible) for one in image.instances] for image in read.images] == [
        [(one.id, one.amodal, one.visible) for one in image.instances] for image in own.images
    ]
    picture = ImageFiles(tmp_path / "images", Path("annotations.json")).read(read.images[1])
    assert np.array_equal(picture, rgb(make_shapes(config.shapes, 0, 1)))


def test_exact_masks_are_those_of_the_scene() -> None:
    config = Shapes2dSetConfig(shapes=Shapes2dConfig(size=64, per_class=1), count=1, stride=1)
    scene = make_shapes(config.shapes, 0, 0)
    ((_, image),) = annotated_scenes(config)
    found = [masks.decode(one.amodal) for one in image.instances if one.amodal]
    assert np.array_equal(found, scene.masks)
    ((_, other),) = annotated_scenes(replace(config, seed=1))
    assert other != image
