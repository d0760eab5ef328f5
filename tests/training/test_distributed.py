"""Two ranks are one: the same gradients, and a killed rank changes nothing of the result."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from launched import srun, torchrun
from toy import ToyTask

from shape3d_amodal.errors import MissingBackendError, UsageError
from shape3d_amodal.launcher import Place
from shape3d_amodal.training.loop.checkpoints import Checkpoint, CheckpointFolder
from shape3d_amodal.training.loop.distributed import cores_of_this_rank, is_first_rank, rank_device, refuse_unfit
from shape3d_amodal.training.loop.trainer import check_parts
from shape3d_amodal.training.loop.training import train
from shape3d_amodal.training.registry import load_training
from shape3d_amodal.training.run import run_training

CONFIGS = Path(__file__).parents[2] / "configs"
RANKS = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
STEP = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "1", "SLURM_LOCALID": "1"}


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


@pytest.mark.slow
def test_srun_starts_the_same_ranks_as_torchrun(undisturbed, tmp_path):
    ended = srun({"MASTER_ADDR": "localhost"}, tmp_path / "out", {})
    assert [status for status, _ in ended] == [0, 0], ended
    found = CheckpointFolder(tmp_path / "out").load_latest()
    assert found.step == undisturbed.step
    assert all(torch.equal(tensor, found.model[name]) for name, tensor in undisturbed.model.items())


@pytest.mark.slow
def test_srun_without_a_place_to_meet_is_told_what_to_export(tmp_path):
    for status, line in srun({}, tmp_path / "out", {}):
        assert status == 1 and line.startswith("MASTER_ADDR: srun has started 2 tasks") and line.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("undisturbed")


@pytest.fixture(scope="module")
def undisturbed(folder) -> Checkpoint:
    return torchrun(folder, {})


@pytest.mark.slow
def test_two_ranks_validate_as_one_does(undisturbed, folder, quick):
    """They share the rows, and have the batch statistics of rank 0, which are those that are saved."""
    assert CheckpointFolder(folder).steps()[-1] == undisturbed.step == quick.steps
    (told,) = [json.loads(line)["validation"] for line in (folder / "log.jsonl").open() if "validation" in line]
    assert train(ToyTask(), quick, folder).metrics == told  # one process goes on from the last step, and only validates


@pytest.mark.slow
def test_two_ranks_come_to_the_weights_of_one(quick, tmp_path):
    two = torchrun(tmp_path / "two", {"noisy": False})
    one = train(ToyTask(noisy=False), quick, tmp_path / "one")
    for name, tensor in one.weights.items():
        assert (tensor - two.ema[name]).abs().max() < 1e-5, name


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


TWO = Place(1, 2, 1, 2)


@pytest.mark.parametrize(
    ("name", "gpus", "place", "device"),
    [
        ("auto", 0, TWO, "cpu"),
        ("cpu", 8, TWO, "cpu"),
        ("auto", 2, TWO, "cuda:1"),
        ("cuda", 4, TWO, "cuda:1"),
        ("cuda", 8, Place(13, 16, 5, 8), "cuda:5"),
        ("cuda", 1, Place(3, 4, 3, 4, bound=True), "cuda:0"),  # srun shows each task its own GPU alone
        ("cuda", 4, Place(3, 4, 3, 4, bound=True), "cuda:3"),
        ("auto", 4, Place(), "cuda"),
        ("cuda:2", 4, Place(), "cuda:2"),
    ],
)
def test_each_rank_has_the_gpu_of_its_number(monkeypatch, name, gpus, place, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert rank_device(name, place) == torch.device(device)


@pytest.mark.parametrize(
    ("name", "gpus", "place", "problem"),
    [
        ("cuda:1", 4, TWO, "expected cuda or auto for 2 ranks, which have a GPU each, got 'cuda:1'"),
        ("cuda", 1, TWO, "expected a GPU for each of the 2 ranks on this machine, found 1; start fewer"),
        ("auto", 3, Place(7, 8, 3, 4), "expected a GPU for each of the 4 ranks on this machine, found 3; start fewer"),
        ("auto", 3, Place(1, 4, 1, 4, bound=True), "expected a GPU for each of the 4 ranks on this machine, found 3"),
    ],
)
def test_ranks_do_not_share_a_gpu(monkeypatch, name, gpus, place, problem):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(UsageError, match=f"^device: {problem}"):
        rank_device(name, place)


def test_devices_that_do_not_go_together():
    refuse_unfit(["cuda a 1", "cuda a 2", "cuda b 1"])
    refuse_unfit(["cpu", "cpu"])
    with pytest.raises(UsageError, match="expected the same for all ranks, got cuda for rank 0 and cpu for rank 2"):
        refuse_unfit(["cuda a 1", "cuda a 2", "cpu"])
    with pytest.raises(UsageError, match="got one for the ranks 1 and 2; start fewer ranks, or give srun"):
        refuse_unfit(["cuda a 1", "cuda a 2", "cuda a 2"])


@pytest.mark.parametrize(
    ("cores", "environment", "expected"),
    [
        (16, {}, 16),
        (16, {"RANK": "0", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}, 4),
        (2, {"RANK": "0", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}, 1),
        (64, {**STEP, "SLURM_CPUS_PER_TASK": "12"}, 12),
        (12, {**STEP, "SLURM_CPUS_PER_TASK": "12"}, 12),  # bound to its own
        (64, STEP, 16),
    ],
)
def test_cores_of_a_rank(monkeypatch, cores, environment, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cores_of_this_rank() == expected


@pytest.mark.parametrize(("batch", "ranks", "accumulate", "sizes"), [
    (48, 32, 1, "32 or 64"), (16, 32, 1, "32"), (256, 32, 3, "192 or 288"), (96, 32, 1, None), (256, 32, 8, None),
])  # fmt: skip
def test_batches_that_ranks_cannot_share(quick, batch, ranks, accumulate, sizes):
    config = replace(quick, batch_size=batch, accumulate=accumulate)
    if sizes is None:
        check_parts(config, ranks)
        return
    expected = f"expected a multiple of {ranks} ranks x {accumulate} accumulated parts, got {batch}; use {sizes}, or"
    with pytest.raises(UsageError, match=f"^loop.batch_size: {expected}"):
        check_parts(config, ranks)


@pytest.mark.parametrize(
    ("environment", "option", "line"),
    [
        ({}, "loop.device=cuda", "device: expected a CUDA device for 'cuda', found none"),
        (RANKS, "loop.batch_size=62", "loop.batch_size: expected a multiple of 4 ranks"),
        (RANKS, "loop.device=cuda:0", "device: expected cuda or auto for 4 ranks"),
    ],
)
@pytest.mark.parametrize("dry_run", [True, False])
def test_ranks_are_looked_at_before_data_are_made(tmp_path, monkeypatch, environment, option, line, dry_run):
    def made(*_: object, **__: object) -> None:
        raise AssertionError("data are made")

    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if environment:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr("shape3d_amodal.training.tasks.stages.open_crops", made)
    config = load_training(CONFIGS / "open13" / "stage5_a_2d.yaml", overrides=[option])
    with pytest.raises((UsageError, MissingBackendError), match=f"^{line}"):
        run_training(config, tmp_path / "out", cache=tmp_path, dry_run=dry_run)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("rank", "first"), [(None, True), ("0", True), ("3", False)])
def test_first_rank(monkeypatch, rank, first):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "4")
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    assert is_first_rank() is first
