"""A ResNet of torchvision, found again in the detector."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from safetensors.torch import save_file
from torchvision.models import resnet18

from shape3d_amodal.errors import WeightsError
from shape3d_amodal.segmentation.config import BackboneConfig, DetectorConfig, RegionConfig
from shape3d_amodal.segmentation.model import Rcnn
from shape3d_amodal.segmentation.pretrained import load_detector
from shape3d_amodal.segmentation.systems import RcnnConfig


@pytest.fixture(scope="module")
def theirs() -> torch.nn.Module:
    torch.manual_seed(0)
    model = resnet18().eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model


@pytest.fixture
def file(theirs: torch.nn.Module, tmp_path: Path) -> Path:
    save_file(theirs.state_dict(), tmp_path / "resnet18.safetensors")
    return tmp_path / "resnet18.safetensors"


def with_backbone(depth: int) -> Rcnn:
    backbone = BackboneConfig(depth=depth, channels=8)
    return Rcnn(RcnnConfig(detector=DetectorConfig(categories=("a",), backbone=backbone)))


@torch.no_grad()
def test_features_are_those_of_torchvision(theirs: torch.nn.Module, file: Path) -> None:
    detector = with_backbone(18).eval()
    ours = detector.backbone
    image = torch.randn(1, 3, 64, 64)
    load_detector(detector, file)
    x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(image))))
    found = ours.bottom_up(image)
    for name, stage in zip(("res2", "res3", "res4", "res5"), ("layer1", "layer2", "layer3", "layer4"), strict=True):
        x = getattr(theirs, stage)(x)
        torch.testing.assert_close(found[name], x, rtol=1e-4, atol=1e-4)
    load_detector(detector, file, bgr=True)
    torch.testing.assert_close(ours.bottom_up(image.flip(1))["res5"], x, rtol=1e-4, atol=1e-4)


def test_a_whole_detector_of_detectron2_is_found_again(tmp_path: Path) -> None:
    """Features, proposals and box head, by detectron2's own names; classes are not, for theirs are others."""
    config = DetectorConfig(
        categories=("a", "b"),
        backbone=BackboneConfig(depth=18, channels=8),
        regions=RegionConfig(box_width=16, mask_channels=8),
    )
    cfg = get_cfg()
    cfg.MODEL.DEVICE, cfg.MODEL.BACKBONE.NAME = "cpu", "build_resnet_fpn_backbone"
    cfg.MODEL.RESNETS.DEPTH, cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 18, 64
    cfg.MODEL.RESNETS.OUT_FEATURES = cfg.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.FPN.OUT_CHANNELS = 8
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[32], [64], [128], [256], [512]]
    cfg.MODEL.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]
    cfg.MODEL.ROI_HEADS.NAME, cfg.MODEL.ROI_HEADS.IN_FEATURES = "StandardROIHeads", ["p2", "p3", "p4", "p5"]
    cfg.MODEL.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
    cfg.MODEL.ROI_BOX_HEAD.NUM_FC, cfg.MODEL.ROI_BOX_HEAD.FC_DIM, cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION = 2, 16, 7
    torch.manual_seed(1)
    theirs = build_model(cfg)
    save_file(theirs.state_dict(), tmp_path / "detector.safetensors")
    ours = Rcnn(RcnnConfig(detector=config))
    classes = ours.box_predictor.cls_score.weight.clone()
    load_detector(ours, tmp_path / "detector.safetensors")
    pairs = {"backbone": "backbone", "rpn": "proposal_generator", "box_head": "roi_heads.box_head"}
    for own, other in pairs.items():
        expected = theirs.get_submodule(other).state_dict()
        found = getattr(ours, own).state_dict()
        assert found.keys() == expected.keys() and len(found) > 3
        assert all(torch.equal(found[name], expected[name]) for name in found)
    assert torch.equal(ours.box_predictor.cls_score.weight, classes)


def test_weights_of_another_depth_are_refused(file: Path) -> None:
    with pytest.raises(WeightsError, match=r"resnet18.safetensors: expected the weights of a ResNet.*backbone.depth"):
        load_detector(with_backbone(50), file)
    (file.parent / "broken.safetensors").write_bytes(b"no tensors")
    with pytest.raises(WeightsError, match="expected a safetensors file"):
        load_detector(with_backbone(18), file.parent / "broken.safetensors")
