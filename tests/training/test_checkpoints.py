"""Checkpoints: whole or absent after a kill, damage found, a full disk survived."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from killed_saver import checkpoint

from shape3d_amodal.errors import TrainingError
from shape3d_amodal.training.loop.checkpoints import CheckpointFolder

HELPERS = Path(__file__).parents[1] / "helpers"


def test_gives_back_what_it_was_given_and_keeps_the_newest(tmp_path):
    folder = CheckpointFolder(tmp_path / "new" / "run", keep=2)
    assert folder.load_latest() is None
    for step in (1, 2, 30):
        folder.save(checkpoint(step))
    assert folder.steps() == [2, 30]
    loaded, expected = folder.load_latest(), checkpoint(30)
    for field in fields(expected):
        one, two = getattr(loaded, field.name), getattr(expected, field.name)
        if field.name in ("model", "ema", "optimizer"):
            assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
        else:
            assert one == two
    assert not list(folder.folder.glob(".*"))


def test_every_flipped_byte_is_found_and_the_previous_checkpoint_used(tmp_path, caplog):
    folder = CheckpointFolder(tmp_path)
    folder.save(checkpoint(1))
    folder.save(checkpoint(2))
    files = sorted(folder.path(2).iterdir())
    assert len(files) == 5
    chance = random.Random(0)
    for trial in range(100):
        # Every file in turn, for most bytes are in the large ones and most ways to go wrong in the small ones.
        file = files[trial % len(files)]
        intact = file.read_bytes()
        damaged = bytearray(intact)
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        file.write_bytes(damaged)
        caplog.clear()
        assert folder.load_latest().step == 1
        assert "checkpoint of step 2 is damaged" in caplog.text and folder.path(2).name in caplog.text
        file.write_bytes(intact)
    assert folder.load_latest().step == 2


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json", "sha256"])
@pytest.mark.parametrize("how", ["removed", "empty", "short", "long"])
def test_a_lost_or_cut_file_is_found(tmp_path, caplog, name, how):
    folder = CheckpointFolder(tmp_path)
    folder.save(checkpoint(1))
    folder.save(checkpoint(2))
    file = folder.path(2) / name
    content = file.read_bytes()
    file.unlink()
    if how != "removed":
        file.write_bytes({"empty": b"", "short": content[:-1], "long": content + b"\n"}[how])
    assert folder.load_latest().step == 1
    assert "damaged" in caplog.text


def test_when_all_are_damaged_it_does_not_start_anew_in_silence(tmp_path):
    folder = CheckpointFolder(tmp_path)
    folder.save(checkpoint(1))
    (folder.path(1) / "state.json").unlink()
    with pytest.raises(TrainingError, match="all 1 checkpoints are damaged; remove them"):
        folder.load_latest()


def test_a_damaged_newer_checkpoint_does_not_push_out_intact_ones(tmp_path):
    folder = CheckpointFolder(tmp_path, keep=1)
    folder.save(checkpoint(10))
    folder.save(checkpoint(20))
    assert folder.steps() == [20]
    folder.save(checkpoint(15))  # as after 20 was found damaged
    assert folder.steps() == [15]
    folder.save(checkpoint(15))
    assert folder.load_latest().step == 15


def killed(tmp_path: Path, kills: int) -> dict[str, int]:
    command = [sys.executable, str(HELPERS / "killed_saver.py"), str(tmp_path), str(kills), "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_kills_during_saving_lose_only_what_is_being_written(tmp_path):
    assert killed(tmp_path, 20)["during_a_save"] >= 5


@pytest.mark.slow
def test_two_hundred_kills_during_saving(tmp_path):
    assert killed(tmp_path, 200)["during_a_save"] >= 50


FULL_DISK = """
import resource, sys
from pathlib import Path
from killed_saver import checkpoint
from shape3d_amodal.errors import TrainingError
from shape3d_amodal.training.loop.checkpoints import CheckpointFolder
folder = CheckpointFolder(Path(sys.argv[1]))
folder.save(checkpoint(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    folder.save(checkpoint(2))
except TrainingError as error:
    print(error)
"""


def test_a_full_disk_leaves_the_previous_checkpoint_and_no_rubbish(tmp_path):
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=True, cwd=HELPERS)
    assert done.stdout.count("\n") == 1 and done.stderr == ""
    assert "step-00000002: cannot save the checkpoint: File too large" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    assert CheckpointFolder(tmp_path).load_latest().step == 1
