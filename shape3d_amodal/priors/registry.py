"""Which priors there are. A new one is a class of ``interface.Prior``, entered into ``PRIORS`` and ``PriorName``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from shape3d_amodal.errors import UsageError, check_choice
from shape3d_amodal.priors.interface import Prior, PriorName, ViewsName
from shape3d_amodal.priors.learned.fit import FitConfig, LearnedPrior
from shape3d_amodal.priors.learned.network import ShapePrior


@dataclass(frozen=True, kw_only=True)
class KnownShapes:
    """What a user knows of a bank's shapes, and asks of them.

    Attributes:
        views: how objects may stand before the camera.
        exact: whether they are the very shapes, so that none is deformed.
        hypotheses: likely answers for each object beside the mask.
    """

    views: ViewsName = "upright"
    exact: bool = False
    hypotheses: int = 0


@dataclass(frozen=True, kw_only=True)
class PriorParts:
    """What priors are made of; each takes what it needs.

    Attributes:
        categories: names that crops' categories count; None for those of the meshes. A bank counts its others behind.
        device: where the priors run.
        network: learned: stages 2 and 3.
        fit: learned: its fit.
        meshes: bank: where its shapes come from (``meshes.sources.mesh_source``).
        bank_fit_steps: bank: steps of its fit; None for the default.
        known: bank: what is known of its shapes, and what is asked of them.
    """

    categories: tuple[str, ...] | None
    device: torch.device | str
    network: ShapePrior | None = None
    fit: FitConfig | None = None
    meshes: str | None = None
    bank_fit_steps: int | None = None
    known: KnownShapes = KnownShapes()


def _learned(parts: PriorParts) -> Prior:
    if parts.network is None or parts.categories is None:
        raise UsageError("priors: learned needs the networks of trained weights; give weights, or ask for the bank")
    return LearnedPrior(parts.network, parts.categories, parts.fit)


def _bank(parts: PriorParts) -> Prior:
    if parts.meshes is None:
        raise UsageError("priors: these weights know no bank; use from_meshes, or ask for learned")
    from shape3d_amodal.files.cache import user_cache
    from shape3d_amodal.meshes.sources import mesh_source
    from shape3d_amodal.priors.bank.finding import FindConfig
    from shape3d_amodal.priors.bank.prior import BankPrior, BankPriorConfig
    from shape3d_amodal.priors.bank.shapes import ShapeBank

    known = parts.known
    config = BankPriorConfig(search=FindConfig(views=known.views), exact=known.exact, hypotheses=known.hypotheses)
    if parts.bank_fit_steps is not None:
        config = replace(config, fit_steps=parts.bank_fit_steps)
    bank = ShapeBank(mesh_source(parts.meshes), cache=user_cache())
    names = parts.categories or ()
    return BankPrior(bank, (*names, *(one for one in bank.categories if one not in names)), config, parts.device)


PRIORS: dict[PriorName, Callable[[PriorParts], Prior]] = {"learned": _learned, "bank": _bank}


def check_names(names: Sequence[object]) -> None:
    """Refuse names that are none of ``PRIORS``.

    Raises:
        UsageError: naming the first.
    """
    for name in names:
        check_choice("priors", name, PRIORS)


def open_prior(name: PriorName, parts: PriorParts) -> Prior:
    """The prior of that name.

    Raises:
        UsageError: there is none of that name, or what it needs is missing.
        DataError: the meshes cannot be used.
    """
    check_names([name])
    return PRIORS[name](parts)
