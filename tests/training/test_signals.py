"""A signal ends the training after the step: saved, resumable to the bit, with the signal's exit status."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toy import ToyTask

from shape3d_amodal.training.loop.checkpoints import CheckpointFolder
from shape3d_amodal.training.loop.training import StopSignals, train

SCRIPT = Path(__file__).parents[1] / "helpers" / "toy.py"


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
def test_a_signal_saves_and_sets_the_exit_status(quick, tmp_path, number, status):
    # The rate and thus the weights must not depend on the number of steps, which nobody knows here.
    options = {"steps": 10**9, "schedule": "step", "milestones": [], "checkpoint_every": 10**9}
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(tmp_path / "run"), json.dumps(options)], stderr=subprocess.DEVNULL
    )
    limit = time.monotonic() + 200
    while not (tmp_path / "run" / "log.jsonl").exists() and time.monotonic() < limit:
        time.sleep(0.02)
    process.send_signal(number)
    process.send_signal(number)  # torchrun sends it again: that must not break the saving off
    assert process.wait(200) == status
    (stopped,) = CheckpointFolder(tmp_path / "run").steps()

    rest = replace(quick, **{**options, "steps": stopped + 10, "milestones": (), "checkpoint_every": 5})
    resumed = train(ToyTask(), rest, tmp_path / "run")
    straight = train(ToyTask(), replace(rest, checkpoint_every=0), tmp_path / "straight")
    assert resumed.step == straight.step == stopped + 10
    for name, tensor in straight.weights.items():
        assert torch.equal(tensor, resumed.weights[name]), name


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with StopSignals() as stop:
        signal.raise_signal(signal.SIGTERM)
        assert stop.signal == signal.SIGTERM
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
