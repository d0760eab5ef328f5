"""How far long work is: a bar on a terminal, else a line from time to time, so that a log file shows it, too."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TextIO, TypeVar

T = TypeVar("T")

EVERY = 10.0
"""Seconds between two lines."""


def progress(
    items: Iterable[T], description: str, total: int | None = None, *, done: int = 0, unit: str = "images"
) -> Iterator[T]:
    """``items``, while standard error shows how many were handed on, how fast, and how long the rest will take.

    Args:
        description: what is done, such as ``complete``.
        total: number of items, those done before included; by default as many as ``items`` has, if it has a length.
        done: items that an earlier run has done.
        unit: what an item is, in the plural.
    """
    if total is None and isinstance(items, Sized):
        total = done + len(items)
    if sys.stderr.isatty():
        yield from _bar(items, description, total, done)
    else:
        yield from _lines(items, description, total, done, unit, sys.stderr)


def _bar(items: Iterable[T], description: str, total: int | None, done: int) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import Progress

    columns = Progress.get_default_columns()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=total, completed=done)
        for item in items:
            yield item
            bar.advance(task)


def _lines(
    items: Iterable[T], description: str, total: int | None, done: int, unit: str, stream: TextIO
) -> Iterator[T]:
    begin = told = time.monotonic()
    for count, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - told >= EVERY and (total is None or done + count < total):
            told = now
            stream.write(f"{description}: {_state(done + count, total, unit, count / (now - begin))}\n")
            stream.flush()


def _state(count: int, total: int | None, unit: str, rate: float) -> str:
    """Such as ``120 of 814 images, 3.4 a second, 3 min 24 s left``."""
    of = "" if total is None else f" of {total}"
    speed = (
        f"{rate:.{0 if rate >= 10 else 1}f} a second" if rate >= 1 else f"{1 / rate:.{0 if rate < 0.1 else 1}f} s each"
    )
    left = "" if total is None else f", {duration((total - count) / rate)} left"
    return f"{count}{of} {unit}, {speed}{left}"


def duration(seconds: float) -> str:
    """Seconds in words for people: ``45 s``, ``3 min 24 s``, ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
