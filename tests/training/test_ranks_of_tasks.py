"""Several ranks do for every training what one does: they share its validation, and find all of its gradients."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rcnn_small import drawn_samples, small_rcnn
from small_tasks import LOOP, SMALL_TASKS, Materials
from threaded import on_ranks
from torch import nn
from toy import ToyTask

from shape3d_amodal.config import parse_config
from shape3d_amodal.errors import UsageError
from shape3d_amodal.training.loop import trainer as trainers
from shape3d_amodal.training.loop.distributed import Ranks
from shape3d_amodal.training.loop.interface import LoopConfig, Task
from shape3d_amodal.training.loop.trainer import Trainer, check_norms
from shape3d_amodal.training.registry import _TRAININGS

ALONE = Ranks(0, 1, torch.device("cpu"))
AT_ONCE = {"vrsp_shapes", "trust"}
"""Their validation is one batch, over in a moment, which every rank does by itself."""


_LONG = {"rcnn", "layered_embeddings", "known_cameras"}
EVERY = [pytest.param(name, marks=pytest.mark.slow) if name in _LONG else name for name in SMALL_TASKS]


@pytest.fixture(scope="module")
def materials(tmp_path_factory: pytest.TempPathFactory, box_folder: Path) -> Materials:
    return Materials(tmp_path_factory.mktemp("materials"), box_folder)


def test_no_training_is_left_out() -> None:
    assert set(SMALL_TASKS) - {"refinement of visible masks"} == set(_TRAININGS)


def validated(task: Task, ranks: Ranks | None) -> dict[str, float]:
    own = copy.copy(task)  # ranks that are threads share the network
    own.ranks = ranks
    torch.manual_seed(0)
    with torch.no_grad():
        return own.validate(1)


@pytest.mark.parametrize("name", EVERY)
def test_ranks_share_the_validation_and_find_what_one_finds(
    name: str, materials: Materials, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("scores", "crop_task", "hidden_again", "c2f_seg"):
        size = "_BATCH" if module == "c2f_seg" else "VALIDATION_BATCH"
        monkeypatch.setattr(f"shape3d_amodal.training.tasks.{module}.{size}", 2)
    task = SMALL_TASKS[name](materials)
    task.modules().eval()
    expected = validated(task, None)
    assert expected
    shares: list[tuple[int, int]] = []
    shared = Ranks.map

    def map_(self: Ranks, function: Any, parts: Any) -> Any:
        shares.append((self.rank, len(parts)))
        return shared(self, function, parts)

    monkeypatch.setattr(Ranks, "map", map_)
    found = on_ranks(3, lambda ranks: validated(task, ranks))
    assert found[0] == expected and all(one in (expected, {}) for one in found)
    if name not in AT_ONCE:
        assert {rank for rank, _ in shares} == {0, 1, 2} and min(parts for _, parts in shares) >= 3


@pytest.mark.parametrize("parts", [0, 1, 3, 4, 11])
def test_every_part_is_done_by_one_rank(parts: int) -> None:
    done: list[int] = []

    def work(part: int) -> int:
        done.append(part)
        return part**2

    assert on_ranks(4, lambda ranks: ranks.map(work, range(parts))) == [[part**2 for part in range(parts)]] * 4
    assert sorted(done) == list(range(parts))


@pytest.mark.parametrize("name", EVERY)
def test_every_trained_parameter_has_a_gradient_at_each_step(name: str, materials: Materials) -> None:
    """Several ranks would wait for the missing ones; a training that may lack some says so."""
    task = SMALL_TASKS[name](materials)
    assert task.unused_parameters is (name == "rcnn")
    trainer = Trainer(task, replace(LOOP, batch_size=2), ALONE)
    for step in (0, 1, 10, 19):
        trainer.step(step)
        missing = [name for name, parameter in trainer.named.items() if parameter.grad is None]
        assert not missing or task.unused_parameters, missing


def test_a_head_may_have_no_part_in_a_step_without_objects() -> None:
    """BCNet relates pixels of objects."""
    model = small_rcnn("bcnet").train()
    sum(model.losses(drawn_samples(0, 0)).values()).backward()  # type: ignore[union-attr]
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]


class Wrapped(nn.Module):
    """In place of DistributedDataParallel: what it was asked for."""

    asked: dict[str, Any]

    def __init__(self, module: nn.Module, **options: Any) -> None:
        super().__init__()
        self.module = module
        type(self).asked = options


@pytest.mark.parametrize("synced", [False, True])
@pytest.mark.parametrize("unused", [False, True])
def test_what_ranks_ask_of_torch(
    quick: LoopConfig, monkeypatch: pytest.MonkeyPatch, synced: bool, unused: bool
) -> None:
    monkeypatch.setattr(trainers, "DistributedDataParallel", Wrapped)
    monkeypatch.setattr(trainers, "check_norms", lambda *_: None)
    task = ToyTask()
    task.unused_parameters = unused
    names = list(task.net.state_dict())
    trainer = Trainer(task, replace(quick, sync_batchnorm=synced), Ranks(0, 2, torch.device("cpu")))
    assert Wrapped.asked == {"broadcast_buffers": False, "find_unused_parameters": unused}
    norms = [module for module in trainer.forward.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert [isinstance(norm, nn.SyncBatchNorm) for norm in norms] == [synced]
    assert list(task.net.state_dict()) == names and {id(p) for p in trainer.parameters} == {
        id(p) for p in task.net.parameters() if p.requires_grad
    }


def test_batch_norm_of_all_ranks_needs_gpus(quick: LoopConfig) -> None:
    synced = replace(quick, sync_batchnorm=True)
    check_norms(synced, 2, torch.device("cuda:1"))
    check_norms(synced, 1, torch.device("cpu"))
    check_norms(quick, 2, torch.device("cpu"))
    with pytest.raises(UsageError, match=r"^loop\.sync_batchnorm: expected a GPU for each of 2 ranks, got cpu; set it"):
        check_norms(synced, 2, torch.device("cpu"))


def test_one_rank_has_ordinary_batch_norm(quick: LoopConfig) -> None:
    task = ToyTask()
    trainer = Trainer(task, replace(quick, sync_batchnorm=True), ALONE)
    assert not any(isinstance(module, nn.SyncBatchNorm) for module in task.net.modules())
    assert np.isfinite(trainer.step(0)["fit"])


def test_it_is_an_option() -> None:
    assert parse_config("sync_batchnorm: true", LoopConfig, source="x.yaml").sync_batchnorm
