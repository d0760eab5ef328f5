"""The toy training on two ranks, started by torchrun or as srun starts them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from shape3d_amodal.training.loop.checkpoints import Checkpoint, CheckpointFolder

_TOY = Path(__file__).with_name("toy.py")


def torchrun(output: Path, options: dict[str, object], restarts: int = 0, ranks: int = 2) -> Checkpoint:
    """The last checkpoint of a training of the toy."""
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={ranks}", f"--max-restarts={restarts}"]
    command += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", "--local-addr=localhost"]
    done = subprocess.run(
        [*command, str(_TOY), str(output), json.dumps(options)],
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded = CheckpointFolder(output).load_latest()
    assert loaded is not None
    return loaded


def srun(environment: dict[str, str], output: Path, options: dict[str, object]) -> list[tuple[int, str]]:
    """The exit status and stderr of each rank, with variables as SLURM sets them."""
    step = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_TASKS_PER_NODE": "2", "SLURM_JOB_ID": "4321", **environment}
    places = [{"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in range(2)]
    command = [sys.executable, str(_TOY), str(output), json.dumps(options)]
    ranks = [
        subprocess.Popen(command, env={**os.environ, **step, **place}, stderr=subprocess.PIPE, text=True)
        for place in places
    ]
    return [(rank.wait(250), rank.communicate()[1]) for rank in ranks]
