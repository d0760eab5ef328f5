"""Every format read as published: the same picture (tests/annotated.py), masks against numpy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import annotated
import numpy as np
import pytest
from annotated import ALONE, FAR, FAR_VISIBLE, NEAR, Document

from shape3d_amodal import masks
from shape3d_amodal.annotations.conversion import convert
from shape3d_amodal.annotations.formats.registry import read_annotations, read_dataset
from shape3d_amodal.errors import DataError
from shape3d_amodal.structures import AmodalImage, Category


def read(folder: Path, document: Any) -> AmodalImage:
    (folder / "set.json").write_text(json.dumps(document))
    return read_dataset(folder / "set.json").images[0]


def decoded(image: AmodalImage) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(masks.decode(one.amodal), masks.decode(one.visible)) for one in image.instances if one.amodal is not None]


EXPECTED = {"near": (NEAR, NEAR, 0.0), "far": (FAR, FAR_VISIBLE, 0.3), "alone": (ALONE, ALONE, 0.0)}


@pytest.mark.parametrize(
    ("name", "layout", "order"),
    [
        ("kins2019", "kins2019", ("far", "near", "alone")),
        ("kins2020", "kins2020", ("far", "near", "alone")),
        ("cocoa", "cocoa", ("near", "far", "alone")),
        ("cocoa_cls", "coco_amodal", ("far", "near", "alone")),
        ("renamed", "kins2019", ("far", "near", "alone")),
        ("own", "coco_amodal", ("far", "near", "alone")),
    ],
)
def test_masks_of_every_format(name: str, layout: str, order: tuple[str, ...], tmp_path: Path) -> None:
    image = read(tmp_path, annotated.FORMATS[name]())
    assert read_annotations(tmp_path / "set.json").format.name == layout
    assert (image.id, image.file_name, image.width, image.height) == (5, "000005.png", 12, 8)
    for (amodal, visible), one, kind in zip(decoded(image), image.instances, order, strict=True):
        np.testing.assert_array_equal(amodal, EXPECTED[kind][0])
        np.testing.assert_array_equal(visible, EXPECTED[kind][1])
        assert one.occlude_rate == pytest.approx(EXPECTED[kind][2])


NEAR_AND_FAR = [annotated.NEAR_POLYGON, annotated.FAR_POLYGON]


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (NEAR_AND_FAR, NEAR | FAR),
        (NEAR_AND_FAR[:1], NEAR),
        (NEAR_AND_FAR[::-1], NEAR | FAR),
        ([NEAR_AND_FAR[0], annotated.ALONE_POLYGON], NEAR | ALONE),
        ([[x + 1e-3 for x in annotated.NEAR_POLYGON]], NEAR),
    ],
)
def test_visible_masks_are_their_own_polygons(visible: list[Any], expected: np.ndarray, tmp_path: Path) -> None:
    document = annotated.kins2020()
    document["annotations"][0].update(a_segm=NEAR_AND_FAR, i_segm=visible)
    found = decoded(read(tmp_path, document))[0]
    np.testing.assert_array_equal(found[0], NEAR | FAR)
    np.testing.assert_array_equal(found[1], expected)


def test_the_file_name_tells_nothing(tmp_path: Path) -> None:
    path = tmp_path / "instances_train_kins2019.json"
    path.write_text(json.dumps(annotated.cocoa()))
    assert read_annotations(path).format.name == "cocoa"


def test_orders_and_clusters_of_kins(tmp_path: Path) -> None:
    image = read(tmp_path, annotated.kins2020())
    assert [(one.id, one.cluster, one.depth_order) for one in image.instances] == [(1, 2, 2), (2, 2, 1), (3, 1, 0)]


def test_categories_stay_with_and_without_id_3(tmp_path: Path) -> None:
    read(tmp_path, annotated.kins2019())
    assert sorted(read_dataset(tmp_path / "set.json").category_names) == [1, 2, 4, 5, 6, 7, 8]
    image = read(tmp_path, annotated.kins2020())
    assert sorted(read_dataset(tmp_path / "set.json").category_names) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert image.instances[2].category_id == 3


def test_names_stuff_orders_and_pairs_of_cocoa(tmp_path: Path) -> None:
    image = read(tmp_path, annotated.cocoa())
    reading = read_annotations(tmp_path / "set.json")
    assert reading.dataset.categories == (Category(1, "old car"), Category(2, "a car"), Category(3, "sky"))
    assert [(one.id, one.depth_order, one.is_stuff) for one in image.instances] == [
        (1, 0, False),
        (2, 1, False),
        (3, 2, True),
    ]
    assert image.depth_constraint == ((1, 2),)
    assert reading.unread == (
        "images[].coco_url",
        "images[].date_captured",
        "images[].flickr_url",
        "annotations[].author",
        "annotations[].url",
    )


def test_pairs_count_orders_even_where_some_are_missing(tmp_path: Path) -> None:
    document = annotated.cocoa()
    for region, order in zip(document["annotations"][0]["regions"], (2, 5, 9), strict=True):
        region["order"] = order
    document["annotations"][0]["depth_constraint"] = "2-9,5-9"
    image = read(tmp_path, document)
    assert image.depth_constraint == ((1, 3), (2, 3))
    assert [one.depth_order for one in image.instances] == [1, 4, 8]


@pytest.mark.parametrize("ordered", [True, False])
def test_pairs_of_cocoa_keep_their_regions_where_one_is_left_out(ordered: bool, tmp_path: Path) -> None:
    """Regions are numbered as in the file, with those that cannot be read."""
    document = annotated.cocoa()
    (annotation,) = document["annotations"]
    annotation["depth_constraint"] = "1-2,2-3"
    annotation["regions"][0]["segmentation"] = []
    for region in annotation["regions"] if not ordered else ():
        del region["order"]
    (tmp_path / "set.json").write_text(json.dumps(document))
    done = convert(tmp_path / "set.json", tmp_path / "out.json", "coco_amodal", drop_invalid=True)
    assert [error.field for error in done.left_out] == ["annotations[0].regions[0].segmentation"]
    (image,) = done.dataset.images
    assert len(image.instances) == 2
    assert image.depth_constraint == (tuple(one.id for one in image.instances),)


def test_a_lone_annotation_of_cocoa_is_a_document(tmp_path: Path) -> None:
    image = read(tmp_path, annotated.cocoa()["annotations"][0])
    assert (image.id, image.file_name, image.width, image.height) == (5, "000005.png", 12, 8)
    np.testing.assert_array_equal(decoded(image)[1], [FAR, FAR_VISIBLE])


def test_a_second_annotator_of_an_image_makes_an_image_of_their_own(tmp_path: Path) -> None:
    document = annotated.cocoa()
    second = {**document["annotations"][0], "id": 78, "regions": document["annotations"][0]["regions"][:1]}
    del second["depth_constraint"]
    document["annotations"].append(second)
    read(tmp_path, document)
    images = read_dataset(tmp_path / "set.json").images
    assert [(image.id, image.file_name, len(image.instances)) for image in images] == [
        (5, "000005.png", 3),
        (6, "000005.png", 1),
    ]
    assert images[1].instances[0].id == 4


def without(document: Document, *keys: str) -> Document:
    for record in document["annotations"]:
        for key in keys:
            record.pop(key, None)
    return document


@pytest.mark.parametrize(
    "document",
    [
        without(annotated.kins2020(), "i_segm"),
        without(annotated.own(), "visible_mask", "invisible_mask", "occlude_rate"),
    ],
    ids=["kins2020", "own"],
)
def test_visible_masks_follow_from_the_order(document: Document, tmp_path: Path) -> None:
    """The pixels that two share are those of the smaller order (KINS paper, section 3.2)."""
    image = read(tmp_path, document)
    for (_, visible), expected in zip(decoded(image), (FAR_VISIBLE, NEAR, ALONE), strict=True):
        np.testing.assert_array_equal(visible, expected)
    assert [one.occlude_rate for one in image.instances] == pytest.approx([0.3, 0, 0])


def test_orders_of_different_clusters_hide_nothing(tmp_path: Path) -> None:
    document = without(annotated.kins2020(), "i_segm")
    document["annotations"][0]["oco_id"] = 9
    np.testing.assert_array_equal(decoded(read(tmp_path, document))[0][1], FAR)


def test_visible_masks_follow_from_the_invisible_ones_or_a_rate_of_0(tmp_path: Path) -> None:
    image = read(tmp_path, without(annotated.cocoa_cls(), "visible_mask"))
    np.testing.assert_array_equal(decoded(image)[0][1], FAR_VISIBLE)
    np.testing.assert_array_equal(decoded(image)[1][1], NEAR)


def test_without_visible_mask_and_order_the_record_is_refused(tmp_path: Path) -> None:
    document = without(annotated.kins2019(), "inmodal_seg")
    document["annotations"][2]["inmodal_seg"] = annotated.ALONE_CODE
    with pytest.raises(DataError, match=r"annotations\[0\].inmodal_seg: missing; .* order of the objects"):
        read(tmp_path, document)


@pytest.mark.parametrize("nothing", [annotated.EMPTY_CODE, annotated.rle([96]), []])
@pytest.mark.parametrize(
    ("make", "key", "get"),
    [
        (annotated.kins2019, "inmodal_seg", lambda d: d["annotations"]),
        (annotated.kins2020, "i_segm", lambda d: d["annotations"]),
        (annotated.cocoa_cls, "visible_mask", lambda d: d["annotations"]),
        (annotated.cocoa, "visible_mask", lambda d: d["annotations"][0]["regions"]),
    ],
)
def test_fully_hidden_objects(
    make: Callable[[], Document], key: str, get: Callable[[Document], list[Document]], nothing: Any, tmp_path: Path
) -> None:
    document = make()
    get(document)[0][key] = nothing
    image = read(tmp_path, document)
    assert masks.area(image.instances[0].visible) == 0
    assert image.instances[0].occlude_rate == 1


def test_slips_of_fewer_than_six_coordinates_are_left_out(tmp_path: Path) -> None:
    document = annotated.kins2019()
    document["annotations"][0]["segmentation"] = [[1, 1], annotated.FAR_POLYGON, [0, 0, 9, 9]]
    np.testing.assert_array_equal(decoded(read(tmp_path, document))[0][0], FAR)


def test_annotations_may_stand_before_the_images(tmp_path: Path) -> None:
    document = annotated.kins2020()
    image = read(tmp_path, {key: document[key] for key in ("annotations", "categories", "images")})
    np.testing.assert_array_equal(decoded(image)[0], [FAR, FAR_VISIBLE])


def test_crowds_are_ignored_in_every_format(tmp_path: Path) -> None:
    for make in (annotated.kins2019, annotated.kins2020, annotated.cocoa_cls):
        document = make()
        document["annotations"][1]["iscrowd"] = 1
        instances = read(tmp_path, document).instances
        assert [one.ignore for one in instances] == [one.crowd for one in instances] == [False, True, False]


def test_unknown_keys_of_the_first_record_do_not_hide_the_format(tmp_path: Path) -> None:
    document = annotated.kins2020()
    first = document["annotations"][0]
    first["segmentation"] = first["a_segm"]  # some copies carry COCO's keys beside their own
    read(tmp_path, document)
    assert read_annotations(tmp_path / "set.json").format.name == "kins2020"
