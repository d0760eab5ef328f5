"""The shape memory of VRSP: sizes, nearest codes against a loop, and the codebook."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from shape3d_amodal.baselines.rcnn.vrsp_shapes import ShapeMemory, ShapeMemoryConfig


def memory(classes: int = 3, **options: int) -> ShapeMemory:
    torch.manual_seed(0)
    return ShapeMemory(classes, ShapeMemoryConfig(**{"channels": 2, "codes": 5, **options}))


@pytest.mark.parametrize(("convs", "size"), [(1, 8 * 14 * 14), (2, 8 * 7 * 7), (3, 8 * 4 * 4)])
def test_masks_become_codes_and_masks_again(convs: int, size: int) -> None:
    made = memory(convs=convs, channels=8)
    masks = torch.rand(4, 28, 28)
    codes = made.encode(masks)
    assert codes.shape == (4, size)
    decoded = made.decode(codes)
    assert decoded.shape == (4, 28, 28)
    assert decoded.min() >= 0 and decoded.max() <= 1
    assert made.decode(codes.reshape(2, 2, size)).reshape(4, 28, 28).equal(decoded)
    assert made.decode(made.encode(masks[:0])).shape == (0, 28, 28)


def test_the_nearest_codes_are_those_of_a_loop_over_the_codes_of_the_category() -> None:
    made = memory(codes=40)
    size = made.codebook.shape[2]
    made.codebook.copy_(torch.randn(3, 40, size))
    made.known.copy_(torch.tensor([40, 25, 33]))
    codes, category = torch.randn(6, size), torch.tensor([2, 0, 1, 1, 0, 2])
    found = made.nearest(codes, category, 4)
    for i in range(6):
        book = made.codebook[category[i], : made.known[category[i]]]
        far = sorted((float(((codes[i] - one) ** 2).sum()), j) for j, one in enumerate(book))
        assert torch.equal(found[i], book[[j for _, j in far[:4]]])


def test_few_codes_come_again_and_without_any_a_code_is_its_own() -> None:
    made = memory()
    size = made.codebook.shape[2]
    made.codebook[1, :2] = torch.stack([torch.full((size,), 5.0), torch.zeros(size)])
    made.known[1] = 2
    codes = torch.stack([torch.full((size,), 1.0), torch.full((size,), 3.0)])
    found = made.nearest(codes, torch.tensor([1, 0]), 5)[:, :, 0]
    assert found[0].tolist() == [0.0, 5.0, 0.0, 5.0, 0.0]
    assert found[1].tolist() == [3.0] * 5


def test_the_codebook_is_the_centres_of_each_category() -> None:
    made = memory(classes=3, codes=2)
    size = made.codebook.shape[2]
    noise = 0.01 * np.random.default_rng(0).standard_normal((20, size))
    near, far = torch.tensor(noise[:10] + 1).float(), torch.tensor(noise[10:] - 4).float()
    lone = torch.full((1, size), 9.0)
    category = torch.tensor([0] * 20 + [2])
    made.remember(torch.cat([near, far, lone]), category, seed=0)
    assert made.known.tolist() == [2, 0, 1]
    centres = made.codebook[0][made.codebook[0, :, 0].argsort()]
    assert torch.allclose(centres, torch.stack([far.mean(dim=0), near.mean(dim=0)]), atol=1e-5)
    assert torch.equal(made.codebook[2], torch.cat([lone, torch.zeros(1, size)]))
    assert not made.codebook[1].any()
