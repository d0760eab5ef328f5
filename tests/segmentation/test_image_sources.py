"""The switches of configurations that name a folder of images: orientation, and where links may lead."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import exif_files
import numpy as np
import pytest

from shape3d_amodal.benchmarking.config import BenchmarkConfig, DataConfig, resolve
from shape3d_amodal.benchmarking.data import BenchmarkData, open_data
from shape3d_amodal.config import parse_config
from shape3d_amodal.crops.config import CropsConfig
from shape3d_amodal.crops.sources import open_crops
from shape3d_amodal.errors import DataError, UsageError
from shape3d_amodal.scenes.compose import SceneConfig
from shape3d_amodal.scenes.shard_making import ShardsConfig
from shape3d_amodal.segmentation.images import ImagesConfig, open_images

PIXELS = np.random.default_rng(1).integers(0, 128, (64, 64, 3), dtype=np.uint8)
PIXELS[:32, :32] += 120
SQUARE = [[8, 8, 40, 8, 40, 40, 8, 40]]


@pytest.fixture
def options(tmp_path: Path) -> dict[str, str]:
    """A set of one square picture that stands on its head in its file, behind a link."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "images").mkdir()
    data = exif_files.png(PIXELS, exif_files.chunk(b"eXIf", exif_files.exif(3)))
    (tmp_path / "blobs" / "abc").write_bytes(data)
    (tmp_path / "images" / "a.png").symlink_to("../blobs/abc")
    document = {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 64}],
        "categories": [{"id": 1, "name": "chair"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "visible_mask": SQUARE, "segmentation": SQUARE},
        ],
    }
    (tmp_path / "a.json").write_text(json.dumps(document))
    links = {"allow_links": str(tmp_path / "blobs")}
    return {"annotations": str(tmp_path / "a.json"), "images": str(tmp_path / "images"), **links}


def opened(data: DataConfig, folder: Path) -> BenchmarkData:
    config = BenchmarkConfig(data={"a": data}, methods={"v": {"kind": "visible_only"}}, runs=({"data": "a"},))
    return open_data(resolve(config, source="test"), "a", folder)


@pytest.mark.parametrize(("orientation", "expected"), [("exif", PIXELS[::-1, ::-1]), ("stored", PIXELS)])
def test_each_configuration_reads_images_as_it_is_told(
    orientation: str, expected: np.ndarray, options: dict[str, str], tmp_path: Path
) -> None:
    more = {**options, "orientation": orientation}
    images = open_images(ImagesConfig(**more), tmp_path, workers=1)
    np.testing.assert_array_equal(images.image(images.dataset.images[0]), expected)
    data = opened(DataConfig(**more), tmp_path)
    np.testing.assert_array_equal(data.files.read(data.dataset.images[0]), expected)
    crops = open_crops(CropsConfig(**more, size=64), tmp_path, workers=1).supervised(np.array([0]))
    left, top, right, bottom = crops.crops.window[0].round().int().tolist()
    assert left == top and right == bottom
    inside = crops.crops.rgb[0, :, crops.crops.visible[0] > 0].mean(dim=1).numpy()
    np.testing.assert_allclose(255 * inside, expected[8:40, 8:40].mean(axis=(0, 1)), atol=2)


def test_stored_pixels_are_other_data_of_a_benchmark(options: dict[str, str], tmp_path: Path) -> None:
    hashes = set()
    for orientation in ("exif", "stored"):
        hashes.add(opened(DataConfig(**options, orientation=orientation), tmp_path).sha256)
    assert len(hashes) == 2


def test_links_are_refused_unless_they_are_allowed(options: dict[str, str], tmp_path: Path) -> None:
    images = open_images(replace(ImagesConfig(**options), allow_links=None), tmp_path, workers=1)
    with pytest.raises(DataError, match="allow_links"):
        images.image(images.dataset.images[0])


@pytest.mark.parametrize("kind", [ImagesConfig, CropsConfig, DataConfig])
def test_another_orientation_is_refused(kind: type) -> None:
    with pytest.raises(UsageError, match=r"orientation: .*'exif' or 'stored'"):
        parse_config("orientation: upright", kind)


@pytest.mark.parametrize(
    ("flags", "scored", "categories", "refused"),
    [
        ({}, True, (), False),
        ({"iscrowd": 1}, False, (), True),
        ({"ignore": 1}, False, (), False),  # it is learned from
        ({"ignore": 1}, True, (), True),
        ({"segmentation": None}, False, (), True),
        ({}, False, ("table",), True),  # a class without objects
        ({}, False, ("robot",), False),  # told with the names that there are
        ({}, False, ("table", "chair"), False),
    ],
)
def test_sets_without_an_object_are_refused(
    flags: dict[str, object],
    scored: bool,
    categories: tuple[str, ...],
    refused: bool,
    options: dict[str, str],
    tmp_path: Path,
) -> None:
    document = json.loads((tmp_path / "a.json").read_text())
    document["categories"].append({"id": 2, "name": "table"})
    document["annotations"][0].update(flags)
    (tmp_path / "a.json").write_text(json.dumps(document))
    config = ImagesConfig(**options, count=1)
    if not refused:
        assert open_images(config, tmp_path, workers=1, categories=categories, scored=scored).dataset.images
        return
    with pytest.raises(DataError, match="no object to score" if scored else "no object to learn from"):
        open_images(config, tmp_path, workers=1, categories=categories, scored=scored)


def test_made_scenes_are_read_from_a_cache_that_cannot_be_written(box_folder: Path, tmp_path: Path) -> None:
    """In the place of the lock stands a folder, so that not even root can lock; scenes that lack a part need it."""
    scenes = ShardsConfig(meshes=str(box_folder), scenes=SceneConfig(image_size=64), count=3, shard_size=2)
    config = ImagesConfig(scenes=scenes)
    first = open_images(config, tmp_path, workers=1)
    (lock,) = tmp_path.glob("*.lock")
    lock.unlink()
    lock.mkdir()
    again = open_images(config, tmp_path, workers=1)
    assert again.dataset == first.dataset
    for image in first.dataset.images:
        np.testing.assert_array_equal(again.image(image), first.image(image))
    next(tmp_path.glob("*/scenes-000001.json")).unlink()
    with pytest.raises(DataError, match="cannot write to this folder"):
        open_images(config, tmp_path, workers=1)
