"""A C2F-Seg so small that tests can run it, and crops for it."""

from __future__ import annotations

import torch

from shape3d_amodal.baselines.c2f_seg.codebook import CodebookConfig
from shape3d_amodal.baselines.c2f_seg.model import C2FSeg, C2FSegConfig
from shape3d_amodal.baselines.c2f_seg.transformer import TransformerConfig
from shape3d_amodal.structures import InstanceCrops, SupervisedCrops

BOOK = CodebookConfig(size=32, widths=(4, 4, 8, 8), codes=16, code_size=4)
TINY = C2FSegConfig(codebook=BOOK, transformer=TransformerConfig(width=16, layers=1, heads=2))


def tiny() -> C2FSeg:
    torch.manual_seed(0)
    return C2FSeg(TINY).eval()


def crops(count: int, size: int = 32) -> SupervisedCrops:
    generator = torch.Generator().manual_seed(0)
    rgb = torch.rand(count, 3, size, size, generator=generator)
    amodal = torch.zeros(count, size, size)
    for i in range(count):
        amodal[i, 4 + i % 4 : 20 + i % 4, 6:26] = 1
    visible = amodal.clone()
    visible[:, :, 16:] = 0
    hiding = 1 - visible
    rows = torch.zeros(count, dtype=torch.int64)
    return SupervisedCrops(InstanceCrops(rgb, visible, hiding, rows, torch.zeros(count, 4)), amodal)
