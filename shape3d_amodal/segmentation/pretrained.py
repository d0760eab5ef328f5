"""A ResNet from a file of weights with the names of torchvision or detectron2.

Such weights mostly come pickled, which is never opened here. A file that is trusted is converted once::

    import torch, safetensors.torch
    safetensors.torch.save_file(torch.load("r50.pth", weights_only=True), "r50.safetensors")
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from shape3d_amodal.data import safe_io
from shape3d_amodal.errors import WeightsError
from shape3d_amodal.weights import unpack_tensors

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


def load_backbone(backbone: nn.Module, file: Path, *, bgr: bool = False) -> None:
    """Start the ResNet of ``backbone`` (``detector.build_backbone``) from ``file``; the pyramid, too, if it is there.

    Args:
        bgr: the weights were trained on images whose channels are blue, green and red.

    Raises:
        WeightsError: the file cannot be read, or lacks a tensor of the ResNet.
    """
    tensors = {resnet_name(name): tensor for name, tensor in _read(file).items()}
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


def resnet_name(name: str) -> str:
    """What detectron2's ResNet calls the tensor ``name`` of torchvision's ResNet, or of a detector of detectron2."""
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _read(file: Path) -> dict[str, Tensor]:
    return unpack_tensors(safe_io.read_bytes(file, MAX_BYTES), file)
