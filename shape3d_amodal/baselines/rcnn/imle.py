"""Multimodal amodal masks by IMLE (Sun & Li, poster; Li & Malik, arXiv 1809.09087): many plausible masks a region.

The visible branch is Mask R-CNN's. The amodal branch takes the region's features and a random code. In training several
codes are tried on each region, and the loss applies only to the mask that is nearest to the true one: every true mask
then has a code near by, so that no mode is dropped. At inference one code is drawn for each mask that is wanted.

The poster gives no sizes: width of the code, number of candidates and the distance are our choices.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from shape3d_amodal.config import Width, configuration
from shape3d_amodal.segmentation.layers import HeadShape, MaskBranch, mask_loss, of_category
from shape3d_amodal.segmentation.roi_heads import MaskHead, MaskPrediction, Rois, RoiTargets, SystemConfig


@configuration
class ImleConfig(SystemConfig):
    code: Width = 32
    """Numbers in a random code."""
    candidates: Width = 10
    """Codes that are tried on each region in training."""
    distance: Literal["cross_entropy", "squared"] = "cross_entropy"
    """Distance to compare and minimise: the cross-entropy, as in Mask R-CNN, or the poster's squared distance."""
    keep: Annotated[int, Field(ge=0)] = 0
    """Steps for which the candidates of an object stay the same; 0 draws new ones for each region of each batch."""
    samples: Width = 10
    """Masks of each region at inference."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the codes at inference, which are the same for all regions."""

    def mask_head(self, shape: HeadShape) -> MaskHead:
        return ImleHead(shape, self)


class ImleHead(MaskHead):
    def __init__(self, shape: HeadShape, config: ImleConfig) -> None:
        super().__init__()
        self.config = config
        amodal = MaskBranch(shape, inputs=shape.channels + config.code)
        self.branches = nn.ModuleDict({"visible": MaskBranch(shape), "amodal": amodal})
        codes = torch.randn(config.samples, config.code, generator=torch.Generator().manual_seed(config.seed))
        self.register_buffer("codes", codes, persistent=False)
        self.codes: Tensor
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.steps: Tensor

    def forward(self, rois: Rois) -> dict[str, Tensor]:
        """The visible mask, and the amodal one of the first inference code."""
        code = self.codes[:1].expand(len(rois), -1)
        return {"visible": self.visible(rois), "amodal": self.amodal(rois, code)}

    def visible(self, rois: Rois) -> Tensor:
        """Logits [R,28,28]."""
        return of_category(self.branches["visible"](rois.features), rois.category)

    def amodal(self, rois: Rois, codes: Tensor) -> Tensor:
        """Logits [R,28,28] of codes [R,D], one a region."""
        spread = codes[:, :, None, None].expand(-1, -1, *rois.features.shape[2:])
        return of_category(self.branches["amodal"](torch.cat([rois.features, spread], dim=1)), rois.category)

    def losses(self, rois: Rois, targets: RoiTargets) -> dict[str, Tensor]:
        candidates = self.draw(targets)
        with torch.no_grad():
            tried = [self.apart(self.amodal(rois, codes), targets.amodal) for codes in candidates.unbind(dim=1)]
        chosen = nearest(candidates, torch.stack(tried, dim=1))
        self.steps += 1
        amodal = self.amodal(rois, chosen)
        distance = self.apart(amodal, targets.amodal)
        pulled = distance.mean() if len(rois) else amodal.sum() * 0
        return {"mask_visible": mask_loss(self.visible(rois), targets.visible), "mask_amodal": pulled}

    def draw(self, targets: RoiTargets) -> Tensor:
        """Candidates [R,m,D]: new random ones, or those of the object in the current period of ``keep`` steps."""
        size = (self.config.candidates, self.config.code)
        device = targets.amodal.device
        if not self.config.keep:
            return torch.randn(len(targets.annotation), *size, device=device)
        period = int(self.steps) // self.config.keep
        objects, place = targets.annotation.unique(return_inverse=True)
        drawn = [_codes_of(int(one), period, size) for one in objects]
        return torch.stack(drawn).to(device)[place] if drawn else torch.zeros(0, *size, device=device)

    def apart(self, logits: Tensor, target: Tensor) -> Tensor:
        """Distance [R] of masks of logits [R,28,28] from the true ones."""
        if self.config.distance == "squared":
            return (logits.sigmoid() - target).square().mean(dim=(1, 2))
        return binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=(1, 2))

    def predict(self, rois: Rois) -> MaskPrediction:
        """Several masks; the amodal mask is their mean."""
        drawn = [self.amodal(rois, code.expand(len(rois), -1)).sigmoid() for code in self.codes]
        samples = torch.stack(drawn, dim=1)
        return MaskPrediction(samples.mean(dim=1), self.visible(rois).sigmoid(), samples=samples)


def nearest(candidates: Tensor, distances: Tensor) -> Tensor:
    """Of the candidates [R,m,D] those [R,D] with the smallest distance [R,m]."""
    rows = torch.arange(len(candidates), device=candidates.device)
    return candidates[rows, distances.argmin(dim=1)]


def _codes_of(annotation: int, period: int, size: tuple[int, int]) -> Tensor:
    """The candidates of an object in a period; they depend on nothing else."""
    seed = (annotation * 0x9E3779B97F4A7C15 + period) % 2**63
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))
