"""Stage 2, learned: an image encoder and a decoder that deforms a symmetric template of the category.

One design from what recurs in the literature on unsupervised reconstruction: a learned category template (UMR, Li et
al., 2020) on an icosphere (CMR, Kanazawa et al., 2018), mirror symmetry built into the decoder (CMR), and a shape code
that is gated until the template stands (UNICORN, Monnier et al., 2022).
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from shape3d_amodal.config import Width, configuration
from shape3d_amodal.geometry.templates import Template, icosphere, symmetrize
from shape3d_amodal.priors.learned.traits import CategoryTraits
from shape3d_amodal.structures import InstanceCrops, MeshEstimate


@configuration
class ReconstructionConfig:
    """Sizes of the reconstruction network."""

    level: Annotated[int, Field(ge=0, le=5)] = 2
    """Subdivisions of the template's icosphere (2: 162 vertices, 320 faces; 3: 642 and 1280)."""
    code_size: Width = 48
    """Numbers in the shape code."""
    widths: tuple[Width, Width, Width, Width] = (32, 64, 128, 192)
    """Channels of the encoder's four stages, each of which halves the resolution."""
    features: Width = 256
    """Numbers in the encoder's feature vector."""
    embedding: Width = 32
    """Numbers in a category's embedding."""
    use_rgb: bool = True
    """Whether the encoder sees colours, or masks alone."""
    symmetric: bool = True
    """Whether every mesh is mirrored exactly in the object's plane x = 0; without it each vertex is free."""


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class ImageEncoder(nn.Module):
    """Crops to feature vectors [N, features + embedding]. It sees the visible part alone, and where it may go on."""

    group: Tensor | None

    def __init__(self, config: ReconstructionConfig, categories: int, traits: CategoryTraits | None = None) -> None:
        super().__init__()
        self.register_buffer("group", _groups(traits), persistent=False)
        self.use_rgb = config.use_rgb
        stages: list[nn.Module] = []
        inputs = 5
        for width in config.widths:
            stages += [_conv(inputs, width, stride=2), _conv(width, width)]
            inputs = width
        self.stages = nn.Sequential(*stages, nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.project = nn.Sequential(nn.Linear(16 * inputs, config.features), nn.ReLU(inplace=True))
        self.embedding = nn.Embedding(categories if traits is None else traits.groups, config.embedding)

    def forward(self, crops: InstanceCrops) -> Tensor:
        visible = crops.visible[:, None]
        rgb = (crops.rgb - 0.5) * visible if self.use_rgb else torch.zeros_like(crops.rgb)
        channels = torch.cat([rgb, visible, crops.occluder[:, None]], dim=1)
        features = self.project(self.stages(channels.contiguous(memory_format=torch.channels_last)))
        group = crops.category if self.group is None else self.group[crops.category]
        return torch.cat([features, self.embedding(group)], dim=1)


class MeshDecoder(nn.Module):
    """Features to a shape code, and a code to a mesh: the category's template, stretched along the axes and offset."""

    template: Template
    faces: Tensor
    mirror: Tensor
    group: Tensor | None
    free: Tensor | None

    def __init__(self, config: ReconstructionConfig, categories: int, traits: CategoryTraits | None = None) -> None:
        super().__init__()
        groups = categories if traits is None else traits.groups
        self.register_buffer("group", _groups(traits), persistent=False)
        free = None if traits is None else ~torch.tensor(traits.symmetric)
        self.register_buffer("free", free, persistent=False)
        self.symmetric = config.symmetric
        sphere = icosphere(config.level)
        self.template = sphere
        count = len(sphere.verts)
        ellipsoid = 0.4 * sphere.verts * torch.tensor([0.7, 0.7, 1.0])  # not a sphere: the azimuth must show
        self.templates = nn.Parameter(ellipsoid.expand(groups, -1, -1).clone())
        self.to_code = nn.Linear(config.features + config.embedding, config.code_size)
        self.embedding = nn.Embedding(groups, config.embedding)
        self.hidden = nn.Sequential(
            nn.Linear(config.code_size + config.embedding, 128), nn.ReLU(), nn.Linear(128, 256), nn.ReLU()
        )
        self.offsets = nn.Linear(256, 3 * count)
        self.stretch = nn.Linear(256, 3)
        for layer in (self.offsets, self.stretch):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.register_buffer("faces", sphere.faces, persistent=False)
        self.register_buffer("mirror", sphere.mirror, persistent=False)

    def encode(self, features: Tensor) -> Tensor:
        """Shape codes [N,D]."""
        return self.to_code(features)

    def forward(self, code: Tensor, category: Tensor, gate: float = 1.0) -> MeshEstimate:
        """Meshes in the object frame.

        Args:
            code: [N,D] shape codes.
            category: [N] int64.
            gate: 0 gives every instance its category's template, 1 its own shape.
        """
        group = category if self.group is None else self.group[category]
        hidden = self.hidden(torch.cat([code, self.embedding(group)], dim=1))
        offsets = self.offsets(hidden).view(len(code), -1, 3)
        stretch = (gate * self.stretch(hidden).tanh() * 0.7).exp()[:, None]
        verts = self.templates[group] + gate * offsets
        if self.symmetric:
            mirrored = symmetrize(verts, self.mirror)
            verts = mirrored if self.free is None else torch.where(self.free[category][:, None, None], verts, mirrored)
        return MeshEstimate(verts * stretch, self.faces, code)


def _groups(traits: CategoryTraits | None) -> Tensor | None:
    return None if traits is None else torch.tensor(traits.group)
