"""Ranks that would train different things are refused, each with the same line."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from launched import srun
from threaded import on_ranks
from toy import ToyTask

from shape3d_amodal.errors import AmodalError
from shape3d_amodal.training.loop.agreement import check_same_folder, check_same_options, common_checkpoint
from shape3d_amodal.training.loop.checkpoints import CheckpointFolder
from shape3d_amodal.training.loop.distributed import Ranks
from shape3d_amodal.training.loop.interface import LoopConfig
from shape3d_amodal.training.loop.settings import describe
from shape3d_amodal.training.loop.training import train


def refusals(count: int, work: Callable[[Ranks], Any]) -> list[str]:
    """What each of ``count`` ranks says."""

    def told(ranks: Ranks) -> str:
        try:
            work(ranks)
        except AmodalError as error:
            return str(error)
        return ""

    return on_ranks(count, told)


@pytest.fixture
def trained(quick: LoopConfig, tmp_path: Path) -> Path:
    """A folder with checkpoints of the steps 5 and 10."""
    train(ToyTask(), replace(quick, steps=10), tmp_path / "trained")
    return tmp_path / "trained"


@pytest.mark.parametrize("first", [0, 5, 10])
def test_separate_folders_are_refused_whatever_lies_in_them(trained: Path, tmp_path: Path, first: int) -> None:
    folders = [CheckpointFolder(tmp_path / f"node{rank}") for rank in range(3)]
    for folder, newest in zip(folders, (first, 5, 0), strict=True):
        for step in (5, 10):
            if step <= newest:
                shutil.copytree(CheckpointFolder(trained).path(step), folder.path(step))
    lines = refusals(3, lambda ranks: check_same_folder(folders[ranks.rank], ranks))
    for rank, line in enumerate(lines):
        assert (
            line.startswith(f"{tmp_path / f'node{rank}'}: rank 1 has another folder here than rank 0")
            and "\n" not in line
        )
    assert not list(tmp_path.rglob(".seen*"))


def test_one_folder_is_fine_by_any_name(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    folders = [CheckpointFolder(tmp_path / name) for name in ("real", "link")]
    assert refusals(2, lambda ranks: check_same_folder(folders[ranks.rank], ranks)) == ["", ""]
    assert not list((tmp_path / "real").iterdir())


def test_all_ranks_go_on_from_the_step_of_rank_0(trained: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Also where the newest checkpoint is damaged, or appears while the others look."""
    folder = CheckpointFolder(trained)

    def loaded(ranks: Ranks) -> int:
        found = common_checkpoint(folder, ranks)
        assert found is not None
        return found.step

    assert on_ranks(2, loaded) == [10, 10]
    (folder.path(10) / "model.safetensors").write_bytes(b"damaged")
    with caplog.at_level(logging.WARNING):
        assert on_ranks(3, loaded) == [5, 5, 5]
    assert [record.getMessage()[:32] for record in caplog.records] == ["checkpoint of step 10 is damaged"]


def test_a_checkpoint_that_a_rank_cannot_read_is_named(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "other")
    shutil.rmtree(CheckpointFolder(tmp_path / "other").path(10))
    folders = [CheckpointFolder(trained), CheckpointFolder(trained), CheckpointFolder(tmp_path / "other")]
    lines = refusals(3, lambda ranks: common_checkpoint(folders[ranks.rank], ranks))
    assert all("step-00000010: rank 2 cannot read this checkpoint, from which rank 0 goes on" in line for line in lines)


def test_nothing_to_go_on_from(tmp_path: Path) -> None:
    assert on_ranks(2, lambda ranks: common_checkpoint(CheckpointFolder(tmp_path), ranks)) == [None, None]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"threads": 3, "workers": 2, "device": "auto"}, ""),
        (
            {"steps": 21},
            "loop.steps: expected the same option for all ranks, got 20 for rank 0 and 21 for rank 2; start all by the "
            "same command",
        ),
    ],
)
def test_options_of_the_ranks(quick: LoopConfig, changes: dict[str, Any], line: str) -> None:
    loops = [quick, quick, replace(quick, **changes)]
    lines = refusals(3, lambda ranks: check_same_options(describe("toy", loops[ranks.rank], None), ranks))
    assert lines == [line] * 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ranks", "line"),
    [
        (
            [{"node": "a"}, {"node": "b"}],
            "rank 1 has another folder here than rank 0, and would train from another step",
        ),
        (
            [{"seed": 1}, {"seed": 2}],
            "loop.seed: expected the same option for all ranks, got 1 for rank 0 and 2 for rank 1",
        ),
    ],
)
def test_real_ranks_end_with_that_line(tmp_path: Path, ranks: list[dict[str, Any]], line: str) -> None:
    for status, stderr in srun({"MASTER_ADDR": "localhost"}, tmp_path / "out", {"ranks": ranks}):
        assert status == 1 and line in stderr and stderr.count("\n") == 1
    assert not list((tmp_path / "out").rglob("*.*"))
