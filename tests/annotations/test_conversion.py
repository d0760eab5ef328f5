"""From format to format: what is held stays to the pixel, what is not is told."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import annotated
import numpy as np
import pytest
from drawn_datasets import datasets
from hypothesis import given, settings

from shape3d_amodal import masks
from shape3d_amodal.annotations.conversion import convert
from shape3d_amodal.annotations.formats import writing
from shape3d_amodal.annotations.formats.coco_amodal import write_coco_amodal
from shape3d_amodal.annotations.formats.registry import FORMATS, read_annotations, read_dataset
from shape3d_amodal.errors import DataError, UsageError
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance, Category

LAYOUT = {"d2sa": "coco_amodal"}
NEITHER = {"crowd": False, "is_stuff": False, "depth_order": None, "cluster": None} | dict.fromkeys(
    ("mesh", "viewpoint", "pose")
)
FORGOTTEN: dict[str, dict[str, Any]] = {
    "coco_amodal": {},
    "kins2020": NEITHER,
    "kins2019": NEITHER,
    "d2sa": NEITHER,
    "cocoa": {
        "id": 0,
        "category_id": 0,
        "ignore": False,
        **{key: NEITHER[key] for key in NEITHER if key != "is_stuff"},
    },
}
"""What a format does not hold, or holds in its own way, which the tests below look at one by one."""


def held(dataset: AmodalDataset, to: str) -> list[AmodalImage]:
    """The images with what the format ``to`` cannot hold set to nothing."""
    images = []
    for image in dataset.images:
        instances = tuple(replace(one, **FORGOTTEN[to]) for one in image.instances)
        kept = to == "coco_amodal"
        images.append(
            replace(
                image,
                instances=instances,
                depth_constraint=image.depth_constraint if kept else (),
                camera=image.camera if kept else None,
                intrinsics=image.intrinsics if kept else None,
            )
        )
    return images


def check_conversion(folder: Path, to: str, dataset: AmodalDataset) -> None:
    source, target = folder / "source.json", folder / "target.json"
    write_coco_amodal(source, dataset)
    for form in ("rle", "polygons") if to == "kins2020" else ("rle",):
        done = convert(source, target, to, form=form)  # type: ignore[arg-type]
        after = read_dataset(target)
        assert held(after, to) == held(dataset, to)
        assert done.dataset == dataset
        assert not any("visible" in loss or "amodal of" in loss for loss in done.losses)
        if after == dataset:
            assert done.losses == ()
        for before_image, after_image in zip(dataset.images, after.images, strict=True):
            check_orders(to, before_image, after_image)


def check_orders(to: str, before: AmodalImage, after: AmodalImage) -> None:
    """Of two objects that overlap, the one that was in front is in front."""
    for i, j in combinations(range(len(before.instances)), 2):
        pair, other = [before.instances[i], before.instances[j]], [after.instances[i], after.instances[j]]
        overlap = (masks.decode(pair[0].amodal) & masks.decode(pair[1].amodal)).any()  # type: ignore[arg-type]
        orders, new = [one.depth_order for one in pair], [one.depth_order for one in other]
        if to in ("kins2019", "d2sa") or None in orders or not overlap or pair[0].cluster != pair[1].cluster:
            continue
        if None not in new:
            assert other[0].cluster == other[1].cluster
            assert np.sign(orders[0] - orders[1]) in (np.sign(new[0] - new[1]), 0)  # type: ignore[operator]
    names = [{one.id: place for place, one in enumerate(image.instances)} for image in (before, after)]
    if to in ("cocoa", "coco_amodal"):
        pairs = [
            [(name[front], name[behind]) for front, behind in image.depth_constraint]
            for name, image in zip(names, (before, after), strict=True)
        ]
        assert pairs[0] == pairs[1]


def check_all(folder: Path, to: str, examples: int) -> None:
    settings(max_examples=examples, deadline=None)(
        given(datasets(whole=True))(lambda d: check_conversion(folder, to, d))
    )()


@pytest.mark.parametrize("to", FORMATS)
def test_conversions(to: str, tmp_path: Path) -> None:
    check_all(tmp_path, to, 25)


@pytest.mark.slow
@pytest.mark.parametrize("to", FORMATS)
def test_conversions_at_length(to: str, tmp_path: Path) -> None:
    check_all(tmp_path, to, 1000)


def written(folder: Path, name: str) -> Path:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(annotated.FORMATS[name]()))
    return path


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("name", annotated.FORMATS)
def test_every_format_to_every_format(name: str, to: str, tmp_path: Path) -> None:
    source, target = written(tmp_path, name), tmp_path / "target.json"
    before = convert(source, target, to).dataset
    after = read_annotations(target)
    assert after.format.name == LAYOUT.get(to, to)
    assert pixels(after.dataset) == pixels(before)


def pixels(dataset: AmodalDataset) -> list[tuple[object, ...]]:
    names = dataset.category_names
    return [(names[one.category_id], one.amodal, one.visible) for image in dataset.images for one in image.instances]


def test_cocoa_to_kins_2020_and_back(tmp_path: Path) -> None:
    first, second, third = written(tmp_path, "cocoa"), tmp_path / "kins.json", tmp_path / "back.json"
    done = convert(first, second, "kins2020")
    assert done.losses == (
        "images[].coco_url is not read",
        "images[].date_captured is not read",
        "images[].flickr_url is not read",
        "annotations[].author is not read",
        "annotations[].url is not read",
        "depth_constraint of 1 of 1 image: the format has no place for it",
        "depth_order of 3 of 3 objects: counted anew in each cluster, from 1 on, 0 for what overlaps no other",
        "cluster of 3 of 3 objects: the overlaps of the amodal masks decide",
        "is_stuff of 1 of 3 objects: the format has no place for it",
    )
    convert(second, third, "cocoa")
    assert pixels(read_dataset(third)) == pixels(read_dataset(first))
    regions = json.loads(third.read_text())["annotations"][0]["regions"]
    given_regions = annotated.cocoa()["annotations"][0]["regions"]
    for new, old in zip(regions, given_regions, strict=True):
        assert new["segmentation"] == old["segmentation"]
        assert (new.get("visible_mask"), new["area"]) == (old.get("visible_mask"), old["area"])
        assert new["occlude_rate"] == pytest.approx(old["occlude_rate"])


def test_cocoa_is_written_as_published(tmp_path: Path) -> None:
    """But for what is not read, the document of the fixture comes back."""
    convert(written(tmp_path, "cocoa"), tmp_path / "again.json", "cocoa")
    expected = annotated.cocoa()
    for key in ("date_captured", "flickr_url", "coco_url"):
        del expected["images"][0][key]
    annotation = expected["annotations"][0]
    for key in ("author", "url"):
        del annotation[key]
    annotation["id"] = 5  # that of its image
    annotation["regions"][0]["name"] = "old car"
    assert json.loads((tmp_path / "again.json").read_text()) == expected


def test_kins_2019_is_written_as_published(tmp_path: Path) -> None:
    assert convert(written(tmp_path, "kins2019"), tmp_path / "again.json", "kins2019").losses == ()
    assert json.loads((tmp_path / "again.json").read_text()) == annotated.kins2019()


def test_our_own_form_holds_everything(tmp_path: Path) -> None:
    assert convert(written(tmp_path, "own"), tmp_path / "again.json", "coco_amodal").losses == ()


def test_an_object_without_amodal_mask_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    document = annotated.own()
    del document["annotations"][1]["segmentation"]
    (tmp_path / "own.json").write_text(json.dumps(document))
    for to in FORMATS.keys() - {"coco_amodal"}:
        with pytest.raises(DataError, match="instance 2: it has no amodal mask"):
            convert(tmp_path / "own.json", tmp_path / "out.json", to)
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize("to", [name for name in FORMATS if name != "kins2020"])
def test_polygons_where_the_form_is_fixed_are_refused(to: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"masks: {to} has one form; leave polygons to kins2020"):
        convert(written(tmp_path, "kins2020"), tmp_path / "out.json", to, form="polygons")
    assert not (tmp_path / "out.json").exists()


def test_a_format_that_nobody_knows_is_refused_and_the_known_ones_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected a format of coco_amodal, .*kins2020.*, got 'coco'"):
        convert(written(tmp_path, "kins2020"), tmp_path / "out.json", "coco")


def test_records_with_errors_are_left_out_on_request(tmp_path: Path) -> None:
    document = annotated.kins2020()
    document["annotations"][1]["i_segm"] = annotated.rle([5, 5])
    document["annotations"][2]["image_id"] = 6
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"annotations\[1\].i_segm"):
        convert(path, tmp_path / "out.json", "coco_amodal")
    done = convert(path, tmp_path / "out.json", "coco_amodal", drop_invalid=True)
    assert [error.field for error in done.left_out] == ["annotations[1].i_segm.counts", "annotations[2].image_id"]
    assert [one.id for one in read_dataset(tmp_path / "out.json").images[0].instances] == [1]


def test_scattered_pixels_are_no_polygon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "MAX_POLYGON_LENGTH", 100)
    mask = masks.encode(np.indices((9, 9)).sum(axis=0) % 2 == 0)  # 41 pixels of 4 sides each
    one = AmodalInstance(id=1, category_id=1, visible=mask, amodal=mask, occlude_rate=0.0)
    image = AmodalImage(id=1, file_name="a.png", width=9, height=9, instances=(one,))
    dataset = AmodalDataset(images=(image,), categories=(Category(1, "noise"),))
    write_coco_amodal(tmp_path / "a.json", dataset)
    for to in ("kins2019", "cocoa"):
        with pytest.raises(DataError, match="scattered"):
            convert(tmp_path / "a.json", tmp_path / "b.json", to)
    assert convert(tmp_path / "a.json", tmp_path / "b.json", "kins2020").dataset == dataset
