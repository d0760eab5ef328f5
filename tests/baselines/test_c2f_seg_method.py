"""C2F-Seg as a method: any number of objects, background, random numbers, devices and weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from c2f_seg_small import TINY, tiny
from torch import Tensor, nn

from shape3d_amodal import masks
from shape3d_amodal.baselines.c2f_seg.method import C2FSegMethod
from shape3d_amodal.baselines.c2f_seg.model import C2FSegConfig
from shape3d_amodal.config import dump_config
from shape3d_amodal.errors import MissingBackendError, UsageError, WeightsError
from shape3d_amodal.files.weights import save_weights
from shape3d_amodal.structures import AmodalImage, AmodalInstance

NAMES = {1: "chair", 9: "occluder"}
SIDE = 64


def record(*visible: np.ndarray, category: tuple[int, ...] = ()) -> AmodalImage:
    instances = tuple(
        AmodalInstance(id=10 + i, category_id=category[i] if category else 1, visible=masks.encode(mask))
        for i, mask in enumerate(visible)
    )
    return AmodalImage(id=3, file_name="a.png", height=SIDE, width=SIDE, instances=instances)


def boxes(count: int) -> list[np.ndarray]:
    result: list[np.ndarray] = []
    for i in range(count):
        mask = np.zeros((SIDE, SIDE), bool)
        mask[i % 9 : i % 9 + 40, i : i + 12] = True
        result.append(mask & ~np.logical_or.reduce([np.zeros_like(mask), *result]))
    return result


@pytest.mark.parametrize("count", [0, 1, 40])
def test_any_number_of_instances(count: int) -> None:
    method = C2FSegMethod(tiny(), NAMES)
    picture = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    visible = boxes(count)
    results, again = (method.complete(picture, record(*visible)) for _ in range(2))
    assert results == again, "the random numbers hang on seed and image alone"
    assert [result.annotation_id for result in results] == [10 + i for i in range(count)]
    for result, mask in zip(results, visible, strict=True):
        found = masks.decode(result.segmentation)
        assert (found & mask == mask).all()
        assert not (found & ~np.logical_or.reduce(visible)).any(), "nothing is completed on known background"


class Everything(nn.Module):
    """Says that the object is everywhere."""

    config = TINY

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(1))

    def complete(self, rgb: Tensor, visible: Tensor, generators: list[torch.Generator]) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        return visible, torch.ones_like(visible)


@pytest.mark.parametrize("background", [True, False])
def test_known_background_and_bare_occluders(background: bool) -> None:
    first, bar = np.zeros((SIDE, SIDE), bool), np.zeros((SIDE, SIDE), bool)
    first[20:40, 20:30] = True
    bar[:, 30:36] = True
    method = C2FSegMethod(Everything(), NAMES, background=background)  # type: ignore[arg-type]
    found, region = method.complete(np.zeros((SIDE, SIDE, 3), np.uint8), record(first, bar, category=(1, 9)))
    grown = masks.decode(found.segmentation) & ~first
    assert (grown & bar).sum() > 100
    assert bool((grown & ~bar).any()) is not background
    np.testing.assert_array_equal(masks.decode(region.segmentation), bar)


def far_apart() -> tuple[np.ndarray, np.ndarray]:
    """Two masks whose windows do not reach each other."""
    first, second = np.zeros((SIDE, SIDE), bool), np.zeros((SIDE, SIDE), bool)
    first[4:16, 4:12] = True
    second[44:60, 46:56] = True
    return first, second


def test_an_object_is_completed_alone_as_among_others() -> None:
    """The tiny network's tokens are all but random, so that other random numbers give another mask."""
    method = C2FSegMethod(tiny(), NAMES, background=False)
    picture = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    both = record(*far_apart())
    of_both = method.complete(picture, both)
    for row in (0, 1):
        alone = method.complete(picture, replace(both, instances=both.instances[row : row + 1]))
        assert alone == [of_both[row]]


class Noted(Everything):
    """Remembers the first random number of each row."""

    def complete(self, rgb: Tensor, visible: Tensor, generators: list[torch.Generator]) -> tuple[Tensor, Tensor]:
        self.first = [torch.rand(1, generator=generator).item() for generator in generators]
        return super().complete(rgb, visible, generators)


def test_random_numbers_hang_on_seed_image_and_annotation() -> None:
    picture, both = np.zeros((SIDE, SIDE, 3), np.uint8), record(*far_apart())

    def first(image: AmodalImage, seed: int = 0) -> list[float]:
        network = Noted()
        C2FSegMethod(network, NAMES, seed=seed).complete(picture, image)  # type: ignore[arg-type]
        return network.first

    known = first(both)
    assert first(replace(both, instances=both.instances[::-1])) == known[::-1]
    others = first(both, seed=1) + first(replace(both, id=4))
    assert len({*known, *others}) == 6


def test_what_is_not_visible_has_no_result() -> None:
    nothing = np.zeros((SIDE, SIDE), bool)
    first, second = far_apart()
    method, picture = C2FSegMethod(tiny(), NAMES), np.zeros((SIDE, SIDE, 3), np.uint8)
    results = method.complete(picture, record(nothing, first, nothing, second, category=(1, 1, 9, 9)))
    assert [result.annotation_id for result in results] == [11, 13]
    assert method.complete(picture, record(nothing)) == []


def test_devices_that_are_not_there_are_refused(tmp_path: Path) -> None:
    save_weights(tmp_path / "weights", dump_config(TINY), tiny().state_dict())
    with pytest.raises(UsageError, match="device: expected auto, cpu, cuda or cuda:N, got 'toaster'"):
        C2FSegMethod.from_pretrained(tmp_path / "weights", NAMES, device="toaster")
    with pytest.raises(MissingBackendError, match=r"device: this machine has .* not cuda:63; use cpu"):
        C2FSegMethod.from_pretrained(tmp_path / "weights", NAMES, device="cuda:63")


def test_weights_go_and_come(tmp_path: Path) -> None:
    save_weights(tmp_path / "weights", dump_config(TINY), tiny().state_dict())
    method = C2FSegMethod.from_pretrained(tmp_path / "weights", NAMES)
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    assert method.complete(picture, record(*boxes(2))) == C2FSegMethod(tiny(), NAMES).complete(
        picture, record(*boxes(2))
    )
    save_weights(tmp_path / "weights", dump_config(C2FSegConfig()), tiny().state_dict())
    with pytest.raises(WeightsError, match=r"weights: the tensors do not fit the configuration beside them: size mis"):
        C2FSegMethod.from_pretrained(tmp_path / "weights", NAMES)
