"""The training of PCNet-M, from visible masks alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.registry import read_dataset
from shape3d_amodal.annotations.usable import count_objects
from shape3d_amodal.baselines.pcnet_m.crops import ErasedMasks, ErasingConfig, erase
from shape3d_amodal.baselines.pcnet_m.network import CompletionNetwork, PcnetMConfig, completion_loss
from shape3d_amodal.config import Weight, configuration
from shape3d_amodal.crops.config import VALIDATION, CropsConfig
from shape3d_amodal.crops.pool import open_pool
from shape3d_amodal.drawing.crop_grids import crop_grid
from shape3d_amodal.errors import DataError
from shape3d_amodal.masks.occlusion import Mask
from shape3d_amodal.structures import OCCLUDER, InstanceCrops, Rle, TensorBatch
from shape3d_amodal.training.loop.interface import BatchMaker, LoopConfig, Task, TrainingConfig

MIN_PIXELS = 16
"""Masks with fewer pixels are left out."""
_VALIDATED = 256
_SHOWN = 8


@configuration
class PcnetMTraining(TrainingConfig):
    """The training of PCNet-M."""

    stage: Literal["pcnet_m"]
    """The kind of training: pcnet_m."""
    model: PcnetMConfig = PcnetMConfig()
    """The network."""
    train: CropsConfig = CropsConfig()
    """Training crops, of which only the visible masks are used; images are not needed."""
    validation: CropsConfig = VALIDATION
    """Validation crops."""
    erasing: ErasingConfig = ErasingConfig()
    """How parts of the masks are erased."""
    eraser_weight: Weight = 5.0
    """Weight in the loss of the pixels inside the eraser; all other pixels have weight 1."""
    loop: LoopConfig = LoopConfig()
    """The training loop."""

    def task(self, cache: Path, *, workers: int) -> PcnetMTask:
        torch.manual_seed(self.loop.seed)
        train = open_masks(self.train, cache, workers=workers)
        return PcnetMTask(self, train, open_masks(self.validation, cache, workers=workers))


@dataclass(frozen=True)
class VisibleMasks:
    """Visible masks of ``MIN_PIXELS`` or more.

    Attributes:
        kind: what ``keys`` count, for messages.
        keys: [N] ids.
        mask: the mask [H,W] bool of the i-th key, cut out of its image at any place.
    """

    kind: str
    keys: Sequence[int]
    mask: Callable[[int], Mask]

    def __len__(self) -> int:
        return len(self.keys)

    def name(self, index: int) -> str:
        return f"{self.kind} {self.keys[index]}"


def cropped_masks(visible: NDArray[np.uint8]) -> VisibleMasks:
    """The visible masks of a pool of crops, [N,S,S] uint8, the covered share of each pixel times 255."""
    parts = np.array_split(np.arange(len(visible)), max(1, len(visible) // 4096))
    areas = np.concatenate([(visible[rows] > 127).sum(axis=(1, 2)) for rows in parts])
    rows = np.flatnonzero(areas >= MIN_PIXELS)
    return VisibleMasks("crop", rows.tolist(), partial(_of_pool, visible, rows))


def _of_pool(visible: NDArray[np.uint8], rows: NDArray[np.int64], index: int) -> Mask:
    return visible[rows[index]] > 127


def annotated_masks(visible: Sequence[tuple[int, Rle]]) -> VisibleMasks:
    """The visible masks of annotations, with the annotations' ids."""
    kept = [(key, mask) for key, mask in visible if masks.area(mask) >= MIN_PIXELS]
    return VisibleMasks("annotation", [key for key, _ in kept], partial(_of_annotation, [mask for _, mask in kept]))


def _of_annotation(kept: Sequence[Rle], index: int) -> Mask:
    return masks.crop(kept[index])[0]


def open_masks(config: CropsConfig, cache: Path, *, workers: int) -> VisibleMasks:
    """The visible masks that ``config`` names; nothing else of their annotations is kept."""
    why = "give more scenes"
    if config.annotations is None:
        found = cropped_masks(open_pool(config, cache, workers=workers).visible)
    else:
        dataset = read_dataset(config.annotations)
        names = dataset.category_names
        instances = [one for image in dataset.images for one in image.instances]
        single = [one for one in instances if not one.crowd and names[one.category_id] != OCCLUDER]
        found = annotated_masks([(one.id, one.visible) for one in single])
        why = f"{count_objects(instances)}; give more annotations"
    if len(found) < 2:
        problem = f"expected at least two visible masks of {MIN_PIXELS} pixels or more, got {len(found)}"
        raise DataError(f"{problem}; {why}", file=config.annotations)
    return found


@dataclass(frozen=True, eq=False, repr=False)
class ErasedPlan(TensorBatch):
    """What N examples are made of.

    Attributes:
        pairs: [N,2] int64, a mask and the one that cuts it.
        seed: [N] int64, of what is random about each.
    """

    pairs: NDArray[np.int64]
    seed: NDArray[np.int64]


class ErasedMaker(BatchMaker):
    """Batches of masks that are cut by others."""

    def __init__(self, config: PcnetMTraining, source: VisibleMasks) -> None:
        self.size, self.erasing, self.source = config.model.size, config.erasing, source

    def plan(self, step: int, generator: np.random.Generator, size: int) -> ErasedPlan:  # noqa: ARG002
        pairs = generator.integers(len(self.source), size=(size, 2))
        return ErasedPlan(pairs, generator.integers(2**63, size=size))

    def make(self, plan: ErasedPlan) -> ErasedMasks:
        made = [
            erase(self.source.mask(i), self.source.mask(j), self.size, self.erasing, np.random.default_rng(seed))
            for (i, j), seed in zip(plan.pairs.tolist(), plan.seed, strict=True)
        ]
        return ErasedMasks(*(torch.from_numpy(np.stack(part)) for part in zip(*made, strict=True)))

    def ids(self, plan: ErasedPlan) -> list[str]:
        return [f"{self.source.name(i)} cut by {self.source.name(j)}" for i, j in plan.pairs.tolist()]


class PcnetMTask(Task):
    """Restore the part that another instance's mask has cut out of a visible mask."""

    def __init__(self, config: PcnetMTraining, train: VisibleMasks, validation: VisibleMasks) -> None:
        self.name = config.stage
        self.config, self.maker, self._validation = config, ErasedMaker(config, train), ErasedMaker(config, validation)
        self.network = CompletionNetwork(config.model)

    def losses(self, batch: ErasedMasks, step: int, progress: float) -> dict[str, Tensor]:  # noqa: ARG002
        logits = self.network(batch.visible, batch.eraser)
        return {"cross_entropy": completion_loss(logits, batch.target, batch.eraser, self.config.eraser_weight)}

    def validate(self, step: int) -> dict[str, float]:  # noqa: ARG002
        """Percentages: IoU with the uncut masks inside erasers in front of them, and the share of erasers behind them
        that is filled by mistake."""
        generator = np.random.default_rng(self.config.loop.seed)
        plans = [self._validation.plan(0, generator, 64) for _ in range(0, _VALIDATED, 64)]
        shared, joined, grown, behind = np.sum(self.over_ranks(self._areas, plans), axis=0).tolist()
        return {"erased_iou": 100 * shared / max(joined, 1), "grown_behind": 100 * grown / max(behind, 1)}

    def _areas(self, plan: ErasedPlan) -> tuple[int, int, int, int]:
        """Pixels inside erasers in front: found rightly, found or true; and behind: found, all."""
        batch = self._validation.make(plan)
        found, truth = self._completed(batch) & batch.eraser, batch.target & batch.eraser
        front = truth.any(dim=(1, 2))
        joined, behind = (found | truth)[front], batch.eraser[~front]
        return int((found & truth).sum()), int(joined.sum()), int(found[~front].sum()), int(behind.sum())

    def sample_images(self, step: int) -> dict[str, NDArray[np.uint8]]:  # noqa: ARG002
        """Eraser and cut mask, completion, and the uncut mask."""
        plan = self._validation.plan(0, np.random.default_rng(self.config.loop.seed), _SHOWN)
        batch = self._validation.make(plan)
        cut, eraser = batch.visible.float(), batch.eraser.float()
        none = torch.zeros(len(cut), dtype=torch.int64)
        crops = InstanceCrops(torch.ones(len(cut), 3, *cut.shape[1:]), cut, eraser, none, torch.zeros(len(cut), 4))
        shown = {"completed": self._completed(batch), "target": batch.target.float()}
        return {"samples": crop_grid(crops, shown, given=("no image", "cut mask, eraser"))}

    def _completed(self, batch: ErasedMasks) -> Tensor:
        """[N,S,S] bool."""
        device = next(self.network.parameters()).device
        logits = self.network(batch.visible.to(device), batch.eraser.to(device))
        return (logits[:, 1] > logits[:, 0]).cpu()
