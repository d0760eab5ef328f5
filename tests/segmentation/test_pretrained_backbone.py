"""A ResNet of torchvision, found again in the detector."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet18

from shape3d_amodal.errors import WeightsError
from shape3d_amodal.segmentation.config import BackboneConfig
from shape3d_amodal.segmentation.detector import build_backbone
from shape3d_amodal.segmentation.pretrained import load_backbone


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


@torch.no_grad()
def test_features_are_those_of_torchvision(theirs: torch.nn.Module, file: Path) -> None:
    ours = build_backbone(BackboneConfig(depth=18, channels=8)).eval()
    image = torch.randn(1, 3, 64, 64)
    load_backbone(ours, file)
    x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(image))))
    found = ours.bottom_up(image)
    for name, stage in zip(("res2", "res3", "res4", "res5"), ("layer1", "layer2", "layer3", "layer4"), strict=True):
        x = getattr(theirs, stage)(x)
        torch.testing.assert_close(found[name], x, rtol=1e-4, atol=1e-4)
    load_backbone(ours, file, bgr=True)
    torch.testing.assert_close(ours.bottom_up(image.flip(1))["res5"], x, rtol=1e-4, atol=1e-4)


def test_weights_of_another_depth_are_refused(file: Path) -> None:
    with pytest.raises(WeightsError, match=r"resnet18.safetensors: expected the weights of a ResNet.*backbone.depth"):
        load_backbone(build_backbone(BackboneConfig(depth=50, channels=8)), file)
    (file.parent / "broken.safetensors").write_bytes(b"no tensors")
    with pytest.raises(WeightsError, match="expected a safetensors file"):
        load_backbone(build_backbone(BackboneConfig(depth=18, channels=8)), file.parent / "broken.safetensors")
