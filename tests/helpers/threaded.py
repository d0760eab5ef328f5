"""Ranks as threads of one process: what they say to each other is the same, and no process has to start."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from shape3d_amodal.training.loop.distributed import Ranks

T = TypeVar("T")


@dataclass(frozen=True)
class _Threads(Ranks):
    meeting: threading.Barrier
    turn: threading.Lock
    said: dict[int, Any]

    def told(self, value: T) -> list[T]:
        self.said[self.rank] = value
        self.wait()
        values = [self.said[rank] for rank in range(self.count)]
        self.wait()
        return values

    def wait(self) -> None:
        self.turn.release()
        try:
            self.meeting.wait(timeout=60)
        finally:
            self.turn.acquire()


def on_ranks(count: int, work: Callable[[Ranks], T]) -> list[T]:
    """What ``work`` returns on each of ``count`` ranks, of which one works at a time."""
    meeting, turn, said = threading.Barrier(count), threading.Lock(), dict[int, Any]()

    def run(rank: int) -> T:
        with turn:
            try:
                return work(_Threads(rank, count, torch.device("cpu"), meeting, turn, said))
            except BaseException:
                meeting.abort()  # nobody waits for this one
                raise

    with ThreadPoolExecutor(count) as threads:
        return [one.result() for one in [threads.submit(run, rank) for rank in range(count)]]
