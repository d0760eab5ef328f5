"""Batches made by workers: the same as without them, in order; errors and ends as if nobody else worked."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import torch
from makers import Failing, Large, Numbers, Placed, Slow
from toy import ToyTask

from shape3d_amodal.config import parse_config
from shape3d_amodal.errors import DataError, TrainingError, UsageError
from shape3d_amodal.structures import InstanceCrops, SupervisedCrops
from shape3d_amodal.training.loop.checkpoints import CheckpointFolder
from shape3d_amodal.training.loop.interface import LoopConfig
from shape3d_amodal.training.loop.loader import StepBatches, StepLoader, count_workers, generator
from shape3d_amodal.training.loop.packing import pack
from shape3d_amodal.training.loop.training import train

SCRIPT = Path(__file__).parents[1] / "helpers" / "toy.py"
CPU = torch.device("cpu")


def loader(maker: Numbers, workers: int, *, steps: int = 6) -> StepLoader:
    return StepLoader(StepBatches(maker, 5, 4), steps, workers, CPU)


@dataclass(frozen=True)
class Pictures:
    images: tuple[torch.Tensor, ...]
    name: str


def test_what_is_packed_comes_out_as_it_was() -> None:
    draw = np.random.default_rng(0)

    def some(*shape: int, kind: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.from_numpy(draw.integers(0, 200, shape)).to(kind)

    crops = InstanceCrops(some(2, 3, 5, 5), some(2, 5, 5), some(2, 5, 5), some(2, kind=torch.int64), some(2, 4))
    pictures = Pictures((some(3, 4, 7, kind=torch.uint8), some(0, 9, kind=torch.bool)), "two")
    batch = (SupervisedCrops(crops, some(2, 5, 5)), {"all": [pictures], "one": some(kind=torch.float64)}, ["a", "b"])
    packed = pack(batch)
    found = packed.batch()
    assert found[0] == batch[0] and found[2] == batch[2] and found[1]["all"][0].name == "two"
    assert torch.equal(found[1]["one"], batch[1]["one"])
    for one, other in zip(found[1]["all"][0].images, pictures.images, strict=True):
        assert one.dtype == other.dtype and torch.equal(one, other)
    storage = packed.block.untyped_storage().data_ptr()
    assert found[0].amodal.untyped_storage().data_ptr() == storage, "one block holds all"
    assert all(one.data_ptr() % 64 == storage % 64 for one in (found[0].amodal, found[0].crops.window))
    assert pack(((), ["a"])).batch() == ((), ["a"])


def test_transposed_tensors_come_out_with_the_same_numbers() -> None:
    tensor = torch.arange(6.0).reshape(2, 3).T
    assert torch.equal(pack(tensor).batch(), tensor)


@pytest.mark.parametrize("workers", [0, 2])
def test_steps_in_order_from_any_on(workers: int) -> None:
    batches = loader(Numbers(), workers)
    try:
        for step in (0, 1, 2, 5):
            found, ids = batches(step)
            expected = step + torch.arange(4, dtype=torch.float64) / 100
            assert torch.equal(found[:, 0], expected)
            assert torch.equal(found[:, 1], torch.from_numpy(generator(5, "train", step).random(4)))
            assert ids == [f"{value:.2f}" for value in expected.tolist()]
    finally:
        batches.close()
    assert not multiprocessing.active_children()


def test_torchs_own_numbers_stay_as_they_are() -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    loader(Numbers(), 0)(0)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_rank_of_four_makes_its_quarter() -> None:
    asked: list[np.ndarray] = []

    class Counting(Numbers):
        def make(self, plan: np.ndarray) -> torch.Tensor:
            asked.append(plan)
            return super().make(plan)

    parts = [StepBatches(Counting(), 5, 32, rank, 4)[3].batch() for rank in range(4)]
    assert [len(plan) for plan in asked] == [8, 8, 8, 8]
    whole, ids = StepBatches(Numbers(), 5, 32)[3].batch()
    assert torch.equal(torch.cat([part for part, _ in parts]), whole)
    assert [one for _, names in parts for one in names] == ids


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_is_the_one_line_that_it_was(workers: int) -> None:
    batches = loader(Failing(), workers)
    batches(0), batches(1)
    with pytest.raises(DataError) as caught:
        batches(2)
    assert str(caught.value) == "a.png: pixels: expected a picture, got a song; take another"
    assert (caught.value.file, caught.value.field) == ("a.png", "pixels")
    batches.close()
    assert not multiprocessing.active_children()


def test_a_worker_that_dies_is_one_line() -> None:
    batches = loader(Failing(killed=True), 1)
    with pytest.raises(TrainingError, match=r"^a worker process that makes batches died, .* with fewer loop.workers$"):
        list(map(batches, range(3)))  # what it had made may be lost with it
    batches.close()
    assert not multiprocessing.active_children()


def test_workers_have_one_thread_no_gpu_and_leave_signals_to_the_training() -> None:
    handler = signal.getsignal(signal.SIGCHLD)
    batches = loader(Placed(), 2, steps=4)
    rows = [batches(step)[0][0].tolist() for step in range(4)]
    assert signal.getsignal(signal.SIGCHLD) is handler
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & {signal.SIGINT, signal.SIGTERM}
    batches.close()
    assert len({row[0] for row in rows}) == 2 and os.getpid() not in {row[0] for row in rows}
    assert all(row[1:] == [os.getpid(), 1, 0, 1, 1] for row in rows)


def test_workers_that_end_while_they_hand_over_say_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    batches = loader(Large(), 2, steps=1000)
    assert batches(0)[0].all()
    batches(1), batches(2)
    batches.close()
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_workers_run_ahead() -> None:
    """Two workers that take half a second for a batch have the next four ready when the first is used slowly."""
    batches = loader(Slow(), 2)
    batches(0)
    time.sleep(2.5)
    begin = time.monotonic()
    batches(1), batches(2), batches(3)
    assert time.monotonic() - begin < 0.45
    batches.close()


def test_mapped_arrays_travel_by_their_place(tmp_path: Path) -> None:
    numbers = np.arange(60_000, dtype=np.int32).reshape(200, 300)
    np.save(tmp_path / "numbers.npy", numbers)
    mapped = np.load(tmp_path / "numbers.npy", mmap_mode="r")
    sent = bytes(ForkingPickler.dumps(mapped))
    assert len(sent) < 500
    there = ForkingPickler.loads(sent)
    assert isinstance(there, np.memmap) and np.array_equal(there, numbers) and not there.flags.writeable
    for part in (mapped[7:90, ::2], mapped[[3, 1]], mapped.T):
        assert np.array_equal(ForkingPickler.loads(bytes(ForkingPickler.dumps(part))), part)
    own = np.memmap(tmp_path / "numbers.npy", np.int32, "c", mapped.offset, mapped.shape)
    own[0, 0] = 77
    assert ForkingPickler.loads(bytes(ForkingPickler.dumps(own)))[0, 0] == 77


@pytest.mark.parametrize(
    ("workers", "device", "cores", "expected"),
    [(None, "cpu", 8, 0), (None, "cuda", 4, 3), (None, "cuda", 64, 8), (None, "cuda", 1, 1), (5, "cpu", 1, 5)],
)
def test_how_many_workers(workers: int | None, device: str, cores: int, expected: int, monkeypatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert count_workers(LoopConfig(workers=workers), torch.device(device)) == expected


@pytest.mark.parametrize("wrong", ["-1", "many"])
def test_other_workers_are_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match=r"^x\.yaml: workers: "):
        parse_config("{}", LoopConfig, source="x.yaml", overrides=[f"workers={wrong}"])


def losses(folder: Path) -> list[object]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").open()]
    return [(line["step"], line.get("losses"), line.get("validation")) for line in lines]


def test_a_training_is_the_same_with_workers_and_resumed_with_others(quick: LoopConfig, tmp_path: Path) -> None:
    quick = replace(quick, accumulate=2)
    alone = train(ToyTask(), replace(quick, workers=0), tmp_path / "alone")
    with pytest.raises(TrainingError):
        train(ToyTask(poison="loss", poisoned_step=13), replace(quick, workers=2), tmp_path / "other")
    assert not multiprocessing.active_children()
    resumed = train(ToyTask(), replace(quick, workers=1), tmp_path / "other")
    assert all(torch.equal(tensor, resumed.weights[name]) for name, tensor in alone.weights.items())
    assert losses(tmp_path / "alone") == losses(tmp_path / "other")


def wait_for_the_end_of_all(group: int, limit: float) -> None:
    while time.monotonic() < limit:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("a process is left")


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_to_all_ends_the_training_after_its_step(number: signal.Signals, tmp_path: Path) -> None:
    options = {"steps": 10**6, "schedule": "step", "milestones": [], "checkpoint_every": 10**9, "workers": 2}
    command = [sys.executable, str(SCRIPT), str(tmp_path / "run"), json.dumps(options)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    limit = time.monotonic() + 200
    while not (tmp_path / "run" / "log.jsonl").exists() and time.monotonic() < limit:
        time.sleep(0.02)
    os.killpg(process.pid, number)
    _, told = process.communicate(timeout=200)
    assert process.returncode == 128 + number
    assert "Traceback" not in told and "Error" not in told, told
    assert len(CheckpointFolder(tmp_path / "run").steps()) == 1
    wait_for_the_end_of_all(process.pid, limit)


@pytest.mark.slow
def test_workers_end_with_a_training_that_is_killed(tmp_path: Path) -> None:
    options = {"steps": 10**6, "schedule": "step", "milestones": [], "checkpoint_every": 10**9, "workers": 1}
    command = [sys.executable, str(SCRIPT), str(tmp_path / "run"), json.dumps(options)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    limit = time.monotonic() + 200
    while not (tmp_path / "run" / "log.jsonl").exists() and time.monotonic() < limit:
        time.sleep(0.02)
    process.kill()
    process.wait()
    wait_for_the_end_of_all(process.pid, limit)
