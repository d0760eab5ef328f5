"""Batches on their way from where they are made to where they are used: all of their tensors in one block of memory.

A block is one file descriptor between processes, one copy into pinned memory, and one to a GPU, however many tensors
there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

_ALIGNED = 64
"""Every tensor begins at a multiple of so many bytes, as torch's own do."""


@dataclass(frozen=True)
class _Place:
    """Where a tensor lies in a block."""

    start: int
    dtype: torch.dtype
    shape: torch.Size


@dataclass(frozen=True)
class Packed:
    """A batch without its tensors, which lie in ``block``, a tensor of bytes."""

    block: Tensor
    rest: Any

    def pin_memory(self) -> Packed:
        """The same in pinned memory; torch's ``DataLoader`` calls it."""
        return replace(self, block=self.block.pin_memory())

    def to(self, device: torch.device) -> Packed:
        """The same on ``device``; from pinned memory it is copied while the program goes on."""
        return replace(self, block=self.block.to(device, non_blocking=True))

    def batch(self) -> Any:
        """The batch; its tensors are views of the block."""
        return map_tensors(self.rest, self._tensor, kind=_Place)

    def _tensor(self, place: _Place) -> Tensor:
        size = math.prod(place.shape) * place.dtype.itemsize
        return self.block[place.start : place.start + size].view(place.dtype).view(place.shape)


def pack(batch: Any) -> Packed:
    """Copy the tensors of ``batch``, which is what ``BatchMaker.make`` may return."""
    found: list[tuple[_Place, Tensor]] = []

    def keep(tensor: Tensor) -> _Place:
        before = found[-1][0] if found else _Place(0, torch.uint8, torch.Size([0]))
        end = before.start + math.prod(before.shape) * before.dtype.itemsize
        found.append((_Place(-(-end // _ALIGNED) * _ALIGNED, tensor.dtype, tensor.shape), tensor))
        return found[-1][0]

    rest = map_tensors(batch, keep)
    last = found[-1][0] if found else _Place(0, torch.uint8, torch.Size([0]))
    packed = Packed(torch.zeros(last.start + math.prod(last.shape) * last.dtype.itemsize, dtype=torch.uint8), rest)
    for place, tensor in found:
        packed._tensor(place).copy_(tensor)
    return packed


def rows_of(batch: Any, rows: slice) -> Any:
    """``rows`` of everything in a batch or plan."""
    if isinstance(batch, dict):
        return {name: rows_of(value, rows) for name, value in batch.items()}
    if isinstance(batch, tuple):
        return tuple(rows_of(value, rows) for value in batch)
    return batch[rows]


def map_tensors(batch: Any, function: Callable[[Any], Any], kind: type = Tensor) -> Any:
    """``batch`` with ``function`` of everything of ``kind`` in its dicts, tuples, lists and dataclasses."""
    if isinstance(batch, kind):
        return function(batch)
    if isinstance(batch, dict):
        return {name: map_tensors(value, function, kind) for name, value in batch.items()}
    if isinstance(batch, list | tuple):
        return type(batch)(map_tensors(value, function, kind) for value in batch)
    if is_dataclass(batch) and not isinstance(batch, type):
        values = {field.name: map_tensors(getattr(batch, field.name), function, kind) for field in fields(batch)}
        return replace(batch, **values)
    return batch
