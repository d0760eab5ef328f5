"""Pools of annotated images: the same crops as those that are cut when asked for, made once, in parts."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from drawn_masks import drawn_dataset, write_drawn
from PIL import Image

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.coco_amodal import write_coco_amodal
from shape3d_amodal.crops.annotated import pool as pools
from shape3d_amodal.crops.annotated.cutting import AnnotatedCrops
from shape3d_amodal.crops.annotated.pool import open_annotated_pool
from shape3d_amodal.crops.config import CropsConfig
from shape3d_amodal.crops.scenes import CropArrays
from shape3d_amodal.crops.sources import open_crops
from shape3d_amodal.errors import DataError
from shape3d_amodal.geometry.windows import instance_window
from shape3d_amodal.structures import AmodalDataset

NAMES = ("car", "chair")


def config_of(folder: Path, dataset: AmodalDataset, **changes: object) -> CropsConfig:
    annotations = write_drawn(folder, dataset)
    config = CropsConfig(annotations=str(annotations), images=str(folder / "images"), size=32, min_visible_px=10)
    return replace(config, **changes)


def test_a_pool_holds_what_is_cut_on_demand(tmp_path: Path) -> None:
    config = config_of(tmp_path / "set", drawn_dataset())
    pool = open_crops(config, tmp_path, categories=NAMES, workers=0)
    asked = open_crops(replace(config, on_demand=True), tmp_path, categories=NAMES, workers=0)
    assert isinstance(pool, CropArrays) and isinstance(asked, AnnotatedCrops)
    rows = np.arange(len(pool.category))[::-1].copy()
    one, other = pool.supervised(rows), asked.supervised(rows)
    for field in fields(one.crops):
        np.testing.assert_array_equal(getattr(one.crops, field.name), getattr(other.crops, field.name))
    np.testing.assert_array_equal(one.amodal, other.amodal)
    for name in ("category", "hidden", "image_size", "intrinsics", "track", "mesh"):
        np.testing.assert_array_equal(getattr(pool, name), getattr(asked, name))


def test_rows_are_the_instances_of_the_file(tmp_path: Path) -> None:
    dataset = drawn_dataset()
    first = dataset.images[0]
    told = [replace(one, track=7 + i, mesh=f"m{i}") for i, one in enumerate(first.instances)]
    first = replace(first, instances=tuple(told), intrinsics=(50.0, 51.0, 24.0, 20.0))
    dataset = replace(dataset, images=(first, *dataset.images[1:]))
    pool = open_annotated_pool(config_of(tmp_path / "set", dataset), tmp_path, NAMES, workers=0)
    kept = [(image, one) for image in dataset.images for one in image.instances if masks.area(one.visible) >= 10]
    names = dataset.category_names
    assert pool.category.tolist() == [NAMES.index(names[one.category_id]) for _, one in kept]
    assert pool.track.tolist() == [-1 if one.track is None else one.track for _, one in kept]
    assert pool.mesh.tolist() == [one.mesh or "" for _, one in kept]
    assert pool.image_size.tolist() == [[48, 48]] * len(kept)
    own = [image.intrinsics is not None for image, _ in kept]
    assert np.isfinite(pool.intrinsics).all(axis=1).tolist() == own
    assert pool.intrinsics[0].tolist() == [50.0, 51.0, 24.0, 20.0]
    np.testing.assert_allclose(pool.hidden, [one.occlude_rate for _, one in kept], atol=1e-6)


def test_what_is_known_to_lie_behind_hides_nothing(tmp_path: Path) -> None:
    """The nearest object of each image, whose order is known, has no occluder in the image, and the window says so."""
    dataset = drawn_dataset()
    config = config_of(tmp_path / "set", dataset)
    nearest = [
        (image.id, masks.decode(one.visible), [masks.decode(o.visible) for o in image.instances if o is not one])
        for image in dataset.images
        for one in image.instances
        if one.depth_order == 0
    ]
    for known, share in ((True, 1.0), (False, 0.0)):
        pool = open_annotated_pool(replace(config, order_known=share), tmp_path, NAMES, workers=0)
        for number, (_, visible, others) in enumerate(nearest):
            row = int(np.flatnonzero(pool.scene == number)[0])  # its first instance
            hiding = np.zeros_like(visible) if known else np.any(others, axis=0) & ~visible
            np.testing.assert_array_equal(pool.window[row], instance_window(visible, hiding))


def test_instances_without_an_amodal_mask(tmp_path: Path) -> None:
    dataset = drawn_dataset()
    bare = [replace(one, amodal=None, occlude_rate=None) for one in dataset.images[0].instances]
    mixed = replace(dataset, images=(replace(dataset.images[0], instances=tuple(bare)), *dataset.images[1:]))
    pool = open_annotated_pool(config_of(tmp_path / "mixed", mixed), tmp_path, NAMES, workers=0)
    unknown = pool.scene == 0
    assert np.isnan(pool.hidden[unknown]).all() and np.isfinite(pool.hidden[~unknown]).all()
    np.testing.assert_array_equal(pool.amodal[unknown], pool.visible[unknown])
    alone = replace(mixed, images=mixed.images[:1])
    config = config_of(tmp_path / "alone", alone)
    assert np.isnan(open_crops(config, tmp_path, workers=0, amodal=False).hidden).all()
    with pytest.raises(DataError, match=r"an amodal mask and 10 visible pixels, found none; .* no amodal mask"):
        open_crops(config, tmp_path, workers=0)


@pytest.mark.parametrize("side", [0, 16, 25])
def test_least_side(side: int, tmp_path: Path) -> None:
    dataset = drawn_dataset()
    config = config_of(tmp_path / "set", dataset, min_side_px=side)
    expected = 0
    for image in dataset.images:
        for one in image.instances:
            rows, columns = np.nonzero(masks.decode(one.visible))
            if len(rows) >= 10 and max(np.ptp(rows), np.ptp(columns)) + 1 >= side:
                expected += 1
                assert config.is_large(masks.decode(one.visible))
    assert len(open_annotated_pool(config, tmp_path, workers=0).category) == expected > 0


def test_a_stopped_pool_goes_on_and_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "_CHUNK", 1)
    monkeypatch.setattr(pools, "_PART", 1)
    config = config_of(tmp_path / "set", drawn_dataset())
    whole = open_annotated_pool(config, tmp_path / "whole", workers=0)
    third = tmp_path / "set" / "images" / "2.png"
    kept, status = third.read_bytes(), third.stat()
    third.write_bytes(b"x" * len(kept))  # as far as the name of the pool can tell, nothing has changed

    os.utime(third, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(DataError, match=r"2\.png"):
        open_annotated_pool(config, tmp_path / "cache", workers=0)
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == 2
    third.write_bytes(kept)
    os.utime(third, ns=(status.st_atime_ns, status.st_mtime_ns))
    read: list[str] = []
    from shape3d_amodal.annotations.images import ImageFiles

    reads = ImageFiles.read
    monkeypatch.setattr(ImageFiles, "read", lambda self, image: (read.append(image.file_name), reads(self, image))[1])
    for _ in range(2):
        again = open_annotated_pool(config, tmp_path / "cache", workers=0)
        for field in fields(CropArrays):
            np.testing.assert_array_equal(getattr(again, field.name), getattr(whole, field.name))
    assert read == ["2.png", "3.png"]


def test_another_picture_or_annotation_is_another_pool(tmp_path: Path) -> None:
    dataset = drawn_dataset()
    config = config_of(tmp_path / "set", dataset)
    open_annotated_pool(config, tmp_path / "cache", workers=0)
    Image.fromarray(np.zeros((48, 48, 3), np.uint8)).save(tmp_path / "set" / "images" / "0.png")
    pool = open_annotated_pool(config, tmp_path / "cache", workers=0)
    assert not pool.rgb[pool.scene == 0].any()
    fewer = replace(dataset.images[0], instances=dataset.images[0].instances[:1])
    write_coco_amodal(tmp_path / "set" / "annotations.json", replace(dataset, images=(fewer, *dataset.images[1:])))
    assert (open_annotated_pool(config, tmp_path / "cache", workers=0).scene == 0).sum() == 1


def test_the_first_images(tmp_path: Path) -> None:
    config = config_of(tmp_path / "set", drawn_dataset())
    pool = open_annotated_pool(config, tmp_path, workers=0)
    few = open_annotated_pool(config.at_most(2), tmp_path, workers=0)
    np.testing.assert_array_equal(few.window, pool.window[pool.scene < 2])


@pytest.mark.slow
def test_any_number_of_workers_makes_the_same_pool(tmp_path: Path) -> None:
    config = config_of(tmp_path / "set", drawn_dataset(images=20))
    one, two = (open_annotated_pool(config, tmp_path / f"c{n}", NAMES, workers=n) for n in (1, 2))
    for field in fields(CropArrays):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(two, field.name))
