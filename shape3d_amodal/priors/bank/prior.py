"""A bank of known shapes as a prior: the poses that explain the certain pixels, weighed, with or without their fit."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from shape3d_amodal.config import Count, Share, configuration
from shape3d_amodal.crops.pixels import PixelWindow, windows_of_crops
from shape3d_amodal.geometry.windows import cut
from shape3d_amodal.priors.bank.deformation import DeformationConfig, DeformedMeshes
from shape3d_amodal.priors.bank.finding import FindConfig, Found, find
from shape3d_amodal.priors.bank.poses import Level, viewpoints
from shape3d_amodal.priors.bank.shapes import ShapeBank
from shape3d_amodal.priors.interface import best_of
from shape3d_amodal.priors.losses import certain_iou
from shape3d_amodal.priors.optimization import optimize
from shape3d_amodal.structures import Estimate, InstanceCrops

_FIT_PX = 64
"""Side of the crops in which shapes are fitted, where the crops are larger."""
_LEAST = 1e-3
"""Poses of a smaller weight, relative to the best one's, are left out."""


@configuration
class BankPriorConfig:
    """The bank's poses and their fit."""

    search: FindConfig = FindConfig()
    """The search for poses."""
    temperature: Annotated[float, Field(gt=0)] = 0.003
    """Silhouettes of poses are weighted by exp(score / temperature)."""
    exact: bool = False
    """Whether the bank is known to hold the very shapes: then none is ever deformed."""
    fit_steps: Annotated[int, Field(ge=0)] = 30
    """Adam steps of the fit of shapes, where no pose of a mesh as it is explains the object; 0 for none."""
    fit_below: Share = 0.93
    """Certain-pixel IoU of the best pose below which shapes are fitted."""
    starts: Count = 4
    """Poses that are fitted, best first."""
    blur_px: float = 0.3
    """Blur of fitted silhouettes, in crop pixels."""
    start_blur_px: float = 1.0
    """The same at the fit's first step."""
    fit_temperature: Annotated[float, Field(gt=0)] = 0.03
    """Silhouettes of fitted shapes are weighted by exp(score / temperature)."""
    deformation: DeformationConfig = DeformationConfig()
    """What the fit may change, and by how much."""


class BankPrior:
    """The shapes of a bank: posed by the certain pixels, and deformed where none fits as it is.

    The silhouette is the mean over the best poses, weighted by how well each explains the certain pixels: poses that
    agree where the object is visible may differ where it is hidden. Mesh and viewpoint are those of the best one. If
    the fitted shapes explain the certain pixels less well than those before the fit, the latter are the estimate.

    It needs no training and implements ``interface.Prior``.

    Args:
        bank: the shapes.
        categories: the names that crops' categories count, such as a model's; the bank's own if None.
        config: poses and fit.
        device: where shapes are fitted; poses are always found on the CPU.
    """

    def __init__(
        self,
        bank: ShapeBank,
        categories: tuple[str, ...] | None = None,
        config: BankPriorConfig | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.bank = bank
        self.categories = bank.categories if categories is None else categories
        self.known = tuple(name for name in self.categories if name in bank.categories)
        self.config = config or BankPriorConfig()
        self.device = torch.device(device)
        self.parameters = 0

    def with_fit_steps(self, steps: int) -> BankPrior:
        return BankPrior(self.bank, self.categories, replace(self.config, fit_steps=steps), self.device)

    def estimate(
        self,
        crops: InstanceCrops,
        *,
        windows: Sequence[PixelWindow] | None = None,
        without: Sequence[Collection[str]] | None = None,
    ) -> Estimate:
        """As for ``interface.Prior``.

        Args:
            crops: N crops.
            windows: the same objects at the image's own resolution, where poses are then found; else in the crops.
            without: for each crop, names of meshes that are left out of the bank.
        """
        given = windows_of_crops(crops) if windows is None else windows
        left_out = without or [()] * len(given)
        names = [self.categories[index] for index in crops.category.tolist()]
        parts = []
        for i, (name, window) in enumerate(zip(names, given, strict=True)):
            shapes = self.bank.shapes(name, self.config.search.views)
            found = find(shapes, window, self.config.search, without=frozenset(left_out[i]))
            # Where there are only crops, their pixels stand for the image's.
            box = crops.window[i : i + 1] if windows is not None else _own_window(crops.size)
            parts.append(self._estimate(found, crops[i : i + 1], box.cpu()))
        return Estimate.join(parts)

    def _estimate(self, found: Found, crop: InstanceCrops, box: Tensor) -> Estimate:
        """The estimate of one object; ``box`` [1,4] is the crop's window in the frame of the poses."""
        posed = self._posed(found, crop, box)
        config = self.config
        if config.exact or not config.fit_steps or found.poses.score[0] >= config.fit_below:
            return posed
        return best_of([posed, self._fitted(found, crop, box)])

    def _posed(self, found: Found, crop: InstanceCrops, box: Tensor) -> Estimate:
        poses = found.poses
        weight = np.exp((poses.score - poses.score[0]) / self.config.temperature)
        kept = np.nonzero(weight > _LEAST)[0]
        masks = Level(found.level.window, 1).masks(found.meshes, poses.mesh[kept], poses.rows[kept])
        share = (weight[kept] / weight[kept].sum()).astype(np.float32)
        mean = np.einsum("k,kij->ij", share, masks.astype(np.float32))
        silhouette = _resampled(mean, found.level.window, box, crop.size).to(self.device)
        verts, faces = found.surface(0)
        return Estimate(
            verts=torch.from_numpy(verts)[None].to(self.device),
            faces=torch.from_numpy(faces)[None].to(self.device),
            viewpoint=viewpoints(poses.rows[:1], box.numpy()).to(self.device),
            silhouette=silhouette,
            fit=certain_iou(silhouette, crop),
        )

    def _fitted(self, found: Found, crop: InstanceCrops, box: Tensor) -> Estimate:
        """The estimate from the best poses, their meshes deformed."""
        config, poses = self.config, found.poses[: self.config.starts]
        small = crop.resized(min(crop.size, _FIT_PX))
        surfaces = [found.surface(i, coarse=True) for i in range(len(poses))]
        verts = pad_sequence([torch.from_numpy(verts) for verts, _ in surfaces], batch_first=True).to(self.device)
        faces = pad_sequence([torch.from_numpy(faces) for _, faces in surfaces], batch_first=True).to(self.device)
        row = [0] * len(poses)
        rows, boxes = torch.from_numpy(poses.rows).to(self.device), box.to(self.device)[row]
        subject = DeformedMeshes(verts, faces, rows, boxes, small.size, config.deformation)
        score = optimize(
            subject,
            small[row],
            steps=config.fit_steps,
            start_blur_px=config.start_blur_px,
            final_blur_px=config.blur_px,
        )
        with torch.no_grad():
            bent, posed = subject.verts(), subject.poses()
            large = DeformedMeshes(bent, faces, posed, boxes, crop.size, config.deformation)
            silhouettes = large.silhouettes(config.blur_px * crop.size / small.size)
        weight = (score / config.fit_temperature).softmax(dim=0)
        mean = (weight[:, None, None] * silhouettes).sum(dim=0, keepdim=True)
        best = int(score.argmax())
        return Estimate(
            verts=bent[best : best + 1],
            faces=faces[best : best + 1],
            viewpoint=viewpoints(posed[best : best + 1].cpu().numpy(), box.numpy()).to(self.device),
            silhouette=mean,
            fit=certain_iou(mean, crop),
        )


def _own_window(size: int) -> Tensor:
    return torch.tensor([[0.0, 0.0, size, size]])


def _resampled(mask: NDArray[np.float32], window: PixelWindow, box: Tensor, size: int) -> Tensor:
    """A mask [G,G] of a window's pixels as a crop [1,S,S] of ``box`` [1,4], in image pixels."""
    corner = torch.tensor([window.left, window.top] * 2, dtype=torch.float32)
    return cut(torch.from_numpy(mask)[None], box - corner, size)[:, 0].clamp(0, 1)
