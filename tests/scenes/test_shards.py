"""Scenes in shards: the same bytes whoever makes them, whatever kills them; read back whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from boxes import box_mesh, write_obj

from shape3d_amodal import masks
from shape3d_amodal.cli import main
from shape3d_amodal.errors import DataError, UsageError
from shape3d_amodal.launcher import share_of
from shape3d_amodal.meshes.sources import mesh_source
from shape3d_amodal.scenes import shards
from shape3d_amodal.scenes.compose import SceneConfig, make_scene
from shape3d_amodal.scenes.shard_making import ShardsConfig, make_shards
from shape3d_amodal.scenes.shard_reading import SceneShards

SCENES = SceneConfig(image_size=32)
COUNT = 23  # shards of 10, 10 and 3


def configured(meshes: Path, **changes: Any) -> ShardsConfig:
    return ShardsConfig(
        **{"meshes": str(meshes), "scenes": SCENES, "seed": 4, "count": COUNT, "shard_size": 10, **changes}
    )


def content(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def made(box_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    done = make_shards(configured(box_folder), folder)
    assert [shard.count for shard in done.made] == [10, 10, 3]
    assert done.kept == ()
    return folder


def test_the_layout_is_that_of_webdataset(made: Path) -> None:
    """Read by Python's own tarfile: pairs of files with one key, in order, without time or owner."""
    names: list[str] = []
    for number in range(3):
        with tarfile.open(made / f"scenes-{number:06d}.tar", "r:") as tar:
            for member in tar:
                assert (member.mtime, member.uid, member.gid, member.uname, member.isreg()) == (0, 0, 0, "", True)
                names.append(member.name)
    assert names == [f"{k:09d}.{kind}" for k in range(COUNT) for kind in ("png", "json")]


def test_manifest(made: Path) -> None:
    manifest = json.loads((made / "scenes-000002.json").read_text())
    tar = (made / "scenes-000002.tar").read_bytes()
    assert (manifest["first"], manifest["count"], manifest["bytes"]) == (20, 3, len(tar))
    assert manifest["sha256"] == hashlib.sha256(tar).hexdigest()
    assert manifest["config"]["seed"] == 4
    assert manifest["categories"][-1] == "occluder"
    assert manifest["skipped"] == {}
    assert not [path for path in made.iterdir() if path.suffix not in (".tar", ".json")]


def test_what_is_read_back_is_what_was_drawn(made: Path, box_folder: Path) -> None:
    back = SceneShards(made)
    names = back.dataset.category_names
    assert [image.id for image in back.dataset.images] == list(range(1, COUNT + 1))
    ids = [one.id for image in back.dataset.images for one in image.instances]
    assert len(set(ids)) == len(ids)
    for k in (0, 9, 10, 22):
        image, scene = back.dataset.images[k], make_scene(mesh_source(str(box_folder)), SCENES, 4, k)
        np.testing.assert_array_equal(back.image(image), scene.image)
        assert image.camera == scene.camera
        for annotated, drawn in zip(image.instances, scene.instances, strict=True):
            np.testing.assert_array_equal(masks.decode(annotated.visible), drawn.visible)
            np.testing.assert_array_equal(masks.decode(annotated.amodal), drawn.amodal)
            assert (annotated.mesh, names[annotated.category_id]) == (drawn.mesh, drawn.category)
            assert annotated.depth_order == drawn.depth_order
            assert not annotated.ignore


def test_a_second_run_verifies_and_keeps(made: Path, box_folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in made.iterdir()}
    done = make_shards(configured(box_folder), made)
    assert (len(done.made), len(done.kept)) == (0, 3)
    assert {path: path.stat().st_mtime_ns for path in made.iterdir()} == before


def test_shares_and_workers_make_the_same_bytes(made: Path, box_folder: Path, tmp_path: Path) -> None:
    numbers = []
    for share, workers in (((1, 2), 2), ((0, 2), 1)):
        done = make_shards(configured(box_folder), tmp_path, share=share, workers=workers)
        numbers.append([shard.number for shard in done.made])
    assert numbers == [[1], [0, 2]]
    assert content(tmp_path) == content(made)


def test_a_copy_of_the_meshes_elsewhere_makes_the_same_bytes(made: Path, box_folder: Path, tmp_path: Path) -> None:
    for path in box_folder.rglob("*.obj"):
        copy = tmp_path / "copy" / path.relative_to(box_folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    make_shards(configured(tmp_path / "copy"), tmp_path / "out")
    assert content(tmp_path / "out") == content(made)


def test_more_scenes_can_be_asked_for(made: Path, box_folder: Path, tmp_path: Path) -> None:
    make_shards(configured(box_folder, count=13), tmp_path)
    done = make_shards(configured(box_folder), tmp_path)
    assert [shard.number for shard in done.kept] == [0]
    assert content(tmp_path) == content(made)


def test_fewer_scenes_leave_what_is_there(made: Path, box_folder: Path) -> None:
    before = content(made)
    done = make_shards(configured(box_folder, count=13), made)
    assert (done.made, len(done.kept)) == ((), 2)
    assert content(made) == before


@pytest.mark.parametrize("changes", [{"seed": 5}, {"shard_size": 20}, {"scenes": SceneConfig(image_size=33)}])
def test_a_folder_of_another_set_is_left_alone(changes: dict[str, Any], made: Path, box_folder: Path) -> None:
    before = content(made)
    message = rf"scenes-000000\.json: identity: holds scenes of another set \({next(iter(changes))} differ\)"
    with pytest.raises(DataError, match=message):
        make_shards(configured(box_folder, **changes), made)
    assert content(made) == before


def killed_at(event: int, config: ShardsConfig, folder: Path) -> int:
    """Make the shards in a child that kills itself at its ``event``-th write, rename or sync; returns its signal."""
    child = os.fork()
    if child:
        return os.WTERMSIG(os.waitpid(child, 0)[1])
    left = [event]

    def killing(function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return counted

    try:
        shards._write = killing(shards._write)
        os.fsync = killing(os.fsync)
        Path.replace = killing(Path.replace)
        make_shards(config, folder)
    finally:
        os._exit(0)


WRITES = 2 * 10 + 1 + 2 + 2  # of a shard of ten: its files and its end, sync and rename of the tar and of the manifest


@pytest.mark.parametrize(
    ("event", "kept"),
    [
        (1, 0),
        (7, 0),
        (WRITES - 3, 0),
        (WRITES - 1, 0),
        (WRITES, 0),
        (WRITES + 1, 1),
        (2 * WRITES, 1),
        (2 * WRITES + 3, 2),
    ],
)
def test_sigkill_loses_the_shard_in_hand_alone(
    event: int, kept: int, made: Path, box_folder: Path, tmp_path: Path
) -> None:
    config = configured(box_folder)
    assert killed_at(event, config, tmp_path) == signal.SIGKILL
    for path in tmp_path.glob("scenes-*.json"):  # whatever has a manifest is whole
        assert path.read_bytes() == (made / path.name).read_bytes()
        assert path.with_suffix(".tar").read_bytes() == (made / path.with_suffix(".tar").name).read_bytes()
    done = make_shards(config, tmp_path)
    assert [shard.number for shard in done.kept] == list(range(kept))
    assert content(tmp_path) == content(made)  # nothing else is left behind either


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_shard_is_refused_and_made_anew(damage: str, made: Path, box_folder: Path, tmp_path: Path) -> None:
    for path in made.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    tar = tmp_path / "scenes-000001.tar"
    data = bytearray(tar.read_bytes())
    data[5000] ^= 1
    if damage == "remove":
        tar.unlink()
    else:
        tar.write_bytes(data if damage == "flip" else data[:-512])
        with pytest.raises(DataError, match=r"scenes-000001\.tar: does not have the SHA-256"):
            SceneShards(tmp_path)
    done = make_shards(configured(box_folder), tmp_path)
    assert [shard.number for shard in done.made] == [1]
    assert content(tmp_path) == content(made)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("scenes-000001.json", None, r"scenes-000001\.json: no such finished shard"),
        ("scenes-000001.json", {"identity": "0"}, "is of another set"),
        ("scenes-000001.json", {"format": "x"}, "expected the manifest of a shard"),
        ("scenes-000001.json", {"tar": "../a.tar"}, r"scenes-000001\.json: tar: expected a relative name"),
        ("scenes-000001.json", {"tar": "other.tar"}, r"other\.tar: cannot read"),
        ("scenes-000001.json", {"sha256": 3}, "sha256: expected str"),
        ("scenes-000001.json", {"categories": [1]}, "categories: expected a list of names"),
        ("scenes-000001.json", {"count": 11}, r"scenes-000001\.tar: expected 11 scenes, got 10"),
        ("scenes-000000.json", {"categories": []}, "unknown category"),
    ],
)
def test_bad_manifests(name: str, change: dict[str, Any] | None, message: str, made: Path, tmp_path: Path) -> None:
    for path in made.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    if change is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_text(json.dumps({**json.loads((made / name).read_text()), **change}))
    with pytest.raises(DataError, match=message):
        SceneShards(tmp_path)


def test_no_more_shards_than_hold_the_scenes(made: Path) -> None:
    back = SceneShards(made, count=11)
    assert [image.id for image in back.dataset.images] == [*range(1, 21)]
    assert back.image(back.dataset.images[0]).shape == (32, 32, 3)


def test_a_folder_without_shards(tmp_path: Path) -> None:
    for read in (SceneShards, shards.manifests, shards.fingerprint):
        with pytest.raises(DataError, match="expected shards"):
            read(tmp_path)


def test_manifests_are_in_order(made: Path) -> None:
    assert [path.name for path in shards.manifests(made)] == [f"scenes-00000{number}.json" for number in range(3)]


@pytest.fixture
def with_a_bad_mesh(tmp_path: Path) -> Path:
    write_obj(tmp_path / "meshes" / "chair" / "good.obj", box_mesh([((0, 0, 0), (1, 2, 1))]))
    (tmp_path / "meshes" / "chair" / "bad.obj").write_text("f 1 2 3\n")
    with (tmp_path / "meshes" / "chair" / "good.obj").open("a") as file:
        file.write("l 1 2\n")
    return tmp_path / "meshes"


def test_bad_meshes_are_listed_where_they_were_drawn(with_a_bad_mesh: Path, tmp_path: Path) -> None:
    config = configured(with_a_bad_mesh)
    make_shards(config, tmp_path / "all")
    for number in (2, 1, 0):  # one process for each, in another order
        make_shards(config, tmp_path / "each", share=(number, 3))
    assert content(tmp_path / "all") == content(tmp_path / "each")
    for number in range(3):
        listed = json.loads((tmp_path / "all" / f"scenes-00000{number}.json").read_text())
        assert list(listed["skipped"]) == ["chair/bad.obj"]
        assert "expected vertex indices" in listed["skipped"]["chair/bad.obj"]
        assert listed["notes"] == {"chair/good.obj": ["1 statement of lines left out"]}
    with pytest.raises(DataError, match=r"bad\.obj: faces: expected vertex indices"):
        make_shards(configured(with_a_bad_mesh, strict=True), tmp_path / "strict")
    assert not list((tmp_path / "strict").iterdir())


@pytest.mark.parametrize(
    ("text", "environment", "expected"),
    [
        (None, {}, (0, 1)),
        ("2/5", {"RANK": "0", "WORLD_SIZE": "9"}, (2, 5)),
        (None, {"RANK": "3", "WORLD_SIZE": "4"}, (3, 4)),
        (None, {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "5", "SLURM_ARRAY_TASK_COUNT": "3"}, (2, 3)),
        (
            None,
            {
                "SLURM_ARRAY_TASK_ID": "9",
                "SLURM_ARRAY_TASK_MIN": "5",
                "SLURM_ARRAY_TASK_STEP": "2",
                "SLURM_ARRAY_TASK_COUNT": "3",
            },
            (2, 3),
        ),
        (None, {"RANK": "1", "WORLD_SIZE": "2", "SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "8"}, (1, 2)),
    ],
)
def test_shares(text: str | None, environment: dict[str, str], expected: tuple[int, int]) -> None:
    assert share_of(text, environment) == expected


@pytest.mark.parametrize("text", ["4/4", "1", "-1/4", "a/b", "1/0", "1/2/3", "", "/"])
def test_no_such_share(text: str) -> None:
    with pytest.raises(UsageError, match=r"--shard: expected i/n"):
        share_of(text, {})


def test_a_worker_does_without_torch() -> None:
    """It would take seconds and 400 MB in every process."""
    code = "import sys, shape3d_amodal.scenes.shard_making; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_command(made: Path, box_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--meshes", str(box_folder), "--count", str(COUNT), "--seed", "4", "--shard-size", "10"]
    command = ["scenes", *options, "--out", str(tmp_path), "--set", "scenes.image_size=32"]
    assert main([*command, "--shard", "1/2"]) == 0
    assert main(command) == 0
    assert "2 shards made (13 scenes" in capsys.readouterr().out
    assert content(tmp_path) == content(made)
    assert main([*command, "--shard", "2/2"]) == 2
    assert main([*command, "--workers", "0"]) == 2
    assert main([*command, "--seed", "5"]) == 3
    assert main(["scenes", "--out", str(tmp_path), "--count", "5", "--layout", "folder"]) == 2
    assert main([*command, "--seed", "-1"]) == 2
    assert main([*command, "--count", str(10**9 + 1)]) == 2
    for misplaced in (["--shard", "0/2"], ["--workers", "2"], ["--layout", "kins", "--shard-size", "9"]):
        assert main(["scenes", "--out", str(tmp_path), *misplaced]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 9


def test_options_set_one_by_one_all_count(box_folder: Path, tmp_path: Path) -> None:
    options = ["--set", "count=3", "--set", "scenes.image_size=32", "seed=4", "--layout", "shards", "--set", "seed=7"]
    assert main(["scenes", "--meshes", str(box_folder), "--out", str(tmp_path), *options]) == 0
    manifest = json.loads((tmp_path / "scenes-000000.json").read_text())
    assert (manifest["count"], manifest["config"]["scenes"]["image_size"], manifest["config"]["seed"]) == (3, 32, 7)


def test_two_that_make_the_same_shard(box_folder: Path, tmp_path: Path) -> None:
    """The later one goes on; the other one says why it stops."""
    whole = make_shards(configured(box_folder, count=3), tmp_path / "whole").made[0]
    shard = replace(whole, folder=tmp_path)

    def samples() -> Iterator[shards.Sample]:
        make_shards(configured(box_folder, count=3), tmp_path)
        yield shards.Sample(0, b"", b"")

    with pytest.raises(DataError, match="another process writes it, too; run one alone"):
        shards.write_shard(shard, samples(), {})
    for path in (shard.tar, shard.manifest):
        assert path.read_bytes() == (tmp_path / "whole" / path.name).read_bytes()


@pytest.mark.parametrize("layout", ["shards", "folder"])
def test_no_category_may_be_called_what_only_hides(
    layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_obj(tmp_path / "meshes" / "occluder" / "a.obj", box_mesh([((0, 0, 0), (1, 2, 1))]))
    command = ["scenes", "--meshes", str(tmp_path / "meshes"), "--layout", layout, "--out", str(tmp_path / "out")]
    assert main(command) == 2
    assert "the category 'occluder' is kept for what only hides others; rename the folder" in capsys.readouterr().err


@pytest.mark.parametrize("layout", ["shards", "folder", "kins"])
def test_a_folder_that_cannot_be_made(layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    command = ["scenes", "--meshes", "open13:val", "--layout", layout, "--out", str(tmp_path / "file" / "out")]
    assert main(command) == 3
    assert "/file is a file); choose another" in capsys.readouterr().err


@pytest.mark.slow
def test_sigkill_at_any_moment(box_folder: Path, tmp_path: Path) -> None:
    """Of the real command with two workers: after each new shard at a random moment, until it gets through."""
    config = configured(box_folder, count=1000, shard_size=200)
    make_shards(config, tmp_path / "whole")
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "shape3d_amodal", "scenes", "--meshes", str(box_folder), "--count", "1000"]
    command += [
        "--seed",
        "4",
        "--shard-size",
        "200",
        "--workers",
        "2",
        "--out",
        str(out),
        "--set",
        "scenes.image_size=32",
    ]
    rng = np.random.default_rng(0)
    kills = 0
    while True:
        before = len(list(out.glob("*.json")))
        job = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while job.poll() is None and len(list(out.glob("*.json"))) == before:
            time.sleep(0.01)
        try:
            assert job.wait(timeout=rng.uniform(0, 0.5)) == 0
            break
        except subprocess.TimeoutExpired:
            job.kill()
            job.wait()
            kills += 1
        for path in out.glob("*.json"):
            assert path.read_bytes() == (tmp_path / "whole" / path.name).read_bytes()
        assert len(list(out.glob("*.json"))) > before  # what is finished stays
    assert kills >= 2
    assert content(out) == content(tmp_path / "whole")


@pytest.mark.parametrize(
    ("layout", "told"),
    [
        ("shards", r"1 shard made \(1 scene, \d+ a second\), 0 kept"),
        ("folder", "1 scene with 1 scored object in "),
        ("kins", r"1 frame with (1 vehicle|\d+ vehicles): "),
    ],
)
def test_one_is_no_plural(layout: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_obj(tmp_path / "meshes" / "car" / "a.obj", box_mesh([((0, 0, 0), (1, 1, 2))]))
    command = ["scenes", "--meshes", str(tmp_path / "meshes"), "--out", str(tmp_path / "out"), "--layout", layout]
    few = ["per_category=1"] if layout == "folder" else []
    size = ["height=64", "width=200"] if layout == "kins" else ["scenes.image_size=64"]
    count = [] if layout == "folder" else ["--count", "1"]
    assert main([*command, *count, "--set", *size, *few]) == 0
    assert re.search(told, capsys.readouterr().out)
