from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from boxes import CHAIR, box_mesh, write_obj

from shape3d_amodal.crops.config import CropsConfig
from shape3d_amodal.crops.cutting import mask_crops
from shape3d_amodal.crops.scenes import CropArrays, SceneCrops
from shape3d_amodal.errors import DataError
from shape3d_amodal.meshes.sources import CATEGORIES, mesh_source
from shape3d_amodal.scenes.compose import SceneConfig, make_scene
from shape3d_amodal.scenes.shard_making import ShardsConfig, make_shards
from shape3d_amodal.structures import SupervisedCrops

SCENES = 12
SIZE = 32


@pytest.fixture(scope="module")
def config(box_folder: Path) -> CropsConfig:
    return CropsConfig(
        meshes=str(box_folder),
        scenes=SceneConfig(image_size=64),
        count=SCENES,
        size=SIZE,
        jitter=0.0,
        min_visible_px=10,
    )


@pytest.fixture(scope="module")
def items(config: CropsConfig) -> list[CropArrays]:
    dataset = SceneCrops(config)
    return [dataset[k] for k in range(SCENES)]


def assert_same(a: CropArrays, b: CropArrays) -> None:
    for field in fields(CropArrays):
        np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name))


def test_items_depend_on_configuration_and_index_alone(config: CropsConfig, items: list[CropArrays]) -> None:
    assert len(SceneCrops(config)) == SCENES
    another = SceneCrops(replace(config, count=3))
    for k in (2, 0, 1):
        assert_same(another[k], items[k])
    elsewhere = SceneCrops(replace(config, seed=2, count=1))[0]
    assert elsewhere.rgb.shape != items[0].rgb.shape or (elsewhere.rgb != items[0].rgb).any()


def test_shapes_and_types(items: list[CropArrays]) -> None:
    for k, item in enumerate(items):
        count = len(item.category)
        assert item.rgb.shape == (count, 3, SIZE, SIZE)
        assert item.visible.shape == item.occluder.shape == item.amodal.shape == (count, SIZE, SIZE)
        assert item.window.shape == (count, 4)
        assert item.hidden.shape == (count,)
        assert item.rgb.dtype == item.visible.dtype == item.occluder.dtype == item.amodal.dtype == np.uint8
        assert item.window.dtype == item.hidden.dtype == np.float32
        assert item.category.dtype == item.scene.dtype == np.int64
        assert (item.scene == k).all()


def test_crops_are_of_the_scene_of_the_same_index(config: CropsConfig, items: list[CropArrays]) -> None:
    source = mesh_source(config.meshes)
    for k, item in enumerate(items):
        scene = make_scene(source, config.scenes, config.seed, k)
        kept = [one for one in scene.instances if one.visible.sum() >= config.min_visible_px]
        assert [CATEGORIES[c] for c in item.category] == [one.category for one in kept]
        assert item.mesh.tolist() == [one.mesh for one in kept]
        np.testing.assert_allclose(item.hidden, [1 - one.visible.sum() / one.amodal.sum() for one in kept], atol=1e-6)
        for name in ("visible", "amodal"):
            expected = mask_crops([getattr(one, name) for one in kept], torch.from_numpy(item.window), SIZE)
            np.testing.assert_allclose(getattr(item, name) / 255, expected, atol=0.51 / 255)


def test_what_is_hidden_lies_behind_an_occluder(items: list[CropArrays]) -> None:
    """Whether or not depth orders are used: no part of an object lies in known background."""
    for item in items:
        amodal, visible, occluder = (array.astype(int) for array in (item.amodal, item.visible, item.occluder))
        assert (visible <= amodal + 1).all()
        assert (amodal <= visible + occluder + 2).all()
        assert (visible + occluder <= 255 + 1).all()


def test_windows_hold_the_visible_part(config: CropsConfig, items: list[CropArrays]) -> None:
    """Without jitter no visible pixel is lost: the crop's area is the mask's area."""
    source = mesh_source(config.meshes)
    for k, item in enumerate(items):
        scene = make_scene(source, config.scenes, config.seed, k)
        areas = [one.visible.sum() for one in scene.instances if one.visible.sum() >= config.min_visible_px]
        scale = (item.window[:, 2] - item.window[:, 0]) / SIZE
        found = (item.visible / 255).sum(axis=(1, 2)) * scale**2
        np.testing.assert_allclose(found, areas, rtol=0.04)


@pytest.mark.parametrize("known", [0.0, 1.0])
def test_depth_order_takes_what_is_behind_out_of_the_occluders(known: float, config: CropsConfig) -> None:
    dataset = SceneCrops(replace(config, order_known=known, min_visible_px=1, count=4))
    source = mesh_source(config.meshes)
    for k in range(4):
        instances = make_scene(source, config.scenes, config.seed, k).instances
        windows = torch.from_numpy(dataset[k].window)
        inside = mask_crops([np.ones((64, 64), bool)] * len(instances), windows, SIZE)
        for i, one in enumerate(instances):
            hiding = np.zeros((64, 64), bool)
            for other in instances:
                if other is not one and (known == 0 or other.depth_order < one.depth_order):
                    hiding |= other.visible
            expected = mask_crops([hiding], windows[i : i + 1], SIZE)[0] + 1 - inside[i]
            np.testing.assert_allclose(dataset[k].occluder[i] / 255, expected, atol=0.51 / 255)


def test_jitter_moves_windows_a_little(config: CropsConfig, items: list[CropArrays]) -> None:
    strength = 0.1
    moved = [SceneCrops(replace(config, jitter=strength, count=SCENES))[k].window for k in range(SCENES)]
    before, after = np.concatenate([item.window for item in items]), np.concatenate(moved)
    side = before[:, 2] - before[:, 0]
    growth = (after[:, 2] - after[:, 0]) / side - 1
    shift = ((after[:, :2] + after[:, 2:]) - (before[:, :2] + before[:, 2:])) / 2 / side[:, None]
    assert 0.05 < np.abs(growth).max() <= strength + 1e-5
    assert 0.05 < np.abs(shift).max() <= strength + 1e-5
    np.testing.assert_allclose(after[:, 2] - after[:, 0], after[:, 3] - after[:, 1], rtol=1e-5)


def test_bars_count_as_occluders(config: CropsConfig) -> None:
    scenes = SceneConfig(kind="bars", image_size=64)
    dataset = SceneCrops(replace(config, scenes=scenes, count=4))
    source = mesh_source(config.meshes)
    for k in range(4):
        item = dataset[k]
        scene = make_scene(source, scenes, config.seed, k)
        erased = mask_crops([scene.erased], torch.from_numpy(item.window), SIZE)
        assert (item.occluder / 255 >= erased.numpy() - 0.01).all()
        assert item.hidden[0] >= 0.1


def test_instances_with_few_visible_pixels_are_left_out(config: CropsConfig) -> None:
    nothing = SceneCrops(replace(config, min_visible_px=64 * 64, count=1))[0]
    assert nothing.rgb.shape == (0, 3, SIZE, SIZE)
    assert nothing.window.shape == (0, 4)
    assert len(nothing.category) == len(nothing.hidden) == len(nothing.scene) == 0


def test_rows_as_tensors(items: list[CropArrays]) -> None:
    item = items[0]
    batch = item.supervised(np.array([1, 0, 1]))
    assert isinstance(batch, SupervisedCrops)
    assert len(batch.crops) == 3
    np.testing.assert_allclose(batch.crops.rgb.numpy(), item.rgb[[1, 0, 1]] / 255, atol=1e-6)
    np.testing.assert_allclose(batch.amodal.numpy(), item.amodal[[1, 0, 1]] / 255, atol=1e-6)
    np.testing.assert_array_equal(batch.crops.category.numpy(), item.category[[1, 0, 1]])
    np.testing.assert_array_equal(batch.crops.window.numpy(), item.window[[1, 0, 1]])
    assert batch.crops.visible.dtype == torch.float32
    assert batch.crops.category.dtype == torch.int64


def test_unknown_category(config: CropsConfig, tmp_path: Path) -> None:
    write_obj(tmp_path / "teapot" / "a.obj", box_mesh(CHAIR))
    with pytest.raises(DataError, match="got teapot"):
        SceneCrops(replace(config, meshes=str(tmp_path), count=1))


@pytest.mark.parametrize("kind", ["composed", "bars"])
def test_crops_of_shards_are_those_of_the_scenes_that_are_in_them(
    kind: str, config: CropsConfig, tmp_path: Path
) -> None:
    made = replace(config, scenes=SceneConfig(image_size=64, kind=kind), jitter=0.05)
    make_shards(
        ShardsConfig(meshes=made.meshes, scenes=made.scenes, seed=made.seed, count=SCENES, shard_size=5), tmp_path
    )
    drawn = SceneCrops(made)
    elsewhere = replace(made, meshes="none", scenes=SceneConfig(), shards=str(tmp_path))  # what the shards decide
    stored = SceneCrops(elsewhere)
    for k in range(SCENES):
        assert_same(stored[k], drawn[k])
    (tmp_path / "scenes-000002.tar").unlink()
    assert_same(SceneCrops(replace(elsewhere, count=7))[6], drawn[6])  # no more shards are read than it takes
    with pytest.raises(DataError, match="expected 11 scenes, the shards hold 10; ask for no more"):
        SceneCrops(replace(elsewhere, count=11))


def test_shards_of_other_categories(tmp_path: Path) -> None:
    write_obj(tmp_path / "meshes" / "robot" / "a.obj", box_mesh(CHAIR))
    shards = tmp_path / "shards"
    make_shards(ShardsConfig(meshes=str(tmp_path / "meshes"), scenes=SceneConfig(image_size=64), count=1), shards)
    with pytest.raises(DataError, match=r"shards: expected categories among .*, got robot"):
        SceneCrops(CropsConfig(shards=str(shards), count=1))
