"""What a detector is trained with: pictures and their objects, with boxes and masks in the network's pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from shape3d_amodal.structures import TensorBatch


@dataclass(frozen=True)
class ImageTargets(TensorBatch):
    """The N objects of a picture.

    Attributes:
        boxes: [N,4] float32, (x0, y0, x1, y1) around the amodal mask, in pixels.
        category: [N] int64, index into the detector's categories.
        amodal, visible: [N,H,W] bool; nothing is visible of an object that is fully hidden.
        occluder: [N,H,W] bool, the pixels of other instances that may hide this one.
        hidden: [N] float32 in 0..1, hidden share of the amodal mask.
        annotation: [N] int64, ids of the annotations.
    """

    boxes: Tensor
    category: Tensor
    amodal: Tensor
    visible: Tensor
    occluder: Tensor
    hidden: Tensor
    annotation: Tensor

    def __len__(self) -> int:
        return len(self.category)


@dataclass(frozen=True)
class Sample:
    """A picture [3,H,W] uint8, RGB, and its objects."""

    image: Tensor
    targets: ImageTargets


@dataclass(frozen=True)
class Samples:
    """Pictures of any sizes."""

    samples: tuple[Sample, ...]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, rows: slice) -> Samples:
        return Samples(self.samples[rows])

    def to(self, device: torch.device | str) -> Samples:
        return Samples(tuple(Sample(one.image.to(device), one.targets.to(device)) for one in self.samples))

    @property
    def images(self) -> list[Tensor]:
        return [one.image for one in self.samples]

    @property
    def targets(self) -> list[ImageTargets]:
        return [one.targets for one in self.samples]
