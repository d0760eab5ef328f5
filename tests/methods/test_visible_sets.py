"""What was left out is named by the ids of its image and object, as far as a file tells them."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import annotated
import pytest

from shape3d_amodal.annotations.formats.registry import read_annotations
from shape3d_amodal.methods.visible_sets import VisibleSet, read_visible_set

Document = dict[str, Any]


def visible_set(folder: Path, document: object, **options: object) -> VisibleSet:
    (folder / "a.json").write_text(json.dumps(document))
    return read_visible_set(folder / "a.json", ["car"], read=partial(read_annotations, **options))


def ids(found: VisibleSet) -> list[tuple[int | None, int | None]]:
    return [(one.image_id, one.annotation_id) for one in found.skipped]


def change(**values: object) -> Callable[[Document], None]:
    """Change the second annotation, which has the id 2 and is of image 5."""
    return lambda document: document["annotations"][1].update(values)


def drop(key: str) -> Callable[[Document], None]:
    return lambda document: document["annotations"][1].pop(key)


BROKEN = {
    "mask": (change(visible_mask={"size": [8, 12], "counts": "!"}), (5, 2)),
    "size": (change(visible_mask={"size": [8, 11], "counts": [88]}), (5, 2)),
    "category": (change(category_id=99), (5, 2)),
    "flag": (change(iscrowd="yes"), (5, 2)),
    "image": (change(image_id=99), (99, 2)),
    "no image": (drop("image_id"), (None, 2)),
    "text as image": (change(image_id="5"), (None, 2)),
    "no id": (drop("id"), (5, None)),
    "truth as id": (change(id=True), (5, None)),
    "duplicate": (change(id=1), (5, 1)),
    "no record": (lambda document: document["annotations"].__setitem__(1, None), (None, None)),
    "pairs": (lambda document: document["images"][0].update(depth_constraint=[[2, 44]]), (5, None)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_record_is_named_by_its_ids(name: str, tmp_path: Path) -> None:
    spoil, expected = BROKEN[name]
    document = annotated.own()
    document["images"][0]["depth_constraint"] = []
    spoil(document)
    assert ids(visible_set(tmp_path, document)) == [expected]


def test_a_broken_image_and_its_objects(tmp_path: Path) -> None:
    document = annotated.own()
    document["images"][0]["width"] = None
    assert ids(visible_set(tmp_path, document)) == [(5, None), (5, 1), (5, 2), (5, 3)]


def test_a_broken_category_is_of_no_image(tmp_path: Path) -> None:
    document = annotated.own()
    document["categories"].append({"id": 8})
    assert ids(visible_set(tmp_path, document)) == [(None, None)]


def test_regions_of_cocoa_have_no_ids_of_their_own(tmp_path: Path) -> None:
    """The id of an annotation is that of a whole image."""
    document = annotated.cocoa()
    for region in document["annotations"][0]["regions"]:
        region["name"] = "car"
    document["annotations"][0]["regions"][1]["visible_mask"] = 7
    del document["annotations"][0]["depth_constraint"]
    assert ids(visible_set(tmp_path, document)) == [(5, None)]
    del document["annotations"][0]["id"]
    assert ids(visible_set(tmp_path, document)) == [(5, None)]


def test_detections_are_counted_from_1(tmp_path: Path) -> None:
    document = annotated.own()
    (tmp_path / "info.json").write_text(json.dumps({key: document[key] for key in ("images", "categories")}))
    shared = {"image_id": 5, "category_id": 3, "score": 0.9}
    detections = [{**shared, "segmentation": annotated.NEAR_CODE}, {**shared, "segmentation": 7}, None]
    found = visible_set(tmp_path, detections, image_info=tmp_path / "info.json", min_score=0.5)
    assert ids(found) == [(5, 2), (None, 3)]


def test_the_first_images_keep_what_was_skipped_of_them_and_of_none(tmp_path: Path) -> None:
    """Image 6 comes after those; images 5 and 7 cannot be read, and may have come before."""
    document = annotated.own()
    document["images"] = [{**document["images"][0], "id": number} for number in (4, 5, 6)]
    for image in document["images"]:
        image.pop("depth_constraint")
    document["images"][1]["height"] = 0
    places = {1: 4, 2: 6, 3: 7}
    for record in document["annotations"]:
        record |= {"image_id": places[record["id"]], "visible_mask": None, "segmentation": 7}
    found = visible_set(tmp_path, document)
    assert ids(found) == [(5, None), (4, 1), (6, 2), (7, 3)]
    assert ids(found.first(1)) == [(5, None), (4, 1), (7, 3)]
