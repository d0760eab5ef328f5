"""Kill processes at random moments of saving checkpoints, and look after each kill what is left.

``python killed_saver.py FOLDER KILLS SEED`` prints {"kills", "during_a_save"} as JSON, or fails with an assertion.
A process of its own, because it forks: children that only save need no second import of torch.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
import time
from pathlib import Path

import torch

from shape3d_amodal.files.weights import TEMPORARY
from shape3d_amodal.training.loop.checkpoints import Checkpoint, CheckpointFolder


def checkpoint(step: int) -> Checkpoint:
    """A checkpoint that can be recognised: all its tensors hold its step."""
    tensors = {"a": torch.full((100, 100), float(step)), "b": torch.full((7,), float(step))}
    return Checkpoint(
        step=step, model=tensors, ema=tensors, optimizer=tensors, settings={"x": 1}, seconds=0.5, versions={}
    )


def save_for_ever(folder: CheckpointFolder, step: int, said: int) -> None:
    while True:
        folder.save(checkpoint(step))
        os.write(said, f"{step}\n".encode())
        step += 1


def kill_one(folder: CheckpointFolder, first: int, delay: float) -> int:
    """Kill a child that saves from ``first`` on, ``delay`` seconds after its first save; the last save it told of."""
    listen, said = os.pipe()
    child = os.fork()
    if child == 0:
        save_for_ever(folder, first, said)
    os.close(said)
    assert select.select([listen], [], [], 200)[0]
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    text = b"".join(iter(lambda: os.read(listen, 65536), b"")).decode()
    os.close(listen)
    return int(text.split()[-1])


def main(place: str, kills: str, seed: str) -> None:
    folder, chance, during, last = CheckpointFolder(Path(place), keep=3), random.Random(int(seed)), 0, 0
    for _ in range(int(kills)):
        last = kill_one(folder, last + 1, chance.uniform(0, 0.02))
        during += any(folder.folder.glob(f"{TEMPORARY}*"))
        folder.clear_temporary()
        # A kill between the rename and the word of it leaves one more; between that and the pruning, one too many.
        steps = folder.steps()
        assert steps[-1] in (last, last + 1), (steps, last)
        assert len(steps) in ((3, 4) if last > 2 else (last, last + 1)), (steps, last)
        for step in steps:
            loaded = CheckpointFolder(folder.folder)._load(step)
            assert loaded is not None and loaded.step == step
            for part in (loaded.model, loaded.ema, loaded.optimizer):
                assert all(torch.equal(tensor, torch.full_like(tensor, step)) for tensor in part.values())
        last = steps[-1]
    sys.stdout.write(json.dumps({"kills": int(kills), "during_a_save": during}))


if __name__ == "__main__":
    main(*sys.argv[1:])
