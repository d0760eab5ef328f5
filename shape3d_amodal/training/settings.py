"""Which options a resumed training must share with its checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from shape3d_amodal.errors import UsageError

logger = logging.getLogger(__name__)

FREE = frozenset(
    f"loop.{name}"
    for name in (
        "steps", "log_every", "checkpoint_every", "keep_checkpoints", "validate_every", "sample_every",
        "max_minutes", "threads", "device",
    )
)  # fmt: skip
"""Options that may change on resume: they say how long, how often and where, not what is learned."""


def flatten(prefix: str, value: Any) -> dict[str, object]:
    """A configuration (or any value that JSON can hold) as dotted names -> plain values."""
    return dict(_leaves(prefix, TypeAdapter(type(value)).dump_python(value, mode="json")))


def check_settings(saved: Mapping[str, object], current: Mapping[str, object], place: Path) -> None:
    """Refuse to resume the checkpoint at ``place`` with other settings than its own; say which free ones changed.

    Raises:
        UsageError: a setting differs that is not ``FREE``.
    """
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
