"""A bank of known shapes as a prior: the best matches to the certain pixels, weighed, with or without their fit."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from shape3d_amodal.config import configuration
from shape3d_amodal.priors.bank.deformation import DeformationConfig, DeformedMeshes
from shape3d_amodal.priors.bank.matching import MatchConfig, Matches, match
from shape3d_amodal.priors.bank.shapes import ShapeBank
from shape3d_amodal.priors.interface import best_of
from shape3d_amodal.priors.losses import certain_iou
from shape3d_amodal.priors.optimization import optimize
from shape3d_amodal.structures import Estimate, InstanceCrops, Viewpoint


@configuration
class BankPriorConfig:
    """The bank's matches and their fit."""

    search: MatchConfig = MatchConfig()
    """The search for matches."""
    matches: int = 16
    """Number of matches whose silhouettes are averaged."""
    starts: int = 4
    """Number of these that are fitted, best first."""
    temperature: float = 0.03
    """Silhouettes are weighted by exp(score / temperature)."""
    blur_px: float = 0.3
    """Blur of the silhouettes, in crop pixels."""
    start_blur_px: float = 1.0
    """Blur of the silhouettes at the fit's first step."""
    fit_steps: Annotated[int, Field(ge=0)] = 0
    """Adam steps of the fit; 0 leaves the matches as they were found."""
    deformation: DeformationConfig = DeformationConfig()
    """What the fit may change, and by how much."""


class BankPrior:
    """The shapes of a bank: matched to the certain pixels, the best of them fitted.

    The silhouette is the mean over the best matches, weighted by how well each explains the certain pixels: shapes that
    agree where the object is visible may differ where it is hidden. Mesh and viewpoint are those of the best match. If
    the mean of the fitted matches explains the certain pixels less well than that of all matches before the fit, the
    latter is the estimate.

    It needs no training and implements ``interface.Prior``.

    Args:
        bank: the shapes.
        categories: the names that crops' categories count, such as a model's; the bank's own if None.
        config: matches and fit.
        device: where the fit runs; matching always runs on the CPU.
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

    def estimate(self, crops: InstanceCrops, *, without: Sequence[Collection[str]] | None = None) -> Estimate:
        """As for ``interface.Prior``; ``without`` names, for each crop, the meshes that are left out of the bank."""
        config = self.config
        names = [self.categories[index] for index in crops.category.tolist()]
        left_out = without or [()] * len(names)
        found = [
            match(self.bank.shapes(name), crops[i : i + 1], config.matches, config.search, without=left_out[i])
            for i, name in enumerate(names)
        ]
        matched = self._weigh(self._subject(names, found, crops), found, crops)
        if config.fit_steps == 0:
            return matched
        best = [matches[: config.starts] for matches in found]
        subject = self._subject(names, best, crops)
        optimize(
            subject,
            crops[_owners(best, self.device)],
            steps=config.fit_steps,
            start_blur_px=config.start_blur_px,
            final_blur_px=config.blur_px,
        )
        return best_of([matched, self._weigh(subject, best, crops)])

    def _subject(self, names: list[str], found: list[Matches], crops: InstanceCrops) -> DeformedMeshes:
        """The M matches of all crops in a row, as they were found."""
        meshes = [
            self.bank.shapes(name).meshes[index]
            for name, matches in zip(names, found, strict=True)
            for index in matches.mesh.tolist()
        ]
        # Padded with zeros to the largest of them.
        verts = pad_sequence([torch.from_numpy(verts) for verts, _ in meshes], batch_first=True).to(self.device)
        faces = pad_sequence([torch.from_numpy(faces) for _, faces in meshes], batch_first=True).to(self.device)
        viewpoint = Viewpoint.join([matches.viewpoint for matches in found]).to(self.device)
        return DeformedMeshes(verts, faces, viewpoint, crops.size, self.config.deformation)

    @torch.no_grad()
    def _weigh(self, subject: DeformedMeshes, found: list[Matches], crops: InstanceCrops) -> Estimate:
        """The estimate from all rows of ``subject``, which are those of ``found``."""
        owner = _owners(found, self.device)
        silhouettes = subject.silhouettes(self.config.blur_px)
        score = certain_iou(silhouettes, crops[owner])
        means, best = [], []
        for i in range(len(crops)):
            rows = torch.nonzero(owner == i)[:, 0]
            weight = (score[rows] / self.config.temperature).softmax(dim=0)
            means.append((weight[:, None, None] * silhouettes[rows]).sum(dim=0))
            best.append(rows[score[rows].argmax()])
        mean, chosen = torch.stack(means), torch.stack(best)
        return Estimate(
            verts=subject.verts()[chosen],
            faces=subject.faces[chosen],
            viewpoint=subject.viewpoint.value().detach()[chosen],
            silhouette=mean,
            fit=certain_iou(mean, crops),
        )


def _owners(found: list[Matches], device: torch.device) -> Tensor:
    """Which crop each of the M matches is of, [M] int64."""
    return torch.tensor([i for i, matches in enumerate(found) for _ in range(len(matches.score))]).to(device)
