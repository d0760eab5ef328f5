"""``evaluate`` from files, in every track."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.coco_amodal import write_coco_amodal
from shape3d_amodal.annotations.results import AmodalResult, write_results
from shape3d_amodal.cli import main
from shape3d_amodal.evaluation.tracks import TRACKS
from shape3d_amodal.files.journal import Journal
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance, Category, Pose


def square(x: int, width: int) -> np.ndarray:
    mask = np.zeros((8, 16), bool)
    mask[2:6, x : x + width] = True
    return mask


def write(folder: Path, count: int = 2) -> tuple[Path, Path]:
    """A chair before a sofa of which half is hidden, and results that are right."""
    chair, sofa = square(2, 4), square(4, 8)
    instances = (
        AmodalInstance(id=1, category_id=1, visible=masks.encode(chair), amodal=masks.encode(chair)),
        AmodalInstance(id=2, category_id=2, visible=masks.encode(sofa & ~chair), amodal=masks.encode(sofa)),
    )
    pose = Pose((1, 0, 0, 0, 1, 0, 0, 0, 1), (0, 0, 9))
    known = {"viewpoint": {"azimuth_deg": 30.0, "elevation_deg": 0.0}, "pose": pose, "mesh": "chair/four_legs.obj"}
    instances = tuple(replace(one, **known) for one in instances)
    image = AmodalImage(id=1, file_name="a.png", width=16, height=8, instances=instances, intrinsics=(9, 9, 8, 4))
    annotations, results = folder / "annotations.json", folder / "right.json"
    write_coco_amodal(
        annotations, AmodalDataset(images=(image,), categories=(Category(1, "chair"), Category(2, "sofa")))
    )
    found = [
        AmodalResult(
            image_id=1,
            category_id=one.category_id,
            score=0.5,
            segmentation=one.amodal or one.visible,
            annotation_id=one.id,
            visible=one.visible,
            viewpoint={"azimuth_deg": 75.0},
            pose=pose,
        )
        for one in instances
    ]
    write_results(results, found[:count])
    return annotations, results


def scored(track: str, meshes: Path) -> list[str]:
    """The options without which a track does nothing."""
    return ["--track", track, *(["--meshes", str(meshes)] if track == "pose" else [])]


@pytest.mark.parametrize("track", TRACKS)
def test_every_track(tmp_path, capsys, track, box_folder):
    annotations, results = write(tmp_path)
    options = [*scored(track, box_folder), "--out", str(tmp_path / "scores"), "--workers", "2"]
    options += ["--by-level"] if TRACKS[track].by_level else []
    assert main(["evaluate", str(results), "--annotations", str(annotations), *options]) == 0
    text = (tmp_path / "scores" / f"{track}.md").read_text()
    assert text in capsys.readouterr().out and "| metric | right |" in text
    content = json.loads((tmp_path / "scores" / f"{track}.json").read_text())["right"]
    assert content["protocol"].startswith(f"{track}: ")
    headline = TRACKS[track].by_category[0]
    assert content["overall"][headline] == 1
    assert headline in {metric["name"] for metric in content["metrics"]}
    tables = text.split("\n\n")[1::2]
    assert all(any(letter.isdigit() for letter in table) for table in tables)  # none of undefined numbers alone


def test_without_a_category_and_with_boundaries(tmp_path, capsys):
    annotations, results = write(tmp_path)
    options = ["--without", "sofa", "--boundary", "--out", str(tmp_path / "scores")]
    assert main(["evaluate", str(results), "--annotations", str(annotations), *options]) == 0
    assert "mean without sofa" in capsys.readouterr().out
    content = json.loads((tmp_path / "scores" / "completion.json").read_text())["right"]
    assert content["without"]["categories"] == ["sofa"] and list(content["without"]["by_category"]) == ["chair"]
    assert content["overall"]["boundary_miou"] == 1


def test_missing_results_are_an_error_unless_allowed(tmp_path, capsys):
    annotations, results = write(tmp_path, count=1)
    arguments = ["evaluate", str(results), "--annotations", str(annotations)]
    assert main(arguments) == 3
    assert "1 have none (id 2); add them" in capsys.readouterr().err
    assert main([*arguments, "--allow-missing"]) == 0
    assert "| mean | 50.0 |" in capsys.readouterr().out
    assert main([*arguments, "--track", "instance"]) == 0


def edit(file: Path, change) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_an_unknown_id_is_named_though_another_is_missing(tmp_path, capsys):
    annotations, results = write(tmp_path)
    edit(results, lambda content: content[1].update(annotation_id=77))
    assert main(["evaluate", str(results), "--annotations", str(annotations)]) == 3
    assert "[1].annotation_id: 77 is not in the annotations" in capsys.readouterr().err


def test_objects_of_which_nothing_is_visible_may_miss(tmp_path, capsys):
    """No method that starts from visible masks is asked for them; they count 0."""
    annotations, results = write(tmp_path, count=1)
    edit(annotations, lambda content: content["annotations"][1].update(visible_mask=[]))
    assert main(["evaluate", str(results), "--annotations", str(annotations)]) == 0
    assert "| mean | 50.0 |" in capsys.readouterr().out


def test_ignored_objects_without_results_make_pairs_that_are_refused(tmp_path, capsys):
    annotations, results = write(tmp_path)
    edit(annotations, lambda content: content["annotations"][0].update(ignore=1))
    edit(results, lambda content: content.pop(0))
    arguments = ["evaluate", str(results), "--annotations", str(annotations), "--track", "order"]
    assert main(arguments) == 3
    assert "1 of 1 pair is with an ignored object that has no result" in capsys.readouterr().err
    assert main([*arguments, "--allow-missing"]) == 0
    assert "| order accuracy | 0.0 |" in capsys.readouterr().out


@pytest.mark.parametrize("track", TRACKS)
def test_two_categories_of_one_name_are_an_error(tmp_path, capsys, track, box_folder):
    annotations, results = write(tmp_path)
    edit(annotations, lambda content: content["categories"][0].update(name="sofa"))
    if track == "order":  # both must have a pair
        edit(
            annotations,
            lambda content: content["annotations"].append({**content["annotations"][1], "id": 3, "category_id": 1}),
        )
        edit(results, lambda content: content.append({**content[1], "annotation_id": 3, "category_id": 1}))
    command = ["evaluate", str(results), "--annotations", str(annotations), *scored(track, box_folder)]
    assert main(command) == 3
    error = capsys.readouterr().err
    assert f"{annotations}: categories: two are named 'sofa' (ids 1 and 2)" in error and error.count("\n") == 1


@pytest.mark.parametrize("track", TRACKS)
def test_categories_of_any_id(tmp_path, track, box_folder):
    annotations, results = write(tmp_path)
    edit(annotations, lambda content: content["categories"][1].update(id=-2))
    edit(annotations, lambda content: content["annotations"][1].update(category_id=-2))
    edit(results, lambda content: content[1].update(category_id=-2))
    options = [*scored(track, box_folder), "--out", str(tmp_path / "scores")]
    assert main(["evaluate", str(results), "--annotations", str(annotations), *options]) == 0
    rows = json.loads((tmp_path / "scores" / f"{track}.json").read_text())["right"]["intervals"]
    assert rows[TRACKS[track].by_category[0]]["sofa"] == {"low": 1.0, "high": 1.0}


def test_viewpoints_without_azimuth_cannot_be_scored(tmp_path, capsys):
    annotations, results = write(tmp_path)
    edit(annotations, lambda content: [one.update(viewpoint={"elevation_deg": 3.0}) for one in content["annotations"]])
    assert main(["evaluate", str(results), "--annotations", str(annotations), "--track", "shape"]) == 3
    assert "expected viewpoints with azimuth_deg" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "status", "message"),
    [
        (["--without", "lamp"], 2, "category 'lamp' is not scored; choose from chair, sofa"),
        (["--workers", "0"], 2, "workers: expected 1 or more"),
        (["--track", "shape", "--meshes", "nowhere"], 3, "nowhere"),
        (["--without", "chair", "sofa"], 2, "without: expected some of the categories, got all: chair, sofa"),
        (["--class-agnostic"], 2, "--class-agnostic: is of the track instance, got completion; leave it out"),
        (["--track", "order", "--boundary"], 2, "--boundary: is of the track completion, got order; leave it out"),
        (["--meshes", "open13:test"], 2, "--meshes: is of the track shape or pose, got completion; leave it out"),
        (["--track", "pose"], 2, "--meshes: expected the models that the poses belong to, such as lmo/models_eval"),
        (["--mesh-folder", "."], 2, "--mesh-folder: is of the track shape"),
        (
            ["--track", "order", "--by-level"],
            2,
            "--by-level: is of the track completion or instance or pose, got order",
        ),
        (["--out", "ANNOTATIONS"], 2, "--out: expected a folder to write to, got the file"),
    ],
)
def test_wrong_options_are_one_line(tmp_path, capsys, more, status, message):
    annotations, results = write(tmp_path)
    more = [str(annotations) if one == "ANNOTATIONS" else one for one in more]
    assert main(["evaluate", str(results), "--annotations", str(annotations), *more]) == status
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_annotations_that_cannot_be_scored_are_named(tmp_path, capsys):
    annotations, results = write(tmp_path)
    edit(annotations, lambda content: [record.update(ignore=1) for record in content["annotations"]])
    assert main(["evaluate", str(results), "--annotations", str(annotations)]) == 3
    assert f"error: {annotations}: no instance can be scored" in capsys.readouterr().err


def test_two_files_of_one_name_are_an_error(tmp_path, capsys):
    annotations, results = write(tmp_path)
    assert main(["evaluate", str(results), str(results), "--annotations", str(annotations)]) == 2
    assert "different names" in capsys.readouterr().err


def test_a_set_of_shards_and_a_file_of_its_name_are_an_error(tmp_path, capsys):
    """They would be one column."""
    annotations, results = write(tmp_path)
    shards = [tmp_path / "shards" / f"{results.stem}-{i:05d}-of-00002.json" for i in range(2)]
    shards[0].parent.mkdir()
    for shard in shards:
        shard.write_bytes(results.read_bytes())
    assert main(["evaluate", str(results), *map(str, shards), "--annotations", str(annotations)]) == 2
    assert f"different names, got {results.stem}, {results.stem}" in capsys.readouterr().err


def test_an_unfinished_run_is_scored_on_what_is_done(tmp_path, capsys):
    """Two images, one of them done: the other one counts neither for nor against any of the files."""
    annotations, results = write(tmp_path)
    content, right = json.loads(annotations.read_text()), json.loads(results.read_text())
    content["images"].append({**content["images"][0], "id": 2})
    content["annotations"] += [{**one, "id": one["id"] + 10, "image_id": 2} for one in content["annotations"]]
    annotations.write_text(json.dumps(content))
    wrong = [
        {**one, "annotation_id": one["annotation_id"] + 10, "image_id": 2, "segmentation": right[0]["segmentation"]}
        for one in right
    ]
    results.write_text(json.dumps(right + wrong))
    with Journal(tmp_path / "begun.json.part.jsonl", {}) as journal:
        journal.append({"image_id": 1, "results": right})
    files = [str(results), str(tmp_path / "begun.json.part.jsonl")]
    assert main(["evaluate", *files, "--annotations", str(annotations), "--out", str(tmp_path / "scores")]) == 0
    assert "Of 2 images, the 1 that is done is scored." in capsys.readouterr().out
    scores = json.loads((tmp_path / "scores" / "completion.json").read_text())
    assert [scores[name]["overall"]["miou"] for name in ("right", "begun.json.part")] == [1, 1]
    assert main(["evaluate", str(results), "--annotations", str(annotations), "--out", str(tmp_path / "scores")]) == 0
    assert json.loads((tmp_path / "scores" / "completion.json").read_text())["right"]["overall"]["miou"] < 1


def test_what_a_half_done_image_lacks_is_missing(tmp_path, capsys):
    annotations, results = write(tmp_path)
    with Journal(tmp_path / "begun.json.part.jsonl", {}) as journal:
        journal.append({"image_id": 1, "results": json.loads(results.read_text())[:1]})
    command = ["evaluate", str(tmp_path / "begun.json.part.jsonl"), "--annotations", str(annotations)]
    assert main(command) == 3
    assert "expected a result for each of 2 annotations, 1 have none" in capsys.readouterr().err
    assert main([*command, "--allow-missing"]) == 0


def test_no_input_is_overwritten(tmp_path, capsys):
    annotations, results = write(tmp_path)
    taken = tmp_path / "completion.json"
    annotations.rename(taken)
    before = taken.read_bytes()
    assert main(["evaluate", str(results), "--annotations", str(taken), "--out", str(tmp_path)]) == 2
    assert "would overwrite the input" in capsys.readouterr().err and taken.read_bytes() == before


def test_a_mesh_that_lies_elsewhere_names_the_option(tmp_path, capsys, box_folder):
    """``complete --save-meshes`` writes them into a folder of their own."""
    annotations, results = write(tmp_path)
    content = [{**one, "mesh": "1_1.glb"} for one in json.loads(results.read_text())]
    results.write_text(json.dumps(content))
    given = json.loads(annotations.read_text())
    for one in given["annotations"]:
        one["mesh"] = "chair/four_legs.obj"
    annotations.write_text(json.dumps(given))
    command = [
        "evaluate",
        str(results),
        "--annotations",
        str(annotations),
        "--track",
        "shape",
        "--meshes",
        str(box_folder),
    ]
    assert main(command) == 3
    assert "name their folder by --mesh-folder" in capsys.readouterr().err


@pytest.mark.parametrize("track", ["completion", "instance", "order"])
def test_what_is_not_scored_is_counted(tmp_path, capsys, track):
    """Of six objects: two crowds, of which one has no amodal mask, one that is marked ignore, and one mask missing."""
    annotations, results = write(tmp_path)
    content = json.loads(annotations.read_text())
    first = content["annotations"][0]
    more = ({"iscrowd": 1}, {"iscrowd": 1, "segmentation": None}, {"ignore": 1}, {"segmentation": None})
    for number, change in enumerate(more, start=3):
        record = {**first, "id": number, **change}
        content["annotations"].append({key: value for key, value in record.items() if value is not None})
    annotations.write_text(json.dumps(content))
    line = "4 of 6 objects not scored: 2 crowds (iscrowd 1), 1 marked ignore, 1 without an amodal mask"
    line += " (but for the visible one)" if track == "instance" else ""
    command = ["evaluate", str(results), "--annotations", str(annotations), "--track", track, "--allow-missing"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith(f"{line}\n\n")
    assert (tmp_path / f"{track}.md").read_text().startswith(f"{line}\n\n")
