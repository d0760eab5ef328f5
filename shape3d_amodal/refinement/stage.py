"""The prior and the refinement together: all that the pipeline runs on crops."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from shape3d_amodal.config import configuration
from shape3d_amodal.reconstruction.losses import certain_iou
from shape3d_amodal.refinement.network import RefinementConfig, RefinementNetwork
from shape3d_amodal.structures import InstanceCrops, Viewpoint
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


@dataclass(frozen=True)
class CoarseEstimate:
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


class AmodalModel(nn.Module):
    """Stages 2 to 5 as one module."""

    def __init__(self, config: AmodalModelConfig) -> None:
        super().__init__()
        self.config = config
        self.prior = ShapePrior(config.prior, len(config.categories))
        self.refinement = RefinementNetwork(config.refinement, len(config.categories))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs

    def coarse(self, crops: InstanceCrops) -> CoarseEstimate:
        """Mesh, viewpoint (the selection head's choice) and silhouette of each crop."""
        output = self.prior(crops)
        viewpoint = output.hypotheses.best()
        return self.render(output.mesh.verts, viewpoint, crops)

    def render(self, verts: Tensor, viewpoint: Viewpoint, crops: InstanceCrops) -> CoarseEstimate:
        silhouette = self.prior.silhouettes(verts, viewpoint, crops.size)
        faces = self.prior.decoder.faces.expand(len(verts), -1, -1)
        return CoarseEstimate(verts, faces, viewpoint, silhouette, certain_iou(silhouette, crops))
