"""How a command is stopped: Ctrl-C (SIGINT) and SIGTERM end it alike, with one line and a status that tells which."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
"""Exit statuses, as shells have them."""
_WORDS = {signal.SIGINT: b"interrupted\n", signal.SIGTERM: b"terminated\n"}


class Terminated(KeyboardInterrupt):
    """SIGTERM: whatever a command does when it is interrupted, it does then, too."""


def leave_at_signals() -> None:
    """Let a signal end this process at once, as it starts and as it ends, when there is nothing to be kept.

    An exception would come in the middle of an import, where Python and libraries may swallow or print it.
    """
    _heed(_leave)


@contextmanager
def raise_at_signals() -> Iterator[None]:
    """While entered, signals are exceptions, so that a command can end what it does.

    Where ``leave_at_signals`` was not called, as in a program that calls a command, they stay what they are.
    """
    if _leave not in map(signal.getsignal, _WORDS):
        yield
        return
    _heed(_raise)
    try:
        yield
    finally:
        _heed(_leave)


@contextmanager
def keeps(what: str, *, resume: bool = True) -> Iterator[None]:
    """Where the block is stopped, the command's last line says ``what`` is kept, and how to go on."""
    try:
        yield
    except KeyboardInterrupt as stop:
        tell_kept(stop, what, resume=resume)
        raise


def tell_kept(stop: KeyboardInterrupt, what: str, *, resume: bool = True) -> None:
    """Let the command's last line say ``what`` is kept, and how to go on; ``resume`` is the option of that name."""
    stop.args = (f"{what}; the same command {'' if resume else 'without --no-resume '}goes on from there",)


def _heed(handler: Callable[[int, FrameType | None], Any]) -> None:
    for number in _WORDS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup and shells' background jobs want it
            signal.signal(number, handler)


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    os.write(2, _WORDS[signal.Signals(number)])
    os._exit(128 + number)


def _raise(number: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
