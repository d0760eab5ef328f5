"""Layered embeddings from the network's output to results, and their training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from shape3d_amodal import masks
from shape3d_amodal.config import dump_config
from shape3d_amodal.errors import UsageError
from shape3d_amodal.files.weights import save_weights
from shape3d_amodal.methods.interface import FindsObjects
from shape3d_amodal.papers.layered.drawing import draw_layers, principal_colours
from shape3d_amodal.papers.layered.method import LayeredEmbeddings, find_instances
from shape3d_amodal.papers.layered.network import LayeredConfig, LayeredNetwork, LayeredOutput
from shape3d_amodal.papers.layered.sets import CATEGORIES, rgb
from shape3d_amodal.papers.layered.shapes2d import CLASSES, Shapes2dConfig, depth_layers, make_shapes
from shape3d_amodal.structures import AmodalImage

SMALL = LayeredConfig(image_size=64, backbone="resnet18", features=16, heads=(16,), embedding=3)
NAMES = {category.id: category.name for category in CATEGORIES}
RECORD = AmodalImage(id=7, file_name="", width=64, height=64, instances=())


def small_network(config: LayeredConfig = SMALL) -> LayeredNetwork:
    torch.manual_seed(0)
    return LayeredNetwork(config)


@pytest.mark.parametrize("coordinates", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_shapes_of_the_output(layers: int, coordinates: bool) -> None:
    network = small_network(replace(SMALL, layers=layers, coordinates=coordinates))
    output = network(torch.rand(2, 3, 64, 64))
    assert output.logits.shape == (2, layers, 4, 16, 16)
    assert output.embeddings.shape == (2, layers, 3, 16, 16)


def test_the_deep_backbone_has_a_stride_of_sixteen() -> None:
    network = small_network(replace(SMALL, backbone="resnet50", image_size=128))
    found = network.backbone(torch.rand(1, 3, 128, 128))
    assert found["low"].shape == (1, 256, 32, 32) and found["high"].shape == (1, 2048, 8, 8)


def perfect(masks_of: np.ndarray, classes: np.ndarray, layers: int = 2) -> LayeredOutput:
    """The output of a network that knows: instances of a class are 9 apart, their pixels 0.2 around their means."""
    depths = torch.from_numpy(depth_layers(masks_of, layers))
    owner = depths - 1
    kinds = torch.from_numpy(np.append(classes + 1, 0))[owner]
    logits = 8.0 * torch.nn.functional.one_hot(kinds, 1 + len(CLASSES)).permute(0, 3, 1, 2)
    noise = 0.2 * torch.rand(layers, 2, *depths.shape[1:], generator=torch.manual_seed(0))
    means = torch.stack([9.0 * owner, 4.0 * kinds]).permute(1, 0, 2, 3)
    return LayeredOutput(logits, means + noise)


@pytest.mark.parametrize("per_class", [1, 6, 40])
def test_a_perfect_output_gives_the_first_layers(per_class: int) -> None:
    """Each instance once, with its class, and with what two layers can hold of it: 40 a class are over 40 in all."""
    whole, classes = make_shapes(Shapes2dConfig(per_class=per_class), 0, 1).on_grid(4)
    assert per_class < 40 or len(whole) >= 40
    depths = depth_layers(whole, 2)
    found = find_instances(perfect(whole, classes), min_pixels=1)
    expected = {(int(kind), (depths == i + 1).tobytes()) for i, kind in enumerate(classes)}
    assert {(one.kind, one.layers.tobytes()) for one in found} == expected
    assert len(found) == len(whole)
    assert all(one.score > 0.99 for one in found)


def test_small_clusters_are_left_out() -> None:
    whole = np.zeros((2, 8, 8), bool)
    whole[0, :1, :4] = True  # 4 pixels
    whole[1, 4:5, :5] = True  # 5 pixels
    found = find_instances(perfect(whole, np.array([0, 0])))
    assert [int(one.amodal.sum()) for one in found] == [5]


def test_nothing_is_found_in_nothing() -> None:
    assert find_instances(perfect(np.zeros((0, 16, 16), bool), np.zeros(0, np.int64))) == []


class Fixed(LayeredNetwork):
    """Says the same of every image."""

    answer: LayeredOutput

    def forward(self, images: Tensor) -> LayeredOutput:
        return LayeredOutput(*(part[None].expand(len(images), *part.shape) for part in self.answer))


@pytest.mark.parametrize("size", [64, 32, 100])
def test_results_are_masks_of_the_image(size: int) -> None:
    """One circle behind one triangle, 16 pixels across in the output, in images of any size."""
    network = Fixed(SMALL)
    whole = np.zeros((2, 16, 16), bool)
    whole[0, 0:8, 0:8] = True
    whole[1, 4:12, 0:8] = True
    network.answer = perfect(whole, np.array([1, 0]))
    method = LayeredEmbeddings(network, NAMES)
    assert isinstance(method, FindsObjects)
    image = np.zeros((size, size, 3), np.uint8)
    circle, triangle = method.find(image, replace(RECORD, width=size, height=size))
    assert (circle.category_id, triangle.category_id, circle.image_id) == (1, 2, 7)
    assert circle.visible is not None and circle.occluded is not None and triangle.visible is not None
    middle = size / 16
    expected = np.zeros((size, size), bool)
    centres = (np.arange(size) + 0.5) / middle
    expected[np.ix_((centres >= 4) & (centres < 12), centres < 8)] = True
    assert np.array_equal(masks.decode(circle.segmentation), expected)
    assert masks.area(circle.visible) + masks.area(circle.occluded) == expected.sum()
    assert masks.area(circle.occluded) == pytest.approx(expected.sum() / 2, rel=0.1)
    assert triangle.visible == triangle.segmentation


def test_in_a_blank_image_nothing_is_found_but_what_the_network_says() -> None:
    blank = np.full((64, 64, 3), 255, np.uint8)
    fixed = Fixed(SMALL)
    fixed.answer = perfect(np.zeros((0, 16, 16), bool), np.zeros(0, np.int64))
    assert LayeredEmbeddings(fixed, NAMES).find(blank, RECORD) == []
    results = LayeredEmbeddings(small_network(), NAMES).find(blank, RECORD)  # untrained, it may see anything
    assert all(one.category_id in NAMES and 0 < one.score <= 1 for one in results)


def test_unknown_categories_are_refused() -> None:
    with pytest.raises(UsageError, match="unknown category 'star'; the weights know circle, triangle, rectangle"):
        LayeredEmbeddings(small_network(), {1: "circle", 2: "star"})


def test_names_that_come_twice_are_refused() -> None:
    with pytest.raises(UsageError, match=r"classes: expected each name once, got circle, circle; leave out the second"):
        LayeredConfig(classes=("circle", "circle"))


def test_weights_come_back(tmp_path: Path) -> None:
    network = small_network().eval()
    save_weights(tmp_path / "weights", dump_config(SMALL), network.state_dict())
    image = rgb(make_shapes(Shapes2dConfig(size=64, per_class=1), 0, 0))
    again = LayeredEmbeddings.from_pretrained(tmp_path / "weights", NAMES)
    assert again.find(image, RECORD) == LayeredEmbeddings(network, NAMES).find(image, RECORD)
    assert again.parameters == sum(tensor.numel() for tensor in network.state_dict().values())


def test_pictures_of_a_network_that_finds_something() -> None:
    network = Fixed(SMALL)
    whole = np.zeros((2, 16, 16), bool)
    whole[0, 0:8, 0:8] = True
    whole[1, 4:12, 0:8] = True
    network.answer = perfect(whole, np.array([1, 0]))
    image = rgb(make_shapes(Shapes2dConfig(size=64, per_class=1), 0, 0))
    titled = draw_layers(network, [image, image])
    head, strip, again = titled[:-136], titled[-136:-68], titled[-68:]
    np.testing.assert_array_equal(strip, again)
    assert strip.shape[0] == 68 and strip.shape[2] == 3
    assert (head[:, :64] < 128).any() and (head[:, 64:68] == 255).all(), "a title as wide as the picture"
    assert strip[:64, :64].min() == 0  # the picture itself
    assert len(np.unique(strip.reshape(-1, 3), axis=0)) > 10


@pytest.mark.parametrize("count", [0, 1, 2])
def test_colours_of_few_points(count: int) -> None:
    chosen = np.arange(4) < count
    colours = principal_colours(np.arange(8, dtype=np.float32).reshape(4, 2), chosen)
    assert (colours[count:] == 255).all() and colours.shape == (4, 3)
