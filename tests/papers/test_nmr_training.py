"""Reconstruction with known cameras, on renders of box meshes whose shape is known to the last corner."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from shape3d_amodal.errors import DataError, WeightsError
from shape3d_amodal.files.pretrained import read_network
from shape3d_amodal.meshes.mesh import Mesh
from shape3d_amodal.meshes.sources import mesh_source
from shape3d_amodal.papers.nmr.files import VIEWS, nmr_objects
from shape3d_amodal.papers.nmr.network import KnownCamerasConfig, KnownCamerasModel, view_ious
from shape3d_amodal.papers.nmr.rendering import unit_side, write_nmr
from shape3d_amodal.papers.nmr.training import (
    NmrConfig,
    NmrTask,
    ViewPairs,
    cross_view_iou,
    recolored,
    recoloring,
    soft_iou,
)
from shape3d_amodal.priors.learned.reconstruction import ReconstructionConfig
from shape3d_amodal.structures import MeshEstimate
from shape3d_amodal.training.loop.interface import LoopConfig
from shape3d_amodal.training.run import run_training

SMALL = ReconstructionConfig(level=1, code_size=4, widths=(4, 4, 8, 8), features=16, embedding=4)
LOOP = LoopConfig(steps=2, batch_size=4, warmup_steps=0, precision="float32", threads=1, ema_decay=0, log_every=1)
SOFA = "04256520"


@pytest.fixture(scope="module")
def renders(box_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nmr")
    for split in ("train", "val"):
        write_nmr(str(box_folder), folder, split)
    return folder


@pytest.fixture(scope="module")
def config(renders: Path) -> NmrConfig:
    return NmrConfig(stage="known_cameras", data=str(renders), reconstruction=SMALL, loop=LOOP)


@pytest.fixture(scope="module")
def task(config: NmrConfig, tmp_path_factory: pytest.TempPathFactory) -> NmrTask:
    return config.task(tmp_path_factory.mktemp("cache"), workers=0)


class Oracle(nn.Module):
    """In place of the model: the same mesh, whatever it sees."""

    def __init__(self, mesh: Mesh) -> None:
        super().__init__()
        self.verts = torch.from_numpy(unit_side(mesh)).float()
        self.faces = torch.from_numpy(mesh.faces).long()

    def forward(self, images: torch.Tensor) -> MeshEstimate:
        verts = self.verts.repeat(len(images), 1, 1)
        return MeshEstimate(verts, self.faces, torch.zeros(len(images), 1))


def sofa(box_folder: Path) -> Mesh:
    return mesh_source(str(box_folder)).load("sofa/bench.obj")


def test_a_batch_is_two_different_views_of_each_object(task: NmrTask, renders: Path) -> None:
    batch, ids = task.batch(0, np.random.default_rng(0), 32)
    assert batch.images.shape == (32, 2, 4, 64, 64)
    assert (batch.views[:, 0] != batch.views[:, 1]).all()
    groups = nmr_objects(renders, "train")
    for row in (0, 7):
        group, number = groups[int(batch.synset[row])], int(ids[row].split()[2])
        true = next(group.images())[number, batch.views[row].numpy()]
        np.testing.assert_array_equal(batch.images[row, :, 3], true[:, 3])
        assert ids[row].startswith(f"{group.synset} object {number} views {int(batch.views[row, 0])} and ")
    assert len(set(batch.synset.tolist())) == len(groups) == 5
    assert torch.equal(batch[2:4].views, batch.views[2:4])


def test_every_mesh_is_compared_with_both_views(task: NmrTask, box_folder: Path) -> None:
    group = [one.synset for one in task.train].index(SOFA)
    views = torch.tensor([[0, 5], [17, 9]])
    images = torch.from_numpy(np.stack([task.maker.images[group][0][pair] for pair in views.numpy()]))
    pairs = ViewPairs(images, views, torch.full((2,), group))
    oracle = Oracle(sofa(box_folder))
    mesh = oracle(torch.zeros(4, 4, 64, 64))
    assert cross_view_iou(mesh, pairs, 0.2).tolist() == pytest.approx([1.0] * 8, abs=0.08)
    turned = replace(pairs, views=(views + 6) % VIEWS)  # by 90 degrees
    assert float(cross_view_iou(mesh, turned, 0.2).max()) < 0.7
    mesh.verts[1] *= 0.5  # the second mesh of the first object: only its two rows are worse
    assert [value > 0.9 for value in cross_view_iou(mesh, pairs, 0.2).tolist()] == [True] * 2 + [False] * 2 + [True] * 4
    wrong = replace(pairs, views=torch.tensor([[0, 11], [17, 9]]))  # the second camera of the first object
    good = [value > 0.9 for value in cross_view_iou(oracle(torch.zeros(4, 4, 64, 64)), wrong, 0.2).tolist()]
    assert good == [True, False, True, False] + [True] * 4


def test_soft_iou() -> None:
    silhouettes = torch.tensor([[[1.0, 0.5], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    masks = torch.tensor([[[1.0, 1.0], [0.0, 0.0]], [[0.0, 1.0], [0.0, 0.0]]])
    assert soft_iou(silhouettes, masks).tolist() == pytest.approx([1.5 / 2, 0.0])


def test_colours_change_alike_in_both_views_and_masks_do_not() -> None:
    images = np.random.default_rng(1).integers(0, 256, (40, 1, 4, 2, 2), dtype=np.uint8).repeat(2, axis=1)
    changed = recolored(images, *recoloring(np.random.default_rng(0), 40))
    np.testing.assert_array_equal(changed[:, :, 3], images[:, :, 3])
    np.testing.assert_array_equal(changed[:, 0], changed[:, 1])
    share = (changed != images).any(axis=(1, 2, 3, 4)).mean()
    assert 0.25 < share < 0.75


def test_the_shape_learns_from_both_views(task: NmrTask) -> None:
    batch, _ = task.batch(0, np.random.default_rng(0), 4)
    nn.init.normal_(task.model.decoder.offsets.weight, std=1e-2)  # it begins at zero, which lets no gradient through
    sum(task.losses(batch, 0, 1.0).values()).backward()
    moved = [name for name, value in task.model.named_parameters() if value.grad is not None and value.grad.any()]
    assert {name.partition(".")[0] for name in moved} == {"encoder", "decoder"}


def test_trained_weights_are_loaded_and_scored(config: NmrConfig, tmp_path: Path) -> None:
    result = run_training(config, tmp_path / "out", cache=tmp_path)
    assert result.step == 2
    assert set(result.metrics) == {"voxel_iou", *(f"voxel_iou_{one.synset}" for one in nmr_objects(config.data, "val"))}
    model, _ = read_network(tmp_path / "out" / "weights", KnownCamerasConfig, KnownCamerasModel)
    assert model.config == config.model_config()
    (group,) = (one for one in nmr_objects(config.data, "val") if one.synset == "03001627")
    ious = view_ious(model, group)
    assert ious.shape == (2, VIEWS)
    assert ((ious > 0) & (ious < 1)).all()
    assert view_ious(model, group, views=(3,), most=1)[0, 0] == ious[0, 3]
    (tmp_path / "out" / "weights" / "model.safetensors").write_bytes(b"other")
    with pytest.raises(WeightsError):
        read_network(tmp_path / "out" / "weights", KnownCamerasConfig, KnownCamerasModel)


def test_the_true_mesh_has_an_iou_of_one(config: NmrConfig, box_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Voxels are those of NMR's files, also of what sticks out a little."""
    model = KnownCamerasModel(config.model_config())
    oracle = Oracle(sofa(box_folder))
    (group,) = (one for one in nmr_objects(config.data, "val") if one.synset == SOFA)
    monkeypatch.setattr(model, "forward", lambda images, _synset: oracle(images))
    assert view_ious(model, group, views=(0, 5)).tolist() == [[1.0, 1.0]]
    oracle.verts = oracle.verts * torch.tensor([1.3, 1.0, 1.0])  # the longest side is x
    assert view_ious(model, group, views=(0,)).tolist() == [[1.0]]


def test_a_model_that_is_not_told_the_category(config: NmrConfig) -> None:
    torch.manual_seed(0)
    model = KnownCamerasModel(replace(config, told_category=False).model_config()).eval()
    picture = torch.rand(1, 4, 64, 64)
    first, second = (model(picture, torch.tensor([synset])).verts for synset in (0, 3))
    assert torch.equal(first, second)


def test_what_cannot_be_trained_is_said(config: NmrConfig, renders: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found none"):
        replace(config, data=str(tmp_path)).task(tmp_path, workers=0)
    for path in renders.glob("*.npz"):
        if not path.name.startswith(f"{SOFA}_train"):
            (tmp_path / path.name).symlink_to(path)
    with pytest.raises(DataError, match=f"training objects of every validation synset, got none of {SOFA}"):
        replace(config, data=str(tmp_path)).task(tmp_path, workers=0)
