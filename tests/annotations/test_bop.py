"""BOP splits: masks from poses, counted by hand (``bop_set``), and from files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bop_set import (
    CUBE,
    CUBE_VISIBLE,
    HEIGHT,
    IDENTITY,
    INFO,
    OBJECTS,
    PLATE,
    WIDTH,
    edit,
    write,
    write_bop,
    write_mask,
)

from shape3d_amodal import masks
from shape3d_amodal.annotations.bop_results import write_bop_csv
from shape3d_amodal.annotations.conversion import convert
from shape3d_amodal.annotations.formats.bop import BopOptions, BopReading, read_bop
from shape3d_amodal.annotations.formats.interface import Listener
from shape3d_amodal.annotations.formats.registry import read_dataset
from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.cli import main
from shape3d_amodal.errors import DataError
from shape3d_amodal.structures import AmodalDataset, AmodalImage, Category, Pose


@pytest.fixture
def split(tmp_path: Path) -> Path:
    return write_bop(tmp_path / "set")


def scene(split: Path, name: str) -> Path:
    return split / "000002" / f"scene_{name}.json"


def drawn(reading: BopReading) -> list[tuple[np.ndarray, np.ndarray]]:
    (image,) = reading.dataset.images
    return [(masks.decode(one.amodal), masks.decode(one.visible)) for one in image.instances if one.amodal]


def assert_masks(reading: BopReading, *expected: tuple[np.ndarray, np.ndarray]) -> None:
    for found, wanted in zip(drawn(reading), expected, strict=True):
        np.testing.assert_array_equal(found[0], wanted[0])
        np.testing.assert_array_equal(found[1], wanted[1])


def test_masks_are_rendered_from_models_and_poses(split: Path) -> None:
    reading = read_bop(split)
    assert_masks(reading, (CUBE, CUBE_VISIBLE), (PLATE, PLATE))
    (image,) = reading.dataset.images
    assert (image.id, image.file_name) == (2_000_008, "000002/rgb/000008.png")
    assert (image.width, image.height, image.intrinsics) == (WIDTH, HEIGHT, (100, 100, 20, 15))
    cube, plate = image.instances
    assert (cube.id, cube.category_id, cube.mesh) == (1, 1, "obj_000001.ply")
    assert cube.pose == Pose(tuple(IDENTITY), (0, 0, 12)) and cube.occlude_rate == 0.5
    assert (plate.id, plate.category_id, plate.occlude_rate) == (2, 2, 0)
    assert not cube.ignore and not plate.ignore
    assert reading.dataset.categories == (Category(1, "obj_000001"), Category(2, "obj_000002"))


def test_the_counts_are_those_of_bop(split: Path) -> None:
    """They are where all of the object lies within the picture; the plate does not."""
    reading = read_bop(split)
    cube, plate = reading.counts
    assert (cube.whole, cube.visible, cube.bop_whole, cube.bop_visible, cube.inside) == (324, 162, 324, 162, True)
    assert (plate.whole, plate.visible, plate.bop_whole, plate.bop_visible, plate.inside) == (
        600,
        600,
        1521,
        600,
        False,
    )
    assert reading.notes() == [
        "1 whole mask rendered: pixels / px_count_all 1.0000 in the median, 1.0000 at worst",
        "2 visible masks rendered: 0 differ by more than 12% from px_count_visib, for what has no model hides, too",
    ]


def test_what_has_no_model_hides_too(split: Path) -> None:
    """The depth picture of BOP says that only 100 of the cube's 162 pixels are seen."""
    edit(scene(split, "gt_info"), lambda info: info["8"][0].update(px_count_visib=100))
    assert "1 differs by" in read_bop(split).notes()[1]
    for tolerance, ignored in ((None, [False, False]), (0.61, [True, False]), (0.63, [False, False])):
        reading = read_bop(split, BopOptions(visible_tolerance=tolerance))
        assert [one.ignore for one in reading.dataset.images[0].instances] == ignored


def test_mask_files_have_precedence(split: Path) -> None:
    other = np.zeros((HEIGHT, WIDTH), bool)
    other[3:9, 4:30] = True
    write_mask(split, "mask", 0, other)
    assert_masks(read_bop(split), (other, CUBE_VISIBLE), (PLATE, PLATE))
    write_mask(split, "mask_visib", 1, other)
    reading = read_bop(split)
    assert_masks(reading, (other, CUBE_VISIBLE), (PLATE, other))
    assert [(one.whole, one.visible) for one in reading.counts] == [(None, 162), (600, None)]


def test_with_all_mask_files_no_models_are_needed(tmp_path: Path) -> None:
    split = write_bop(tmp_path)
    for index, (whole, visible) in enumerate([(CUBE, CUBE_VISIBLE), (PLATE, PLATE)]):
        write_mask(split, "mask", index, whole)
        write_mask(split, "mask_visib", index, visible)
    (tmp_path / "models_eval").rename(tmp_path / "away")
    assert_masks(read_bop(split), (CUBE, CUBE_VISIBLE), (PLATE, PLATE))
    assert read_bop(split).notes() == []
    (split / "000002" / "mask" / "000008_000001.png").unlink()
    with pytest.raises(DataError, match=r"expected a folder of models \(models_eval, models, models_cad\), found none"):
        read_bop(split)
    assert_masks(read_bop(split, BopOptions(models=tmp_path / "away")), (CUBE, CUBE_VISIBLE), (PLATE, PLATE))


def test_without_counts_nothing_is_compared(split: Path) -> None:
    scene(split, "gt_info").unlink()
    reading = read_bop(split)
    assert reading.counts == () and reading.notes() == []
    assert_masks(reading, (CUBE, CUBE_VISIBLE), (PLATE, PLATE))


def test_objects_out_of_sight_are_left_out(split: Path) -> None:
    edit(scene(split, "gt"), lambda truth: truth["8"][1].update(cam_t_m2c=[-100, 0, 6]))
    reading = read_bop(split)
    assert [one.id for one in reading.dataset.images[0].instances] == [1] and reading.out_of_sight == 1
    assert reading.notes()[0] == "1 object out of sight left out"


def test_objects_behind_others_are_kept(split: Path) -> None:
    edit(scene(split, "gt"), lambda truth: truth["8"][0].update(cam_t_m2c=[-2, 0, 12]))
    hidden = read_bop(split).dataset.images[0].instances[0]
    assert masks.area(hidden.visible) == 0 and hidden.occlude_rate == 1


def test_only_targets_are_scored(split: Path, tmp_path: Path) -> None:
    """Two cubes, of which one is asked for: the one that is less hidden. The plate, which is not, still hides."""
    edit(scene(split, "gt"), lambda truth: truth["8"].append({**OBJECTS[0], "cam_t_m2c": [2.5, 0, 14]}))
    edit(scene(split, "gt_info"), lambda info: info["8"].append(INFO[0] | {"px_count_visib": 300}))
    edit(scene(split, "gt"), lambda truth: truth.update({"9": OBJECTS}))
    target = {"scene_id": 2, "im_id": 8, "obj_id": 1, "inst_count": 1}
    write(tmp_path / "targets.json", [target, {**target, "scene_id": 3}])
    reading = read_bop(split, BopOptions(targets=tmp_path / "targets.json"))
    (image,) = reading.dataset.images
    assert [(one.id, one.ignore) for one in image.instances] == [(1, True), (2, True), (3, False)]
    assert_masks(reading, (CUBE, CUBE_VISIBLE), (PLATE, PLATE), drawn(reading)[2])
    scene(split, "gt_info").unlink()  # then the masks themselves tell
    (image,) = read_bop(split, BopOptions(targets=tmp_path / "targets.json")).dataset.images
    assert [one.ignore for one in image.instances] == [True, True, False]


def test_pictures_of_other_kinds_have_the_size_of_the_camera(split: Path) -> None:
    folder = split / "000002"
    (folder / "rgb").rename(folder / "gray")
    (folder / "gray" / "000008.png").rename(folder / "gray" / "000008.tif")
    reading = read_bop(split)
    assert reading.dataset.images[0].file_name == "000002/gray/000008.tif"
    assert_masks(reading, (CUBE, CUBE_VISIBLE), (PLATE, PLATE))


def test_scenes_and_pictures_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    write_bop(tmp_path / "a", scene=10, picture=3)
    split = write_bop(tmp_path / "b", scene=9, picture=12)
    (tmp_path / "a" / "test" / "000010").rename(split / "000010")
    found = read_bop(split).dataset.images
    assert [image.id for image in found] == [9_000_012, 10_000_003]
    assert [one.id for image in found for one in image.instances] == [1, 2, 3, 4]


Change = Callable[[Path], Any]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: edit(scene(s, "gt"), lambda d: d["8"][1].pop("cam_t_m2c")),
            r"scene_gt.json: 8\[1\].cam_t_m2c: missing",
        ),
        (lambda s: edit(scene(s, "gt"), lambda d: d["8"][1].pop("obj_id")), r"scene_gt.json: 8\[1\].obj_id: missing"),
        (
            lambda s: edit(scene(s, "gt"), lambda d: d["8"][0].update(cam_R_m2c=[0] * 9)),
            r"8\[0\].cam_R_m2c: expected a rot",
        ),
        (lambda s: edit(scene(s, "gt"), lambda d: d["8"][0].update(obj_id=3)), r"obj_000003.ply: cannot read the file"),
        (
            lambda s: edit(scene(s, "gt"), lambda d: d.update(x=[])),
            r"scene_gt.json: expected numbers of pictures .* got 'x'",
        ),
        (
            lambda s: edit(scene(s, "gt"), lambda d: d.update({"9": []})),
            r"000002: expected the picture 9 in rgb or gray",
        ),
        (lambda s: write(scene(s, "gt"), []), r"scene_gt.json: expected an object, got an empty list"),
        (
            lambda s: edit(scene(s, "camera"), lambda d: d.pop("8")),
            r"scene_camera.json: 8: missing; expected an object",
        ),
        (lambda s: edit(scene(s, "camera"), lambda d: d["8"].pop("cam_K")), r"scene_camera.json: 8.cam_K: missing"),
        (lambda s: edit(scene(s, "gt_info"), lambda d: d["8"].pop()), r"gt_info.json: 8: expected 2 entries.* got 1"),
        (
            lambda s: edit(scene(s, "gt_info"), lambda d: d["8"][0].update(bbox_obj=[1])),
            r"bbox_obj: expected 4 integers",
        ),
        (lambda s: edit(scene(s, "gt_info"), lambda d: d["8"][0].pop("px_count_all")), r"px_count_all: missing"),
        (lambda s: write_mask(s, "mask", 0, CUBE[:-1]), r"000000.png: expected 30 x 40 pixels.* got 29 x 40"),
        (lambda s: scene(s, "camera").unlink(), r"scene_camera.json: cannot read the file"),
    ],
)
def test_what_is_wrong_is_named(split: Path, change: Change, message: str) -> None:
    change(split)
    with pytest.raises(DataError, match=message) as caught:
        read_bop(split)
    assert "\n" not in str(caught.value)


NASTY = [None, True, -1, 10**40, 1e300, -1e300, 0.5, "8", "", [], {}, [[]], [1e308] * 3, [None] * 9, [10**400] * 4]
KEYS = [
    *(("gt", key) for key in ("obj_id", "cam_R_m2c", "cam_t_m2c")),
    *(("gt_info", key) for key in ("px_count_all", "px_count_visib", "bbox_obj")),
    ("camera", "cam_K"),
]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("name", "key"), KEYS)
def test_whatever_stands_there_is_read_or_refused_by_one_line(split: Path, name: str, key: str) -> None:
    for value in NASTY:

        def change(content: Any, value: Any = value) -> None:
            record = content["8"] if name == "camera" else content["8"][0]
            record[key] = value

        before = scene(split, name).read_text()
        edit(scene(split, name), change)
        try:
            read_bop(split).notes()
        except DataError as error:
            assert "\n" not in str(error) and len(str(error)) < 500 + len(str(split))
        scene(split, name).write_text(before)


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("nowhere", "expected the folder of a BOP split, such as lmo/test, there is none"),
        (".", "with folders of scenes that have scene_gt.json, found none"),
        ("test/000002", "that have scene_gt.json; name the folder above it"),
    ],
)
def test_other_folders_are_refused(split: Path, folder: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_bop(split.parent / folder)


def test_targets_are_checked(split: Path, tmp_path: Path) -> None:
    write(tmp_path / "targets.json", [{"scene_id": 2, "im_id": "8", "obj_id": 1, "inst_count": 1}])
    with pytest.raises(DataError, match=r"targets.json: \[0\].im_id: expected an integer, got text '8'"):
        read_bop(split, BopOptions(targets=tmp_path / "targets.json"))


def test_pictures_with_errors_are_left_out_on_request(split: Path) -> None:
    edit(scene(split, "gt"), lambda d: d.update({"9": OBJECTS}))
    listener = Listener(drop_invalid=True)
    assert len(read_bop(split, listener=listener).dataset.images) == 1
    assert [error.problem[:24] for error in listener.errors] == ["expected the picture 9 i"]


def test_our_own_form_holds_everything(split: Path, tmp_path: Path) -> None:
    done = convert(split, tmp_path / "truth.json", "coco_amodal", bop=BopOptions())
    assert done.losses == () and done.source == "bop" and len(done.notes) == 2
    assert read_dataset(tmp_path / "truth.json") == read_bop(split).dataset


def test_the_command_writes_named_classes(split: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "names.yaml").write_text("classes:\n  - {id: 1, name: cube, names: [obj_000001]}\n")
    target = {"scene_id": 2, "im_id": 8, "obj_id": 1, "inst_count": 1}
    write(tmp_path / "targets.json", [target])
    out = tmp_path / "out" / "truth.json"
    options = ["--from", "bop", "--to", "coco_amodal", "--classes", str(tmp_path / "names.yaml")]
    more = ["--targets", str(tmp_path / "targets.json"), "--models", str(split.parent / "models_eval")]
    assert main(["data", "convert", str(split), *options, *more, "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "1 whole mask rendered" in shown and "1 image with 1 object from bop to coco_amodal" in shown
    content = json.loads(out.read_text())
    assert content["categories"] == [{"id": 1, "name": "cube"}]
    assert content["images"][0]["cam_K"] == [100, 0, 19.5, 0, 100, 14.5, 0, 0, 1]
    assert content["annotations"][0]["area"] == 324


def test_the_command_names_what_it_leaves_out(split: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(scene(split, "gt"), lambda d: d.update({"9": OBJECTS}))
    options = ["--from", "bop", "--to", "coco_amodal", "--drop-invalid", "--out", str(tmp_path / "a.json")]
    assert main(["data", "convert", str(split), *options]) == 0
    assert f"left out: {split / '000002'}: expected the picture 9 in rgb or gray" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--targets", "t.json"], "--targets: is of BOP splits; give --from bop, or leave it out"),
        (["--visible-tolerance", "0.1"], "--visible-tolerance: is of BOP splits"),
        (["--from", "bop", "--visible-tolerance", "-1"], "--visible-tolerance: expected a share, 0 or more, got -1.0"),
        (["--from", "bop", "--segmentation", "visible"], "--segmentation: is of annotation files"),
        (["--from", "bop", "--out", "SPLIT/000002/scene_gt.json"], "lies in the folder of inputs"),
        (
            [],
            "got a folder; of the folder of a BOP split data convert --from bop makes a file",
        ),
    ],
)
def test_options_that_contradict_each_other(
    split: Path, tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [one.replace("SPLIT", str(split)) for one in options]
    given += [] if "--out" in given else ["--out", str(tmp_path / "a.json")]
    assert main(["data", "convert", str(split), "--to", "coco_amodal", *given]) in (2, 3)
    shown = capsys.readouterr().err
    assert message in shown and shown.count("\n") == 1


QUARTER = Pose((0, -1, 0, 1, 0, 0, 0, 0, 1), (0.5, -2, 900.25))


def posed(pose: Pose | None, category: int = 5) -> AmodalResult:
    return AmodalResult(image_id=1, category_id=category, score=0.75, segmentation=masks.empty(2, 2), pose=pose)


def pictured(file_name: str) -> AmodalDataset:
    image = AmodalImage(id=1, file_name=file_name, width=2, height=2, instances=())
    return AmodalDataset(images=(image,), categories=())


def test_poses_are_written_as_bop_reads_them(tmp_path: Path) -> None:
    data = pictured("000002/rgb/000000.png")
    assert write_bop_csv(tmp_path / "p.csv", data, [posed(QUARTER), posed(None)]) == 1
    assert (tmp_path / "p.csv").read_text() == (
        "scene_id,im_id,obj_id,score,R,t,time\n2,0,5,0.75,0.0 -1.0 0.0 1.0 0.0 0.0 0.0 0.0 1.0,0.5 -2.0 900.25,-1\n"
    )


@pytest.mark.parametrize(
    ("name", "results", "message"),
    [
        (
            "a.png",
            [posed(QUARTER)],
            r"images\[id=1\]: expected a file name of BOP, such as 000002/rgb/000008.png, got 'a",
        ),
        ("1/rgb/1.png", [posed(None)], "expected results with poses"),
        (
            "1/rgb/1.png",
            [AmodalResult(image_id=2, category_id=1, score=1, segmentation=masks.empty(2, 2), pose=QUARTER)],
            "image id 2 is not in the annotations",
        ),
    ],
)
def test_poses_that_cannot_be_written(tmp_path: Path, name: str, results: list[AmodalResult], message: str) -> None:
    with pytest.raises(DataError, match=message):
        write_bop_csv(tmp_path / "p.csv", pictured(name), results)
    assert not (tmp_path / "p.csv").exists()


def test_the_command_writes_poses(split: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth, results, out = tmp_path / "truth.json", tmp_path / "results.json", tmp_path / "new" / "a.csv"
    convert(split, truth, "coco_amodal", bop=BopOptions())
    annotations = json.loads(truth.read_text())["annotations"]
    write(results, [{**one, "annotation_id": one["id"], "score": 0.5} for one in annotations])
    assert main(["data", "poses", str(results), "--annotations", str(truth), "--out", str(out)]) == 0
    assert out.read_text().splitlines()[1] == "2,8,1,0.5,1.0 0.0 0.0 0.0 1.0 0.0 0.0 0.0 1.0,0.0 0.0 12.0,-1"
    assert "2 poses of 2 results in" in capsys.readouterr().out
