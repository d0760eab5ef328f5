"""The two trainings of C2F-Seg: the codebook of masks, then all other parts with the codebook fixed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shape3d_amodal.baselines.c2f_seg.codebook import CodebookConfig, MaskCodebook
from shape3d_amodal.baselines.c2f_seg.features import FeaturesConfig, load_resnet
from shape3d_amodal.baselines.c2f_seg.model import C2FSeg, C2FSegConfig
from shape3d_amodal.baselines.c2f_seg.transformer import TransformerConfig, seeded
from shape3d_amodal.config import Count, Share, configuration, dump_config, options_of
from shape3d_amodal.crops.augmentation import Augmentation
from shape3d_amodal.crops.config import VALIDATION, CropsConfig
from shape3d_amodal.crops.sources import CropSource, open_crops
from shape3d_amodal.errors import UsageError
from shape3d_amodal.files.pretrained import load_network
from shape3d_amodal.refinement.regions import compose
from shape3d_amodal.structures import SupervisedCrops, TensorBatch
from shape3d_amodal.training.loop.interface import BatchMaker, LoopConfig, TrainingConfig
from shape3d_amodal.training.tasks.crop_task import CropPlan
from shape3d_amodal.training.tasks.scores import (
    CompletionTask,
    batches,
    clearly_hidden,
    mask_iou,
    partly_hidden,
    with_amodal,
)

_VALIDATED = 256
_BATCH = 32


@configuration
class CodebookTraining(TrainingConfig):
    """The training of the codebook, from amodal and visible masks."""

    stage: Literal["c2f_codebook"]
    """The kind of training: c2f_codebook."""
    model: CodebookConfig = CodebookConfig()
    """The autoencoder."""
    train: CropsConfig = CropsConfig()
    """Training crops; only their masks are used."""
    validation: CropsConfig = VALIDATION
    """Validation crops."""
    loop: LoopConfig = LoopConfig()
    """The training loop."""

    def task(self, cache: Path, *, workers: int) -> CodebookTask:
        torch.manual_seed(self.loop.seed)
        return CodebookTask(self, *_crops(self, self.model.size, cache, workers=workers))


@configuration
class C2FSegTraining(TrainingConfig):
    """The training of image encoder, transformer and refinement."""

    stage: Literal["c2f_seg"]
    """The kind of training: c2f_seg."""
    codebook: str | None = None
    """Folder of the weights that c2f_codebook made. Only a dry run can do without, with a random codebook."""
    weights: str | None = None
    """Safetensors file of a ResNet, with torchvision's names, from which the image encoder starts; without it the
    encoder starts at random."""
    features: FeaturesConfig = FeaturesConfig()
    """The image encoder."""
    transformer: TransformerConfig = TransformerConfig()
    """The transformer."""
    rounds: Count = 3
    """Number of rounds in which the tokens are predicted at inference."""
    train: CropsConfig = CropsConfig()
    """Training crops."""
    validation: CropsConfig = VALIDATION
    """Validation crops."""
    hidden_share: Share = 0.85
    """Share (0..1) of the training samples whose object has a hidden part."""
    loop: LoopConfig = LoopConfig()
    """The training loop."""

    def task(self, cache: Path, *, workers: int) -> C2FSegTask:
        torch.manual_seed(self.loop.seed)
        codebook = self._codebook()
        task = C2FSegTask(self, codebook, *_crops(self, codebook.config.size, cache, workers=workers))
        if self.weights is not None:
            load_resnet(task.network.features, Path(self.weights))
        return task

    def check(self) -> None:
        if self.codebook is None:
            problem = "expected a folder of weights that c2f_codebook left, got null"
            raise UsageError(f"codebook: {problem}; train one and name it here")

    def weights_config(self) -> str:
        return dump_config(self.model(self._codebook().config))

    def _codebook(self) -> MaskCodebook:
        codebook = MaskCodebook(CodebookConfig())
        if self.codebook is not None:
            codebook, _ = load_network(self.codebook, CodebookConfig, MaskCodebook)
        return codebook

    def model(self, codebook: CodebookConfig) -> C2FSegConfig:
        """The whole network's sizes."""
        return C2FSegConfig(codebook=codebook, features=self.features, transformer=self.transformer, rounds=self.rounds)


def _crops(
    training: CodebookTraining | C2FSegTraining, size: int, cache: Path, *, workers: int
) -> Iterator[CropSource]:
    """The training crops, then the validation crops."""
    for name in ("train", "validation"):
        config = getattr(training, name)
        with options_of(name, config):
            yield open_sized(config, size, cache, workers=workers)


def open_sized(config: CropsConfig, size: int, cache: Path, *, workers: int) -> CropSource:
    """The crops that ``config`` names, which must have the codebook's ``size`` and be cut as at test time."""
    if config.size != size:
        raise UsageError(f"size: expected {size}, the side of the codebook's crops, got {config.size}")
    if config.border != "unknown":
        raise UsageError("border: expected unknown, as C2F-Seg's crops are cut when it completes; leave it out")
    return open_crops(config, cache, workers=workers)


@dataclass(frozen=True, eq=False, repr=False)
class CodebookPlan(TensorBatch):
    """N masks: rows [N] int64 of the crops, how they are changed, and which are visible masks, [N] bool."""

    rows: NDArray[np.int64]
    augmentation: Augmentation
    visible: NDArray[np.bool_]


class CodebookMaker(BatchMaker):
    """Batches of masks [N,S,S]: amodal ones, and for a quarter of the rows visible ones."""

    def __init__(self, train: CropSource) -> None:
        self.train, self._usable = train, with_amodal(train.hidden)

    def plan(self, step: int, generator: np.random.Generator, size: int) -> CodebookPlan:  # noqa: ARG002
        rows = self._usable[generator.integers(len(self._usable), size=size)]
        return CodebookPlan(rows, Augmentation.draw(generator, size), generator.random(size) < 0.25)

    def make(self, plan: CodebookPlan) -> Tensor:
        crops = plan.augmentation.of(self.train.supervised(plan.rows))
        visible = torch.from_numpy(plan.visible)
        return torch.where(visible[:, None, None], crops.crops.visible, crops.amodal)

    def ids(self, plan: CodebookPlan) -> list[str]:
        return self.train.ids(plan.rows)


class C2FSegMaker(BatchMaker):
    """Batches of crops, more of them with a hidden part than the source has."""

    def __init__(self, train: CropSource, hidden_share: float) -> None:
        self.train, self.hidden_share = train, hidden_share
        self._usable, self._partly_hidden = with_amodal(train.hidden), partly_hidden(train.hidden, "train")

    def plan(self, step: int, generator: np.random.Generator, size: int) -> CropPlan:  # noqa: ARG002
        anything = self._usable[generator.integers(len(self._usable), size=size)]
        hidden = self._partly_hidden[generator.integers(len(self._partly_hidden), size=size)]
        rows = np.where(generator.random(size) < self.hidden_share, hidden, anything)
        return CropPlan(rows, Augmentation.draw(generator, size))

    def make(self, plan: CropPlan) -> SupervisedCrops:
        return plan.augmentation.of(self.train.supervised(plan.rows))

    def ids(self, plan: CropPlan) -> list[str]:
        return self.train.ids(plan.rows)


class CodebookTask(CompletionTask):
    """Reconstruct masks from their tokens."""

    def __init__(self, config: CodebookTraining, train: CropSource, validation: CropSource) -> None:
        self.name = config.stage
        self.train, self.validation, self.maker = train, validation, CodebookMaker(train)
        self.network = MaskCodebook(config.model)

    def losses(self, batch: Tensor, step: int, progress: float) -> dict[str, Tensor]:  # noqa: ARG002
        return self.network.losses(batch)

    def validate(self, step: int) -> dict[str, float]:  # noqa: ARG002
        """IoU of masks and their reconstructions, and the share of codes that are used, in percent."""
        ious, used = zip(
            *self.over_ranks(self._reconstructed, _batches(with_amodal(self.validation.hidden))), strict=True
        )
        share = len(torch.cat(used).unique()) / len(self.network.codes)
        return {"reconstruction_iou": 100 * float(torch.cat(ious).mean()), "codes_used": 100 * share}

    def _reconstructed(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """IoU [N] of masks and their reconstructions, and the codes that are used."""
        mask = self._validation_batch(rows).amodal
        tokens = self.network.tokens(mask)
        return mask_iou(self.network.mask(tokens) > 0.5, mask > 0.5).cpu(), tokens.unique().cpu()

    def masks(self, batch: SupervisedCrops) -> dict[str, Tensor]:
        """Amodal masks and, after them in the sample images, their reconstructions."""
        return {"truth": batch.amodal, "back": self.network.mask(self.network.tokens(batch.amodal))}


class C2FSegTask(CompletionTask):
    """Predict the tokens of amodal masks, and refine the decoded masks."""

    def __init__(
        self, config: C2FSegTraining, codebook: MaskCodebook, train: CropSource, validation: CropSource
    ) -> None:
        self.name = config.stage
        self.config = config
        self.train, self.validation = train, validation
        self.network = C2FSeg(config.model(codebook.config))
        self.network.codebook.load_state_dict(codebook.state_dict())
        self.maker = C2FSegMaker(train, config.hidden_share)

    def losses(self, batch: SupervisedCrops, step: int, progress: float) -> dict[str, Tensor]:  # noqa: ARG002
        return self.network.losses(batch)

    def _validated(self) -> list[NDArray[np.int64]]:
        return _batches(clearly_hidden(self.validation.hidden))

    def masks(self, batch: SupervisedCrops) -> dict[str, Tensor]:
        """The coarse and the refined mask, joined with the visible one."""
        crops = batch.crops
        generators = [seeded(self.config.loop.seed, row) for row in range(len(crops.rgb))]
        coarse, fine = self.network.complete(crops.rgb, crops.visible, generators)
        masks = {"coarse": coarse, "final": fine}
        return {name: compose(mask, crops.visible, crops.occluder) for name, mask in masks.items()}


def _batches(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Up to ``_VALIDATED`` of ``rows``, evenly spread, in batches."""
    places = np.linspace(0, len(rows) - 1, min(len(rows), _VALIDATED)).round().astype(np.int64)
    return batches(rows[places], _BATCH)
