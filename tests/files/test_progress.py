"""Progress of long work where nobody looks at a terminal."""

from __future__ import annotations

import pytest

from shape3d_amodal.files import progress as module
from shape3d_amodal.files.progress import duration, progress


class Clock:
    """Time that goes on by ``step`` seconds at each look."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def monotonic(self) -> float:
        self.now += self.step
        return self.now


def test_a_line_every_ten_seconds_with_count_rate_and_time_left(monkeypatch, capsys) -> None:
    monkeypatch.setattr(module, "time", Clock(5.0))  # an item takes 5 seconds
    assert list(progress(range(5), "complete", done=2)) == list(range(5))
    lines = capsys.readouterr().err.splitlines()
    # 2 + 2 items after 10 s, 2 + 4 after 20 s; the last item needs no line
    assert lines == ["complete: 4 of 7 images, 5.0 s each, 15 s left", "complete: 6 of 7 images, 5.0 s each, 5 s left"]


def test_without_a_known_total(monkeypatch, capsys) -> None:
    monkeypatch.setattr(module, "time", Clock(0.5))
    assert sum(1 for _ in progress(iter(range(50)), "meshes", unit="meshes")) == 50
    first, second = capsys.readouterr().err.splitlines()
    assert (first, second) == ("meshes: 20 meshes, 2.0 a second", "meshes: 40 meshes, 2.0 a second")


def test_short_work_says_nothing(capsys) -> None:
    assert list(progress([1, 2], "complete")) == [1, 2]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.4, "59 s"), (204, "3 min 24 s"), (7500, "2 h 5 min"), (3599.9, "1 h 0 min")],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words
