"""Reconstruction with known cameras, from renders in NMR's format, with two views of each object.

A mesh is reconstructed from each view and rendered by both cameras (``predict_multiview`` of SoftRas, Liu et al., ICCV
2019), so that its shape must also be right from the other view.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shape3d_amodal.config import Count, configuration, dump_config
from shape3d_amodal.errors import DataError
from shape3d_amodal.geometry.cameras import project
from shape3d_amodal.geometry.templates import icosphere
from shape3d_amodal.papers.nmr.files import VIEWS, NmrObjects, nmr_objects
from shape3d_amodal.papers.nmr.network import KnownCamerasConfig, KnownCamerasModel, nmr_viewpoint, view_ious
from shape3d_amodal.priors.learned.reconstruction import ReconstructionConfig
from shape3d_amodal.priors.losses import flatness_energy, laplacian_energy
from shape3d_amodal.rendering import blur_sigma, render_silhouettes
from shape3d_amodal.structures import MeshEstimate, TensorBatch
from shape3d_amodal.training.loop.interface import BatchMaker, LoopConfig, Task, TrainingConfig


@configuration
class KnownCamerasLossConfig:
    """Weights and schedules of the losses; progress runs from 0 to 1."""

    start_blur_px: float = 0.8
    """Blur of the silhouettes at the start, in pixels."""
    final_blur_px: float = 0.2
    """Blur of the silhouettes from ``blur_until`` on."""
    blur_until: float = 0.7
    """Progress at which the blur has fallen, geometrically, to its final value."""
    gate_start: float = 0.05
    """Progress up to which every object has the template of its category."""
    gate_end: float = 0.15
    """Progress from which every object has its own shape."""
    laplacian: float = 5e-3
    """Weight of the Laplacian energy, as in SoftRas."""
    flatness: float = 5e-4
    """Weight of the flatness energy, as in SoftRas."""


@configuration
class NmrConfig(TrainingConfig):
    """Reconstruction with known cameras."""

    stage: Literal["known_cameras"]
    """known_cameras."""
    data: str
    """Folder of <synset>_<split>_{images,voxels}.npz: NMR's own files, or those of `shape3d-amodal nmr`."""
    reconstruction: ReconstructionConfig = ReconstructionConfig()
    """Encoder and decoder."""
    told_category: bool = True
    """Whether the model is told the category; NMR and SoftRas are not."""
    loss: KnownCamerasLossConfig = KnownCamerasLossConfig()
    """The losses."""
    validation_objects: Count = 8
    """Objects of each category, at most, that are validated on, from 4 views each."""
    loop: LoopConfig = LoopConfig()
    """The training loop."""

    def task(self, cache: Path, *, workers: int) -> NmrTask:  # noqa: ARG002
        """
        Raises:
            DataError: the folder lacks files, or one is damaged.
        """
        torch.manual_seed(self.loop.seed)
        return NmrTask(self, nmr_objects(self.data, "train"), nmr_objects(self.data, "val"), cache / "nmr")

    def smaller(self) -> NmrConfig:
        return replace(self, validation_objects=1)

    def for_its_steps(self) -> NmrConfig:
        return self

    def weights_config(self) -> str:
        return dump_config(self.model_config())

    def model_config(self) -> KnownCamerasConfig:
        synsets = tuple(group.synset for group in nmr_objects(self.data, "train"))
        return KnownCamerasConfig(synsets=synsets, reconstruction=self.reconstruction, told_category=self.told_category)


@dataclass(frozen=True, eq=False, repr=False)
class ViewPairs(TensorBatch):
    """N objects, each in two views.

    Attributes:
        images: [N,2,4,64,64] uint8, RGBA.
        views: [N,2] int64, NMR's numbers of the views.
        synset: [N] int64, index into the model's synsets.
    """

    images: Tensor
    views: Tensor
    synset: Tensor


@dataclass(frozen=True, eq=False, repr=False)
class PairsPlan(TensorBatch):
    """What N pairs are made of.

    Attributes:
        synset, row: [N] int64, the object.
        views: [N,2] int64.
        channels: [N,3] int64, which channel of colour each one becomes.
        gain: [N,3,1,1] float64, by which the colours are multiplied.
    """

    synset: NDArray[np.int64]
    row: NDArray[np.int64]
    views: NDArray[np.int64]
    channels: NDArray[np.int64]
    gain: NDArray[np.float64]


class PairsMaker(BatchMaker):
    """Batches of pairs of views.

    Args:
        synsets: names of the groups of objects.
        images: the images of each, [N,24,4,64,64] uint8.
    """

    def __init__(self, synsets: Sequence[str], images: Sequence[NDArray[np.uint8]]) -> None:
        self.synsets, self.images = synsets, images

    def plan(self, step: int, generator: np.random.Generator, size: int) -> PairsPlan:  # noqa: ARG002
        """Objects drawn evenly over the synsets, each in two different views; colours are permuted and scaled."""
        synset = generator.integers(len(self.images), size=size)
        rows = np.array([generator.integers(len(self.images[own])) for own in synset])
        views = np.stack([generator.choice(VIEWS, 2, replace=False) for _ in rows])
        return PairsPlan(synset, rows, views, *recoloring(generator, size))

    def make(self, plan: PairsPlan) -> ViewPairs:
        drawn = zip(plan.synset, plan.row, plan.views, strict=True)
        images = np.stack([self.images[own][row][pair] for own, row, pair in drawn])
        images = recolored(images, plan.channels, plan.gain)
        return ViewPairs(*(torch.from_numpy(part) for part in (images, plan.views, plan.synset)))

    def ids(self, plan: PairsPlan) -> list[str]:
        drawn = zip(plan.synset, plan.row, plan.views, strict=True)
        return [f"{self.synsets[own]} object {row} views {pair[0]} and {pair[1]}" for own, row, pair in drawn]


class NmrTask(Task):
    """Losses on pairs of views; validation by 3D IoU.

    Args:
        config: the training.
        train, val: the objects by synset.
        cache: folder that the images are unpacked to.

    Raises:
        DataError: a validation synset has no training objects, or a file is damaged.
    """

    name = "known_cameras"

    def __init__(
        self, config: NmrConfig, train: tuple[NmrObjects, ...], val: tuple[NmrObjects, ...], cache: Path
    ) -> None:
        self.config = config
        self.model = KnownCamerasModel(config.model_config())
        self.template = icosphere(config.reconstruction.level)
        self.train, self.val = train, val
        self.maker = PairsMaker([group.synset for group in train], [group.unpacked_images(cache) for group in train])
        unknown = {group.synset for group in val} - set(self.model.config.synsets)
        if unknown:
            problem = f"expected training objects of every validation synset, got none of {min(unknown)}"
            raise DataError(problem, file=config.data)

    def modules(self) -> nn.Module:
        return self.model

    def losses(self, batch: ViewPairs, step: int, progress: float) -> dict[str, Tensor]:  # noqa: ARG002
        config = self.config.loss
        gate = float(np.clip((progress - config.gate_start) / max(config.gate_end - config.gate_start, 1e-9), 0, 1))
        images = batch.images.flatten(0, 1).float() / 255
        mesh = self.model(images, batch.synset.repeat_interleave(2), gate)
        return {
            "silhouette": 1 - cross_view_iou(mesh, batch, self.blur_px(progress)).mean(),
            "laplacian": config.laplacian * laplacian_energy(mesh.verts, self.template).mean(),
            "flatness": config.flatness * flatness_energy(mesh.verts, self.template).mean(),
        }

    def blur_px(self, progress: float) -> float:
        config = self.config.loss
        share = min(1.0, progress / max(config.blur_until, 1e-9))
        return config.start_blur_px * (config.final_blur_px / config.start_blur_px) ** share

    def validate(self, step: int) -> dict[str, float]:  # noqa: ARG002
        """3D IoU in percent by synset, on some validation objects, and its mean over synsets."""

        def scored(group: NmrObjects) -> float:
            ious = view_ious(self.model, group, views=(0, 6, 13, 19), most=self.config.validation_objects)
            return 100 * float(ious.mean())

        found = zip(self.val, self.over_ranks(scored, self.val), strict=True)
        scores = {f"voxel_iou_{group.synset}": iou for group, iou in found}
        return {"voxel_iou": float(np.mean(list(scores.values()))), **scores}


def cross_view_iou(mesh: MeshEstimate, pairs: ViewPairs, blur_px: float) -> Tensor:
    """Soft IoU [4 N] of every mesh with both views of its object; the meshes [2 N] are those of ``pairs``' images."""
    masks = pairs.images[:, :, 3].float() / 255
    size = masks.shape[-1]
    # Rows of an object: its first mesh in the first and in the second view, then its second mesh.
    cameras = nmr_viewpoint(pairs.views.repeat(1, 2).flatten())
    projected = project(mesh.verts.repeat_interleave(2, dim=0), cameras)
    silhouettes = render_silhouettes(projected, mesh.faces, size, blur_sigma(blur_px, size))
    return soft_iou(silhouettes, masks.repeat(1, 2, 1, 1).flatten(0, 1))


def soft_iou(silhouettes: Tensor, masks: Tensor) -> Tensor:
    """Soft IoU [N] of silhouettes and masks [N,S,S] in 0..1 (SoftRas, equation 13)."""
    shared = (silhouettes * masks).sum(dim=(1, 2))
    return shared / ((silhouettes + masks).sum(dim=(1, 2)) - shared).clamp(min=1e-6)


def recoloring(generator: np.random.Generator, count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Permutations [N,3] of the colour channels and factors [N,3,1,1] for them, for half of N pairs."""
    channels, gain = np.tile(np.arange(3), (count, 1)), np.ones((count, 3, 1, 1))
    for row in np.nonzero(generator.random(count) < 0.5)[0]:
        channels[row], gain[row] = generator.permutation(3), generator.uniform(0.7, 1.3, (3, 1, 1))
    return channels, gain


def recolored(images: NDArray[np.uint8], channels: NDArray[np.int64], gain: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Images [N,2,4,S,S] with colour channels permuted and scaled, alike in both views."""
    changed = images.copy()
    for row, (order, factor) in enumerate(zip(channels, gain, strict=True)):
        changed[row, :, :3] = np.clip(images[row][:, order] * factor, 0, 255)
    return changed
