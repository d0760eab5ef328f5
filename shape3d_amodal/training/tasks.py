"""The stages as tasks of the training loop."""

from __future__ import annotations

from dataclasses import field, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from shape3d_amodal.config import configuration, dump_config
from shape3d_amodal.data.meshes import CATEGORIES
from shape3d_amodal.data.scene_crops import CropArrays, SceneCropsConfig
from shape3d_amodal.errors import UsageError, WeightsError
from shape3d_amodal.reconstruction.losses import certain_iou
from shape3d_amodal.refinement.criterion import RefinementLossConfig, refinement_losses
from shape3d_amodal.refinement.regions import compose
from shape3d_amodal.refinement.stage import AmodalModel, AmodalModelConfig
from shape3d_amodal.structures import InstanceCrops, SupervisedCrops
from shape3d_amodal.training.interface import LoopConfig, Task, TrainingConfig
from shape3d_amodal.training.pictures import crop_grid, spread_rows
from shape3d_amodal.training.pool import PoolConfig, open_pool
from shape3d_amodal.viewpoint.criterion import PriorCriterion, PriorLossConfig
from shape3d_amodal.weights import load_weights

Part = Literal["prior", "refinement"]
Stage = Literal["prior", "reconstruction", "viewpoint", "completion2d", "refinement", "end_to_end"]


@configuration
class StageConfig(TrainingConfig):
    """The training of a stage, or of several together: its data, its model and its loop."""

    stage: Stage
    """prior (stages 2 and 3 together), reconstruction, viewpoint, completion2d (stage 5 without a prior), refinement,
    or end_to_end."""
    init: dict[Part, str] = field(default_factory=dict)
    """Folders of weights (relative to the working folder) from which parts of the model start; other parts start at
    random."""
    model: AmodalModelConfig = AmodalModelConfig(categories=CATEGORIES)
    """Stages 2 to 5."""
    pool: PoolConfig = PoolConfig()
    """Training crops."""
    validation: PoolConfig = PoolConfig(crops=SceneCropsConfig(meshes="open13:val", seed=2), scenes=300)
    """Validation crops, of other meshes."""
    prior_loss: PriorLossConfig = PriorLossConfig()
    """Losses of the prior."""
    refinement_loss: RefinementLossConfig = RefinementLossConfig()
    """Losses of the refinement."""
    silhouette_dropout: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of the refinement's samples that are shown no silhouette."""
    hidden_share: Annotated[float, Field(ge=0, le=1)] = 0.85
    """Share of the refinement's samples that have a hidden part."""
    loop: LoopConfig = LoopConfig()
    """The training loop."""

    def task(self, cache: Path, *, workers: int) -> CropTask:
        """
        Raises:
            UsageError: the model's categories are not those of the crops, or no crop has what the stage needs.
            WeightsError: the weights to start from cannot be used.
        """
        if self.model.categories != CATEGORIES:
            raise UsageError(
                f"model.categories: expected the categories of the crops in their order: {', '.join(CATEGORIES)}"
            )
        torch.manual_seed(self.loop.seed)
        model = AmodalModel(self.model)
        for part, folder in self.init.items():
            load_part(model, part, Path(folder))
        pool = open_pool(self.pool, cache, workers=workers)
        return build_task(self, model, pool, open_pool(self.validation, cache, workers=workers))

    def smaller(self) -> StageConfig:
        return replace(self, pool=_few_scenes(self.pool), validation=_few_scenes(self.validation))

    def weights_config(self) -> str:
        return dump_config(self.model)


def _few_scenes(pool: PoolConfig) -> PoolConfig:
    return replace(pool, scenes=min(pool.scenes, 16))


class CropTask(Task):
    """What all stages share: drawing augmented crops from the pool."""

    def __init__(self, config: StageConfig, model: AmodalModel, pool: CropArrays, validation: CropArrays) -> None:
        self.name = config.stage
        self.config = config
        self.model = model
        self.pool = pool
        self.validation = validation
        self.partly_hidden = np.nonzero(np.asarray(pool.hidden) > 0.02)[0]

    def modules(self) -> nn.Module:
        return self.model

    def _rows(self, generator: np.random.Generator, size: int) -> NDArray[np.int64]:
        return generator.integers(len(self.pool.category), size=size)

    def _draw(self, generator: np.random.Generator, rows: NDArray[np.int64]) -> tuple[SupervisedCrops, list[str]]:
        batch = augment(self.pool.supervised(rows), generator)
        return batch, [f"scene {self.pool.scene[row]} crop {row}" for row in rows]

    def sample_pictures(self, step: int) -> dict[str, NDArray[np.uint8]]:
        """Validation crops: picture, given masks, what the model makes of them (``_masks``), and the true mask."""
        rows = spread_rows(self.validation.hidden)
        if not len(rows):
            return {}
        batch = self.validation.supervised(rows).to(next(self.model.parameters()).device)
        return {"samples": crop_grid(batch.crops, {**self._masks(batch.crops), "truth": batch.amodal})}

    def _masks(self, crops: InstanceCrops) -> dict[str, Tensor]:
        """The silhouette before refinement."""
        return {"silhouette": self.model.coarse(crops).silhouette}


class PriorTask(CropTask):
    """Stages 2 and 3, together or one at a time, from visible masks alone."""

    def __init__(self, config: StageConfig, model: AmodalModel, pool: CropArrays, validation: CropArrays) -> None:
        super().__init__(config, model, pool, validation)
        self.criterion = PriorCriterion(config.prior_loss, config.model.prior.reconstruction.level)
        model.refinement.requires_grad_(False)
        if config.stage == "reconstruction":
            model.prior.viewpoint.requires_grad_(False)
        elif config.stage == "viewpoint":
            model.prior.encoder.requires_grad_(False)
            model.prior.decoder.requires_grad_(False)

    def batch(self, step: int, generator: np.random.Generator, size: int) -> tuple[InstanceCrops, list[str]]:
        batch, ids = self._draw(generator, self._rows(generator, size))
        return batch.crops, ids

    def losses(self, batch: InstanceCrops, step: int, progress: float) -> dict[str, Tensor]:
        if self.config.stage == "viewpoint":
            self.model.prior.encoder.eval()  # what is fixed keeps its batch statistics, too
        # A stage that starts from trained shapes has its gate open and its blur small.
        return self.criterion(self.model.prior, batch, 1.0 if "prior" in self.config.init else progress)

    def validate(self, step: int) -> dict[str, float]:
        refined = "refinement" in self.config.init  # otherwise nothing has trained it yet
        return validate(self.model, self.validation, with_prior=True, with_refinement=refined)


class RefinementTask(CropTask):
    """Stage 5 on top of a fixed prior (``refinement``), or on its own (``completion2d``)."""

    def __init__(self, config: StageConfig, model: AmodalModel, pool: CropArrays, validation: CropArrays) -> None:
        super().__init__(config, model, pool, validation)
        self.with_prior = config.stage == "refinement"
        model.prior.requires_grad_(False)
        if not len(self.partly_hidden):
            problem = f"expected crops with a hidden part, none of {len(pool.hidden)} has one"
            raise UsageError(f"pool: {problem}; make more, with pool.scenes")

    def _rows(self, generator: np.random.Generator, size: int) -> NDArray[np.int64]:
        anything = super()._rows(generator, size)
        hidden = self.partly_hidden[generator.integers(len(self.partly_hidden), size=size)]
        return np.where(generator.random(size) < self.config.hidden_share, hidden, anything)

    def batch(self, step: int, generator: np.random.Generator, size: int) -> tuple[SupervisedCrops, list[str]]:
        return self._draw(generator, self._rows(generator, size))

    def losses(self, batch: SupervisedCrops, step: int, progress: float) -> dict[str, Tensor]:
        silhouette, fit = None, None
        if self.with_prior:
            self.model.prior.eval()
            with torch.no_grad():
                coarse = self.model.coarse(batch.crops)
            silhouette, fit = self._drop(coarse.silhouette, coarse.fit)
        logits = self.model.refinement(batch.crops, silhouette, fit)
        return refinement_losses(logits, batch, self.config.refinement_loss)

    def _masks(self, crops: InstanceCrops) -> dict[str, Tensor]:
        """The silhouette where the stage has one, and the final mask."""
        coarse = self.model.coarse(crops) if self.with_prior else None
        logits = self.model.refinement(crops, coarse and coarse.silhouette, coarse and coarse.fit)
        final = {"final": compose(logits.sigmoid(), crops.visible, crops.occluder)}
        return final if coarse is None else {"silhouette": coarse.silhouette, **final}

    def _drop(self, silhouette: Tensor, fit: Tensor) -> tuple[Tensor, Tensor]:
        keep = (torch.rand(len(fit), device=fit.device) >= self.config.silhouette_dropout).to(fit.dtype)
        return silhouette * keep[:, None, None], fit * keep

    def validate(self, step: int) -> dict[str, float]:
        return validate(self.model, self.validation, with_prior=self.with_prior)


class EndToEndTask(RefinementTask):
    """Stages 2 to 5 together: the refined mask's loss reaches shape and viewpoint through the silhouette."""

    def __init__(self, config: StageConfig, model: AmodalModel, pool: CropArrays, validation: CropArrays) -> None:
        super().__init__(config, model, pool, validation)
        self.with_prior = True
        self.criterion = PriorCriterion(config.prior_loss, config.model.prior.reconstruction.level)
        model.requires_grad_(True)

    def losses(self, batch: SupervisedCrops, step: int, progress: float) -> dict[str, Tensor]:
        coarse = self.model.coarse(batch.crops)
        silhouette, fit = self._drop(coarse.silhouette, coarse.fit)
        logits = self.model.refinement(batch.crops, silhouette, fit.detach())
        prior = self.criterion(self.model.prior, batch.crops, 1.0)
        return {**prior, **refinement_losses(logits, batch, self.config.refinement_loss)}


def augment(batch: SupervisedCrops, generator: np.random.Generator) -> SupervisedCrops:
    """Mirror half of the crops; permute and scale the colours of some."""
    crops, amodal = batch.crops, batch.amodal
    flip = torch.from_numpy(generator.random(len(crops)) < 0.5)
    order = np.stack(
        [generator.permutation(3) if generator.random() < 0.5 else np.arange(3) for _ in range(len(crops))]
    )
    gain = torch.from_numpy(generator.uniform(0.8, 1.2, (len(crops), 3, 1, 1)).astype(np.float32))
    rgb = crops.rgb[torch.arange(len(crops))[:, None], torch.from_numpy(order)] * gain

    def mirrored(tensor: Tensor) -> Tensor:
        return torch.where(flip.view(-1, *[1] * (tensor.ndim - 1)), tensor.flip(-1), tensor)

    mirrored_crops = replace(
        crops, rgb=mirrored(rgb.clamp(0, 1)), visible=mirrored(crops.visible), occluder=mirrored(crops.occluder)
    )
    return SupervisedCrops(mirrored_crops, mirrored(amodal))


def validate(
    model: AmodalModel, arrays: CropArrays, *, with_prior: bool, with_refinement: bool = True, batch_size: int = 64
) -> dict[str, float]:
    """IoU and occluded IoU of silhouette and final mask on crops: means in percent over what is over 10 % hidden."""
    rows = np.nonzero(np.asarray(arrays.hidden) > 0.1)[0]
    sums: dict[str, list[Tensor]] = {}
    for start in range(0, len(rows), batch_size):
        batch = arrays.supervised(rows[start : start + batch_size])
        batch = batch.to(next(model.parameters()).device)
        crops = batch.crops
        coarse = model.coarse(crops) if with_prior else None
        masks = {}
        if with_refinement:
            logits = model.refinement(crops, coarse and coarse.silhouette, coarse and coarse.fit)
            masks["final"] = compose(logits.sigmoid(), crops.visible, crops.occluder)
        if coarse is not None:
            masks["silhouette"] = compose(coarse.silhouette, crops.visible, crops.occluder)
            sums.setdefault("certain_iou", []).append(certain_iou((coarse.silhouette > 0.5).float(), crops))
        truth = batch.amodal > 0.5
        seen = crops.visible > 0.5
        for name, mask in masks.items():
            found = mask > 0.5
            sums.setdefault(f"{name}_iou", []).append(_iou(found, truth))
            sums.setdefault(f"{name}_occluded_iou", []).append(_iou(found & ~seen, truth & ~seen))
    return {name: 100 * float(torch.cat(parts).mean()) for name, parts in sums.items()}


def _iou(a: Tensor, b: Tensor) -> Tensor:
    return (a & b).sum(dim=(1, 2)) / (a | b).sum(dim=(1, 2)).clamp(min=1)


def build_task(config: StageConfig, model: AmodalModel, pool: CropArrays, validation: CropArrays) -> CropTask:
    """The task of ``config.stage``."""
    kinds: dict[str, type[CropTask]] = {
        "completion2d": RefinementTask,
        "refinement": RefinementTask,
        "end_to_end": EndToEndTask,
    }
    return kinds.get(config.stage, PriorTask)(config, model, pool, validation)


def load_part(model: AmodalModel, part: str, folder: Path) -> None:
    """Load one part of the model (``prior`` or ``refinement``) from weights that a stage left.

    Raises:
        WeightsError: the weights are missing, damaged, or of a model of other sizes.
    """
    if not folder.is_dir():
        problem = f"no such folder of weights; train that stage first, or set init.{part}=assets/checkpoints/open13"
        raise WeightsError(problem, file=folder)
    _, state = load_weights(folder)
    own = getattr(model, part)
    found = {name.removeprefix(f"{part}."): tensor for name, tensor in state.items() if name.startswith(f"{part}.")}
    wrong = [
        name for name, tensor in own.state_dict().items() if name not in found or found[name].shape != tensor.shape
    ]
    if wrong:
        problem = f"{part}.{wrong[0]} is missing or has another shape; use the model that these weights were made with"
        raise WeightsError(problem, file=folder)
    own.load_state_dict({name: found[name] for name in own.state_dict()})
