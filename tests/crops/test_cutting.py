from __future__ import annotations

import numpy as np
import pytest
import torch

from shape3d_amodal.crops.cutting import instance_crops, instance_windows, mask_crops
from shape3d_amodal.geometry.windows import cut, instance_window


@pytest.fixture
def image() -> np.ndarray:
    picture = np.zeros((16, 24, 3), np.uint8)
    picture[:, :12] = (255, 0, 51)
    picture[:, 12:] = (0, 102, 255)
    return picture


def box(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((16, 24), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_crops_of_known_content(image: np.ndarray) -> None:
    """Two image pixels a crop pixel; the window's upper half lies beyond the image."""
    visible, occluder = box(8, 0, 12, 8), box(12, 0, 16, 8)
    window = np.array([[8, -8, 24, 8]], np.float32)
    crops = instance_crops(image, [visible], [occluder], [5], 8, window)
    assert crops.rgb.shape == (1, 3, 8, 8)
    below = np.s_[0, 5:, :]  # row 4 touches the border and is mixed with what lies beyond
    assert (crops.rgb[0, :, 5:, 0] == torch.tensor([1, 0, 0.2])[:, None]).all()
    torch.testing.assert_close(crops.rgb[0, :, 5:, 4], torch.tensor([0, 0.4, 1])[:, None].expand(3, 3))
    torch.testing.assert_close(crops.visible[below], torch.tensor([1.0, 1, 0, 0, 0, 0, 0, 0]).expand(3, 8))
    torch.testing.assert_close(crops.occluder[below], torch.tensor([0.0, 0, 1, 1, 0, 0, 0, 0]).expand(3, 8))
    torch.testing.assert_close(crops.occluder[0, :3], torch.ones(3, 8))  # beyond the image anything may be
    assert not crops.rgb[0, :, :3].any()
    assert not crops.visible[0, :3].any()
    assert crops.category.tolist() == [5]
    assert crops.window.tolist() == window.tolist()


def test_shares_of_a_pixel_are_at_most_one() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        picture = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
        owner = rng.integers(0, 3, (30, 40))
        window = np.array([[*rng.uniform(-10, 10, 2), 0, 0]], np.float32)
        window[:, 2:] = window[:, :2] + rng.uniform(10, 50)
        crops = instance_crops(picture, [owner == 1], [owner == 2], [0], 16, window)
        for mask in (crops.rgb, crops.visible, crops.occluder):
            assert mask.min() >= 0
            assert mask.max() <= 1
        assert (crops.visible + crops.occluder).max() <= 1 + 1e-5


def test_windows_default_to_those_of_the_instances(image: np.ndarray) -> None:
    visible, occluder = [box(8, 4, 12, 10), box(14, 2, 20, 8)], [box(12, 4, 14, 10), box(0, 0, 1, 1)]
    crops = instance_crops(image, visible, occluder, [0, 1], 8)
    expected = [instance_window(v, o) for v, o in zip(visible, occluder, strict=True)]
    np.testing.assert_array_equal(crops.window.numpy(), expected)
    np.testing.assert_array_equal(instance_windows(visible, occluder), expected)
    assert crops.rgb.dtype == crops.visible.dtype == crops.occluder.dtype == crops.window.dtype == torch.float32
    assert crops.category.dtype == torch.int64


def test_no_instances(image: np.ndarray) -> None:
    crops = instance_crops(image, [], [], [], 8)
    assert len(crops) == 0
    assert crops.rgb.shape == (0, 3, 8, 8)
    assert crops.visible.shape == crops.occluder.shape == (0, 8, 8)
    assert crops.window.shape == (0, 4)
    assert mask_crops([], crops.window, 8).shape == (0, 8, 8)


def test_mask_crops_are_shares_of_each_pixel() -> None:
    masks = [box(8, 4, 12, 8), box(9, 5, 12, 8)]
    windows = torch.tensor([[8.0, 4.0, 16.0, 12.0]]).expand(2, -1)
    found = mask_crops(masks, windows, 4)
    full = torch.zeros(4, 4)
    full[:2, :2] = 1
    torch.testing.assert_close(found[0], full)
    torch.testing.assert_close(found[1, :2, :2], torch.tensor([[0.25, 0.5], [0.5, 1.0]]))


def test_crops_are_those_of_whole_masks_to_the_bit() -> None:
    """Masks are laid out near each window alone; whole planes of the image, as one would think of it, give the same."""
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (50, 70, 3), dtype=np.uint8)
    seen = [generator.random((50, 70)) < 0.4 for _ in range(6)]
    hiding = [(generator.random((50, 70)) < 0.4) & ~mask for mask in seen]
    corner = generator.uniform(-20, 60, (6, 2))
    windows = np.concatenate([corner, corner + generator.uniform(3, 90, (6, 1))], axis=1).astype(np.float32)
    found = instance_crops(image, seen, hiding, [0] * 6, 16, windows, border="background")
    rgb = torch.from_numpy(image).permute(2, 0, 1).float() / 255
    for i in range(6):
        whole = torch.cat([rgb, torch.from_numpy(np.stack([seen[i], hiding[i], np.ones_like(seen[i])])).float()])
        alone = cut(whole, torch.from_numpy(windows[i : i + 1]), 16)[0].clamp(0, 1)
        assert (found.rgb[i] == alone[:3]).all() and (found.visible[i] == alone[3]).all()
        assert (found.occluder[i] == alone[4]).all()
