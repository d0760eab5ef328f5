"""The networks of stages 2 and 3 as a prior, with or without their fit to the image."""

from __future__ import annotations

from dataclasses import replace

import torch

from shape3d_amodal.priors.learned.fit import FitConfig, fit
from shape3d_amodal.priors.learned.network import ShapePrior
from shape3d_amodal.structures import Estimate, InstanceCrops


class LearnedPrior:
    """The selection head's choice, or the fit from the likeliest hypotheses (``interface.Prior``).

    Args:
        network: stages 2 and 3, in evaluation mode.
        categories: names of the categories that it counts.
        fit: the fit; by default none.
    """

    def __init__(self, network: ShapePrior, categories: tuple[str, ...], fit: FitConfig | None = None) -> None:
        self.network = network
        self.categories = self.known = categories
        self.fit = fit or FitConfig(steps=0)
        self.parameters = sum(parameter.numel() for parameter in network.parameters())

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def estimate(self, crops: InstanceCrops) -> Estimate:
        if self.fit.steps == 0:
            return self.network.estimate(crops)
        verts, viewpoint = fit(self.network, self.network(crops), crops, self.fit)
        return self.network.seen_from(verts, viewpoint, crops)

    def with_fit_steps(self, steps: int) -> LearnedPrior:
        return LearnedPrior(self.network, self.categories, replace(self.fit, steps=steps))
