"""Which priors there are. A new one is a class of ``interface.Prior``, entered here and into ``PriorName``."""

from __future__ import annotations

import torch

from shape3d_amodal.errors import UsageError
from shape3d_amodal.meshes.sources import mesh_source
from shape3d_amodal.priors.bank.prior import BankPrior, BankPriorConfig
from shape3d_amodal.priors.bank.shapes import ShapeBank
from shape3d_amodal.priors.interface import Prior, PriorName
from shape3d_amodal.priors.learned.fit import FitConfig, LearnedPrior
from shape3d_amodal.priors.learned.network import ShapePrior


def open_prior(
    name: PriorName,
    *,
    categories: tuple[str, ...] | None,
    device: torch.device | str,
    network: ShapePrior | None = None,
    fit: FitConfig | None = None,
    meshes: str | None = None,
    fit_steps: int = 0,
) -> Prior:
    """The prior of that name.

    Args:
        categories: names that crops' categories count; None for those of the meshes.
        device: where it runs.
        network: learned: stages 2 and 3.
        fit: learned: its fit, but for the steps.
        meshes: bank: where its shapes come from (``meshes.sources.mesh_source``).
        fit_steps: steps of its fit.

    Raises:
        UsageError: what that prior needs is missing, or the number of steps is negative.
        DataError: the meshes cannot be used.
    """
    if fit_steps < 0:
        raise UsageError(f"fit_steps: expected a number of steps, 0 or more, got {fit_steps}")
    if name == "learned":
        if network is None or categories is None:
            raise UsageError("priors: learned needs the networks of trained weights; give weights, or ask for the bank")
        return LearnedPrior(network, categories, fit).with_fit_steps(fit_steps)
    if meshes is None:
        raise UsageError("priors: these weights know no bank; give the meshes of one, or ask for learned")
    return BankPrior(ShapeBank(mesh_source(meshes)), categories, BankPriorConfig(fit_steps=fit_steps), device)
