"""The stages as tasks of the training loop."""

from __future__ import annotations

from dataclasses import field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shape3d_amodal.config import Share, configuration, dump_config, parse_config
from shape3d_amodal.crops.augmentation import AugmentationConfig, augment
from shape3d_amodal.crops.pool import PoolConfig, open_pool, scenes_of
from shape3d_amodal.crops.reocclusion import reocclude
from shape3d_amodal.crops.scenes import CropArrays, SceneCropsConfig
from shape3d_amodal.drawing.crop_grids import crop_grid, spread_rows
from shape3d_amodal.errors import UsageError, WeightsError
from shape3d_amodal.files.weights import load_weights
from shape3d_amodal.geometry.windows import inside_picture
from shape3d_amodal.meshes.sources import CATEGORIES
from shape3d_amodal.model import AmodalModel, AmodalModelConfig
from shape3d_amodal.priors.interface import PriorName
from shape3d_amodal.priors.learned.criterion import PriorBatch, PriorCriterion, PriorLossConfig
from shape3d_amodal.priors.losses import certain_iou
from shape3d_amodal.refinement.criterion import RefinementLossConfig, refinement_losses
from shape3d_amodal.refinement.regions import compose
from shape3d_amodal.refinement.transfer import grown
from shape3d_amodal.structures import SupervisedCrops
from shape3d_amodal.training.loop.distributed import Ranks
from shape3d_amodal.training.loop.interface import LoopConfig, Task, TrainingConfig
from shape3d_amodal.training.tasks.bank_crops import BankArrays, BankPoolConfig, open_bank
from shape3d_amodal.training.tasks.pairs import ShapePairs
from shape3d_amodal.training.tasks.restarts import Restartable, RestartsConfig, best_start
from shape3d_amodal.training.tasks.scores import clearly_hidden, completion_scores, partly_hidden

_VALIDATION_BATCH = 64
_SILHOUETTES: dict[PriorName, str] = {"learned": "silhouette", "bank": "bank"}
"""What silhouettes are called in metrics and pictures."""

Part = Literal["prior", "refinement"]
Stage = Literal["prior", "reconstruction", "viewpoint", "completion2d", "refinement", "end_to_end"]
Supervision = Literal["amodal", "visible"]
_PRIOR_STAGES = ("prior", "reconstruction", "viewpoint")


@configuration
class StageConfig(TrainingConfig):
    """The training of one stage, or of several together: its data, its model and its loop."""

    stage: Stage
    """The kind of training: prior (stages 2 and 3 together), reconstruction (stage 2), viewpoint (stage 3),
    completion2d (stage 5 without a prior), refinement (stage 5) or end_to_end (stages 2 to 5)."""
    init: dict[Part, str] = field(default_factory=dict)
    """Folders of weights, relative to the working directory, from which the prior and the refinement start; a part
    without one starts at random."""
    model: AmodalModelConfig = AmodalModelConfig(categories=CATEGORIES)
    """The networks of stages 2 to 5."""
    pool: PoolConfig = PoolConfig()
    """Training crops."""
    validation: PoolConfig = PoolConfig(crops=SceneCropsConfig(meshes="open13:val", seed=2), scenes=300)
    """Validation crops, which show other meshes."""
    prior_loss: PriorLossConfig = PriorLossConfig()
    """Losses of the prior."""
    refinement_loss: RefinementLossConfig = RefinementLossConfig()
    """Losses of the refinement."""
    bank: BankPoolConfig | None = None
    """The shape bank whose silhouettes the refinement gets; needed where model.refinement.priors names the bank."""
    bank_share: Share = 0.5
    """Share (0..1) of the refinement's samples that have a silhouette of the bank."""
    supervision: Supervision | None = None
    """The masks that training uses: amodal, or visible ones alone. By default (null), prior, reconstruction and
    viewpoint use visible masks, the other stages amodal ones. With amodal masks, all pixels of the prior's silhouettes
    are compared with the amodal mask, and the refinement's target is that mask. With visible masks, only the certain
    pixels of the silhouettes are compared, and the refinement's target is the visible mask, of which its input lacks a
    part. In end_to_end, this option concerns the refinement alone: the losses of the prior use the certain pixels."""
    pair_share: Share = 0.5
    """Share (0..1) of the prior's samples that are drawn in pairs of the same mesh, where prior_loss.pairs is not 0."""
    restarts: RestartsConfig = RestartsConfig()
    """Several seeds of the prior may be tried before the training."""
    augmentation: AugmentationConfig = AugmentationConfig()
    """Random changes of the refinement's crops."""
    silhouette_dropout: Share = 0.1
    """Share (0..1) of the refinement's samples whose silhouette is left out, so that it also learns to do without."""
    hidden_share: Share = 0.85
    """Share (0..1) of the refinement's samples whose object has a hidden part."""
    loop: LoopConfig = LoopConfig()
    """The training loop."""

    def task(self, cache: Path, *, workers: int) -> CropTask:
        """
        Raises:
            UsageError: the model's categories are not those of the crops, or no crop has what the stage needs.
            WeightsError: the weights to start from cannot be used.
        """
        self._check()
        model = self.start(self.loop.seed)
        pool = open_pool(self.pool, cache, workers=workers)
        validation = open_pool(self.validation, cache, workers=workers)
        banks: list[BankArrays] = []
        if self.bank is not None:
            for config, crops in ((self.pool, pool), (self.validation, validation)):
                banks.append(open_bank(self.bank, config, crops, cache, workers=workers))
        return build_task(self, model, pool, validation, *banks)

    def start(self, seed: int) -> AmodalModel:
        """The model before its first step: random as ``seed`` says, but for the parts that ``init`` names."""
        torch.manual_seed(seed)
        model = AmodalModel(self.model)
        for part, folder in self.init.items():
            load_part(model, part, Path(folder))
        return model

    @property
    def labels(self) -> Supervision:
        """``supervision``, or the stage's default."""
        return self.supervision or ("visible" if self.stage in _PRIOR_STAGES else "amodal")

    def _check(self) -> None:
        self._check_prior()
        if self.model.categories != CATEGORIES:
            raise UsageError(
                f"model.categories: expected the categories of the crops in their order: {', '.join(CATEGORIES)}"
            )
        if (self.bank is None) == (self.stage == "refinement" and "bank" in self.model.refinement.priors):
            raise UsageError(
                "bank: expected one exactly for the stage refinement with a bank among model.refinement.priors"
            )
        if self.bank is not None and self.labels == "visible":
            raise UsageError("supervision: visible goes without a bank, whose silhouettes would be of other masks")
        if self.bank is not None and self.model.meshes != self.bank.meshes:
            raise UsageError(
                f"model.meshes: expected those of the bank that is learned from, {self.bank.meshes}, got "
                f"{self.model.meshes}; the weights take their bank from there"
            )
        if self.bank is not None and self.model.fit_steps != self.bank.prior.fit_steps:
            raise UsageError(
                f"model.fit_steps: expected bank.prior.fit_steps, {self.bank.prior.fit_steps}, got "
                f"{self.model.fit_steps}; the "
                "weights fit their bank as it was when they learned from it"
            )

    def _check_prior(self) -> None:
        stages, loss = ", ".join(_PRIOR_STAGES), self.prior_loss
        if self.restarts.seeds > 1 and (self.stage not in _PRIOR_STAGES or "prior" in self.init):
            raise UsageError(f"restarts.seeds: more than one goes with the stages {stages}, and without init.prior")
        if not loss.certain and self.stage in _PRIOR_STAGES and self.labels == "amodal":
            raise UsageError(
                "prior_loss.certain: false goes without supervision: amodal, which knows what occluders hide"
            )
        if loss.pairs > 0:
            if self.stage not in _PRIOR_STAGES:
                raise UsageError(f"prior_loss.pairs: goes with the stages {stages}")
            if not self.model.prior.reconstruction.symmetric:
                raise UsageError("prior_loss.pairs: needs model.prior.reconstruction.symmetric; crops are mirrored")
            if scenes_of(self.pool).deform > 0:
                raise UsageError(
                    "prior_loss.pairs: needs scenes that leave their meshes as they are, since crops of a deformed "
                    "mesh are of different shapes; set pool.crops.scenes.deform=0, or make the shards so"
                )

    def smaller(self) -> StageConfig:
        few = replace(self, pool=self.pool.smaller(), validation=self.validation.smaller())
        return few if few.bank is None else replace(few, bank=replace(few.bank, crops=min(few.bank.crops, 8)))

    def weights_config(self) -> str:
        return dump_config(self.model)


class CropTask(Task):
    """What all stages share: crops of the pool, and what is made of those of the validation pool."""

    def __init__(self, config: StageConfig, model: AmodalModel, pool: CropArrays, validation: CropArrays) -> None:
        self.name = config.stage
        self.config = config
        self.model = model
        self.pool = pool
        self.validation = validation

    def modules(self) -> nn.Module:
        return self.model

    def _rows(self, generator: np.random.Generator, size: int) -> NDArray[np.int64]:
        return generator.integers(len(self.pool.category), size=size)

    def _ids(self, rows: NDArray[np.int64]) -> list[str]:
        return [f"scene {self.pool.scene[row]} crop {row}" for row in rows]

    def sample_pictures(self, step: int) -> dict[str, NDArray[np.uint8]]:
        """Validation crops: picture, given masks, what the model makes of them (``masks``), and the true mask."""
        rows = spread_rows(self.validation.hidden)
        if not len(rows):
            return {}
        batch = self._validation_batch(rows)
        return {"samples": crop_grid(batch.crops, {**self.masks(batch), "truth": batch.amodal})}

    def validate(self, step: int) -> dict[str, float]:
        """IoU and occluded IoU of ``masks``: means in percent over the validation crops that are over 10 % hidden."""
        rows = clearly_hidden(self.validation.hidden)
        parts = (rows[start : start + _VALIDATION_BATCH] for start in range(0, len(rows), _VALIDATION_BATCH))
        batches = (self._validation_batch(part) for part in parts)
        return completion_scores((batch, self.masks(batch)) for batch in batches)

    def _validation_batch(self, rows: NDArray[np.int64]) -> SupervisedCrops:
        return self.validation.supervised(rows).to(next(self.model.parameters()).device)

    def masks(self, batch: SupervisedCrops) -> dict[str, Tensor]:
        """What the stage makes of crops, [N,S,S] in 0..1 each: the learned silhouette, joined with what is visible."""
        crops = batch.crops
        return {"silhouette": compose(self.model.prior.estimate(crops).silhouette, crops.visible, crops.occluder)}


class PriorTask(CropTask, Restartable):
    """Stages 2 and 3, together or one at a time; from visible masks alone, unless amodal ones are asked for."""

    def __init__(self, config: StageConfig, model: AmodalModel, pool: CropArrays, validation: CropArrays) -> None:
        super().__init__(config, model, pool, validation)
        self.criterion = PriorCriterion(config.prior_loss, config.model.prior.reconstruction.level)
        self.pool_size = len(pool.category)
        self.image_size = scenes_of(config.pool).image_size if config.labels == "amodal" else 0
        self.pairs = ShapePairs(pool.mesh) if config.prior_loss.pairs > 0 else None
        model.refinement.requires_grad_(False)
        if config.stage == "reconstruction":
            model.prior.viewpoint.requires_grad_(False)
        elif config.stage == "viewpoint":
            model.prior.encoder.requires_grad_(False)
            model.prior.decoder.requires_grad_(False)

    def begin(self, config: LoopConfig, ranks: Ranks) -> None:
        if self.config.restarts.seeds > 1:
            best_start(self, self.config.restarts, config, ranks)

    def restart(self, seed: int) -> None:
        """Stand where a training with this seed starts."""
        self.model.load_state_dict(self.config.start(seed).state_dict())

    def training_score(self, rows: NDArray[np.int64], progress: float) -> float:
        """Mean certain-pixel IoU, 0..1, of the selected silhouettes with the pool's ``rows``."""
        device = next(self.model.parameters()).device
        gate = self.criterion.gate(progress)
        ious = []
        for start in range(0, len(rows), _VALIDATION_BATCH):
            crops = self.pool.supervised(rows[start : start + _VALIDATION_BATCH]).crops.to(device)
            output = self.model.prior(crops, gate)
            seen = self.model.prior.silhouettes(output.mesh.verts, output.hypotheses.best(), crops.size)
            ious.append(certain_iou(seen, crops))
        return float(torch.cat(ious).mean())

    def batch(self, step: int, generator: np.random.Generator, size: int) -> tuple[PriorBatch, list[str]]:
        rows = self._rows(generator, size)
        shape = None
        if self.pairs is not None:
            rows = self.pairs.drawn_into(rows, self.config.pair_share, generator)
            shape = torch.from_numpy(self.pairs.shape[rows])
        drawn = self.pool.supervised(rows)
        if self.config.labels == "amodal":
            known = inside_picture(drawn.crops.window, self.image_size, self.image_size, drawn.crops.size)
            drawn = replace(drawn, known=known)
        # Not warped: no camera shows an object so.
        batch = augment(drawn, generator)
        target = None
        if batch.known is not None:
            target = replace(batch.crops, visible=batch.amodal, occluder=1 - batch.known)
        return PriorBatch(batch.crops, target, shape), self._ids(rows)

    def losses(self, batch: PriorBatch, step: int, progress: float) -> dict[str, Tensor]:
        if self.config.stage == "viewpoint":
            self.model.prior.encoder.eval()  # what is fixed keeps its batch statistics, too
        # A stage that starts from trained shapes has its gate open and its blur small.
        progress = 1.0 if "prior" in self.config.init else progress
        return self.criterion(self.model.prior, batch.crops, progress, target=batch.target, shape=batch.shape)

    def masks(self, batch: SupervisedCrops) -> dict[str, Tensor]:
        """The silhouette and, where one was trained before, what the refinement makes of it."""
        crops, found = batch.crops, super().masks(batch)
        if "refinement" not in self.config.init:
            return found
        logits = self.model.refine(crops, {"learned": self.model.prior.estimate(crops).evidence})
        return {**found, "final": compose(logits.sigmoid(), crops.visible, crops.occluder)}


class RefinementTask(CropTask):
    """Stage 5 on top of fixed priors (``refinement``), or on its own (``completion2d``)."""

    def __init__(
        self,
        config: StageConfig,
        model: AmodalModel,
        pool: CropArrays,
        validation: CropArrays,
        bank: BankArrays | None = None,
        validation_bank: BankArrays | None = None,
    ) -> None:
        super().__init__(config, model, pool, validation)
        self.with_prior = config.stage == "refinement" and "learned" in config.model.refinement.priors
        self.bank, self.validation_bank = bank, validation_bank
        model.prior.requires_grad_(False)
        if config.labels == "amodal":  # of visible masks it is not known what they hide
            self.partly_hidden = partly_hidden(pool.hidden, "pool")
        if bank is not None:
            hidden = np.isin(bank.row, self.partly_hidden)
            self.asked_hidden, self.asked_whole = bank.row[hidden], bank.row[~hidden]

    def _rows(self, generator: np.random.Generator, size: int) -> NDArray[np.int64]:
        anything = super()._rows(generator, size)
        if self.config.labels == "visible":
            return anything
        hidden = _picked(generator, self.partly_hidden, size)
        if self.bank is not None:
            asked = generator.random(size) < self.config.bank_share
            hidden = np.where(asked, _picked(generator, self.asked_hidden, size), hidden)
            if len(self.asked_whole):
                anything = np.where(asked, _picked(generator, self.asked_whole, size), anything)
        return np.where(generator.random(size) < self.config.hidden_share, hidden, anything)

    def _draw(self, generator: np.random.Generator, rows: NDArray[np.int64]) -> tuple[SupervisedCrops, list[str]]:
        if self.config.labels == "visible":
            batch = reocclude(self.pool.supervised(rows).crops, generator)
        else:
            batch = with_bank(self.pool.supervised(rows), self.bank, rows)
        return augment(batch, generator, self.config.augmentation), self._ids(rows)

    def batch(self, step: int, generator: np.random.Generator, size: int) -> tuple[SupervisedCrops, list[str]]:
        return self._draw(generator, self._rows(generator, size))

    def losses(self, batch: SupervisedCrops, step: int, progress: float) -> dict[str, Tensor]:
        self.model.prior.eval()
        with torch.no_grad():
            shown = self._shown(batch)
        logits = self.model.refine(batch.crops, {name: self._drop(*one) for name, one in shown.items()})
        return refinement_losses(logits, batch, self.config.refinement_loss)

    def _shown(self, batch: SupervisedCrops) -> dict[PriorName, tuple[Tensor, Tensor]]:
        """Silhouettes and fits of the stage's priors."""
        shown: dict[PriorName, tuple[Tensor, Tensor]] = {}
        if self.with_prior:
            shown["learned"] = self.model.prior.estimate(batch.crops).evidence
        if batch.silhouette is not None and batch.fit is not None:
            shown["bank"] = (batch.silhouette, batch.fit)
        return shown

    def _validation_batch(self, rows: NDArray[np.int64]) -> SupervisedCrops:
        return with_bank(super()._validation_batch(rows), self.validation_bank, rows)

    def masks(self, batch: SupervisedCrops) -> dict[str, Tensor]:
        """The silhouettes that the stage has, joined with what is visible, and the final mask."""
        crops, shown = batch.crops, self._shown(batch)
        joined = {_SILHOUETTES[name]: compose(one, crops.visible, crops.occluder) for name, (one, _) in shown.items()}
        logits = self.model.refine(crops, shown)
        return {**joined, "final": compose(logits.sigmoid(), crops.visible, crops.occluder)}

    def _drop(self, silhouette: Tensor, fit: Tensor) -> tuple[Tensor, Tensor]:
        keep = (torch.rand(len(fit), device=fit.device) >= self.config.silhouette_dropout).to(fit.dtype)
        return silhouette * keep[:, None, None], fit * keep


class EndToEndTask(RefinementTask):
    """Stages 2 to 5 together: the refined mask's loss reaches shape and viewpoint through the silhouette."""

    def __init__(self, config: StageConfig, model: AmodalModel, pool: CropArrays, validation: CropArrays) -> None:
        super().__init__(config, model, pool, validation)
        self.with_prior = True
        self.criterion = PriorCriterion(config.prior_loss, config.model.prior.reconstruction.level)
        model.requires_grad_(True)

    def losses(self, batch: SupervisedCrops, step: int, progress: float) -> dict[str, Tensor]:
        coarse = self.model.prior.estimate(batch.crops)
        silhouette, fit = self._drop(coarse.silhouette, coarse.fit)
        logits = self.model.refine(batch.crops, {"learned": (silhouette, fit.detach())})
        prior = self.criterion(self.model.prior, batch.crops, 1.0)
        return {**prior, **refinement_losses(logits, batch, self.config.refinement_loss)}


def with_bank(batch: SupervisedCrops, bank: BankArrays | None, rows: NDArray[np.int64]) -> SupervisedCrops:
    """``batch``, the pool's ``rows``, with what the bank says of it."""
    if bank is None:
        return batch
    silhouette, fit = bank.of(rows)
    device = batch.amodal.device
    return replace(batch, silhouette=silhouette.to(device), fit=fit.to(device))


def _picked(generator: np.random.Generator, rows: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    return rows[generator.integers(len(rows), size=size)]


def build_task(
    config: StageConfig, model: AmodalModel, pool: CropArrays, validation: CropArrays, *banks: BankArrays
) -> CropTask:
    """The task of ``config.stage``; ``banks`` are what the bank says of ``pool`` and of ``validation``, if anything."""
    if config.stage in ("completion2d", "refinement"):
        return RefinementTask(config, model, pool, validation, *banks)
    kind = EndToEndTask if config.stage == "end_to_end" else PriorTask
    return kind(config, model, pool, validation)


def load_part(model: AmodalModel, part: str, folder: Path) -> None:
    """Load one part of the model (``prior`` or ``refinement``) from weights that a stage left.

    A refinement may come from one that knows other priors (``refinement.transfer``).

    Raises:
        WeightsError: the weights are missing, damaged, or of a model of other sizes.
    """
    if not folder.is_dir():
        problem = f"no such folder of weights; train that stage first, or set init.{part}=assets/checkpoints/open13"
        raise WeightsError(problem, file=folder)
    text, state = load_weights(folder)
    own = getattr(model, part)
    found = {name.removeprefix(f"{part}."): tensor for name, tensor in state.items() if name.startswith(f"{part}.")}
    config = parse_config(text, AmodalModelConfig, source=str(folder / "config.yaml"))
    if part == "refinement" and replace(config.refinement, priors=(), gate=False) == replace(
        model.config.refinement, priors=(), gate=False
    ):
        found = grown(found, config.refinement, model.config.refinement)
    wrong = [
        name for name, tensor in own.state_dict().items() if name not in found or found[name].shape != tensor.shape
    ]
    if wrong:
        problem = f"{part}.{wrong[0]} is missing or has another shape; use the model that these weights were made with"
        raise WeightsError(problem, file=folder)
    own.load_state_dict({name: found[name] for name in own.state_dict()})
