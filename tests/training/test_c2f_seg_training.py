"""The two trainings of C2F-Seg: one after the other, on drawn images, and what each shows and is validated by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_masks import drawn_dataset, write_drawn
from safetensors.torch import save_file
from torchvision.models.resnet import BasicBlock, ResNet

from shape3d_amodal import masks
from shape3d_amodal.baselines.c2f_seg.codebook import CodebookConfig
from shape3d_amodal.baselines.c2f_seg.method import C2FSegMethod
from shape3d_amodal.baselines.c2f_seg.transformer import TransformerConfig
from shape3d_amodal.crops.annotated.cutting import AnnotatedCrops
from shape3d_amodal.crops.config import CropsConfig
from shape3d_amodal.errors import DataError, UsageError
from shape3d_amodal.training.loop.interface import LoopConfig
from shape3d_amodal.training.registry import load_training
from shape3d_amodal.training.run import run_training
from shape3d_amodal.training.tasks.c2f_seg import C2FSegTraining, CodebookTraining, open_sized

LOOP = LoopConfig(steps=2, batch_size=4, warmup_steps=0, precision="float32", threads=1, ema_decay=0, log_every=1)
ROOT = Path(__file__).parents[2]
BOOK = CodebookConfig(size=32, widths=(4, 4, 8, 8), codes=16, code_size=4)
SMALL = TransformerConfig(width=16, layers=1, heads=2)


@pytest.fixture
def source(tmp_path: Path) -> CropsConfig:
    annotations = write_drawn(tmp_path / "drawn", drawn_dataset())
    return CropsConfig(annotations=str(annotations), images=str(annotations.parent / "images"))


def codebook_training(source: CropsConfig, **changes: object) -> CodebookTraining:
    small = replace(source, size=BOOK.size)
    return replace(
        CodebookTraining(stage="c2f_codebook", model=BOOK, train=small, validation=small, loop=LOOP), **changes
    )


def training(source: CropsConfig, codebook: Path | None, **changes: object) -> C2FSegTraining:
    source = source if codebook is None else replace(source, size=BOOK.size)
    config = C2FSegTraining(
        stage="c2f_seg",
        codebook=None if codebook is None else str(codebook),
        transformer=SMALL,
        train=source,
        validation=source,
        loop=LOOP,
    )
    return replace(config, **changes)


def test_crops_of_annotated_images(source: CropsConfig) -> None:
    """Seen through their windows, the masks have the areas that the annotations say."""
    crops = AnnotatedCrops(source)
    instances = [one for image in drawn_dataset().images for one in image.instances if masks.area(one.visible) >= 40]
    assert len(crops.hidden) == len(instances)
    np.testing.assert_allclose(crops.hidden, [one.occlude_rate for one in instances], atol=1e-6)
    batch = crops.supervised(np.arange(len(instances)))
    scale = ((batch.crops.window[:, 2] - batch.crops.window[:, 0]) / 64) ** 2
    for mask, rle in ((batch.crops.visible, "visible"), (batch.amodal, "amodal")):
        found = mask.sum(dim=(1, 2)) * scale
        expected = torch.tensor([float(masks.area(getattr(one, rle))) for one in instances])
        torch.testing.assert_close(found, expected, rtol=0.05, atol=4)
    # The nearest object of each image is drawn in a grey of 80.
    front = [i for i, one in enumerate(instances) if one.depth_order == 0]
    inside = batch.crops.visible > 0.99
    for i in front:
        assert float(batch.crops.rgb[i, 0][inside[i]].median()) == pytest.approx(80 / 255, abs=0.01)


def test_annotations_without_what_is_needed(source: CropsConfig) -> None:
    with pytest.raises(DataError, match=r"annotations.json: expected instances with an amodal mask and 9999 visible"):
        AnnotatedCrops(replace(source, min_visible_px=9999))


def test_pools_of_another_size_are_refused() -> None:
    with pytest.raises(UsageError, match=r"size: expected 32, the side of the codebook's crops, got 64"):
        open_sized(CropsConfig(), 32, Path(), workers=0)
    with pytest.raises(UsageError, match="border: expected unknown, as C2F-Seg's crops"):
        open_sized(CropsConfig(size=32, border="background"), 32, Path(), workers=0)


def test_nothing_hidden_is_refused(tmp_path: Path) -> None:
    annotations = write_drawn(tmp_path / "drawn", drawn_dataset(objects=1))
    given = CropsConfig(annotations=str(annotations), images=str(annotations.parent / "images"))
    with pytest.raises(UsageError, match=r"train: expected crops with a hidden part, none of 4 has one; .*train.count"):
        training(given, None).task(tmp_path, workers=0)


def test_losses_are_means_over_rows(source: CropsConfig, tmp_path: Path) -> None:
    task = codebook_training(replace(source, size=BOOK.size)).task(tmp_path, workers=0)
    task.network.eval()
    batch, _ = task.batch(0, np.random.default_rng(0), 8)
    whole, first, second = (task.losses(batch[rows], 0, 0.5) for rows in (slice(None), slice(4), slice(4, None)))
    for term in whole.keys() - {"unused"}:  # which looks for the nearest in the whole batch
        torch.testing.assert_close((first[term] + second[term]) / 2, whole[term], rtol=1e-4, atol=1e-6)


def test_one_training_after_the_other(source: CropsConfig, tmp_path: Path) -> None:
    source = replace(source, size=BOOK.size)
    first = run_training(codebook_training(source), tmp_path / "book", cache=tmp_path)
    assert set(first.metrics) == {"reconstruction_iou", "codes_used"}
    config = training(source, tmp_path / "book" / "weights")
    second = run_training(config, tmp_path / "seg", cache=tmp_path)
    names = ("coarse_iou", "coarse_occluded_iou", "final_iou", "final_occluded_iou")
    assert set(second.metrics) == set(names) and all(0 <= value <= 100 for value in second.metrics.values())
    for name, tensor in first.weights.items():
        assert torch.equal(second.weights[f"codebook.{name}"], tensor), "the codebook stays what it was"
    assert len(list((tmp_path / "seg" / "samples").rglob("*.png"))) == 1
    method = C2FSegMethod.from_pretrained(tmp_path / "seg" / "weights", {1: "chair", 2: "car"})
    image = drawn_dataset().images[0]
    assert len(method.complete(np.zeros((48, 48, 3), np.uint8), image)) == len(image.instances)


def test_only_a_dry_run_goes_without_a_codebook(source: CropsConfig, tmp_path: Path) -> None:
    config = training(source, None)
    with pytest.raises(UsageError, match=r"codebook: expected a folder of weights that c2f_codebook left, got null;"):
        run_training(config, tmp_path / "out", cache=tmp_path)
    assert not (tmp_path / "out").exists()


def test_dry_run_of_the_shipped_configuration(tmp_path: Path) -> None:
    """The second training; the first one has the same crops."""
    small = ["train.count=2", "validation.count=2", "loop.batch_size=2", "loop.threads=1", "codebook=null"]
    config = load_training(ROOT / "configs/open13/c2f_seg.yaml", overrides=small)
    assert run_training(config, tmp_path / "out", cache=tmp_path, dry_run=True).step == 1
    assert not (tmp_path / "out").exists()


def test_the_image_encoder_starts_from_a_file(source: CropsConfig, tmp_path: Path) -> None:
    """The file is no part of what stands beside the weights."""
    resnet = ResNet(BasicBlock, [1, 1, 1, 1])
    save_file(resnet.state_dict(), tmp_path / "resnet.safetensors")
    config = training(source, None, weights=str(tmp_path / "resnet.safetensors"))
    network = config.task(tmp_path, workers=0).network
    assert torch.equal(network.features.stages[3][0].conv2.weight, resnet.layer4[0].conv2.weight)
    assert config.weights_config() == training(source, None).weights_config()


def test_full_configurations_are_the_published_ones() -> None:
    book = load_training(ROOT / "configs/kins/c2f_codebook.yaml")
    seg = load_training(ROOT / "configs/kins/c2f_seg.yaml")
    assert isinstance(book, CodebookTraining) and isinstance(seg, C2FSegTraining)
    assert (book.model.size, book.model.grid, book.model.codes, book.model.code_size) == (256, 16, 256, 256)
    assert (seg.transformer.width, seg.transformer.layers, seg.transformer.heads, seg.rounds) == (768, 12, 12, 3)
    assert (seg.features.blocks, seg.features.bottleneck, seg.loop.learning_rate) == ((3, 4, 6, 3), True, 3e-4)
    assert seg.weights == "data/weights/resnet50.safetensors"
    assert all((one.loop.clip_norm, one.loop.ema_decay) == (0, 0) for one in (book, seg))


@pytest.mark.slow
def test_four_images_are_learned_by_heart(source: CropsConfig, tmp_path: Path) -> None:
    source, book = replace(source, size=BOOK.size), replace(BOOK, widths=(8, 16, 16, 32), codes=64, code_size=8)
    loop = replace(LOOP, batch_size=8, log_every=50, steps=300, learning_rate=3e-3)
    first = run_training(codebook_training(source, model=book, loop=loop), tmp_path / "book", cache=tmp_path)
    assert first.metrics["reconstruction_iou"] > 85
    loop = replace(loop, steps=250, learning_rate=1e-3)
    config = training(source, tmp_path / "book" / "weights", loop=loop)
    second = run_training(config, tmp_path / "seg", cache=tmp_path)
    assert second.metrics["coarse_iou"] > 85
    assert second.metrics["final_iou"] > 90
    assert second.metrics["final_occluded_iou"] > 70
