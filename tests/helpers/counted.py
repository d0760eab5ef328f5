"""A method that says when it was asked, for tests of what is run again; usable from worker processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from shape3d_amodal.baselines.visible_only import VisibleOnly
from shape3d_amodal.benchmarking.methods import BuiltOptions
from shape3d_amodal.config import configuration
from shape3d_amodal.files.safe_io import sha256


@configuration
class CountedOptions(BuiltOptions):
    """The visible mask, with a line in ``log`` for every picture."""

    log: Path
    weights: Path | None = None
    die_at: int = 0
    seconds: float = 0

    def build(self, names: Mapping[int, str], device: str) -> Counted:  # noqa: ARG002
        parameters = 12 if self.weights is None else int(self.weights.read_text())
        return Counted(self.log, self.die_at, self.seconds, parameters)

    def inputs(self) -> tuple[str, ...]:
        return () if self.weights is None else (sha256(self.weights),)


class Counted(VisibleOnly):
    def __init__(self, log: Path, die_at: int, seconds: float, parameters: int) -> None:
        self.log, self.die_at, self.seconds, self.parameters = log, die_at, seconds, parameters

    def complete(self, image, record, /):
        if self.die_at == record.id and not self.log.with_suffix(".died").exists():
            self.log.with_suffix(".died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        orders = {instance.depth_order for instance in record.instances}
        assert all(instance.amodal is None for instance in record.instances)
        with self.log.open("a") as stream:
            stream.write(f"{record.id} {sorted(map(str, orders))} {image[0, 0, 0]}\n")
        time.sleep(self.seconds)
        return super().complete(image, record)
