"""Which options a resumed training must share with its checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from shape3d_amodal.errors import UsageError
from shape3d_amodal.training.loop.interface import LoopConfig

logger = logging.getLogger(__name__)

FREE = frozenset(
    f"loop.{name}"
    for name in (
        "steps", "log_every", "checkpoint_every", "keep_checkpoints", "validate_every", "sample_every",
        "max_minutes", "threads", "workers", "device",
    )
)  # fmt: skip
"""Options that may change on resume: they decide how long, how often and where, not what is learned."""


def describe(stage: str, loop: LoopConfig, experiment: Any) -> dict[str, object]:
    """All options of a training as dotted names -> plain values.

    Args:
        stage: name of the task.
        loop: its options appear as ``loop.*``, wherever ``experiment`` holds them.
        experiment: a configuration dataclass, or None.
    """
    parts: dict[str, Any] = {"stage": stage, "loop": loop}
    if experiment is not None:
        values = {field.name: getattr(experiment, field.name) for field in fields(experiment)}
        parts |= {name: value for name, value in values.items() if not isinstance(value, LoopConfig)}
    return {key: plain for name, part in parts.items() for key, plain in _leaves(name, to_jsonable_python(part))}


def check_settings(saved: Mapping[str, object], current: Mapping[str, object], place: Path) -> None:
    """Refuse to resume the checkpoint at ``place`` with settings other than its own; log which ``FREE`` ones changed.

    Raises:
        UsageError: a setting differs that is not ``FREE``.
    """
    # An option that came later has in the checkpoint its default, which is what was done before it was there.
    saved = {**describe("", LoopConfig(), None), **saved}
    different = [key for key in sorted(saved.keys() | current.keys()) if saved.get(key) != current.get(key)]
    bound = [key for key in different if key not in FREE]
    if bound:
        changes = "; ".join(f"{key} is {saved.get(key)!r} there and {current.get(key)!r} now" for key in bound)
        raise UsageError(f"{place}: cannot resume, {changes}; restore it or choose another output folder")
    for key in different:
        logger.info("resuming with %s = %r, it was %r", key, current.get(key), saved.get(key))


def _leaves(prefix: str, value: Any) -> list[tuple[str, object]]:
    if isinstance(value, dict) and value:
        return [leaf for name, item in value.items() for leaf in _leaves(f"{prefix}.{name}", item)]
    return [(prefix, value)]
