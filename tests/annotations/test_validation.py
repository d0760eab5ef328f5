"""Every known defect of published sets is found, each by its record, and all of a file at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import annotated
import exif_files
import numpy as np
import pytest
from annotated import Document
from PIL import Image

from shape3d_amodal.annotations.formats.registry import PUBLISHED
from shape3d_amodal.annotations.images import ImageFiles
from shape3d_amodal.annotations.validation import Problem, ValidationReport, validate


def report_of(folder: Path, document: Document, **options: object) -> ValidationReport:
    path = folder / "set.json"
    path.write_text(json.dumps(document))
    return validate(path, **options)[0]  # type: ignore[arg-type]


QUIET = {"category-ids", "empty-categories", "several-polygons", "uncompressed"}
"""Warnings that the fixtures give, which have ids with gaps and masks in all forms."""


@pytest.mark.parametrize("name", annotated.FORMATS)
def test_the_fixtures_are_free_of_errors(name: str, tmp_path: Path) -> None:
    report = report_of(tmp_path, annotated.FORMATS[name]())
    assert {one.check for one in report.problems} <= QUIET
    assert report.counts["objects"] == 3
    assert report.errors == 0


def record(document: Document, index: int = 0) -> Document:
    """An annotation; index 0 is FAR, which NEAR hides in part."""
    return document["annotations"][index]


Change = Callable[[Document], object]
Make = Callable[[], Document]
WIDE_CODE = annotated.rle([0, 96])

DEFECTS: list[tuple[str, Make, Change, str, str, str, str]] = [
    (
        "visible outside amodal",
        annotated.cocoa_cls,
        lambda d: record(d, 1).update(visible_mask=WIDE_CODE),
        "error",
        "visible-outside",
        "annotations[1].visible_mask",
        "71 of 96 visible pixels",
    ),
    (
        "visible one pixel outside a larger amodal mask",
        annotated.cocoa_cls,
        lambda d: (
            record(d, 1).update(segmentation=WIDE_CODE, visible_mask=WIDE_CODE, area=96, bbox=[0, 0, 12, 8])
            or record(d, 1).update(segmentation=annotated.rle([1, 95]))
        ),
        "warning",
        "visible-outside",
        "annotations[1].visible_mask",
        "1 of 96 visible pixels",
    ),
    (
        "invisible pixels that are visible",
        annotated.cocoa_cls,
        lambda d: record(d).update(invisible_mask=annotated.FAR_CODE),
        "error",
        "invisible-visible",
        "annotations[0].invisible_mask",
        "14 invisible pixels",
    ),
    (
        "invisible mask that misses pixels",
        annotated.cocoa_cls,
        lambda d: record(d).update(invisible_mask=[]),
        "warning",
        "invisible-differs",
        "annotations[0].invisible_mask",
        "follows from them",
    ),
    (
        "wrong occlude_rate",
        annotated.cocoa_cls,
        lambda d: record(d).update(occlude_rate=0.7),
        "error",
        "occlude-rate",
        "annotations[0].occlude_rate",
        "expected 0.300",
    ),
    (
        "occlude_rate of text",
        annotated.cocoa_cls,
        lambda d: record(d).update(occlude_rate="0.3"),
        "error",
        "occlude-rate",
        "annotations[0].occlude_rate",
        "no number",
    ),
    (
        "a slip beside a polygon",
        annotated.kins2019,
        lambda d: record(d)["segmentation"].append([3, 3, 4, 4]),
        "warning",
        "short-polygon",
        "annotations[0].segmentation",
        "1 of 2 polygons",
    ),
    (
        "a polygon of two corners alone",
        annotated.kins2019,
        lambda d: record(d).update(segmentation=[[3, 3, 4, 4]]),
        "error",
        "record",
        "annotations[0].segmentation[0]",
        "at least 6",
    ),
    (
        "several polygons",
        annotated.kins2019,
        lambda d: record(d).update(segmentation=[annotated.FAR_POLYGON, annotated.FAR_POLYGON]),
        "warning",
        "several-polygons",
        "annotations[0].segmentation",
        "2 polygons",
    ),
    (
        "uncompressed runs",
        annotated.kins2020,
        lambda d: record(d, 1).update(i_segm=annotated.rle(annotated.NEAR_RUNS)),
        "warning",
        "uncompressed",
        "annotations[1].i_segm",
        "not compressed",
    ),
    (
        "height and width in turned order",
        annotated.kins2020,
        lambda d: record(d, 2).update(i_segm={**annotated.ALONE_CODE, "size": [12, 8]}),
        "error",
        "record",
        "annotations[2].i_segm.size",
        "8 x 12",
    ),
    (
        "area overwritten by the visible ratio",
        annotated.cocoa_cls,
        lambda d: record(d).update(area=0.7),
        "error",
        "area-is-ratio",
        "annotations[0].area",
        "visible ratio",
    ),
    (
        "wrong area",
        annotated.kins2020,
        lambda d: record(d).update(a_area=90),
        "warning",
        "area",
        "annotations[0].a_area",
        "about 20",
    ),
    (
        "unknown class",
        annotated.kins2019,
        lambda d: record(d).update(category_id=3),
        "error",
        "record",
        "annotations[0].category_id",
        "unknown category 3",
    ),
    (
        "id 3 is absent",
        annotated.kins2019,
        lambda d: d,
        "warning",
        "category-ids",
        "categories",
        "7 classes, ids 3 are absent",
    ),
    (
        "box of the visible mask for the amodal one",
        annotated.cocoa_cls,
        lambda d: record(d).update(visible_mask=annotated.ALONE_CODE, bbox=[10, 0, 2, 2]),
        "error",
        "box-of-other-mask",
        "annotations[0].bbox",
        "box of the visible mask",
    ),
    (
        "box of the amodal mask for the visible one",
        annotated.kins2020,
        lambda d: record(d).update(a_segm=WIDE_CODE, a_bbox=[0, 0, 12, 8], i_bbox=[0, 0, 12, 8]),
        "error",
        "box-of-other-mask",
        "annotations[0].i_bbox",
        "box of the amodal mask",
    ),
    (
        "box of corners",
        annotated.kins2019,
        lambda d: record(d, 2).update(bbox=[10, 0, 12, 2]),
        "warning",
        "box",
        "annotations[2].bbox",
        "expected [10, 0, 2, 2]",
    ),
    (
        "box of text",
        annotated.kins2019,
        lambda d: record(d, 2).update(bbox="10 0 2 2"),
        "warning",
        "box",
        "annotations[2].bbox",
        "4 numbers",
    ),
    (
        "empty visible mask",
        annotated.kins2019,
        lambda d: record(d).update(inmodal_seg=annotated.EMPTY_CODE),
        "warning",
        "hidden",
        "annotations[0].inmodal_seg",
        "nothing of the object is visible",
    ),
    (
        "empty amodal mask",
        annotated.kins2020,
        lambda d: record(d).update(a_segm=annotated.EMPTY_CODE),
        "error",
        "record",
        "annotations[0].a_segm",
        "at least one pixel",
    ),
    (
        "two that overlap share an order",
        annotated.kins2020,
        lambda d: record(d).update(ico_id=1),
        "error",
        "order-shared",
        "annotations[id=2]",
        "shares the order 1 with annotation 1",
    ),
    (
        "a pair of unknown objects",
        annotated.own,
        lambda d: d["images"][0].update(depth_constraint=[[1, 9]]),
        "error",
        "record",
        "images[id=5].depth_constraint",
        "ids of the image's annotations",
    ),
    (
        "pairs of regions that are not there",
        annotated.cocoa,
        lambda d: record(d).update(depth_constraint="1-7"),
        "error",
        "record",
        "annotations[0].depth_constraint",
        "such as 1-2",
    ),
    (
        "duplicate id",
        annotated.kins2019,
        lambda d: record(d).update(id=2),
        "error",
        "record",
        "annotations[1].id",
        "duplicate id 2",
    ),
    (
        "orphan",
        annotated.kins2019,
        lambda d: record(d).update(image_id=4),
        "error",
        "record",
        "annotations[0].image_id",
        "no image has the id 4",
    ),
    (
        "region without a name",
        annotated.cocoa,
        lambda d: record(d)["regions"][2].pop("name"),
        "error",
        "record",
        "annotations[0].regions[2].name",
        "missing",
    ),
    (
        "order 0 where 1 is nearest",
        annotated.cocoa,
        lambda d: record(d)["regions"][0].update(order=0),
        "error",
        "record",
        "annotations[0].regions[0].order",
        "1 (nearest)",
    ),
    (
        "one file for two images",
        annotated.cocoa_cls,
        lambda d: d["images"].append({**annotated.IMAGE, "id": 6}),
        "warning",
        "same-file",
        "images",
        "2 images",
    ),
    (
        "images without objects",
        annotated.cocoa_cls,
        lambda d: d["images"].append({**annotated.IMAGE, "id": 6, "file_name": "b.png"}),
        "warning",
        "empty-images",
        "images",
        "1 of 2",
    ),
    (
        "two categories of one name",
        annotated.cocoa_cls,
        lambda d: d["categories"].append({"id": 1, "name": "car"}),
        "warning",
        "same-name",
        "categories",
        "2 categories",
    ),
    (
        "no categories",
        annotated.kins2019,
        lambda d: d.pop("categories"),
        "error",
        "record",
        "categories",
        "missing",
    ),
]
CASES = [pytest.param(*row[1:], id=row[0]) for row in DEFECTS]


@pytest.mark.parametrize(("make", "change", "severity", "check", "field", "part"), CASES)
def test_defects(make: Make, change: Change, severity: str, check: str, field: str, part: str, tmp_path: Path) -> None:
    document = make()
    change(document)
    report = report_of(tmp_path, document)
    found = [one for one in report.problems if (one.severity, one.check, one.field) == (severity, check, field)]
    assert len(found) == 1, report.problems
    assert part in found[0].problem
    assert "\n" not in found[0].problem
    assert (report.errors > 0) == (severity == "error" or any(one.severity == "error" for one in report.problems))


def test_all_defects_of_a_file_are_found_at_once(tmp_path: Path) -> None:
    """All of KINS 2019 in one document, each in records of its own."""
    whole = annotated.kins2019()
    whole["annotations"], whole["images"], expected = [], [], []
    for _, make, change, severity, check, field, _ in DEFECTS:
        document = make()
        change(document)
        if make is not annotated.kins2019 or not field.startswith("annotations["):
            continue
        start, image = len(whole["annotations"]), {**annotated.IMAGE, "id": 100 + len(whole["images"])}
        whole["images"].append(image | {"file_name": f"{image['id']}.png"})
        for one in document["annotations"]:
            duplicate = 1000 * len(whole["images"])
            one |= {"image_id": image["id"] if one["image_id"] == 5 else 4, "id": duplicate + one["id"]}
            whole["annotations"].append(one)
        number = int(field[len("annotations[") :].partition("]")[0])
        expected.append((severity, check, f"annotations[{start + number}]{field.partition(']')[2]}"))
    report = report_of(tmp_path, whole)
    assert len(expected) >= 8
    found = [(one.severity, one.check, one.field) for one in report.problems]
    assert [found.count(one) for one in expected] == [1] * len(expected)


@pytest.mark.parametrize("rest", [("images", "categories"), ("images",)])
def test_a_file_of_images_alone_is_no_error(rest: tuple[str, ...], tmp_path: Path) -> None:
    whole = annotated.cocoa_cls()
    report = report_of(tmp_path, {key: whole[key] for key in rest})
    assert (report.counts["images"], report.errors) == (1, 0)
    found = [(one.severity, one.field) for one in report.problems if one.check == "no-annotations"]
    assert found == [("warning", "annotations")]


def test_counts_are_held_against_the_published_ones(tmp_path: Path) -> None:
    assert (PUBLISHED["kins-train"]["images"], PUBLISHED["kins-test"]["images"]) == (7474, 7517)
    report = report_of(tmp_path, annotated.kins2019(), published=["kins-train", "kins2020", "kins2019"])
    assert [(one.field, one.problem[:13]) for one in report.problems if one.check == "published-count"] == [
        ("images", "expected 7474"),
        ("categories", "expected 8 as"),
    ]


@pytest.mark.parametrize(
    ("content", "part"),
    [(b"", "not valid JSON"), (b"[]", "expected an object"), (b'{"annotations": [', "not valid JSON")],
)
def test_a_file_that_cannot_be_parsed_is_one_error(content: bytes, part: str, tmp_path: Path) -> None:
    (tmp_path / "set.json").write_bytes(content)
    report, dataset = validate(tmp_path / "set.json")
    assert [(one.severity, one.check) for one in report.problems] == [("error", "file")]
    assert part in report.problems[0].problem
    assert dataset.images == ()


def test_images_are_decoded_and_measured(tmp_path: Path) -> None:
    document = annotated.cocoa_cls()
    names = ("good.png", "missing.png", "short.png", "turned.png", "../outside.png")
    document["images"] = [{**annotated.IMAGE, "id": 5 + i, "file_name": name} for i, name in enumerate(names)]
    noise = np.random.default_rng(0).integers(0, 255, (8, 12, 3), dtype=np.uint8)
    for name in ("good.png", "short.png"):
        Image.fromarray(noise).save(tmp_path / name)
    Image.fromarray(noise.transpose(1, 0, 2).copy()).save(tmp_path / "turned.png")
    (tmp_path / "short.png").write_bytes((tmp_path / "short.png").read_bytes()[:200])
    report = report_of(tmp_path, document, images=ImageFiles(tmp_path, tmp_path / "set.json"))
    found = {one.field: one.problem for one in report.problems if one.check == "image"}
    assert list(found) == [
        "images[id=6].file_name",
        "images[id=7].file_name",
        "images[id=8]",
        "images[id=9].file_name",
    ]
    for part, problem in zip(("No such file", "damaged", "12 x 8", "relative name"), found.values(), strict=True):
        assert part in problem


def test_groups_and_json() -> None:
    report = ValidationReport("a.json")
    for index in range(3):
        report.add("warning", "area", f"annotations[{index}].area", f"expected about {index} pixels, got 7.5")
    report.add("error", "record", "annotations[9].id", "duplicate id 4")
    groups = report.groups()
    assert [(group[0].check, len(group)) for group in groups] == [("record", 1), ("area", 3)]
    assert groups[0] == [Problem("error", "record", "annotations[9].id", "duplicate id 4")]
    told = report.to_dict()
    assert (told["errors"], told["warnings"], len(told["problems"])) == (1, 3, 4)
    assert json.loads(json.dumps(told))["problems"][3]["field"] == "annotations[9].id"


def test_each_exif_orientation_is_a_group_with_its_count(tmp_path: Path) -> None:
    document = annotated.own()
    names = {f"{tag}_{copy}.png": tag for tag in range(1, 9) for copy in range(tag)}
    pixels = np.zeros((8, 8, 3), np.uint8)
    for name, tag in names.items():
        (tmp_path / name).write_bytes(exif_files.png(pixels, exif_files.chunk(b"eXIf", exif_files.exif(tag))))
    sizes = {"width": 8, "height": 8}
    document["images"] = [{"id": id, "file_name": name, **sizes} for id, name in enumerate(names, start=1)]
    document["annotations"] = []
    report = report_of(tmp_path, document, images=ImageFiles(tmp_path, tmp_path / "set.json"))
    groups = [group for group in report.groups() if group[0].check == "exif-orientation"]
    told = [(group[0].problem.partition(":")[0], len(group)) for group in groups]
    assert told == [(f"EXIF orientation {tag}", tag) for tag in range(8, 1, -1)]
