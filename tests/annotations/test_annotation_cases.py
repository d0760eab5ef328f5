"""Files that went wrong for people who used other tools (tests/cases), each with its right value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.registry import read_dataset
from shape3d_amodal.annotations.images import ImageFiles
from shape3d_amodal.annotations.validation import ValidationReport, validate
from shape3d_amodal.cli import main
from shape3d_amodal.errors import DataError, UsageError

CASES = Path(__file__).resolve().parents[1] / "cases"
EXIF, CROWDS = CASES / "exif_orientation", CASES / "all_objects_are_crowds"
NOTHING, LINKED = CASES / "empty_and_null_values", CASES / "linked_pictures"
RED, GREY = (230, 20, 20), (90, 90, 90)


def checks(report: ValidationReport) -> dict[str, list[str]]:
    """The problems of a report by their check."""
    found: dict[str, list[str]] = {}
    for one in report.problems:
        found.setdefault(one.check, []).append(one.problem)
    return found


class TestExifOrientation:
    @pytest.mark.parametrize("number", range(4))
    def test_under_the_mask_the_picture_is_red(self, number: int) -> None:
        file = EXIF / "annotations.json"
        record = read_dataset(file).images[number]
        pixels = ImageFiles(EXIF / "images", file).read(record)
        colour = pixels[masks.decode(record.instances[0].visible)].mean(axis=0)
        np.testing.assert_allclose(colour, RED, atol=12)

    @pytest.mark.parametrize(("number", "colour"), [(0, RED), (1, GREY), (2, GREY)])
    def test_the_stored_pixels_can_be_asked_for(self, number: int, colour: tuple[int, int, int]) -> None:
        file = EXIF / "annotations.json"
        record = read_dataset(file).images[number]
        pixels = ImageFiles(EXIF / "images", file, "stored").read(record)
        found = pixels[masks.decode(record.instances[0].visible)].mean(axis=0)
        np.testing.assert_allclose(found, colour, atol=12)

    def test_the_error_about_sizes_names_the_orientation_both_ways(self, tmp_path: Path) -> None:
        file = EXIF / "annotations.json"
        wide = read_dataset(file).images[3]
        with pytest.raises(DataError, match=r"orientation 6 is not applied; --orientation exif .* fits"):
            ImageFiles(EXIF / "images", file, "stored").read(wide)
        text = file.read_text().replace('"width": 96, "height": 64', '"width": 64, "height": 96')
        (tmp_path / "stored.json").write_text(text)
        lying = read_dataset(tmp_path / "stored.json").images[3]
        with pytest.raises(DataError, match=r"orientation 6 is applied; --orientation stored .* fits"):
            ImageFiles(EXIF / "images", tmp_path / "stored.json").read(lying)
        assert ImageFiles(EXIF / "images", tmp_path / "stored.json", "stored").read(lying).shape == (96, 64, 3)

    @pytest.mark.parametrize(("orientation", "other"), [("exif", "stored"), ("stored", "exif")])
    def test_validate_warns_of_each(
        self, orientation: str, other: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        arguments = ["data", "validate", str(EXIF / "annotations_first_three.json"), "--images", str(EXIF / "images")]
        assert main([*arguments, "--orientation", orientation, "--out", str(tmp_path / "report.json")]) == 0
        assert "0 errors, 2 warnings" in capsys.readouterr().out
        problems = json.loads((tmp_path / "report.json").read_text())["problems"]
        assert [one["check"] for one in problems] == ["exif-orientation"] * 2
        assert [one["field"] for one in problems] == ["images[id=2].file_name", "images[id=3].file_name"]
        assert all(f"--orientation {other}" in one["problem"] for one in problems)

    def test_validate_gives_each_orientation_a_row(self) -> None:
        """square_6.jpg and wide_6.jpg together, wide_3.jpg on its own."""
        file = EXIF / "annotations.json"
        report, _ = validate(file, images=ImageFiles(EXIF / "images", file))
        rows = [[one.field for one in group] for group in report.groups()]
        assert rows == [["images[id=2].file_name", "images[id=4].file_name"], ["images[id=3].file_name"]]

    def test_validate_warns_of_damaged_exif(self, tmp_path: Path) -> None:
        data = (EXIF / "images" / "square_6.jpg").read_bytes()
        assert data.count(b"Exif\0\0") == 1
        (tmp_path / "square_6.jpg").write_bytes(
            data.replace(b"Exif\0\0MM", b"Exif\0\0XX").replace(b"\0\0II", b"\0\0XX")
        )
        file = EXIF / "annotations.json"
        document = json.loads(file.read_text())
        document["images"] = document["images"][1:2]
        document["annotations"] = document["annotations"][1:2]
        (tmp_path / "a.json").write_text(json.dumps(document))
        report, _ = validate(tmp_path / "a.json", images=ImageFiles(tmp_path, tmp_path / "a.json"))
        assert list(checks(report)) == ["exif-damaged"]


def test_the_training_part_of_cocoa_cls_has_2276_images(tmp_path: Path) -> None:
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 8, "height": 8} for i in range(2276)]
    categories = [{"id": i, "name": f"class {i}"} for i in range(1, 81)]
    square = [[1, 1, 5, 1, 5, 5, 1, 5]]
    annotations = [
        {"id": i, "image_id": i, "category_id": 1 + i % 80, "segmentation": square, "visible_mask": square}
        for i in range(2276)
    ]
    document = {"images": images, "categories": categories, "annotations": annotations}
    (tmp_path / "a.json").write_text(json.dumps(document))
    report, _ = validate(tmp_path / "a.json", published=["cocoa-cls-train"])
    assert report.errors == 0
    document["images"] = [*images, {"id": 9999, "file_name": "b.jpg", "width": 8, "height": 8}]
    (tmp_path / "a.json").write_text(json.dumps(document))
    report, _ = validate(tmp_path / "a.json", published=["cocoa-cls-train"])
    assert checks(report)["published-count"] == [
        "expected 2276 as published for cocoa-cls-train, got 2277; see which part it is"
    ]


def changed(folder: Path, *flags: dict[str, Any]) -> Path:
    """The set of crowds with other fields in its two objects."""
    document = json.loads((CROWDS / "annotations.json").read_text())
    for record, change in zip(document["annotations"], flags, strict=True):
        record.update(change)
    (folder / "changed.json").write_text(json.dumps(document))
    return folder / "changed.json"


GONE = {"size": [40, 60], "counts": [2400]}


class TestNothingUsable:
    def test_validate_warns_where_every_object_is_a_crowd(self) -> None:
        (problem,) = checks(validate(CROWDS / "annotations.json")[0])["nothing-usable"]
        assert "of 2 objects 2 are crowds (iscrowd 1)" in problem

    @pytest.mark.parametrize(
        ("flags", "told"),
        [
            (({"iscrowd": 0, "ignore": 1}, {"iscrowd": 0, "ignore": 1}), "of 2 objects 2 are marked ignore"),
            (({"iscrowd": 0, "ignore": 1}, {"iscrowd": 0, "ignore": 1}), "nothing is left to score: "),
            (({}, {}), "nothing is left to learn from or to score: "),
            (({"iscrowd": 0, "visible_mask": GONE}, {"iscrowd": 0, "visible_mask": GONE}), "2 are fully hidden"),
            (({"iscrowd": 0, "ignore": 1}, {}), "of 2 objects 1 is a crowd (iscrowd 1), 1 is marked ignore"),
        ],
    )
    def test_validate_tells_every_reason(self, flags: tuple[dict[str, Any], ...], told: str, tmp_path: Path) -> None:
        (problem,) = checks(validate(changed(tmp_path, *flags))[0])["nothing-usable"]
        assert told in problem

    def test_validate_warns_where_most_are_crowds_and_not_of_a_few(self, tmp_path: Path) -> None:
        document = json.loads((CROWDS / "annotations.json").read_text())
        third = {**document["annotations"][1], "id": 3, "iscrowd": 0}
        document["annotations"].append(third)
        (tmp_path / "most.json").write_text(json.dumps(document))
        report, _ = validate(tmp_path / "most.json")
        assert "2 of 3 objects are crowds" in checks(report)["crowds"][0]
        document["annotations"].append({**third, "id": 4})
        (tmp_path / "half.json").write_text(json.dumps(document))
        assert not {"crowds", "nothing-usable"} & checks(validate(tmp_path / "half.json")[0]).keys()

    @pytest.mark.parametrize("track", ["completion", "instance"])
    def test_evaluate_names_iscrowd(self, track: str, capsys: pytest.CaptureFixture[str]) -> None:
        arguments = ["evaluate", str(CROWDS / "results.json"), "--annotations", str(CROWDS / "annotations.json")]
        assert main([*arguments, "--track", track]) == 3
        assert "of 2 objects 2 are crowds (iscrowd 1)" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("which", "sound"), [("train", "validation"), ("validation", "train")], ids=["train", "validation"]
    )
    def test_a_training_is_refused_before_it_begins(
        self, which: str, sound: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pytest.importorskip("detectron2")
        good = changed(tmp_path, {"iscrowd": 0}, {"iscrowd": 0})
        files = {which: CROWDS / "annotations.json", sound: good}
        sets = [f"{name}.annotations={file}" for name, file in files.items()]
        sets += [f"{name}.images={CROWDS / 'images'}" for name in files]
        out = tmp_path / "out"
        assert main(["train", str(CROWDS / "train.yaml"), "--out", str(out), "--set", *sets]) == 3
        error = capsys.readouterr().err
        assert "annotations.json: no object to" in error and "of 2 objects 2 are crowds (iscrowd 1)" in error
        assert not list(out.rglob("*.pt")) and not list(out.rglob("log.jsonl"))

    def test_crops_and_masks_are_refused_with_the_reason(self, tmp_path: Path) -> None:
        from shape3d_amodal.crops.config import CropsConfig
        from shape3d_amodal.crops.sources import open_crops
        from shape3d_amodal.training.tasks.pcnet_m import open_masks

        config = CropsConfig(annotations=str(CROWDS / "annotations.json"), images=str(CROWDS / "images"))
        for opened in (open_crops, open_masks):
            with pytest.raises(DataError, match=r"of 2 objects 2 are crowds \(iscrowd 1\)"):
                opened(config, tmp_path, workers=1)


class TestNothing:
    @pytest.mark.parametrize("name", ["empty_seg", "null_seg_is_read"])
    def test_an_empty_segmentation_is_no_amodal_mask(self, name: str) -> None:
        (image,) = read_dataset(NOTHING / f"{name}.json").images
        assert image.instances[0].amodal is None
        assert image.instances == read_dataset(NOTHING / "null_seg_is_read.json").images[0].instances
        assert validate(NOTHING / f"{name}.json")[0].errors == 0

    @pytest.mark.parametrize("value", [[], [[]], [[], []], None])
    def test_so_is_every_empty_list(self, value: object, tmp_path: Path) -> None:
        document = json.loads((NOTHING / "empty_seg.json").read_text())
        document["annotations"][0]["segmentation"] = value
        (tmp_path / "a.json").write_text(json.dumps(document))
        assert read_dataset(tmp_path / "a.json").images[0].instances[0].amodal is None

    @pytest.mark.parametrize("value", [[], [[]]])
    def test_an_empty_visible_mask_beside_an_amodal_one_is_a_hidden_object(self, value: object, tmp_path: Path) -> None:
        document = json.loads((NOTHING / "iscrowd_null.json").read_text())
        document["annotations"][0]["visible_mask"] = value
        (tmp_path / "a.json").write_text(json.dumps(document))
        (one,) = read_dataset(tmp_path / "a.json").images[0].instances
        assert masks.area(one.visible) == 0 and one.amodal is not None
        assert list(checks(validate(tmp_path / "a.json")[0])) == ["hidden", "nothing-usable"]

    @pytest.mark.parametrize("name", ["iscrowd_null", "iscrowd_zero_f"])
    def test_flags_of_null_and_zero_are_no(self, name: str) -> None:
        assert not read_dataset(NOTHING / f"{name}.json").images[0].instances[0].crowd
        assert validate(NOTHING / f"{name}.json")[0].errors == 0

    @pytest.mark.parametrize(("value", "crowd"), [(1.0, True), (True, True), (False, False), (0, False), (1, True)])
    def test_flags_of_other_kinds(self, value: object, crowd: bool, tmp_path: Path) -> None:
        document = json.loads((NOTHING / "iscrowd_null.json").read_text())
        document["annotations"][0]["iscrowd"] = value
        (tmp_path / "a.json").write_text(json.dumps(document))
        assert read_dataset(tmp_path / "a.json").images[0].instances[0].crowd is crowd

    @pytest.mark.parametrize(
        ("value", "came"),
        [
            ("2", "got an integer 2"),
            ("0.5", "got a number 0.5"),
            ('"no"', "got text 'no'"),
            ("[1, 0]", "got a list of 2"),
            ("[]", "got an empty list"),
            ("{}", "got an object"),
            ('"' + "x" * 100 + '"', f"got text '{'x' * 40}'..."),
            ("9" * 4000, "got a huge integer"),
        ],
    )
    def test_a_flag_that_is_none_is_told(self, value: str, came: str, tmp_path: Path) -> None:
        text = (NOTHING / "iscrowd_null.json").read_text()
        (tmp_path / "a.json").write_text(text.replace('"iscrowd": null', f'"iscrowd": {value}'))
        with pytest.raises(DataError) as caught:
            read_dataset(tmp_path / "a.json")
        assert str(caught.value).endswith(f"annotations[0].iscrowd: expected 0 or 1, {came}")

    def test_nan_is_told_with_its_line(self) -> None:
        text = (NOTHING / "nan_area.json").read_text()
        with pytest.raises(
            DataError, match=rf"at line 1, column {text.index('NaN') + 1}: expected finite numbers, got"
        ):
            read_dataset(NOTHING / "nan_area.json")


class TestLinkedPictures:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """images/a.png is a link to blobs/abc, as in caches of downloaded sets."""
        (tmp_path / "blobs").mkdir()
        (tmp_path / "images").mkdir()
        (tmp_path / "blobs" / "abc").write_bytes((LINKED / "abc.png").read_bytes())
        (tmp_path / "images" / "a.png").symlink_to("../blobs/abc")
        return tmp_path

    def test_names_of_annotations_lead_out_only_where_it_is_allowed(self, folder: Path) -> None:
        file = LINKED / "annotations.json"
        (record,) = read_dataset(file).images
        with pytest.raises(DataError, match=r"out of the folder by a symbolic link, to .*blobs'; .*--allow-links"):
            ImageFiles(folder / "images", file).read(record)
        for allowed in (folder, folder / "blobs"):
            assert ImageFiles(folder / "images", file, allow_links=allowed).read(record).shape == (40, 60, 3)
        (folder / "other").mkdir()
        with pytest.raises(DataError, match="leads out of the folder"):
            ImageFiles(folder / "images", file, allow_links=folder / "other").read(record)
        with pytest.raises(UsageError, match="allow_links: expected a folder"):
            ImageFiles(folder / "images", file, allow_links=folder / "none")

    def test_names_with_dots_stay_refused(self, folder: Path) -> None:
        file = folder / "a.json"
        file.write_text((LINKED / "annotations.json").read_text().replace("a.png", "../blobs/abc"))
        (record,) = read_dataset(file).images
        with pytest.raises(DataError, match="relative name"):
            ImageFiles(folder / "images", file, allow_links=folder).read(record)

    def test_validate_takes_the_option(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        arguments = ["data", "validate", str(LINKED / "annotations.json"), "--images", str(folder / "images")]
        assert main(arguments) == 3
        assert main([*arguments, "--allow-links", str(folder / "blobs")]) == 0
        assert main([*arguments, "--allow-links", str(folder / "missing")]) == 2
        capsys.readouterr()
