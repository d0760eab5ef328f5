"""Two ranks are one: the same gradients, and a killed rank changes nothing of the result."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toy import ToyTask

from shape3d_amodal.errors import MissingBackendError
from shape3d_amodal.training.loop.checkpoints import Checkpoint, CheckpointFolder
from shape3d_amodal.training.loop.distributed import is_first_rank
from shape3d_amodal.training.loop.training import train

SCRIPT = Path(__file__).parents[1] / "helpers" / "toy.py"


def torchrun(output: Path, options: dict[str, object], restarts: int = 0) -> Checkpoint:
    """Train the toy on two ranks; its last checkpoint."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--max-restarts={restarts}"]
    command += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", "--local-addr=localhost"]
    done = subprocess.run(
        [*command, str(SCRIPT), str(output), json.dumps(options)],
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded = CheckpointFolder(output).load_latest()
    assert loaded is not None
    return loaded


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_ranks_with_half_the_batch_each_have_the_gradients_of_one(quick, tmp_path, accumulate):
    # After one step, AdamW's first moment is 0.1 times the gradient. Clipping off, no batch statistics, no dropout.
    options = {"steps": 1, "clip_norm": 0.0, "accumulate": accumulate}
    two = torchrun(tmp_path / "two", {**options, "noisy": False})
    train(ToyTask(noisy=False), replace(quick, **{**options, "accumulate": 1}), tmp_path / "one")
    one = CheckpointFolder(tmp_path / "one").load_latest()
    gradients = {name: tensor for name, tensor in one.optimizer.items() if name.endswith("exp_avg")}
    assert len(gradients) == 4 and all(tensor.abs().max() > 1e-4 for tensor in gradients.values())
    for name, tensor in gradients.items():
        assert (tensor - two.optimizer[name]).abs().max() < 1e-7, name  # 1e-6 in the gradient
    logs = [json.loads((tmp_path / name / "log.jsonl").read_text().split("\n")[0]) for name in ("one", "two")]
    assert logs[0]["losses"] == pytest.approx(logs[1]["losses"], abs=1e-6)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Checkpoint:
    return torchrun(tmp_path_factory.mktemp("undisturbed"), {})


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_after_a_killed_rank_torchrun_restarts_to_the_same_bits(undisturbed, tmp_path, rank):
    kill = [rank, 13, str(tmp_path / "was-killed")]
    disturbed = torchrun(tmp_path / "disturbed", {"kill": kill}, restarts=1)
    assert (tmp_path / "was-killed").exists()
    assert disturbed.step == undisturbed.step == 20
    for part in ("model", "ema", "optimizer"):
        one, two = getattr(undisturbed, part), getattr(disturbed, part)
        assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_a_gpu_that_is_not_there_is_a_missing_backend(quick, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MissingBackendError, match="expected a CUDA device for 'cuda:1', found none"):
        train(ToyTask(), replace(quick, device="cuda:1"), tmp_path)


def test_a_gpu_of_too_high_a_number_is_a_missing_backend(quick, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(MissingBackendError, match="expected a CUDA device for 'cuda:1', found 1"):
        train(ToyTask(), replace(quick, device="cuda:1"), tmp_path)


@pytest.mark.parametrize(("rank", "first"), [(None, True), ("0", True), ("3", False)])
def test_first_rank(monkeypatch, rank, first):
    monkeypatch.delenv("RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    assert is_first_rank() is first
