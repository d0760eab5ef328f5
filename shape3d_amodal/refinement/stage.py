"""The prior and the refinement together: all that the pipeline runs on crops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from shape3d_amodal.config import configuration
from shape3d_amodal.reconstruction.losses import certain_iou
from shape3d_amodal.refinement.network import PriorName, RefinementConfig, RefinementNetwork
from shape3d_amodal.structures import InstanceCrops, TensorBatch, Viewpoint, even_meshes
from shape3d_amodal.viewpoint.prior import ShapePrior, ShapePriorConfig


@configuration
class AmodalModelConfig:
    """Stages 2 to 5."""

    categories: tuple[str, ...]
    """Names of the categories, in the order of the model's indices."""
    crop_size: int = 64
    """Side of the crops in pixels."""
    prior: ShapePriorConfig = ShapePriorConfig()
    """Stages 2 to 4."""
    refinement: RefinementConfig = RefinementConfig()
    """Stage 5."""
    meshes: str | None = None
    """Mesh source of the bank whose silhouettes the refinement has learned to use, such as open13:train."""
    fit_steps: Annotated[int, Field(ge=0)] = 0
    """Steps of the bank's fit at test time, where nobody asks for another number: as many as when the refinement
    learned from it. The networks' silhouettes, which it learned from as they are, are fitted only when asked for."""


@dataclass(frozen=True)
class CoarseEstimate(TensorBatch):
    """What a prior says of N crops.

    Attributes:
        verts: [N,V,3] float32, object frame.
        faces: [N,F,3] int64; rows of equal indices are padding.
        viewpoint: shapes [N].
        silhouette: [N,S,S] float32 in 0..1.
        fit: [N] float32 in 0..1, certain-pixel IoU of the silhouette.
    """

    verts: Tensor
    faces: Tensor
    viewpoint: Viewpoint
    silhouette: Tensor
    fit: Tensor

    @property
    def evidence(self) -> tuple[Tensor, Tensor]:
        """What the refinement sees of it: silhouette and fit."""
        return self.silhouette, self.fit

    @classmethod
    def join(cls, parts: Sequence[CoarseEstimate]) -> CoarseEstimate:
        """The rows of all parts (at least one) one after another, their meshes filled up to the largest."""
        return super().join(even_meshes(parts))


def best_of(estimates: Sequence[CoarseEstimate]) -> CoarseEstimate:
    """Of several priors' estimates (at least one) of the same N crops, for each crop the one with the best fit."""
    chosen = torch.stack([estimate.fit for estimate in estimates], dim=1).argmax(dim=1)  # [N], which estimate
    count = len(chosen)
    return CoarseEstimate.join(estimates)[chosen * count + torch.arange(count, device=chosen.device)]


def no_estimate(crops: InstanceCrops) -> CoarseEstimate:
    """What is known of N crops where no prior is asked: empty meshes and silhouettes."""
    zero = torch.zeros_like(crops.visible[:, 0, 0])
    verts = zero[:, None, None].expand(-1, 1, 3)
    viewpoint = Viewpoint(zero, zero, zero, zero + 1, torch.stack([zero, zero], dim=1))
    return CoarseEstimate(verts, torch.zeros_like(verts, dtype=torch.int64), viewpoint, crops.visible * 0, zero)


class AmodalModel(nn.Module):
    """Stages 2 to 5 as one module."""

    def __init__(self, config: AmodalModelConfig) -> None:
        super().__init__()
        self.config = config
        self.prior = ShapePrior(config.prior, len(config.categories))
        self.refinement = RefinementNetwork(config.refinement, len(config.categories))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs

    def refine(self, crops: InstanceCrops, shown: Mapping[PriorName, tuple[Tensor, Tensor]]) -> Tensor:
        """Logits [N,S,S] of the amodal masks.

        Args:
            crops: N crops.
            shown: silhouettes [N,S,S] and their certain-pixel IoU [N], by the name of their prior; those that the
                refinement has not learned to use are left aside, those that are missing it does without.
        """
        nothing = (torch.zeros_like(crops.visible), torch.zeros_like(crops.visible[:, 0, 0]))
        pairs = [shown.get(name, nothing) for name in self.refinement.priors]
        logits: Tensor = self.refinement(crops, [silhouette for silhouette, _ in pairs], [fit for _, fit in pairs])
        return logits

    def refine_both_ways(self, crops: InstanceCrops, shown: Mapping[PriorName, tuple[Tensor, Tensor]]) -> Tensor:
        """The mean of the logits of the crops as they are and of the crops mirrored; arguments as for ``refine``."""
        mirrored = {name: (silhouette.flip(-1), fit) for name, (silhouette, fit) in shown.items()}
        return (self.refine(crops, shown) + self.refine(crops.mirrored(), mirrored).flip(-1)) / 2

    def coarse(self, crops: InstanceCrops) -> CoarseEstimate:
        """Mesh, viewpoint (the selection head's choice) and silhouette of each crop."""
        output = self.prior(crops)
        viewpoint = output.hypotheses.best()
        return self.render(output.mesh.verts, viewpoint, crops)

    def render(self, verts: Tensor, viewpoint: Viewpoint, crops: InstanceCrops) -> CoarseEstimate:
        silhouette = self.prior.silhouettes(verts, viewpoint, crops.size)
        faces = self.prior.decoder.faces.expand(len(verts), -1, -1)
        return CoarseEstimate(verts, faces, viewpoint, silhouette, certain_iou(silhouette, crops))
