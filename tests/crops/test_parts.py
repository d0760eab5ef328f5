from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from shape3d_amodal.crops.parts import in_parts


@dataclass
class Squares:
    value: NDArray[np.int64]


def squares(folder: Path, done: list[int]) -> list[list[int]]:
    """The squares of 0 to 4 in parts of two; ``done`` notes what was worked out."""

    def run(tasks: Iterable[int]) -> Iterator[int]:
        for task in tasks:
            done.append(task)
            yield task**2

    def join(results: list[int]) -> Squares:
        return Squares(np.array(results))

    parts = in_parts(folder, Squares, range(5), run, join, size=2, description="squares", unit="numbers")
    return [part.value.tolist() for part in parts]


def test_all_tasks_are_done_once_in_their_order(tmp_path: Path) -> None:
    done: list[int] = []
    for _ in range(2):
        assert squares(tmp_path / "parts", done) == [[0, 1], [4, 9], [16]]
    assert done == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("damage", ["missing", "cut", "empty", "other"])
def test_a_part_that_cannot_be_read_is_made_again(tmp_path: Path, damage: str) -> None:
    squares(tmp_path, [])
    file = tmp_path / "00001.npz"
    if damage == "missing":
        file.unlink()
    elif damage == "other":
        np.savez(file, name=np.arange(2))
    else:
        file.write_bytes(file.read_bytes()[:-40] if damage == "cut" else b"")
    done: list[int] = []
    assert squares(tmp_path, done) == [[0, 1], [4, 9], [16]]
    assert done == [2, 3]
