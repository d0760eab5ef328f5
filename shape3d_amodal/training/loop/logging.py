"""The log of a training: ``log.jsonl``, TensorBoard events, and a progress bar or plain lines."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from shape3d_amodal.errors import TrainingError
from shape3d_amodal.training.loop.distributed import Ranks
from shape3d_amodal.training.loop.interface import LoopConfig
from shape3d_amodal.training.loop.schedule import learning_rate

LOG_FILE = "log.jsonl"
SAMPLES = "samples"


class TrainingLog:
    """Writes ``log.jsonl`` (one JSON object a line), images and TensorBoard events; nothing where ``folder`` is None.

    Records after ``step`` are dropped first: they belong to steps after the last checkpoint, which are taken again.
    """

    def __init__(self, folder: Path | None, step: int) -> None:
        self.folder = folder
        if folder is None:
            return
        from torch.utils.tensorboard import SummaryWriter

        with self._failures():
            folder.mkdir(parents=True, exist_ok=True)
            _drop_records_after(folder / LOG_FILE, step)
            self._stream = (folder / LOG_FILE).open("a", encoding="utf-8")
            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def write(self, step: int, record: Mapping[str, object]) -> None:
        """Append ``record`` (numbers, or mappings of numbers) under ``step``."""
        if self.folder is None:
            return
        with self._failures():
            self._stream.write(json.dumps({"step": step, **record}) + "\n")
            self._stream.flush()
            for name, value in _flat(record):
                self._board.add_scalar(name, value, step)

    def show(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Put ``images`` ([H,W,3] uint8) into ``samples/<step>-<name>.png`` and into TensorBoard."""
        if self.folder is None:
            return
        with self._failures():
            for name, image in images.items():
                (self.folder / SAMPLES).mkdir(exist_ok=True)
                Image.fromarray(image).save(self.folder / SAMPLES / f"{step:08d}-{name}.png")
                self._board.add_image(name, image, step, dataformats="HWC")

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.folder is None:
            return
        try:
            with self._failures():
                self._stream.close()
                self._board.close()
        except TrainingError:
            # On a full disk only the first error is raised.
            if kind is None:
                raise

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TrainingError(f"{self.folder}: cannot write the log: {error.strerror}; free some space") from error


class Meter:
    """Means of the losses since the last record, and the speed of the steps."""

    def __init__(self, step: int) -> None:
        self._begin(step)

    def add(self, values: Mapping[str, float]) -> None:
        """Add what ``Trainer.step`` returned: losses by name, and ``gradient_norm``."""
        for name, value in values.items():
            total, count = self.sums.get(name, (0.0, 0))
            self.sums[name] = (total + value, count + 1)

    def record(self, step: int, config: LoopConfig, ranks: Ranks, seconds: float) -> dict[str, Any]:
        """The log's record after ``step`` steps; the next one begins here.

        A term is averaged over the steps that had it, and ``total`` is the sum of the terms' means.
        """
        means = dict(zip(self.sums, ranks.mean([total / count for total, count in self.sums.values()]), strict=True))
        norm = means.pop("gradient_norm")
        rate = (step - self.step) / max(time.monotonic() - self.time, 1e-9)
        self._begin(step)
        return {
            "losses": {**means, "total": sum(means.values())},
            "learning_rate": learning_rate(step - 1, config),
            "gradient_norm": norm,
            "steps_per_second": rate,
            "samples_per_second": rate * config.batch_size,
            "seconds": seconds,
        }

    def _begin(self, step: int) -> None:
        self.step, self.time = step, time.monotonic()
        self.sums: dict[str, tuple[float, int]] = {}


class ProgressLine(Progress):
    """A progress bar on a terminal, a plain line at each report elsewhere. Silent where ``shown`` is False."""

    def __init__(self, name: str, steps: int, start: int, *, shown: bool) -> None:
        console = Console(stderr=True, quiet=not shown)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
        )
        super().__init__(*columns, console=console, disable=not (shown and console.is_terminal))
        self.name, self.steps = name, steps
        self.row = self.add_task(name, total=steps, completed=start, text="")

    def report(self, step: int, loss: float, rate: float) -> None:
        """Show the loss, the rate (steps/s) and the time left after ``step`` steps."""
        left = (self.steps - step) / rate if rate > 0 else 0.0
        text = f"loss {loss:.4g}, {rate:.3g} steps/s, {clock(left)} left"
        if self.console.is_terminal:
            self.update(self.row, completed=step, text=text)
        else:
            self.console.print(
                f"{self.name}: step {step}/{self.steps}, {text}", markup=False, highlight=False, soft_wrap=True
            )


def clock(seconds: float) -> str:
    """``seconds`` as h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _flat(record: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            yield prefix + name, value


def _drop_records_after(file: Path, step: int) -> None:
    """Rewrite the log without records after ``step`` and without a line that a kill cut short."""
    if not file.exists():
        return
    kept = []
    for line in file.read_text(encoding="utf-8").split("\n"):
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if record["step"] <= step:
            kept.append(line + "\n")
    temporary = file.with_name(f".partial-{file.name}")
    with temporary.open("w", encoding="utf-8") as stream:
        stream.writelines(kept)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(file)
