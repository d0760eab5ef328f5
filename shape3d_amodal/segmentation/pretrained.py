"""Starts a detector from pretrained weights: a ResNet of torchvision, or a whole detector of detectron2.

Such weights are mostly published as pickles, which are never opened here. Convert a file that you trust; one of
torchvision::

    import torch, safetensors.torch
    safetensors.torch.save_file(torch.load("r50.pth", weights_only=True), "r50.safetensors")

and one of detectron2, whose ``model`` is a dictionary of numpy arrays::

    import pickle, numpy, safetensors.numpy
    model = pickle.load(open("model_final.pkl", "rb"), encoding="latin1")["model"]
    safetensors.numpy.save_file({k: numpy.ascontiguousarray(v) for k, v in model.items()}, "detector.safetensors")

detectron2's own ResNets were trained on BGR images in 0..255 less the mean: they need
``backbone: {stride_in_1x1: true, bgr: true}`` and ``input: {std: [1, 1, 1]}``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from shape3d_amodal.errors import WeightsError
from shape3d_amodal.files import safe_io
from shape3d_amodal.files.weights import unpack_tensors

MAX_BYTES = 4 * 1024**3
_RENAMES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"^(conv1|bn1)\.", r"stem.\1."),
    (r"^layer([1-4])\.", lambda match: f"res{int(match[1]) + 1}."),
    (r"\bbn([1-3])\.", r"conv\1.norm."),
    (r"\bdownsample\.0\.", "shortcut."),
    (r"\bdownsample\.1\.", "shortcut.norm."),
    (r"^backbone\.", ""),
    (r"^bottom_up\.", ""),
)
"""From torchvision's names, or those of a whole detector of detectron2, to those of detectron2's ResNet."""
_HEADS = {"rpn": "proposal_generator", "box_head": "roi_heads.box_head"}
"""detectron2's names of the other parts. Its class predictor is left out, since its categories are not ours."""


def load_detector(model: nn.Module, file: Path, *, bgr: bool = False) -> None:
    """Start ``model.backbone`` from ``file``, and the proposals and the box head where a whole detector is there.

    Args:
        bgr: the weights were trained on BGR images.

    Raises:
        WeightsError: the file cannot be read, or lacks a tensor of the ResNet.
    """
    tensors = unpack_tensors(safe_io.read_bytes(file, MAX_BYTES), file)
    _start_backbone(model.get_submodule("backbone"), tensors, file, bgr=bgr)
    for name, theirs in _HEADS.items():
        part = model.get_submodule(name)  # alone: frozen norms that a state dict lacks are reset silently
        own = part.state_dict()
        found = {key: tensors[f"{theirs}.{key}"] for key in own if f"{theirs}.{key}" in tensors}
        part.load_state_dict({key: one for key, one in found.items() if one.shape == own[key].shape}, strict=False)


def _start_backbone(backbone: nn.Module, content: dict[str, Tensor], file: Path, *, bgr: bool) -> None:
    """Load the ResNet, of which no tensor may be missing, and the pyramid, if it is there."""
    tensors = {}
    for name, tensor in content.items():
        for pattern, replacement in _RENAMES:
            name = re.sub(pattern, replacement, name)
        tensors[name] = tensor
    own = backbone.state_dict()
    wanted = {name: name.removeprefix("bottom_up.") for name in own}
    found = {name: tensors[key] for name, key in wanted.items() if key in tensors}
    found = {name: tensor for name, tensor in found.items() if tensor.shape == own[name].shape}
    missing = [name for name in own if name.startswith("bottom_up.") and name not in found]
    if missing and not all(name.endswith("num_batches_tracked") for name in missing):
        problem = (
            f"expected the weights of a ResNet of the configured depth, {wanted[missing[0]]} is missing or differs"
        )
        raise WeightsError(f"{problem}; use another file, or change backbone.depth", file=file)
    if bgr:
        found["bottom_up.stem.conv1.weight"] = found["bottom_up.stem.conv1.weight"].flip(1)
    backbone.load_state_dict(found, strict=False)
