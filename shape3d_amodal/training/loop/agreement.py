"""What all ranks must share before the first step, or they would train different things: options, folder, checkpoint.

What differs is said by every rank, in the same line, so that none waits for the others.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from shape3d_amodal.errors import TrainingError, UsageError
from shape3d_amodal.files.atomic import make_folder
from shape3d_amodal.training.loop.checkpoints import Checkpoint, CheckpointFolder
from shape3d_amodal.training.loop.distributed import Ranks

_OWN = frozenset(f"loop.{name}" for name in ("threads", "workers", "device"))
"""Options that each rank may have as its machine needs."""


def check_same_options(settings: Mapping[str, object], ranks: Ranks) -> None:
    """
    Args:
        settings: as ``settings.describe`` gives them.

    Raises:
        UsageError: a rank was given others than rank 0.
    """
    first, *others = ranks.told({key: value for key, value in settings.items() if key not in _OWN})
    for rank, other in enumerate(others, 1):
        different = [key for key in sorted(first.keys() | other.keys()) if first.get(key) != other.get(key)]
        if different:
            key = different[0]
            problem = f"expected the same option for all ranks, got {first.get(key)!r} for rank 0"
            raise UsageError(f"{key}: {problem} and {other.get(key)!r} for rank {rank}; start all by the same command")


def check_same_folder(folder: CheckpointFolder, ranks: Ranks) -> None:
    """
    Raises:
        UsageError: a rank does not see what rank 0 writes.
        DataError: the folder cannot be made.
    """
    if ranks.count == 1:
        return
    mark = folder.folder / f".seen-by-all-{ranks.told(secrets.token_hex(8))[0]}"
    if ranks.first:
        make_folder(folder.folder)
        mark.touch()
    ranks.wait()
    seen = ranks.told(mark.exists())
    if ranks.first:
        mark.unlink()
    if not all(seen):
        problem = f"rank {seen.index(False)} has another folder here than rank 0, and would train from another step"
        raise UsageError(f"{folder.folder}: {problem}; choose a folder on a disk that all machines share")


def common_checkpoint(folder: CheckpointFolder, ranks: Ranks) -> Checkpoint | None:
    """The newest intact checkpoint as rank 0 finds it, the same for all ranks; None where it finds none.

    Raises:
        TrainingError: all are damaged, or a rank cannot read the one of rank 0.
    """
    checkpoint = folder.load_latest() if ranks.first else None
    step = ranks.told(None if checkpoint is None else checkpoint.step)[0]
    if step is None:
        return None
    if not ranks.first:
        checkpoint = folder.load(step)
    read = ranks.told(checkpoint is not None)
    if not all(read):
        problem = f"rank {read.index(False)} cannot read this checkpoint, from which rank 0 goes on"
        raise TrainingError(f"{folder.path(step)}: {problem}; make it readable from all machines, or remove it")
    return checkpoint
