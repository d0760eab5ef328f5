"""Stages 2 to 4 in a row: crops to a mesh, viewpoint hypotheses and their silhouettes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from shape3d_amodal.array_fields import ArrayFields
from shape3d_amodal.config import configuration
from shape3d_amodal.geometry.cameras import project
from shape3d_amodal.priors.learned.reconstruction import ImageEncoder, MeshDecoder, ReconstructionConfig
from shape3d_amodal.priors.learned.traits import CategoryTraits
from shape3d_amodal.priors.learned.viewpoint import ViewpointConfig, ViewpointHead
from shape3d_amodal.priors.losses import certain_iou
from shape3d_amodal.rendering import blur_sigma, render_silhouettes
from shape3d_amodal.structures import Estimate, InstanceCrops, MeshEstimate, Viewpoint, ViewpointHypotheses


@configuration
class ShapePriorConfig:
    """The learned prior: reconstruction and viewpoint."""

    reconstruction: ReconstructionConfig = ReconstructionConfig()
    """Stage 2."""
    viewpoint: ViewpointConfig = ViewpointConfig()
    """Stage 3."""
    blur_px: float = 0.3
    """Blur of the rendered silhouettes at test time, in crop pixels (training anneals its own)."""


@dataclass(frozen=True, eq=False, repr=False)
class PriorOutput(ArrayFields):
    """Raw outputs for N crops: meshes, hypotheses [N,K] and the selection logits [N,K]."""

    mesh: MeshEstimate
    hypotheses: ViewpointHypotheses
    logits: Tensor


class ShapePrior(nn.Module):
    """A category's shapes, learned without 3D or camera labels.

    Args:
        config: sizes and ranges.
        categories: number of categories.
        traits: what is known of them; None for nothing.
    """

    def __init__(self, config: ShapePriorConfig, categories: int, traits: CategoryTraits | None = None) -> None:
        super().__init__()
        told = None if traits is None or traits.are_plain else traits
        self.config = config
        self.encoder = ImageEncoder(config.reconstruction, categories, told)
        self.decoder = MeshDecoder(config.reconstruction, categories, told)
        features = config.reconstruction.features + config.reconstruction.embedding
        self.viewpoint = ViewpointHead(config.viewpoint, features, told)

    def forward(self, crops: InstanceCrops, gate: float = 1.0) -> PriorOutput:
        features = self.encoder(crops).float()
        with torch.autocast(features.device.type, enabled=False):  # geometry wants float32
            mesh = self.decoder(self.decoder.encode(features), crops.category, gate)
            hypotheses, logits = self.viewpoint(features, crops.category)
        return PriorOutput(mesh, hypotheses, logits)

    def estimate(self, crops: InstanceCrops) -> Estimate:
        """Mesh, viewpoint (the selection head's choice) and silhouette of each crop."""
        output = self(crops)
        return self.seen_from(output.mesh.verts, output.hypotheses.best(), crops)

    def seen_from(self, verts: Tensor, viewpoint: Viewpoint, crops: InstanceCrops) -> Estimate:
        """The estimate of crops that vertices [N,V,3] from viewpoints [N] make."""
        silhouette = self.silhouettes(verts, viewpoint, crops.size)
        faces = self.decoder.faces.expand(len(verts), -1, -1)
        return Estimate(verts, faces, viewpoint, silhouette, certain_iou(silhouette, crops))

    def silhouettes(self, verts: Tensor, viewpoint: Viewpoint, size: int, blur_px: float | None = None) -> Tensor:
        """Soft silhouettes [N,size,size] of vertices [N,V,3] seen from viewpoints [N]."""
        sigma = blur_sigma(self.config.blur_px if blur_px is None else blur_px, size)
        return render_silhouettes(project(verts, viewpoint), self.decoder.faces, size, sigma)
