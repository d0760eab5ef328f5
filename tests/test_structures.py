from __future__ import annotations

from dataclasses import FrozenInstanceError, fields

import pytest
import torch

from shape3d_amodal.structures import (
    AmodalDataset,
    Category,
    InstanceCrops,
    Rle,
    SupervisedCrops,
    Viewpoint,
    ViewpointHypotheses,
)

N, K, S = 5, 3, 4


@pytest.fixture
def crops() -> InstanceCrops:
    return InstanceCrops(
        torch.rand(N, 3, S, S), torch.rand(N, S, S), torch.rand(N, S, S), torch.arange(N), torch.rand(N, 4)
    )


@pytest.fixture
def hypotheses() -> ViewpointHypotheses:
    viewpoint = Viewpoint(*(torch.rand(N, K) for _ in range(4)), torch.rand(N, K, 2))
    return ViewpointHypotheses(viewpoint, torch.rand(N, K).softmax(dim=1))


def test_crops_hold_what_an_image_shows_and_nothing_else() -> None:
    """No camera, mesh or amodal mask reaches what takes crops alone: shape and viewpoint are learned without labels."""
    assert [field.name for field in fields(InstanceCrops)] == [
        "rgb",
        "visible",
        "occluder",
        "category",
        "window",
        "doubt",
    ]
    supervised = [field.name for field in fields(SupervisedCrops)]
    assert supervised == ["crops", "amodal", "known", "silhouette", "fit"]
    with pytest.raises(TypeError):
        InstanceCrops(*(torch.zeros(1) for _ in range(5)), amodal=torch.zeros(1))  # type: ignore[call-arg]


def test_crops_know_their_size(crops: InstanceCrops) -> None:
    assert len(crops) == N
    assert crops.size == S


@pytest.mark.parametrize(
    "index",
    [slice(1, 3), [4, 0], torch.tensor([2, 2, 1]), torch.tensor([True, False, False, True, False]), slice(0, 0)],
)
def test_rows(crops: InstanceCrops, index) -> None:
    chosen = SupervisedCrops(crops, crops.visible)[index]
    assert isinstance(chosen.crops, InstanceCrops)
    assert chosen.crops.doubt is None
    for field in fields(crops)[:5]:
        assert torch.equal(getattr(chosen.crops, field.name), getattr(crops, field.name)[index])
    assert torch.equal(chosen.amodal, crops.visible[index])


def test_to_and_detach_reach_nested_tensors(hypotheses: ViewpointHypotheses) -> None:
    moving = hypotheses._map(lambda tensor: tensor.clone().requires_grad_())
    assert moving.viewpoint.offset.requires_grad
    assert not moving.detach().viewpoint.offset.requires_grad
    assert moving.to("meta").viewpoint.azimuth.device.type == "meta"


def test_pick_takes_one_hypothesis_of_each_row(hypotheses: ViewpointHypotheses) -> None:
    index = torch.tensor([0, 2, 1, 1, 0])
    picked = hypotheses.pick(index)
    for row, k in enumerate(index.tolist()):
        assert picked.azimuth[row] == hypotheses.viewpoint.azimuth[row, k]
        assert torch.equal(picked.offset[row], hypotheses.viewpoint.offset[row, k])
    assert picked.scale.shape == (N,)
    assert picked.offset.shape == (N, 2)


def test_best_is_the_most_probable(hypotheses: ViewpointHypotheses) -> None:
    best = hypotheses.best()
    for row in range(N):
        k = max(range(K), key=lambda k: float(hypotheses.probability[row, k]))
        assert best.azimuth[row] == hypotheses.viewpoint.azimuth[row, k]


def test_frozen(crops: InstanceCrops) -> None:
    with pytest.raises(FrozenInstanceError):
        crops.visible = crops.occluder  # type: ignore[misc]


def test_plain_data() -> None:
    assert Rle(2, 3, "abc").to_coco() == {"size": [2, 3], "counts": "abc"}
    assert AmodalDataset(images=(), categories=(Category(3, "cup"), Category(7, "jug"))).category_names == {
        3: "cup",
        7: "jug",
    }
