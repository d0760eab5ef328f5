"""A model so small that tests can run all stages, with random weights."""

from __future__ import annotations

import torch

from shape3d_amodal.meshes.sources import CATEGORIES
from shape3d_amodal.model import AmodalModel, AmodalModelConfig
from shape3d_amodal.priors.bank.finding import FindConfig
from shape3d_amodal.priors.bank.prior import BankPriorConfig
from shape3d_amodal.priors.learned.network import ShapePriorConfig
from shape3d_amodal.priors.learned.reconstruction import ReconstructionConfig
from shape3d_amodal.refinement.network import RefinementConfig

QUICK_BANK = BankPriorConfig(search=FindConfig(placed=8, more=0, jumps=0, kept=2, evolved=1, generations=2))
"""A search for poses that is over in a moment."""


def tiny_config() -> AmodalModelConfig:
    return AmodalModelConfig(
        categories=CATEGORIES,
        crop_size=32,
        prior=ShapePriorConfig(
            reconstruction=ReconstructionConfig(level=1, code_size=4, widths=(4, 4, 8, 8), features=16, embedding=4)
        ),
        refinement=RefinementConfig(widths=(4, 8, 8), embedding=4),
    )


def tiny_model(seed: int = 0) -> AmodalModel:
    torch.manual_seed(seed)
    return AmodalModel(tiny_config()).eval()
