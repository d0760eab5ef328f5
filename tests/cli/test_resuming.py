"""Commands that were stopped go on where they stood, and end with the same files as if nothing had been."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import tiny_model

from shape3d_amodal import masks
from shape3d_amodal.cli import main
from shape3d_amodal.files.journal import Journal
from shape3d_amodal.pipeline import ShapePriorPipeline

IMAGES = 6


def square(left: int) -> dict:
    mask = np.zeros((40, 60), bool)
    mask[10:30, left : left + 15] = True
    return masks.encode(mask).to_coco()


def make_set(root: Path, count: int) -> None:
    """Weights, images, and annotations of two objects in each; the fourth image is missing."""
    ShapePriorPipeline.from_model(tiny_model()).save_pretrained(root / "weights")
    (root / "images").mkdir()
    random_numbers = np.random.default_rng(0)
    for number in range(count):
        pixels = random_numbers.integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"{number}.png")
    (root / "images" / "3.png").unlink()
    content = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 60, "height": 40} for i in range(count)],
        "categories": [{"id": 1, "name": "chair"}],
        "annotations": [
            {"id": 2 * i + j, "image_id": i, "category_id": 1, "visible_mask": square(10 + 17 * j)}
            for i in range(count)
            for j in range(2)
        ],
    }
    (root / "annotations.json").write_text(json.dumps(content))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("resuming")
    make_set(root, IMAGES)
    return root


def words(command: str, root: Path, out: Path) -> list[str]:
    given = ["--images", str(root / "images"), "--annotations", str(root / "annotations.json")]
    given += ["--weights", str(root / "weights")]
    if command == "complete":
        return [command, *given, "--out", str(out / "results.json"), "--save-meshes", str(out / "meshes")]
    return [command, *given, "--out", str(out), "--turntable", "2"]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def undisturbed(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, bytes]]:
    """The files of a command that nothing stops."""
    done: dict[str, dict[str, bytes]] = {}

    def of(command: str) -> dict[str, bytes]:
        if command not in done:
            out = tmp_path_factory.mktemp(command)
            assert main(words(command, root, out)) == 0
            done[command] = {name.replace(str(out), "OUT"): content for name, content in files(out).items()}
        return done[command]

    return of


def stop_after(monkeypatch: pytest.MonkeyPatch, count: int, error: type[BaseException]) -> list[int]:
    """Raise ``error`` in place of storing the outcome of an image after ``count`` others; tells how many were tried."""
    tried: list[int] = []
    append = Journal.append

    def stopping(self: Journal, record: dict) -> None:
        if len(tried) == count:
            raise error
        tried.append(record["image_id"])
        append(self, record)

    monkeypatch.setattr(Journal, "append", stopping)
    return tried


@pytest.mark.parametrize("command", ["complete", "render"])
@pytest.mark.parametrize("count", range(IMAGES))
def test_a_stopped_command_goes_on(root, tmp_path, monkeypatch, capsys, undisturbed, command: str, count: int) -> None:
    expected = undisturbed(command)
    capsys.readouterr()
    with monkeypatch.context() as patched:
        stop_after(patched, count, KeyboardInterrupt)
        assert main(words(command, root, tmp_path)) == 130
    error = capsys.readouterr().err
    assert f"{count} of {IMAGES} images are kept in" in error and "the same command goes on from there" in error
    with monkeypatch.context() as patched:
        tried = stop_after(patched, IMAGES + 1, KeyboardInterrupt)
        assert main(words(command, root, tmp_path)) == 0
    assert set(range(count, IMAGES)) <= set(tried) <= {3, *range(count, IMAGES)}  # the missing image is tried again
    assert files(tmp_path) == expected


def test_what_stops_without_resuming_says_how_to_go_on(root, tmp_path, monkeypatch, capsys) -> None:
    stop_after(monkeypatch, 1, KeyboardInterrupt)
    assert main([*words("complete", root, tmp_path), "--no-resume"]) == 130
    assert "the same command without --no-resume goes on from there" in capsys.readouterr().err


def test_a_mesh_that_was_removed_is_made_again(root, tmp_path, monkeypatch, undisturbed) -> None:
    with monkeypatch.context() as patched:
        stop_after(patched, 2, KeyboardInterrupt)
        assert main(words("complete", root, tmp_path)) == 130
    (tmp_path / "meshes" / "0_1.glb").unlink()
    assert main(words("complete", root, tmp_path)) == 0
    assert files(tmp_path) == undisturbed("complete")


def test_an_image_that_was_changed_is_done_again(root, tmp_path, monkeypatch, undisturbed) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    picture = copy / "images" / "0.png"
    original = picture.read_bytes()
    Image.new("RGB", (60, 40)).save(picture)
    with monkeypatch.context() as patched:
        stop_after(patched, 2, KeyboardInterrupt)
        assert main(words("complete", copy, tmp_path / "out")) == 130
    picture.write_bytes(original)
    with monkeypatch.context() as patched:
        tried = stop_after(patched, 99, KeyboardInterrupt)
        assert main(words("complete", copy, tmp_path / "out")) == 0
    assert tried == [0, 2, 3, 4, 5]
    assert files(tmp_path / "out")["results.json"] == undisturbed("complete")["results.json"]


@pytest.mark.parametrize("change", [["--gap-px", "1"], ["--no-depth-order"], ["--no-resume"], ["--fit-steps", "1"]])
def test_other_options_begin_anew(root, tmp_path, monkeypatch, capsys, change: list[str]) -> None:
    with monkeypatch.context() as patched:
        stop_after(patched, 2, KeyboardInterrupt)
        assert main(words("complete", root, tmp_path)) == 130
    capsys.readouterr()
    with monkeypatch.context() as patched:
        tried = stop_after(patched, 99, KeyboardInterrupt)
        assert main([*words("complete", root, tmp_path), *change]) == 0
    assert tried == list(range(IMAGES))
    assert ("is kept as results.json.part.jsonl.old" in capsys.readouterr().err) == (change != ["--no-resume"])


def test_a_mistyped_option_loses_nothing(root, tmp_path, monkeypatch, undisturbed) -> None:
    for more in ([], ["--gap-px", "1"]):
        with monkeypatch.context() as patched:
            stop_after(patched, 2, KeyboardInterrupt)
            assert main([*words("complete", root, tmp_path), *more]) == 130
    with monkeypatch.context() as patched:
        tried = stop_after(patched, 99, KeyboardInterrupt)
        assert main(words("complete", root, tmp_path)) == 0
    # The meshes of the first two images are those of the other options by now, and so are made again.
    assert tried == list(range(IMAGES))
    assert {**undisturbed("complete")}.items() <= files(tmp_path).items()


def test_meshes_of_another_run_are_made_again(root, tmp_path, monkeypatch, undisturbed) -> None:
    """Two runs into one folder of meshes: the results of each name meshes of its own."""
    with monkeypatch.context() as patched:
        stop_after(patched, 2, KeyboardInterrupt)
        assert main(words("complete", root, tmp_path)) == 130
    other = [
        str(tmp_path / "other.json") if one.endswith("results.json") else one
        for one in words("complete", root, tmp_path)
    ]
    assert main([*other, "--fit-steps", "3"]) == 0
    assert main(words("complete", root, tmp_path)) == 0
    assert undisturbed("complete").items() <= files(tmp_path).items()


@pytest.mark.parametrize("name", ["results.skipped.json", "results.json.part.jsonl"])
def test_files_that_are_not_ours_stay(root, tmp_path, capsys, name: str) -> None:
    (tmp_path / name).write_text("precious")
    assert main(words("complete", root, tmp_path)) == 3
    assert "got another file; move it away" in capsys.readouterr().err
    assert files(tmp_path) == {name: b"precious"}


def test_a_device_has_no_files_beside_it(root, tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE)
    command = words("complete", root, tmp_path)[:-4]
    assert main([*command, "--out", str(tmp_path / "pipe")]) == 0
    assert len(json.loads(reader.communicate()[0])) == 10
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_process_substitution(root, tmp_path) -> None:
    """As in ``--out >(gzip > results.gz)``: a link to a pipe that has no name."""
    read, write = os.pipe()
    command = words("complete", root, tmp_path)[:-4]
    assert main([*command, "--out", f"/dev/fd/{write}"]) == 0
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        assert len(json.loads(stream.read())) == 10


def test_a_changed_method_begins_anew(root, tmp_path, monkeypatch) -> None:
    """Results of two versions of the code must not stand in one file."""
    from shape3d_amodal.benchmarking import provenance

    with monkeypatch.context() as patched:
        stop_after(patched, 2, KeyboardInterrupt)
        assert main(words("complete", root, tmp_path)) == 130
    with monkeypatch.context() as patched:
        patched.setattr(provenance, "methods_hash", lambda: "another")
        tried = stop_after(patched, 99, KeyboardInterrupt)
        assert main(words("complete", root, tmp_path)) == 0
    assert tried == list(range(IMAGES))


def test_results_that_cannot_be_written_are_not_lost(root, tmp_path, monkeypatch, undisturbed) -> None:
    """A full disk at the very end: what was done is kept."""
    from shape3d_amodal.annotations import results as module
    from shape3d_amodal.errors import DataError

    def full(path: Path) -> None:
        raise DataError("cannot write the file (No space left on device)", file=path)

    with monkeypatch.context() as patched:
        patched.setattr(module, "atomic_file", full)
        assert main(words("complete", root, tmp_path)) == 3
    assert (tmp_path / "results.json.part.jsonl").exists()
    with monkeypatch.context() as patched:
        tried = stop_after(patched, 99, KeyboardInterrupt)
        assert main(words("complete", root, tmp_path)) == 0
    assert tried == [3]
    assert files(tmp_path) == undisturbed("complete")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_at_random_moments(tmp_path: Path) -> None:
    """50 times, at moments spread over its life, most of which is work and not the start of the program."""
    make_set(tmp_path, 60)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def started(out: Path) -> subprocess.Popen[bytes]:
        command = [*words("complete", tmp_path, out), "--fit-steps", "20"]
        return subprocess.Popen([sys.executable, "-m", "shape3d_amodal", *command], env=environment)

    begin = time.monotonic()
    assert started(tmp_path / "undisturbed").wait() == 0
    life = time.monotonic() - begin
    expected = files(tmp_path / "undisturbed")
    listing = expected.pop("results.skipped.json")
    moments = random.Random(0)
    kills, finished, gone_on = 0, 0, 0
    while kills < 50:
        out = tmp_path / f"out{finished}"
        process = started(out)
        try:
            process.wait(timeout=moments.uniform(0.2, 0.7) * life)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            gone_on += (out / "results.json.part.jsonl").exists()
            continue
        assert process.returncode == 0
        finished += 1
        found = files(out)
        assert found.pop("results.skipped.json") == listing
        assert found == expected
    last = tmp_path / f"out{finished}"
    assert started(last).wait() == 0
    assert {name: content for name, content in files(last).items() if name in expected} == expected
    assert not (last / "results.json.part.jsonl").exists()
    sys.stdout.write(
        f"{kills} kills, {gone_on} with something kept; {finished + 1} runs ended, each with the same files\n"
    )
