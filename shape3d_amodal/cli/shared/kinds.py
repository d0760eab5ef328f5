"""Which command a configuration file belongs to, so that a file given to another one is told apart from a mistake."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shape3d_amodal.errors import UsageError
from shape3d_amodal.files.assets import find_config

_SIGNS: Mapping[str, tuple[str, ...]] = {
    "train": ("stage", "loop"),
    "benchmark": ("runs", "methods"),
    "shapes2d make --config": ("shapes",),
    "scenes --config": ("scenes", "meshes", "per_category", "targets_only", "shard_size", "tiles"),
}
"""For each command, keys that tell its configurations from those of the commands after it."""


def check_kind(config: Path | None, command: str) -> dict[str, Any]:
    """What the file ``config`` says, if it may be a configuration of ``command``, one of those in ``_SIGNS``.

    Raises:
        UsageError: it cannot be read, or belongs to another command.
    """
    if config is None:
        return {}
    from shape3d_amodal.config import check_file

    path = find_config(config)
    said = check_file(path)
    own = next((name for name, keys in _SIGNS.items() if any(key in said for key in keys)), command)
    if own != command:
        raise UsageError(f"{path}: this is a configuration for `shape3d-amodal {own}`, got it for `{command}`")
    if command == "train" and "stage" not in said:
        raise UsageError(f"{path}: stage: expected the name of a training, got none; is it the base of other files?")
    return said
