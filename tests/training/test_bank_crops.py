from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import QUICK_BANK, tiny_config, tiny_model

from shape3d_amodal.crops.config import CropsConfig
from shape3d_amodal.crops.pool import open_pool
from shape3d_amodal.crops.scenes import CropArrays
from shape3d_amodal.errors import UsageError
from shape3d_amodal.meshes.mesh import FileMeshes
from shape3d_amodal.meshes.sources import CATEGORIES, mesh_source
from shape3d_amodal.priors.bank.prior import BankPrior
from shape3d_amodal.priors.bank.shapes import BankConfig, ShapeBank
from shape3d_amodal.scenes.compose import SceneConfig
from shape3d_amodal.training.tasks.bank_crops import BankArrays, BankCropsConfig, asked_rows, open_bank
from shape3d_amodal.training.tasks.refinement import RefinementTask
from shape3d_amodal.training.tasks.stages import StageConfig, build_task

S = 32


@pytest.fixture(scope="module")
def pool_config(box_folder: Path) -> CropsConfig:
    return CropsConfig(meshes=str(box_folder), scenes=SceneConfig(image_size=64), size=S, min_visible_px=10, count=20)


@pytest.fixture(scope="module")
def config(box_folder: Path) -> BankCropsConfig:
    return BankCropsConfig(
        meshes=str(box_folder),
        bank=BankConfig(faces=100),
        prior=replace(QUICK_BANK, starts=2, fit_steps=2),
        crops=12,
        hidden_share=0.75,
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def pool(pool_config: CropsConfig, cache: Path) -> CropArrays:
    return open_pool(pool_config, cache, workers=0)


@pytest.fixture(scope="module")
def bank(config: BankCropsConfig, pool_config: CropsConfig, pool: CropArrays, cache: Path) -> BankArrays:
    return open_bank(config, pool_config, pool, cache, workers=1)


def test_it_asks_about_crops_with_a_hidden_part_and_about_some_without(
    bank: BankArrays, config: BankCropsConfig, pool: CropArrays
) -> None:
    hidden = [row for row in range(len(pool.hidden)) if pool.hidden[row] > 0.02]
    whole = [row for row in range(len(pool.hidden)) if pool.hidden[row] <= 0.02]
    assert bank.row.tolist() == sorted(hidden[:9] + whole[:3])
    assert bank.silhouette.shape == (12, S, S) and bank.silhouette.dtype == np.uint8
    source = mesh_source(config.meshes)
    known = [source.category(name) for name in source.names]
    others = [known.count(source.category(str(pool.mesh[row]))) > 1 for row in bank.row]
    assert (bank.fit > 0).tolist() == others, "a mesh that is alone in its category leaves nothing to ask"
    assert any(others) and not all(others) and (bank.fit <= 1).all()


def test_crops_without_an_amodal_mask_are_not_asked_about(config: BankCropsConfig) -> None:
    """Of annotated images: stage 5 would take their visible masks for whole ones."""
    hidden = np.array([np.nan, 0.3, 0.0, np.nan, 0.5, 0.0], np.float32)
    assert asked_rows(hidden, replace(config, crops=4, hidden_share=0.5)).tolist() == [1, 2, 4, 5]


def test_the_crops_own_mesh_is_left_out(bank: BankArrays, config: BankCropsConfig, pool: CropArrays) -> None:
    """As a prior whose bank was made without that mesh would say it."""
    source = mesh_source(config.meshes)
    meshes = [source.category(name) for name in source.names]
    full = BankPrior(ShapeBank(source, config.bank), CATEGORIES, config.prior)
    places = [i for i, row in enumerate(bank.row) if meshes.count(source.category(str(pool.mesh[row]))) > 1]
    differences = []
    for place in places:
        own = str(pool.mesh[bank.row[place]])

        class Without:
            names = tuple(name for name in source.names if name != own)
            category, load = source.category, source.load

        crops = pool.supervised(bank.row[place : place + 1]).crops
        expected = BankPrior(ShapeBank(Without(), config.bank), CATEGORIES, config.prior).estimate(crops)
        np.testing.assert_allclose(bank.silhouette[place] / 255, expected.silhouette[0], atol=0.01)
        differences.append((full.estimate(crops).silhouette - expected.silhouette).abs().max().item())
    assert max(differences) > 0.05


def test_rows_that_were_not_asked_about_have_nothing(bank: BankArrays) -> None:
    asked = int(bank.row[2])
    free = next(row for row in range(asked + 50) if row not in bank.row)
    silhouette, fit = bank.of(np.array([free, asked, 10**6]))
    assert silhouette[0].sum() == 0 and silhouette[2].sum() == 0
    torch.testing.assert_close(silhouette[1] * 255, torch.tensor(bank.silhouette[2]).float())
    assert fit.tolist() == [0, pytest.approx(float(bank.fit[2])), 0]


@pytest.mark.slow
def test_it_is_asked_once_and_says_the_same_with_any_number_of_workers(
    bank: BankArrays, config: BankCropsConfig, pool_config: CropsConfig, pool: CropArrays, cache: Path, tmp_path: Path
) -> None:
    again = open_bank(config, pool_config, pool, cache, workers=1)
    np.testing.assert_array_equal(again.silhouette, bank.silhouette)
    assert len(list(cache.glob("bank-*.lock"))) == 1
    other = open_bank(config, pool_config, pool, tmp_path, workers=2)
    np.testing.assert_array_equal(other.silhouette, bank.silhouette)
    np.testing.assert_array_equal(other.fit, bank.fit)


def stage(config: BankCropsConfig | None, **changes) -> StageConfig:
    model = tiny_config()
    model = replace(model, refinement=replace(model.refinement, priors=("learned", "bank")))
    return StageConfig(**{"stage": "refinement", "model": model, "bank": config, **changes})


def test_the_refinement_is_shown_the_bank(config: BankCropsConfig, pool: CropArrays, bank: BankArrays) -> None:
    settings = stage(config, silhouette_dropout=0.0, bank_share=1.0, hidden_share=1.0)
    model = type(tiny_model())(settings.model)
    answers = replace(bank, silhouette=np.full_like(bank.silhouette, 99), fit=np.full_like(bank.fit, 0.5))
    task = build_task(settings, model, pool, pool, answers, answers)
    assert isinstance(task, RefinementTask)
    batch, _ = task.batch(0, np.random.default_rng(0), 8)
    assert (batch.fit == 0.5).all() and (batch.silhouette.sum(dim=(1, 2)) > 0).all()
    shown: list[list[torch.Tensor]] = []
    model.refinement.register_forward_pre_hook(lambda _, given: shown.append(given[1]))
    task.losses(batch, 0, 0.0)
    assert torch.equal(shown[0][1], batch.silhouette)
    with torch.no_grad():
        assert {"bank_iou", "silhouette_iou", "final_iou"} <= task.validate(1).keys()


def test_crops_of_which_nothing_is_hidden(
    config: BankCropsConfig, pool_config: CropsConfig, pool: CropArrays, tmp_path: Path
) -> None:
    alone = replace(pool, hidden=np.zeros_like(pool.hidden))
    with pytest.raises(
        UsageError, match=f"bank: expected crops with a hidden part, none of {len(pool.hidden)} has one"
    ):
        open_bank(config, pool_config, alone, tmp_path, workers=1)
    assert not list(tmp_path.glob("bank-*/"))


@pytest.mark.parametrize(
    ("with_bank", "changes", "problem"),
    [
        (False, {}, r"bank: needed for the stage refinement"),
        (True, {"stage": "completion2d"}, r"bank: needed for the stage refinement"),
        (True, {"supervision": "visible"}, r"supervision: visible cannot be combined with a bank"),
        (True, {}, r"model\.meshes: expected those of the bank that is learned from, .*, got None"),
    ],
)
def test_banks_where_they_do_not_belong(
    with_bank: bool, changes: dict, problem: str, config: BankCropsConfig, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=problem):
        stage(config if with_bank else None, **changes).task(tmp_path, workers=0)


def test_near_duplicates_of_the_crops_mesh_are_left_out_too(
    config: BankCropsConfig, pool_config: CropsConfig, pool: CropArrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where all meshes of its category are near-duplicates but one, the bank says what that one alone would say."""
    source = mesh_source(config.meshes)
    chairs = [name for name in source.names if source.category(name) == "chair"]
    alike, other = chairs[:-1], chairs[-1]
    monkeypatch.setattr(FileMeshes, "near_duplicates", lambda _, name: tuple(alike) if name in alike else (name,))
    found = open_bank(config, pool_config, pool, tmp_path, workers=0)
    place = next(i for i, row in enumerate(found.row) if str(pool.mesh[row]) in alike)

    class One:
        names = (other,)
        category, load = source.category, source.load

    crops = pool.supervised(found.row[place : place + 1]).crops
    expected = BankPrior(ShapeBank(One(), config.bank), CATEGORIES, config.prior).estimate(crops)
    np.testing.assert_allclose(found.silhouette[place] / 255, expected.silhouette[0], atol=0.01)


def test_being_shown_a_silhouette_does_not_tell_that_something_is_hidden(
    config: BankCropsConfig, pool: CropArrays, bank: BankArrays
) -> None:
    """Of the samples that the bank was asked about, as many are whole as of the others."""
    settings = stage(config, bank_share=0.5, hidden_share=0.6)
    task = build_task(settings, type(tiny_model())(settings.model), pool, pool, bank, bank)
    rows = task.maker._rows(np.random.default_rng(0), 4000)
    shown = np.isin(rows, bank.row)
    whole = pool.hidden[rows] <= 0.02
    everywhere = np.mean(pool.hidden <= 0.02)
    assert whole[shown].mean() == pytest.approx(0.4, abs=0.1)
    assert whole[~shown].mean() == pytest.approx(0.4 * everywhere, abs=0.1)
