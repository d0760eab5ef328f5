"""The training of trust: its data, its steps, and the weights that it leaves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import QUICK_BANK, tiny_model

from shape3d_amodal.files.pretrained import load_network
from shape3d_amodal.model import AmodalModel, AmodalModelConfig
from shape3d_amodal.pipeline import ShapePriorPipeline
from shape3d_amodal.scenes.compose import SceneConfig
from shape3d_amodal.training.loop.interface import LoopConfig
from shape3d_amodal.training.run import run_training
from shape3d_amodal.training.tasks.evidence import Evidence, EvidenceConfig, open_evidence
from shape3d_amodal.training.tasks.trust import TrustTraining


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "weights"
    tiny_model().save(folder)
    return folder


@pytest.fixture(scope="module")
def evidence_config(box_folder: Path) -> EvidenceConfig:
    meshes = str(box_folder)
    scenes, prior = SceneConfig(image_size=64), replace(QUICK_BANK, fit_steps=0)
    return EvidenceConfig(meshes=meshes, bank=meshes, scenes=scenes, count=5, prior=prior)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def evidence(evidence_config: EvidenceConfig, base: Path, cache: Path) -> Evidence:
    return open_evidence(evidence_config, str(base), cache, workers=0)


def test_evidence_is_of_hidden_targets(evidence: Evidence) -> None:
    assert evidence.silhouette.shape == evidence.amodal.shape == (5, 64, 64) and evidence.signs.shape == (5, 7)
    assert (evidence.hidden >= 0.09).all() and (evidence.hidden <= 0.71).all()
    visible, amodal = np.asarray(evidence.visible) / 255, np.asarray(evidence.amodal) / 255
    np.testing.assert_allclose(1 - visible.sum((1, 2)) / amodal.sum((1, 2)), evidence.hidden, atol=0.02)


def test_workers_do_not_change_it(
    evidence: Evidence, evidence_config: EvidenceConfig, base: Path, tmp_path: Path
) -> None:
    assert open_evidence(evidence_config, str(base), tmp_path, workers=2) == evidence


def test_it_is_made_once(
    evidence: Evidence, evidence_config: EvidenceConfig, base: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shape3d_amodal.training.tasks.evidence.spread", None)
    assert open_evidence(evidence_config, str(base), cache, workers=0) == evidence


def test_a_bank_without_the_mesh_says_other_things(evidence_config: EvidenceConfig, base: Path, tmp_path: Path) -> None:
    few = replace(evidence_config, count=2)  # the first target, a dresser, is the only one of its category
    with_it, without, other = (
        open_evidence(replace(few, own=own, others=others), str(base), tmp_path, workers=0)
        for own, others in ((1.0, 0.0), (0.0, 1.0), (0.0, 0.0))
    )
    assert (np.asarray(with_it.visible) == np.asarray(other.visible)).all()  # the scene is the same
    silhouettes = [np.asarray(one.silhouette).astype(int) for one in (with_it, without, other)]
    for row in (0, 1):
        assert np.abs(silhouettes[0][row] - silhouettes[2][row]).max() > 100
        assert np.abs(silhouettes[0][row] - silhouettes[1][row]).max() > 0
    np.testing.assert_array_equal(silhouettes[1][0], silhouettes[2][0])  # so another category stands for it


def test_training_leaves_weights_that_the_pipeline_takes(
    evidence_config: EvidenceConfig, base: Path, box_folder: Path, cache: Path, tmp_path: Path
) -> None:
    config = TrustTraining(
        stage="trust",
        weights=str(base),
        meshes=str(box_folder),
        train=evidence_config,
        validation=evidence_config,
        loop=LoopConfig(steps=3, batch_size=4, warmup_steps=0, threads=1, device="cpu"),
    )
    run_training(config, tmp_path, cache=cache)
    model, _ = load_network(tmp_path / "weights", AmodalModelConfig, AmodalModel)
    assert model.config.knows == ("learned", "bank") and model.config.meshes == str(box_folder)
    kept, first = model.state_dict(), tiny_model().state_dict()
    for name, tensor in first.items():
        torch.testing.assert_close(kept[name], tensor)
    told = torch.from_numpy(np.array(open_evidence(evidence_config, str(base), cache, workers=0).signs))
    torch.testing.assert_close(kept["trust.mean"], told.mean(dim=0))
    pipeline = ShapePriorPipeline.from_pretrained(tmp_path / "weights")
    assert set(pipeline.priors) == {"learned", "bank"} and pipeline.refine == "full"


def test_validation_scores_both_and_their_sum(evidence_config: EvidenceConfig, base: Path, cache: Path) -> None:
    config = TrustTraining(stage="trust", weights=str(base), train=evidence_config, validation=evidence_config)
    task = config.task(cache, workers=0)
    with torch.no_grad():
        scores = task.validate(0)
    names = {f"{name}_{score}" for name in ("completion", "silhouette", "final") for score in ("iou", "occluded_iou")}
    assert set(scores) == names and all(0 <= score <= 100 for score in scores.values())
