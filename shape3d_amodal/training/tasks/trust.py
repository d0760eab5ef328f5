"""The training of stage 5's trust in known shapes (``refinement.trust``), on top of weights that stay as they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shape3d_amodal.config import configuration, dump_config
from shape3d_amodal.files.pretrained import load_network
from shape3d_amodal.model import AmodalModel, AmodalModelConfig
from shape3d_amodal.refinement.criterion import RefinementLossConfig, refinement_losses
from shape3d_amodal.refinement.regions import compose
from shape3d_amodal.refinement.trust import Trust, TrustConfig
from shape3d_amodal.structures import SupervisedCrops
from shape3d_amodal.training.loop.interface import BatchMaker, LoopConfig, Task, TrainingConfig
from shape3d_amodal.training.tasks.evidence import Evidence, EvidenceConfig, model_config, open_evidence
from shape3d_amodal.training.tasks.scores import completion_scores

_Batch = tuple[SupervisedCrops, Tensor, Tensor]


@configuration
class TrustTraining(TrainingConfig):
    """The training of trust."""

    stage: Literal["trust"]
    """The kind of training: trust."""
    weights: str = "open13"
    """Weights of stages 2 to 5 whose stage 5 learns trust; nothing else of them changes."""
    model: TrustConfig = TrustConfig()
    """The network of trust."""
    meshes: str = "open13:train"
    """Mesh source of the bank that the trained weights ask where no other is given."""
    train: EvidenceConfig = EvidenceConfig()
    """What is learned from."""
    validation: EvidenceConfig = EvidenceConfig(seed=1, count=120)
    """What is validated on."""
    loss: RefinementLossConfig = RefinementLossConfig(edge=0.0)
    """Losses."""
    loop: LoopConfig = LoopConfig()
    """The training loop."""

    def task(self, cache: Path, *, workers: int) -> TrustTask:
        torch.manual_seed(self.loop.seed)
        base, _ = load_network(self.weights, AmodalModelConfig, AmodalModel)
        train, validation = (
            open_evidence(config, self.weights, cache, workers=workers) for config in (self.train, self.validation)
        )
        return TrustTask(self, base, train, validation)

    def weights_config(self) -> str:
        base = model_config(self.weights)
        return dump_config(replace(base, trust=self.model, meshes=self.meshes, fit_steps=self.train.prior.fit_steps))


class TrustMaker(BatchMaker):
    """Batches of evidence."""

    def __init__(self, train: Evidence) -> None:
        self.train = train

    def plan(self, step: int, generator: np.random.Generator, size: int) -> NDArray[np.int64]:  # noqa: ARG002
        return generator.integers(len(self.train.hidden), size=size)

    def make(self, plan: NDArray[np.int64]) -> _Batch:
        return _rows_of(self.train, plan)

    def ids(self, plan: NDArray[np.int64]) -> list[str]:
        return [f"object {row}" for row in plan]


class TrustTask(Task):
    """Weigh completion and silhouette so that their sum is the amodal mask."""

    def __init__(self, config: TrustTraining, base: AmodalModel, train: Evidence, validation: Evidence) -> None:
        self.name, self.config, self._base = config.stage, config, base
        self.maker, self.validation = TrustMaker(train), validation
        self.network = Trust(config.model)
        told = torch.from_numpy(np.array(train.signs))
        self.network.mean.copy_(told.mean(dim=0))
        self.network.deviation.copy_(told.std(dim=0, correction=0).clamp(min=1e-3))

    def losses(self, batch: _Batch, step: int, progress: float) -> dict[str, Tensor]:  # noqa: ARG002
        crops, logits, told = batch
        assert crops.silhouette is not None
        return refinement_losses(self.network(logits, crops.silhouette, told), crops, self.config.loss)

    def validate(self, step: int) -> dict[str, float]:  # noqa: ARG002
        """IoU and occluded IoU of the completion, the silhouette and the weighed mask: means in percent."""
        crops, logits, told = _rows_of(self.validation, np.arange(len(self.validation.hidden)))
        assert crops.silhouette is not None
        found = {"completion": logits.sigmoid(), "silhouette": crops.silhouette}
        found["final"] = self.network(logits, crops.silhouette, told).sigmoid()
        seen = crops.crops
        masks = {name: compose(one, seen.visible, seen.occluder) for name, one in found.items()}
        return completion_scores([(crops, masks)])

    def finish(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """All weights: those of the base, and trust."""
        base = {name: tensor.cpu() for name, tensor in self._base.state_dict().items()}
        kept = {name: tensor for name, tensor in base.items() if not name.startswith("trust.")}
        return {**kept, **{f"trust.{name}": tensor for name, tensor in weights.items()}}


def _rows_of(evidence: Evidence, rows: NDArray[np.int64]) -> _Batch:
    """Crops, logits of the completion and signs of some rows."""
    logits, told = (torch.from_numpy(np.array(array[rows])) for array in (evidence.logits, evidence.signs))
    return evidence.supervised(rows), logits, told
