"""Ctrl-C and SIGTERM: one line and the signal's exit status, from the first moment to the last."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import tiny_model

from shape3d_amodal import masks
from shape3d_amodal.cli import main
from shape3d_amodal.pipeline import ShapePriorPipeline

ROOT = Path(__file__).resolve().parents[2]
BOTH = pytest.mark.parametrize(
    ("number", "status", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
AT_IMPORT = """
import os, sys
class Sender:
    def find_spec(self, name, *_):
        if name == {module!r}:
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, Sender())
sys.argv = ["shape3d-amodal", *{arguments!r}]
from shape3d_amodal.cli import main
sys.exit(main())
"""
AT_RECORD = """
import os, sys
from shape3d_amodal.cli import main
from shape3d_amodal.files.journal import Journal
append = Journal.append
def stopping(self, record):
    if record["image_id"] == 2:
        os.kill(os.getpid(), {number})
    append(self, record)
Journal.append = stopping
sys.argv = ["shape3d-amodal", *{arguments!r}]
sys.exit(main())
"""


def ran(code: str, **options) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False, **options)


@BOTH
@pytest.mark.parametrize("module", ["shape3d_amodal.errors", "tyro", "tyro.conf", "shape3d_amodal.cli.evaluate"])
def test_while_the_commands_are_imported(module: str, number: int, status: int, word: str) -> None:
    done = ran(AT_IMPORT.format(module=module, number=int(number), arguments=["doctor"]))
    assert (done.returncode, done.stdout, done.stderr) == (status, "", f"{word}\n")


@BOTH
def test_while_a_command_imports_what_it_needs(number: int, status: int, word: str) -> None:
    arguments = ["train", "open13/unet2d.yaml", "--print-config"]
    done = ran(AT_IMPORT.format(module="torch.nn", number=int(number), arguments=arguments))
    assert done.returncode in (status, -signal.SIGINT)  # Python ends itself by the signal where C code saw it first
    assert done.stderr == f"{word}\n"


def test_a_signal_that_is_ignored_stays_so() -> None:
    """As by nohup, and in jobs that a script leaves in the background."""
    code = AT_IMPORT.format(module="tyro", number=int(signal.SIGINT), arguments=["--version"])
    done = ran(f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN){code}")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_program_that_calls_a_command_keeps_its_signals() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    seen = []
    with pytest.MonkeyPatch.context() as patched:
        listed = {"doctor": lambda: seen.extend(map(signal.getsignal, (signal.SIGINT, signal.SIGTERM)))}
        patched.setattr("shape3d_amodal.cli.dispatch.COMMANDS", listed)
        assert main(["doctor"]) == 0
    assert seen == before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


@BOTH
def test_work_that_is_kept_is_told(tmp_path: Path, monkeypatch, capsys, number: int, status: int, word: str) -> None:
    ShapePriorPipeline.from_model(tiny_model()).save_pretrained(tmp_path / "weights")
    square = np.zeros((40, 60), bool)
    square[10:30, 10:25] = True
    content = {
        "images": [{"id": i, "file_name": "a.png", "width": 60, "height": 40} for i in range(3)],
        "categories": [{"id": 1, "name": "chair"}],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "visible_mask": masks.encode(square).to_coco()} for i in range(3)
        ],
    }
    Image.new("RGB", (60, 40)).save(tmp_path / "a.png")
    (tmp_path / "a.json").write_text(json.dumps(content))
    arguments = ["complete", "--images", ".", "--annotations", "a.json", "--weights", "weights", "--out", "out.json"]
    done = ran(AT_RECORD.format(number=int(number), arguments=arguments), cwd=tmp_path)
    assert done.returncode == status
    kept = "2 of 3 images are kept in out.json.part.jsonl; the same command goes on from there"
    assert done.stderr.splitlines()[-1] == f"{word}: {kept}"
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert main(arguments) == 0
    assert "2 of 3 images were done before" in capsys.readouterr().err
    assert len(json.loads((tmp_path / "out.json").read_text())) == 3


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_ends_a_command_and_its_workers(box_folder: Path, tmp_path: Path, workers: int) -> None:
    """The workers do not finish first what they are at: that may take long."""
    size = ["--count", "9000", "--shard-size", "8", "--workers", str(workers), "--set", "scenes.image_size=64"]
    command = [sys.executable, "-m", "shape3d_amodal", "scenes", "--meshes", str(box_folder), "--out", "out", *size]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True, **streams)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("scenes-000000.tar: made")
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 143
    kept = "finished shards are kept in out; the same command goes on from there"
    assert error.splitlines()[-1] == f"terminated: {kept}"
    end = time.monotonic() + 10
    while True:  # no process of its group is left
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        assert time.monotonic() < end
        time.sleep(0.1)
