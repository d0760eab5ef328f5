"""Checkpoints that survive kills: each is whole or absent, sealed by SHA-256; a resume takes the last intact one.

A checkpoint is a folder ``step-00001234`` with ``model.safetensors``, ``ema.safetensors``, ``optimizer.safetensors``,
``state.json`` and the manifest ``sha256``. Random states are not saved: every step draws from
(seed, step) alone.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from shape3d_amodal.errors import TrainingError, WeightsError
from shape3d_amodal.files.weights import TEMPORARY, discard, pack_tensors, read_sealed, unpack_tensors, write_sealed

logger = logging.getLogger(__name__)

PARTS = ("model", "ema", "optimizer")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """All that a training needs to continue as if it had never stopped.

    Attributes:
        step: number of optimiser steps done.
        model: the module's state dict.
        ema: its running mean, empty where it is off.
        optimizer: ``<parameter name>/<state name>`` -> tensor.
        settings: dotted option name -> value; what the training was configured with.
        seconds: time spent in training so far.
        versions: library name -> version, for information only.
    """

    step: int
    model: dict[str, Tensor]
    ema: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    settings: Mapping[str, object]
    seconds: float
    versions: Mapping[str, str]


class CheckpointFolder:
    """The checkpoints of one training, of which the newest ``keep`` stay."""

    def __init__(self, folder: Path, keep: int = 3) -> None:
        self.folder = folder
        self.keep = keep

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, intact or not, in increasing order."""
        matches = (re.fullmatch(r"step-(\d+)", path.name) for path in self.folder.glob("step-*"))
        return sorted(int(match[1]) for match in matches if match)

    def path(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}"

    def save(self, checkpoint: Checkpoint) -> None:
        """Write ``checkpoint``, then remove the oldest ones beyond ``keep``.

        Raises:
            TrainingError: the disk is full or not writable. Earlier checkpoints stay, temporary files do not.
        """
        files = {f"{part}.safetensors": pack_tensors(getattr(checkpoint, part)) for part in PARTS}
        state = {name: getattr(checkpoint, name) for name in ("step", "seconds", "settings", "versions")}
        files["state.json"] = json.dumps(state, indent=1).encode()
        target = self.path(checkpoint.step)
        try:
            write_sealed(target, files)
        except OSError as error:
            problem = f"{target}: cannot save the checkpoint: {error.strerror}; free some space and resume"
            raise TrainingError(f"{problem} (older checkpoints are kept)") from error
        # Any later checkpoint was damaged, or it would have been resumed from.
        steps = self.steps()
        kept = [step for step in steps if step <= checkpoint.step][-self.keep :]
        for step in set(steps) - set(kept):
            discard(self.path(step))

    def load_latest(self) -> Checkpoint | None:
        """The newest intact checkpoint, or None where there is none. Damaged ones are skipped with a warning.

        Raises:
            TrainingError: there are checkpoints and all are damaged.
        """
        steps = self.steps()
        for step in reversed(steps):
            checkpoint = self.load(step)
            if checkpoint is not None:
                return checkpoint
        if steps:
            raise TrainingError(f"{self.folder}: all {len(steps)} checkpoints are damaged; remove them to start anew")
        return None

    def load(self, step: int) -> Checkpoint | None:
        """The checkpoint of ``step``, or None, with a warning, where it is damaged or missing."""
        folder = self.path(step)
        try:
            files = read_sealed(folder, [*(f"{part}.safetensors" for part in PARTS), "state.json"])
        except WeightsError as error:
            logger.warning("checkpoint of step %d is damaged, trying the one before it: %s", step, error)
            return None
        fields: dict[str, Any] = json.loads(files["state.json"])
        for part in PARTS:
            fields[part] = unpack_tensors(files[f"{part}.safetensors"], folder / part)
        return Checkpoint(**fields)

    def clear_temporary(self) -> None:
        """Remove what a killed process left half-written. Call it only where nobody else is writing."""
        for path in self.folder.glob(f"{TEMPORARY}step-*"):
            shutil.rmtree(path, ignore_errors=True)
