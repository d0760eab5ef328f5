"""The bounds within which a bad input must end in a one-line ``DataError``: 2 s of processor and 500 MB."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from shape3d_amodal.errors import DataError

SECONDS = 2.0
MEMORY = 500 * 1024**2

Attack = tuple[str, Callable[[Path], Any], str]
"""A name, what opens the input (given a fresh folder), and a part of the message."""


@contextmanager
def bounded_memory() -> Iterator[None]:
    """Let the process take no more than ``MEMORY`` beyond what it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def must_be_refused(attack: Callable[[Path], Any], part: str, folder: Path, names: tuple[str, ...] = ("bad",)) -> None:
    """Run ``attack`` within the bounds; its error must be one line that has one of ``names`` and holds ``part``."""
    with bounded_memory():
        start = time.process_time()
        with pytest.raises(DataError) as caught:
            attack(folder)
        assert time.process_time() - start < SECONDS
    message = str(caught.value)
    assert "\n" not in message
    assert message.isprintable()
    assert part in message
    assert any(name in message for name in names)
    assert "allocate" not in message and "Memory" not in message
    assert len(message) < 600 + len(str(folder))
