"""A bank of known shapes as a prior: the poses that explain the certain pixels, weighed, with or without their fit."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from shape3d_amodal.config import Count, Share, configuration
from shape3d_amodal.crops.cutting import masks_through
from shape3d_amodal.crops.pixels import PixelWindow, windows_of_crops
from shape3d_amodal.geometry.windows import cut, inside_image
from shape3d_amodal.meshes.mesh import KnownModel
from shape3d_amodal.priors.bank.deformation import DeformationConfig, DeformedMeshes
from shape3d_amodal.priors.bank.finding import FindConfig, Found, find
from shape3d_amodal.priors.bank.poses import origins, viewpoints
from shape3d_amodal.priors.bank.posterior import Posterior, expected_iou, posterior, signs
from shape3d_amodal.priors.bank.shapes import BankShapes, ShapeBank
from shape3d_amodal.priors.interface import best_of, no_estimate
from shape3d_amodal.priors.losses import certain_iou
from shape3d_amodal.priors.optimization import optimize
from shape3d_amodal.structures import Estimate, InstanceCrops

_FIT_PX = 64
"""Side of the crops in which shapes are fitted, where the crops are larger."""


@configuration
class BankPriorConfig:
    """The bank's poses and their fit."""

    search: FindConfig = FindConfig()
    """The search for poses."""
    hypotheses: Annotated[int, Field(ge=0)] = 0
    """Likely answers that are given for each object, beside their mean."""
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
        # Where there are only crops, their pixels stand for the image's.
        boxes = crops.window.cpu() if windows is not None else _own_windows(crops)
        parts = []
        for i, window in enumerate(given):
            one = self._estimate(replace(crops[i : i + 1], window=boxes[i : i + 1]), window, frozenset(left_out[i]))
            parts.append(one if windows is not None else replace(one, window=crops.window[i : i + 1]))
        return Estimate.join(parts)

    def model(self, category: str, index: int) -> KnownModel:
        """The mesh that an estimate names by its ``index`` among those of a category."""
        shapes = self.bank.shapes(category, self.config.search.views)
        name = shapes.names[index]
        return KnownModel(name, shapes.source.load(name).place)

    def _estimate(self, crop: InstanceCrops, window: PixelWindow, without: frozenset[str]) -> Estimate:
        """The estimate of one object; ``crop.window`` is in the frame of the poses."""
        shapes = self.bank.shapes(self.categories[int(crop.category)], self.config.search.views)
        if without.issuperset(shapes.names):
            return self._nothing(crop)
        found = self.find(shapes, window, without)
        likely = posterior(found)
        if likely.window is not window:
            box = torch.tensor([likely.window.box], dtype=torch.float32)
            crop = masks_through(crop, box, [window.masks])
        chosen = torch.tensor([shapes.names.index(found.names[int(found.poses.mesh[0])])], device=self.device)
        posed = replace(self._posed(found, likely, crop), model=chosen)
        config = self.config
        if config.exact or not config.fit_steps or found.poses.score[0] >= config.fit_below:
            return posed
        bent, told = self.bent(found, crop)
        whole = replace(bent, expected=bent.fit.new_tensor([expected_iou(told)]))
        return best_of([posed, replace(whole, model=chosen, pose=posed.pose)])

    def find(self, shapes: BankShapes, window: PixelWindow, without: frozenset[str]) -> Found:
        """The poses of an object (``finding.find``)."""
        return find(shapes, window, self.config.search, without=without)

    def _nothing(self, crop: InstanceCrops) -> Estimate:
        """Where every mesh is left out."""
        none, count = no_estimate(crop), self.config.hypotheses
        return replace(
            none,
            expected=none.fit,
            model=none.fit.long() - 1,
            pose=torch.full((1, 12), torch.nan, dtype=torch.float64, device=self.device),
            hypotheses=none.silhouette[:, None].repeat(1, count, 1, 1) if count else None,
            chance=none.fit[:, None].repeat(1, count) if count else None,
            window=crop.window.to(self.device),
        )

    def _posed(self, found: Found, likely: Posterior, crop: InstanceCrops) -> Estimate:
        poses = found.poses
        silhouette = _resampled(likely.mean[None], likely.window, crop).to(self.device)
        verts, faces = found.surface(0)
        count = max(min(self.config.hypotheses, len(likely.chance)), 1)
        masks = np.stack([likely.mask(i) for i in range(count)])
        return Estimate(
            verts=torch.from_numpy(verts)[None].to(self.device),
            faces=torch.from_numpy(faces)[None].to(self.device),
            viewpoint=viewpoints(poses.rows[:1], crop.window.cpu().numpy()).to(self.device),
            silhouette=silhouette,
            fit=certain_iou(silhouette, crop),
            expected=torch.tensor([expected_iou(likely.signs(float(poses.score[0])))], device=self.device),
            pose=self._pose(found).to(self.device),
            window=crop.window.to(self.device),
            **self._hypotheses(_resampled(masks, likely.window, crop), torch.from_numpy(likely.chance)),
        )

    def _pose(self, found: Found) -> Tensor:
        """[1,12] of the best pose: rotation and translation of the mesh's file; NaN where the camera is not known."""
        if found.level.window.intrinsics is None:
            return torch.full((1, 12), torch.nan, dtype=torch.float64)
        best = found.poses[:1]
        pose = found.places[int(best.mesh[0])].pose(best.rotation[0], origins(best.rows)[0])
        return torch.tensor([[*pose.rotation, *pose.translation]], dtype=torch.float64)

    def _hypotheses(self, masks: Tensor, chance: Tensor) -> dict[str, Tensor]:
        """Of silhouettes [K,S,S], the likeliest first, and their chances [K] as many as were asked for."""
        count = self.config.hypotheses
        if not count:
            return {}
        missing = max(count - len(masks), 0)
        masks = torch.nn.functional.pad(masks[:count], (0, 0, 0, 0, 0, missing))
        chance = torch.nn.functional.pad(chance[:count], (0, count - len(chance[:count])))
        return {"hypotheses": masks[None].to(self.device), "chance": chance[None].to(self.device)}

    def bent(self, found: Found, crop: InstanceCrops) -> tuple[Estimate, NDArray[np.float64]]:
        """The estimate from the best poses, their meshes deformed, and the signs of its IoU (``posterior``)."""
        config, poses = self.config, found.poses[: self.config.starts]
        small = crop.resized(min(crop.size, _FIT_PX))
        surfaces = [found.surface(i, coarse=True) for i in range(len(poses))]
        verts = pad_sequence([torch.from_numpy(verts) for verts, _ in surfaces], batch_first=True).to(self.device)
        faces = pad_sequence([torch.from_numpy(faces) for _, faces in surfaces], batch_first=True).to(self.device)
        row = [0] * len(poses)
        rows, boxes = torch.from_numpy(poses.rows).to(self.device), crop.window.to(self.device)[row]
        subject = DeformedMeshes(verts, faces, rows, boxes, small.size, config.deformation)
        score = optimize(
            subject,
            small[row],
            steps=config.fit_steps,
            start_blur_px=config.start_blur_px,
            final_blur_px=config.blur_px,
        )
        with torch.no_grad():
            bent, moved = subject.verts(), subject.poses()
            large = DeformedMeshes(bent, faces, moved, boxes, crop.size, config.deformation)
            silhouettes = large.silhouettes(config.blur_px * crop.size / small.size)
        weight = (score / config.fit_temperature).softmax(dim=0)
        mean = (weight[:, None, None] * silhouettes).sum(dim=0, keepdim=True)
        order = score.argsort(descending=True, stable=True)
        best = int(order[0])
        estimate = Estimate(
            verts=bent[best : best + 1],
            faces=faces[best : best + 1],
            viewpoint=viewpoints(moved[best : best + 1].cpu().numpy(), crop.window.cpu().numpy()).to(self.device),
            silhouette=mean,
            fit=certain_iou(mean, crop),
            window=crop.window.to(self.device),
            **self._hypotheses(silhouettes[order], weight[order]),
        )
        return estimate, signs(float(estimate.fit), *_agreement(silhouettes, weight, crop, found.window))


def _agreement(silhouettes: Tensor, chance: Tensor, crop: InstanceCrops, window: PixelWindow) -> tuple[float, float]:
    """``agreement`` and ``seen`` as of ``Posterior``, of silhouettes [K,S,S] with chances [K]."""
    visible, hidden = crop.visible[0] > 0.5, crop.occluder[0] > 0.5
    if window.image is not None:
        height, width = window.image.shape
        hidden &= inside_image(crop.window.to(hidden.device), width, height, crop.size)[0] > 0.5
    whole = visible | ((silhouettes > 0.5) & hidden)
    mean = visible | (((chance[:, None, None] * silhouettes).sum(dim=0) > 0.5) & hidden)
    shared, either = (whole & mean).sum(dim=(1, 2)), (whole | mean).sum(dim=(1, 2)).clamp(min=1)
    return float((chance * shared / either).sum()), float(visible.sum() / mean.sum().clamp(min=1))


def _own_windows(crops: InstanceCrops) -> Tensor:
    return torch.tensor([[0.0, 0.0, crops.size, crops.size]]).expand(len(crops), -1)


def _resampled(masks: NDArray[Any], window: PixelWindow, crop: InstanceCrops) -> Tensor:
    """Masks [K,G,G] of a window's pixels as crops [K,S,S] of ``crop.window``, in image pixels."""
    corner = torch.tensor([window.left, window.top] * 2, dtype=torch.float32)
    return cut(torch.from_numpy(masks).float(), crop.window.cpu() - corner, crop.size)[0].clamp(0, 1)
