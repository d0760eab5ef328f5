"""Several seeds before a training: the best by its training silhouettes is gone on from, and a resume does not ask."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import tiny_config, tiny_model

from shape3d_amodal.crops.config import CropsConfig
from shape3d_amodal.crops.pool import open_pool
from shape3d_amodal.crops.scenes import CropArrays
from shape3d_amodal.model import AmodalModel
from shape3d_amodal.priors.learned.criterion import PriorLossConfig
from shape3d_amodal.training.loop.distributed import Ranks
from shape3d_amodal.training.loop.interface import LoopConfig
from shape3d_amodal.training.loop.trainer import Trainer
from shape3d_amodal.training.loop.training import train
from shape3d_amodal.training.tasks.prior import PriorTask
from shape3d_amodal.training.tasks.restarts import RestartsConfig
from shape3d_amodal.training.tasks.stages import StageConfig, build_task

POOL = CropsConfig(size=32, meshes="open13:train", count=3)
LOOP = LoopConfig(steps=2, batch_size=4, warmup_steps=0, precision="float32", threads=1, device="cpu", seed=5)
CONFIG = StageConfig(
    stage="prior",
    model=tiny_config(),
    train=POOL,
    validation=POOL,
    prior_loss=PriorLossConfig(choose_px=16),
    restarts=RestartsConfig(seeds=3, steps=2),
    loop=LOOP,
)
ALONE = Ranks(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> CropArrays:
    return open_pool(POOL, tmp_path_factory.mktemp("cache"), workers=0)


def task(pool: CropArrays, config: StageConfig = CONFIG) -> PriorTask:
    found = build_task(config, config.start(config.loop.seed), pool, pool)
    assert isinstance(found, PriorTask)
    return found


def trained(pool: CropArrays, seed: int) -> dict[str, torch.Tensor]:
    """The weights of an ordinary training with this seed after its two steps."""
    loop = replace(LOOP, seed=seed, ema_decay=0.0)
    torch.manual_seed(seed)
    model = AmodalModel(tiny_config())
    trainer = Trainer(build_task(replace(CONFIG, loop=loop), model, pool, pool), loop, ALONE)
    trainer.step(0)
    trainer.step(1)
    return trainer.weights()


def test_the_best_seed_is_gone_on_from(
    pool: CropArrays, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scores = iter([0.2, 0.9, 0.5])
    monkeypatch.setattr(PriorTask, "training_score", lambda *_: next(scores))
    started = task(pool)
    with caplog.at_level(logging.INFO):
        started.begin(LOOP, ALONE)
    expected = trained(pool, seed=6)
    for name, tensor in started.model.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    lines = [record.getMessage() for record in caplog.records if "seed" in record.getMessage()]
    assert [line.split()[2:9:6] for line in lines] == [["5", "0.2000"], ["6", "0.9000"], ["7", "0.5000"]]


def test_the_score_is_the_certain_iou_of_the_selected_silhouettes(pool: CropArrays) -> None:
    started = task(pool)
    started.model.load_state_dict(tiny_model(3).state_dict())
    started.model.eval()
    rows = np.arange(len(pool.category))
    ious = []
    with torch.no_grad():
        score = started.training_score(rows, progress=0.05)
        for row in rows:
            crops = pool.supervised(np.array([row])).crops
            output = started.model.prior(crops, 0.0)
            view = output.hypotheses.pick(output.logits.argmax(dim=1))
            seen = started.model.prior.silhouettes(output.mesh.verts, view, 32)[0]
            inter = (seen * crops.visible[0]).sum()
            outside = (seen * (1 - crops.visible[0] - crops.occluder[0]).clamp(min=0)).sum()
            ious.append(float(inter / (crops.visible[0].sum() + outside)))
    assert score == pytest.approx(np.mean(ious), rel=1e-3)


def test_one_seed_changes_nothing(pool: CropArrays) -> None:
    started = task(pool, replace(CONFIG, restarts=RestartsConfig()))
    before = {name: tensor.clone() for name, tensor in started.model.state_dict().items()}
    started.begin(LOOP, ALONE)
    assert all(torch.equal(tensor, before[name]) for name, tensor in started.model.state_dict().items())


def test_a_resume_tries_no_seeds(pool: CropArrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    longer = replace(LOOP, steps=4, checkpoint_every=2, keep_checkpoints=9)
    train(task(pool), longer, tmp_path / "whole")
    tried: list[int] = []
    restart = PriorTask.restart
    monkeypatch.setattr(PriorTask, "restart", lambda self, seed: (tried.append(seed), restart(self, seed)))
    (tmp_path / "stopped").mkdir()
    (first,) = (tmp_path / "whole").rglob("step-00000002")
    first.rename(tmp_path / "stopped" / first.name)
    assert train(task(pool), longer, tmp_path / "stopped").step == 4
    assert tried == []
    train(task(pool), LOOP, tmp_path / "other")
    assert tried == [5, 6, 7]
