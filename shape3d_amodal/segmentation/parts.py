"""detectron2's backbone, proposals, sampler, box predictor and pooler, built from our own configuration.

Neither detectron2's global configuration nor its registries are used.
"""

from __future__ import annotations

import logging
import warnings

from detectron2.layers import ShapeSpec
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.backbone.fpn import FPN, LastLevelMaxPool
from detectron2.modeling.backbone.resnet import BasicStem, ResNet
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.proposal_generator.rpn import RPN, StandardRPNHead
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from detectron2.modeling.roi_heads.roi_heads import ROIHeads
from torch import Tensor

from shape3d_amodal.segmentation.config import LEVELS, ROI_LEVELS, STRIDES, BackboneConfig, ProposalConfig, RegionConfig

# Both come from detectron2's own calls, which a user cannot change.
warnings.filterwarnings("ignore", message="torch.meshgrid", category=UserWarning)
logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)

_RES = ("res2", "res3", "res4", "res5")


def build_backbone(config: BackboneConfig) -> FPN:
    """ResNet with a feature pyramid: images [B,3,H,W] to ``LEVELS`` by name, [B,C,H/stride,W/stride] each."""
    stem = BasicStem(3, 64, config.norm)
    options = {"stride_in_1x1": config.stride_in_1x1} if config.depth >= 50 else {}
    stages = ResNet.make_default_stages(config.depth, norm=config.norm, **options)
    resnet = ResNet(stem, stages, out_features=_RES, freeze_at=config.frozen_stages)
    norm = config.norm if config.norm == "GN" else ""
    return FPN(resnet, _RES, config.channels, norm=norm, top_block=LastLevelMaxPool())


class _FloatRPNHead(StandardRPNHead):
    """Returns float32, since bf16 has too few digits for offsets of boxes."""

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        logits, deltas = super().forward(features)
        return [one.float() for one in logits], [one.float() for one in deltas]


def build_rpn(config: ProposalConfig, channels: int) -> RPN:
    """The region proposal network on all levels of a pyramid with ``channels`` channels."""
    sizes = [[size] for size in config.sizes]
    strides = [STRIDES[name] for name in LEVELS]
    return RPN(
        in_features=list(LEVELS),
        head=_FloatRPNHead(in_channels=channels, num_anchors=len(config.ratios)),
        anchor_generator=DefaultAnchorGenerator(
            sizes=sizes, aspect_ratios=[list(config.ratios)], strides=strides, offset=0.0
        ),
        anchor_matcher=Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True),
        box2box_transform=Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0)),
        batch_size_per_image=config.sampled,
        positive_fraction=0.5,
        pre_nms_topk=config.before_nms,
        post_nms_topk=config.after_nms,
        nms_thresh=config.nms,
    )


def build_sampler(config: RegionConfig, classes: int) -> ROIHeads:
    """Matches proposals with objects and draws the regions that the heads are trained with."""
    return ROIHeads(
        num_classes=classes,
        batch_size_per_image=config.sampled,
        positive_fraction=config.positive,
        proposal_matcher=Matcher([0.5], [0, 1], allow_low_quality_matches=False),
    )


def build_box_predictor(config: RegionConfig, width: int, classes: int) -> FastRCNNOutputLayers:
    """Predicts class and box of a region from its vector of ``width`` numbers."""
    return FastRCNNOutputLayers(
        ShapeSpec(channels=width),
        box2box_transform=Box2BoxTransform(weights=(10.0, 10.0, 5.0, 5.0)),
        num_classes=classes,
        test_score_thresh=config.min_score,
        test_nms_thresh=config.nms,
        test_topk_per_image=config.detections,
    )


def build_pooler(size: int) -> ROIPooler:
    """RoIAlign of each region from one level of the pyramid, chosen by the region's size: [R,C,size,size]."""
    scales = [1 / STRIDES[name] for name in ROI_LEVELS]
    return ROIPooler(output_size=size, scales=scales, sampling_ratio=0, pooler_type="ROIAlignV2")
