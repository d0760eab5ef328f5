"""VRSP (Xiao et al., AAAI 2021; later also "ShapeDict"): masks refined by the visible region and by known shapes.

Two branches predict a coarse amodal and a coarse visible mask. The same branches run a second time: the visible one
on features under the coarse amodal mask, the amodal one on features under the refined visible mask together with those
shapes of the codebook that are nearest to the coarse amodal mask. In training a third pass gets the true masks; its
features are targets for those of the coarse pass. Scores are corrected by a classifier of the visible region, and by
the distance of the mask to the nearest known shape.

The shapes are trained beforehand (stage ``vrsp_shapes``). The order of the passes, the shared branches and the
distances are those of the public code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cosine_similarity, cross_entropy

from shape3d_amodal.baselines.rcnn.vrsp_shapes import ShapeMemory, ShapeMemoryConfig, ShapesConfig
from shape3d_amodal.config import Weight, configuration
from shape3d_amodal.errors import UsageError
from shape3d_amodal.files.pretrained import read_config
from shape3d_amodal.files.weights import load_weights
from shape3d_amodal.segmentation.layers import HeadShape, MaskBranch, mask_loss, of_category
from shape3d_amodal.segmentation.roi_heads import ROI_SIZE, MaskHead, MaskPrediction, Rois, RoiTargets, SystemConfig


@configuration
class VrspConfig(SystemConfig):
    files: ClassVar[tuple[str, ...]] = ("shapes",)

    shapes: str | None = None
    """Folder of weights that a training of the stage vrsp_shapes wrote; its sizes must be those of ``memory``."""
    memory: ShapeMemoryConfig = ShapeMemoryConfig()
    """Sizes of the shape prior."""
    neighbours: Annotated[int, Field(ge=0, le=16_384)] = 16
    """Number of known shapes that the amodal branch gets; 0 for none."""
    attention: Literal["soft", "binary"] = "soft"
    """Whether features are multiplied by a mask's probabilities or by 0 and 1."""
    teacher_weight: Weight = 1.0
    """Weight of the masks of the pass that gets the true ones."""
    matching: tuple[Weight, Weight] = (0.01, 0.05)
    """Weights of the matching of features after the convolutions, and after the upsampling."""
    class_weight: Weight = 0.25
    """Weight of the classification of the visible region; the public code has 0.1 for D2SA."""
    true_class_weight: Weight = 0.1
    """Weight of the true visible region in it; the predicted one is weighted by its IoU."""
    rescore_class: bool = True
    """Whether scores are corrected by that classification; false in the public code's configuration for KINS."""
    rescore_shape: Annotated[float, Field(ge=2, allow_inf_nan=False)] | None = 2.0
    """Alpha of the correction by the distance to known shapes (3 for KINS in the public code); null leaves it out."""

    @property
    def remembers(self) -> bool:
        """Whether known shapes are used."""
        return self.neighbours > 0 or self.rescore_shape is not None

    def mask_head(self, shape: HeadShape) -> MaskHead:
        return VrspHead(shape, self)

    def start(self, head: MaskHead, categories: Sequence[str]) -> None:
        assert isinstance(head, VrspHead)
        if head.shapes is None:
            return
        if self.shapes is not None:
            _fill(head.shapes, Path(self.shapes), ShapesConfig(categories=tuple(categories), memory=self.memory))
        elif not head.shapes.known.any():
            raise UsageError(
                "options.shapes: expected a folder of weights of the stage vrsp_shapes, got none; "
                "train them first, or do without: neighbours 0 and rescore_shape null"
            )


@dataclass(frozen=True)
class Pass:
    """The output of one pass of the two branches for R regions.

    Attributes:
        amodal, visible: logits [R,28,28].
        features: of both branches, after the convolutions and after the upsampling.
    """

    amodal: Tensor
    visible: Tensor
    features: tuple[Tensor, ...]


class VrspHead(MaskHead):
    def __init__(self, shape: HeadShape, config: VrspConfig) -> None:
        super().__init__()
        self.config = config
        self.branches = nn.ModuleDict({name: MaskBranch(shape) for name in ("amodal", "visible")})
        self.fuse = nn.Conv2d(shape.channels + config.neighbours, shape.channels, 3, padding=1)
        self.classify = nn.Sequential(
            nn.Flatten(),
            nn.Linear(shape.channels * ROI_SIZE**2, shape.box_width),
            nn.ReLU(),
            nn.Linear(shape.box_width, shape.box_width),
            nn.ReLU(),
            nn.Linear(shape.box_width, shape.classes),
        )
        self.shapes = ShapeMemory(shape.classes, config.memory).requires_grad_(False) if config.remembers else None

    def forward(self, rois: Rois) -> dict[str, Tensor]:
        """The refined ``amodal`` and ``visible`` logits [R,28,28], and the ``coarse_`` ones."""
        coarse = self.coarse(rois)
        refined = self.refined(rois, coarse, self.priors(coarse.amodal, rois.category))
        return {
            "amodal": refined.amodal,
            "visible": refined.visible,
            "coarse_amodal": coarse.amodal,
            "coarse_visible": coarse.visible,
        }

    def coarse(self, rois: Rois) -> Pass:
        return self._pass(rois.features, rois.features, rois.category)

    def refined(self, rois: Rois, coarse: Pass, priors: Tensor) -> Pass:
        """The pass on features under the coarse amodal mask, and then under its own visible mask."""
        x = rois.features
        visible, features = self._branch("visible", x * self.attention(coarse.amodal), rois.category)
        amodal, more = self._branch("amodal", self.fused(x * self.attention(visible), priors), rois.category)
        return Pass(amodal, visible, (*more, *features))

    def taught(self, rois: Rois, targets: RoiTargets, priors: Tensor) -> Pass:
        """The pass on features under the true masks."""
        amodal, visible = (avg_pool2d(mask[:, None], 2) for mask in (targets.amodal, targets.visible))
        return self._pass(self.fused(rois.features * visible, priors), rois.features * amodal, rois.category)

    def attention(self, logits: Tensor) -> Tensor:
        """The factor [R,1,14,14] of the features under a mask of logits [R,28,28]."""
        pooled = avg_pool2d(logits[:, None], 2)
        return (pooled > 0).float() if self.config.attention == "binary" else pooled.sigmoid()

    def fused(self, features: Tensor, priors: Tensor) -> Tensor:
        """Features [R,C,14,14] and shapes [R,K,14,14] to features [R,C,14,14]."""
        return self.fuse(torch.cat([features, priors], dim=1))

    @torch.no_grad()
    def priors(self, amodal: Tensor, category: Tensor) -> Tensor:
        """The known shapes nearest to masks of logits [R,28,28], at the features' size: [R,K,14,14]."""
        if self.shapes is None or self.config.neighbours == 0:
            return amodal.new_zeros(len(amodal), 0, ROI_SIZE, ROI_SIZE)
        codes = self.shapes.encode(amodal.sigmoid())
        return avg_pool2d(self.shapes.decode(self.shapes.nearest(codes, category, self.config.neighbours)), 2)

    def losses(self, rois: Rois, targets: RoiTargets) -> dict[str, Tensor]:
        coarse = self.coarse(rois)
        priors = self.priors(coarse.amodal, rois.category)
        refined, taught = self.refined(rois, coarse, priors), self.taught(rois, targets, priors)
        trust = [iou(coarse.amodal > 0, targets.amodal > 0), iou(coarse.visible > 0, targets.visible > 0)]
        weight = self.config.teacher_weight
        return {
            "coarse_amodal": mask_loss(coarse.amodal, targets.amodal),
            "coarse_visible": mask_loss(coarse.visible, targets.visible),
            "refined_amodal": mask_loss(refined.amodal, targets.amodal, trust[0]),
            "refined_visible": mask_loss(refined.visible, targets.visible, trust[1]),
            "taught_amodal": weight * mask_loss(taught.amodal, targets.amodal),
            "taught_visible": weight * mask_loss(taught.visible, targets.visible),
            "matching": matching_loss(coarse.features, taught.features, self.config.matching * 2),
            "visible_class": self.config.class_weight * self.class_loss(rois, refined.visible.detach(), targets),
        }

    def class_loss(self, rois: Rois, visible: Tensor, targets: RoiTargets) -> Tensor:
        """Cross-entropy of the category, from the predicted visible regions (logits [R,28,28]) and the true ones."""
        x, true = rois.features, avg_pool2d(targets.visible[:, None], 2)
        logits = self.classify(torch.cat([x * self.attention(visible), x * true])).float()
        if not len(rois):
            return logits.sum() * 0
        trust = iou(visible > 0, targets.visible > 0)
        weights = torch.cat([trust, torch.full_like(trust, self.config.true_class_weight)])
        return (cross_entropy(logits, targets.category.repeat(2), reduction="none") * weights).mean()

    def predict(self, rois: Rois) -> MaskPrediction:
        coarse = self.coarse(rois)
        refined = self.refined(rois, coarse, self.priors(coarse.amodal, rois.category))
        factor = torch.ones_like(rois.boxes[:, 0])
        if self.config.rescore_class:
            logits = self.classify(rois.features * self.attention(refined.visible)).float()
            factor = factor * class_factor(logits.softmax(dim=1).gather(1, rois.category[:, None])[:, 0])
        if self.config.rescore_shape is not None:
            factor = factor * shape_factor(self.distance(refined.amodal > 0, rois.category), self.config.rescore_shape)
        return MaskPrediction(refined.amodal.sigmoid(), refined.visible.sigmoid(), factor=factor)

    def distance(self, masks: Tensor, category: Tensor) -> Tensor:
        """Share of the pixels in which masks [R,28,28] bool differ from the known shape of the nearest code: [R]."""
        assert self.shapes is not None
        codes = self.shapes.encode(masks.float())
        known = self.shapes.decode(self.shapes.nearest(codes, category, 1)[:, 0]) > 0.5
        return (masks != known).float().mean(dim=(1, 2))

    def _pass(self, amodal: Tensor, visible: Tensor, category: Tensor) -> Pass:
        """Each branch on its features [R,C,14,14]."""
        whole, features = self._branch("amodal", amodal, category)
        part, more = self._branch("visible", visible, category)
        return Pass(whole, part, (*features, *more))

    def _branch(self, name: str, features: Tensor, category: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Logits [R,28,28] of a branch, and its features after the convolutions and after the upsampling."""
        branch = self.branches[name]
        assert isinstance(branch, MaskBranch)
        convolved = branch.convs(features)
        larger = branch.up(convolved)
        return of_category(branch.predictor(larger), category), (convolved, larger)


def iou(found: Tensor, true: Tensor) -> Tensor:
    """IoU [R] of masks [R,28,28] bool; 0 where both are empty."""
    return (found & true).sum(dim=(1, 2)) / (found | true).sum(dim=(1, 2)).clamp(min=1)


def matching_loss(features: Sequence[Tensor], teacher: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Weighted sum of 1 - cosine of features [R,...] and the teacher's (without gradient); means over the regions."""
    if not len(features[0]):
        return torch.stack([one.sum() * 0 for one in features]).sum()
    pairs = zip(features, teacher, weights, strict=True)
    terms = [
        weight * (1 - cosine_similarity(own.flatten(1).float(), other.detach().flatten(1).float()).mean())
        for own, other, weight in pairs
    ]
    return torch.stack(terms).sum()


def class_factor(probability: Tensor) -> Tensor:
    """The factor of a score, given the ``probability`` of the detected category for the visible region."""
    return 0.4 * probability + 0.6


def shape_factor(distance: Tensor, alpha: float) -> Tensor:
    """The factor of a score, given the ``distance`` in 0..1 to the nearest known shape: 1 at 0."""
    return ((alpha - distance).log() / torch.tensor(alpha).log()).relu()


def _fill(memory: ShapeMemory, folder: Path, own: ShapesConfig) -> None:
    """Load the trained shapes of ``folder``, whose categories and sizes must be ``own``."""
    text, state = load_weights(folder)
    theirs = read_config(folder, text, ShapesConfig)
    if theirs.categories != own.categories:
        problem = f"expected the detector's categories in its order, got {', '.join(theirs.categories)}"
        raise UsageError(f"options.shapes: {folder}: {problem}; train shapes of these")
    if theirs.memory != own.memory:
        raise UsageError(
            f"options.memory: the shapes in {folder} have {theirs.memory}, got {own.memory}; give the same"
        )
    memory.load_state_dict(state)
