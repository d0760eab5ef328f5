"""``predict`` end to end with a detector of random weights, and every way of giving it something bad."""

from __future__ import annotations

import html
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from rcnn_small import small_config, small_rcnn
from tiny import tiny_config, tiny_model

from shape3d_amodal import masks
from shape3d_amodal.annotations.results import read_results
from shape3d_amodal.cli import main
from shape3d_amodal.config import dump_config
from shape3d_amodal.errors import UsageError
from shape3d_amodal.files.journal import Journal
from shape3d_amodal.files.weights import save_weights
from shape3d_amodal.methods.prediction import ImagePredictor, apart
from shape3d_amodal.model import AmodalModel
from shape3d_amodal.pipeline import ShapePriorPipeline
from shape3d_amodal.reports.predictions import PredictionFolder
from shape3d_amodal.segmentation.detector import DetectedObject
from shape3d_amodal.structures import AmodalImage, Category

CATEGORIES = ("car", "chair", "stool")
"""Stages 2 to 5 know the first two."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of both kinds, and two pictures."""
    root = tmp_path_factory.mktemp("predict")
    ShapePriorPipeline.from_model(tiny_model()).save_pretrained(root / "weights")
    for masks_of in ("both", "amodal"):
        config = small_config(masks=masks_of)
        config = replace(config, detector=replace(config.detector, categories=CATEGORIES))
        model = small_rcnn(masks=masks_of)
        with torch.no_grad():  # so that it is sure of something, and sees it
            model.box_predictor.cls_score.bias.copy_(torch.tensor([1.0, 1.2, 1.1, 0.0]))
            for branch in model.mask_head.branches.values():
                branch.predictor.bias.fill_(1.0)
        save_weights(root / masks_of, dump_config(config), model.state_dict())
    (root / "pictures").mkdir()
    for name, shape in (("a.png", (60, 80, 3)), ("b.jpg", (100, 70, 3))):
        pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(root / "pictures" / name)
    return root


def predict(root: Path, *more: str) -> int:
    return main(["predict", *more, "--weights", str(root / "weights"), "--min-score", "0.2"])


def test_pictures_become_masks_meshes_overlays_and_a_report(root: Path, tmp_path: Path, capsys) -> None:
    assert predict(root, str(root / "pictures"), "--detector", str(root / "both"), "--out", str(tmp_path / "out")) == 0
    results = read_results(tmp_path / "out" / "results.json")
    told = capsys.readouterr()
    assert f"{len(results)} objects in 2 images" in told.out
    assert "Stages 2 to 5 do not know stool: " in told.err
    listing = json.loads((tmp_path / "out" / "images.json").read_text())
    assert [(one["id"], one["file_name"]) for one in listing["images"]] == [(1, "a.png"), (2, "b.jpg")]
    assert [one["name"] for one in listing["categories"]] == list(CATEGORIES)
    assert {one.image_id for one in results} == {1, 2}
    for one in results:
        amodal, visible, occluded = (masks.decode(mask) for mask in (one.segmentation, one.visible, one.occluded))
        assert amodal.shape == {1: (60, 80), 2: (100, 70)}[one.image_id]
        np.testing.assert_array_equal(amodal, visible | occluded)
        assert visible.any() and one.score >= 0.2
        known = one.category_id in (1, 2)
        assert (one.mesh is not None) == known == (one.viewpoint is not None)
        if one.mesh is not None:
            assert len(trimesh.load(tmp_path / "out" / one.mesh, force="mesh").faces) > 0
    for name in ("1_a.png", "2_b.png"):
        assert Image.open(tmp_path / "out" / "overlays" / name).mode == "RGB"
    report = (tmp_path / "out" / "report.html").read_text()
    assert report.count("<article") == len(results) + 2 and "Stages 2 to 5 do not know stool: " in report


def test_known_shapes_have_poses_where_the_camera_is_typed(root: Path, tmp_path: Path, box_folder: Path) -> None:
    command = ["predict", str(root / "pictures" / "a.png"), "--detector", str(root / "both"), "--min-score", "0.2"]
    command += ["--meshes", str(box_folder), "--fit-steps", "0", "--no-drawings", "--out", str(tmp_path)]
    for camera, known in (([], False), (["--intrinsics", "90,90,39.5,29.5"], True)):
        assert main([*command, *camera]) == 0
        results = read_results(tmp_path / "results.json")
        chairs = [one for one in results if one.category_id == 2]
        assert chairs and all((one.pose is not None) == known for one in chairs)
        assert all(one.pose is None for one in results if one.category_id != 2), "the meshes have no other category"


@pytest.mark.parametrize(("score", "little"), [("0.2", False), ("0.999", True)])
def test_where_little_is_found_the_report_and_the_last_line_say_what_to_do(
    root: Path, tmp_path: Path, capsys, score: str, little: bool
) -> None:
    command = ["predict", str(root / "pictures" / "a.png"), "--detector", str(root / "both"), "--out", str(tmp_path)]
    assert main([*command, "--weights", str(root / "weights"), "--min-score", score]) == 0
    last = capsys.readouterr().out.strip().splitlines()[-1]
    report = html.unescape((tmp_path / "report.html").read_text())
    assert (f"lower --min-score (it is {score})" in last) == little == ("lower --min-score" in report)
    assert ("knows 3 categories and no others: car, chair, stool. " in last) == little
    assert (last in report) == little


def test_results_bear_the_ids_of_annotations(root: Path, tmp_path: Path, capsys) -> None:
    square = np.zeros((60, 80), bool)
    square[10:40, 10:40] = True
    content = {
        "images": [{"id": 70, "file_name": "a.png", "width": 80, "height": 60}],
        "categories": [{"id": 30, "name": "chair"}],
        "annotations": [
            {
                "id": 1,
                "image_id": 70,
                "category_id": 30,
                "segmentation": masks.encode(square).to_coco(),
                "visible_mask": masks.encode(square).to_coco(),
            }
        ],
    }
    file = tmp_path / "annotations.json"
    file.write_text(json.dumps(content))
    more = ["--annotations", str(file), "--no-drawings", "--out", str(tmp_path / "out")]
    assert predict(root, str(root / "pictures"), "--detector", str(root / "both"), *more) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"results.json", "images.json"}
    results = read_results(tmp_path / "out" / "results.json")
    assert {(one.image_id, one.category_id) for one in results} == {(70, 30)}
    assert "The annotations have no category car, stool: " in capsys.readouterr().err
    command = ["evaluate", str(tmp_path / "out" / "results.json"), "--annotations", str(file), "--track", "instance"]
    assert main(command) == 0
    assert "amodal AP" in capsys.readouterr().out


def test_categories_without_a_common_name(root: Path, tmp_path: Path, capsys) -> None:
    content = {
        "images": [{"id": 7, "file_name": "a.png", "width": 80, "height": 60}],
        "categories": [{"id": 3, "name": "zebra"}],
        "annotations": [],
    }
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    more = ["--annotations", str(tmp_path / "annotations.json"), "--out", str(tmp_path / "out")]
    assert predict(root, str(root / "pictures"), "--detector", str(root / "both"), *more) == 2
    assert "expected names in common, got none: the detector knows car, chair, stool" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_nothing_but_a_picture_is_needed(root: Path, tmp_path: Path, capsys) -> None:
    """The shipped weights of all stages, on noise, of which they may make what they like."""
    assert main(["predict", str(root / "pictures" / "a.png"), "--out", str(tmp_path / "out")]) == 0
    assert "0 objects in 1 image, " in capsys.readouterr().out
    read_results(tmp_path / "out" / "results.json")


@pytest.mark.parametrize(
    ("images", "more", "status", "problem"),
    [
        (["absent.png"], ["--detector", "both"], 3, "absent.png: "),
        (
            ["weights"],
            ["--detector", "both"],
            3,
            "expected images (.png, .jpg, .jpeg) in the folder, found 3 files of other kinds (.safetensors, .yaml, "
            "no ending); convert them, or name another folder",
        ),
        (["pictures"], ["--detector", "nothing"], 3, "nothing: no such folder of weights"),
        (["pictures"], ["--detector", "weights"], 3, "expected weights of a detector"),
        (["pictures"], ["--detector", "amodal"], 2, "detector: it predicts no visible masks; train it with"),
        (["pictures"], ["--detector", "both", "--min-score", "2"], 2, "--min-score: expected a number from 0 to 1"),
        (["pictures"], ["--detector", "both", "--device", "cuda:99"], 4, "device: this machine has"),
    ],
)
def test_what_is_wrong_is_one_line(root: Path, tmp_path: Path, monkeypatch, capsys, images, more, status, problem):
    monkeypatch.chdir(root)
    command = ["predict", *images, "--weights", "weights", "--min-score", "0.2", "--out", str(tmp_path / "out"), *more]
    assert main(command) == status
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and problem in error
    assert not (tmp_path / "out" / "results.json").exists()


def found(score: float, left: int, right: int) -> DetectedObject:
    mask = np.zeros((8, 40), bool)
    mask[:, left:right] = True
    return DetectedObject("car", score, np.zeros(4, np.float32), mask, mask)


def test_visible_masks_share_no_pixel_and_what_was_found_twice_is_dropped() -> None:
    first, second, twice = found(0.9, 0, 20), found(0.8, 12, 40), found(0.7, 1, 18)
    kept = apart([first, second, twice])
    assert [one for one, _ in kept] == [first, second]
    assert [visible.sum() for _, visible in kept] == [160, 160]
    assert not (kept[0][1] & kept[1][1]).any()
    with pytest.raises(UsageError, match="no visible masks"):
        apart([DetectedObject("car", 0.5, np.zeros(4, np.float32), first.amodal, None)])


class GivenObjects:
    """Stage 1 that finds what it is told to."""

    has_visible = True

    def __init__(self, *found: DetectedObject) -> None:
        self.found = found

    def detect(self, image: np.ndarray, *, min_score: float) -> list[DetectedObject]:  # noqa: ARG002
        return [one for one in self.found if one.score >= min_score]


def test_alternatives_are_completed_beside_what_they_leave_of_surer_objects() -> None:
    first, second, twice = found(0.9, 0, 20), found(0.7, 12, 40), replace(found(0.8, 1, 18), category="chair")
    pipeline = ShapePriorPipeline.from_model(tiny_model())
    predictor = ImagePredictor(GivenObjects(first, twice, second), pipeline, min_score=0.1)
    image = np.random.default_rng(0).integers(0, 256, (8, 40, 3), dtype=np.uint8)
    assert [one.score for one in predictor.predict(image)] == [0.9, 0.7]
    objects = predictor.predict(image, alternatives=True)
    assert [(one.category, one.score) for one in objects] == [("car", 0.9), ("chair", 0.8), ("car", 0.7)]
    assert [one.alternative for one in objects] == [False, True, False]
    beside = [first.visible & ~twice.visible, second.visible & ~first.visible]
    alone = pipeline.complete(image, [twice.visible, *beside], ["chair", "occluder", "occluder"])[0]
    np.testing.assert_array_equal(objects[1].visible, twice.visible)
    np.testing.assert_array_equal(objects[1].amodal, alone.amodal)


def test_weights_that_take_anything_complete_every_detection() -> None:
    config = replace(tiny_config(), categories=("chair", "anything"))
    pipeline = ShapePriorPipeline.from_model(AmodalModel(config).eval())
    predictor = ImagePredictor(GivenObjects(found(0.9, 0, 20), replace(found(0.8, 22, 38), category="dog")), pipeline)
    objects = predictor.predict(np.zeros((8, 40, 3), np.uint8))
    assert [(one.category, one.completed.category) for one in objects] == [("car", "car"), ("dog", "dog")]


def test_alternatives_stand_in_the_results_alone(tmp_path: Path) -> None:
    first, twice = found(0.9, 0, 20), replace(found(0.8, 1, 18), category="chair")
    predictor = ImagePredictor(GivenObjects(first, twice), ShapePriorPipeline.from_model(tiny_model()), min_score=0.1)
    image = np.random.default_rng(0).integers(0, 256, (8, 40, 3), dtype=np.uint8)
    folder = PredictionFolder(tmp_path, [Category(i + 1, name) for i, name in enumerate(CATEGORIES)])
    record = AmodalImage(id=1, file_name="a.png", width=40, height=8, instances=())
    outcome = folder.add(record, image, predictor.predict(image, alternatives=True))
    folder.finish([record], [outcome], facts={})
    assert outcome.more["found"] == 1
    assert [(one.score, one.mesh is not None) for one in read_results(tmp_path / "results.json")] == [
        (0.9, True),
        (0.8, False),
    ]
    assert (tmp_path / "report.html").read_text().count("<article") == 2


def test_what_stage_1_sees_of_the_whole_object_stands() -> None:
    """In what it takes for background, too: the completion never enters it."""
    one, other = found(0.9, 4, 20), found(0.8, 20, 30)
    whole = np.zeros((8, 40), bool)
    whole[2:, 2:24] = True
    predictor = ImagePredictor(
        GivenObjects(replace(one, amodal=whole), other), ShapePriorPipeline.from_model(tiny_model()), min_score=0.1
    )
    image = np.random.default_rng(0).integers(0, 256, (8, 40, 3), dtype=np.uint8)
    first, second = predictor.predict(image)
    np.testing.assert_array_equal(first.amodal, one.visible | whole | first.completed.amodal)
    assert not first.completed.amodal[:, :4].any() and first.amodal[2:, 2:4].all()
    np.testing.assert_array_equal(second.visible, other.visible)


def test_a_picture_without_objects(root: Path) -> None:
    from shape3d_amodal.segmentation.detector import Detector

    predictor = ImagePredictor(
        Detector.from_pretrained(root / "both"), ShapePriorPipeline.from_model(tiny_model()), min_score=1.0
    )
    assert predictor.predict(np.zeros((40, 50, 3), np.uint8)) == []


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_stopped_prediction_goes_on(root: Path, tmp_path: Path, monkeypatch, capsys, count: int) -> None:
    """Of three images, one of them damaged; the files are those of a run that nothing stopped, the report included."""
    pictures = tmp_path / "pictures"
    shutil.copytree(root / "pictures", pictures)
    (pictures / "aa.png").write_bytes((pictures / "a.png").read_bytes()[:-100])
    (pictures / "z.png").symlink_to("nowhere.png")
    command = [str(pictures), "--detector", str(root / "both")]
    assert predict(root, *command, "--out", str(tmp_path / "whole")) == 0
    error = capsys.readouterr().err
    assert "2 skipped" in error and "aa.png: damaged image" in error and "z.png: cannot read the file" in error
    append = Journal.append

    def stopping(self: Journal, record: dict) -> None:
        if record["image_id"] == count + 1:
            raise KeyboardInterrupt
        append(self, record)

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "append", stopping)
        assert predict(root, *command, "--out", str(tmp_path / "out")) == 130
    assert predict(root, *command, "--out", str(tmp_path / "out")) == 0
    whole, gone_on = (
        {str(path.relative_to(tmp_path / folder)): path.read_bytes() for path in files}
        for folder, files in (
            (folder, [path for path in (tmp_path / folder).rglob("*") if path.is_file()]) for folder in ("whole", "out")
        )
    )
    assert gone_on == whole
    assert [one["image_id"] for one in json.loads(whole["skipped.json"])] == [2, 4]
    assert "aa.png: damaged image" in whole["report.html"].decode()
    assert [one["id"] for one in json.loads(whole["images.json"])["images"]] == [1, 3]
    assert predict(root, *command, "--out", str(tmp_path / "out"), "--strict") == 3


def test_pictures_are_never_overwritten(root: Path, tmp_path: Path, capsys) -> None:
    """Overlays of an earlier run as input for the next, in the same folder."""
    folder = tmp_path / "overlays"
    shutil.copytree(root / "pictures", folder)
    before = (folder / "a.png").read_bytes()
    assert predict(root, str(folder), "--detector", str(root / "both"), "--out", str(tmp_path)) == 2
    assert "overlays would overwrite the input" in capsys.readouterr().err
    assert (folder / "a.png").read_bytes() == before and len(list(folder.iterdir())) == 2


def test_without_silhouettes_there_are_no_meshes(root: Path, tmp_path: Path) -> None:
    more = ["--detector", str(root / "both"), "--refine", "2d", "--out", str(tmp_path / "out")]
    assert predict(root, str(root / "pictures"), *more) == 0
    results = read_results(tmp_path / "out" / "results.json")
    assert results and all(one.mesh is None for one in results)
    assert not (tmp_path / "out" / "meshes").exists()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_an_earlier_run_has_drawn_is_not_mixed_with_the_results(root: Path, tmp_path: Path) -> None:
    """In a used folder a run leaves what it leaves in a new one, and what is not of predict."""
    common = ("--detector", str(root / "both"), "--out")
    folder, picture = str(root / "pictures"), str(root / "pictures" / "b.jpg")
    own = {"overlays/mine.png": b"a", "meshes/1_a_99.glb": b"b", "overlays/1_a.txt": b"c", "notes.txt": b"d"}
    runs = {"one": (picture,), "flat": (folder, "--refine", "2d"), "bare": (folder, "--no-drawings")}
    for used, files in (("used", {}), ("shared", own)):
        for name, words in runs.items():
            out = tmp_path / f"{used}_{name}"
            assert predict(root, folder, *common, str(out)) == 0
            assert len(contents(out)) > 6
            for file, content in files.items():
                (out / file).write_bytes(content)
            if not (tmp_path / name).exists():
                assert predict(root, *words, *common, str(tmp_path / name)) == 0
            assert predict(root, *words, *common, str(out)) == 0
            assert contents(out) == contents(tmp_path / name) | files
            assert all(any(one.iterdir()) for one in out.iterdir() if one.is_dir())


@pytest.mark.parametrize(
    "listing", ["[]", "{}", "null", "{", '[{"mesh": 7}, {"mesh": "../secret"}, 3]', '{"images": 3}']
)
def test_only_what_the_two_folders_have_is_removed(root: Path, tmp_path: Path, listing: str) -> None:
    """Whatever stands in the files that list what an earlier run has written, and a report of somebody else."""
    out = tmp_path / "out"
    (out / "meshes").mkdir(parents=True)
    files = {out / "meshes" / "1_a_1.glb", out / "report.html", tmp_path / "secret"}
    for file in (*files, out / "results.json", out / "images.json"):
        file.write_text(listing)
    more = ("--detector", str(root / "both"), "--no-drawings", "--out", str(out))
    assert predict(root, str(root / "pictures"), *more) == 0
    assert all(file.read_text() == listing for file in files)
    assert len(read_results(out / "results.json")) > 0


@pytest.mark.parametrize("refine", ["2d", "none", "visible-union", "full"])
def test_every_refinement_writes_a_whole_folder(root: Path, tmp_path: Path, refine: str) -> None:
    out = tmp_path / "out"
    command = (str(root / "pictures"), "--detector", str(root / "both"), "--out", str(out), "--refine", refine)
    assert predict(root, *command) == 0
    results = read_results(out / "results.json")
    assert results and (out / "report.html").is_file() and len(list((out / "overlays").iterdir())) == 2
    with_mesh = [one for one in results if one.mesh is not None]
    assert {one.mesh for one in with_mesh} == {f"meshes/{file.name}" for file in (out / "meshes").glob("*")}
    assert bool(with_mesh) == (refine != "2d")


def test_every_form_of_an_image_is_taken(root: Path) -> None:
    predictor = ImagePredictor.from_pretrained(root / "both", root / "weights", min_score=0.2, gap_px=0)
    path = root / "pictures" / "a.png"
    pixels = np.asarray(Image.open(path))
    expected = predictor.predict(pixels)
    assert expected and "\n" not in repr(predictor) and len(repr(predictor)) < 300
    forms = [path, str(path), Image.open(path), pixels / 255, pixels[::-1].copy()[::-1]]
    for form in forms:
        assert predictor.predict(form) == expected
        assert predictor.detector.detect(form, min_score=0.2) == predictor.detector.detect(pixels, min_score=0.2)
    grey = pixels[..., 0]
    assert predictor.predict(grey) == predictor.predict(np.stack([grey] * 3, axis=2))
    for wrong in (pixels.astype(np.float32), pixels.astype(int), pixels[..., :2], None, [[0]]):
        for take in (predictor.predict, predictor.detector.detect):
            with pytest.raises(UsageError, match=r"image: expected \[H,W,3\] uint8"):
                take(wrong)


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan"), "0.5", None, True])
def test_what_is_no_lowest_score(score) -> None:
    with pytest.raises(UsageError, match="min_score: expected a score from 0 to 1, got "):
        ImagePredictor(GivenObjects(), ShapePriorPipeline.from_model(tiny_model()), min_score=score)


@pytest.mark.parametrize("locale", [{}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}])
def test_pictures_whose_names_are_not_utf_8(root: Path, tmp_path: Path, locale: dict[str, str]) -> None:
    """All that is written is text that others can read, and overlays and meshes have names that it can hold."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in (b"caf\xe9.jpg", "ä ö#%.jpg".encode()):
        shutil.copy(root / "pictures" / "b.jpg", folder / os.fsdecode(name))
    (folder / os.fsdecode(b"d\xe9.png")).write_bytes(b"no picture")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "shape3d_amodal", "predict", str(folder), "--detector", str(root / "both")]
    command += ["--weights", str(root / "weights"), "--min-score", "0.2", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, env={**os.environ, **locale}, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    names = [one["file_name"] for one in json.loads((out / "images.json").read_text())["images"]]
    assert names == ["caf\ufffd.jpg", "ä ö#%.jpg"]
    assert all(name in html.unescape((out / "report.html").read_text()) for name in names)
    assert "d\ufffd.png: expected a PNG or JPEG image" in json.loads((out / "skipped.json").read_text())[0]["reason"]
    for one in read_results(out / "results.json"):
        assert one.mesh is None or (out / one.mesh).is_file()
    overlays = sorted(path.name for path in (out / "overlays").iterdir())
    assert overlays == ["1_caf.png", "3_ #%.png" if locale else "3_ä ö#%.png"]


def test_what_is_passed_over_in_a_folder_is_told(root: Path, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "pictures"
    shutil.copytree(root / "pictures", folder)
    for name in ("c.webp", "d.TIF", ".hidden"):
        (folder / name).write_bytes(b"")
    (folder / "more").mkdir()
    command = [str(folder), "--detector", str(root / "both"), "--no-drawings", "--out", str(tmp_path / "out")]
    assert predict(root, *command) == 0
    line = f"{folder}: 2 files of other kinds (.tif, .webp) and 1 subfolder passed over"
    assert capsys.readouterr().err.strip().splitlines()[-1] == line
    assert [one["reason"] for one in json.loads((tmp_path / "out" / "skipped.json").read_text())] == [line]
    assert predict(root, *command, "--strict") == 0
    for name in ("more", "c.webp", "d.TIF"):
        (folder / name).rename(tmp_path / name)
    assert predict(root, *command) == 0
    assert not (tmp_path / "out" / "skipped.json").exists()


def test_a_folder_without_anything(tmp_path: Path, capsys) -> None:
    assert main(["predict", str(tmp_path)]) == 3
    assert "in the folder, found none\n" in capsys.readouterr().err
