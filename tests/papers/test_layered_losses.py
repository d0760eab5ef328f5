"""The discriminative loss over layers: literals by hand, and two loops that follow equations 1 to 3 word for word."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from shape3d_amodal.papers.layered.losses import (
    LayeredLossConfig,
    LayeredTarget,
    class_loss,
    embedding_losses,
    layered_losses,
)
from shape3d_amodal.papers.layered.network import LayeredOutput

CONFIG = LayeredLossConfig()


def one_row(front: list[int], back: list[int], classes: list[int]) -> LayeredTarget:
    """A picture of one row."""
    return LayeredTarget(torch.tensor([front, back])[None, :, None], torch.tensor([classes]))


def test_by_hand() -> None:
    """Three pixels, C = 2. Instance 1: front (0,0), back (4,0), mean (2,0); instance 2: (3,1); instance 3: (3,0).

    Variance: instance 1 has two pixels 2 away, (2 - 0.5)^2 = 2.25 each; the others none; 2.25 / 3 = 0.75.
    Distance: instances 1 and 2 are of a class, |(2,0) - (3,1)| = 2, (3 - 2)^2 = 1, both ways, over 2 * 1; 3 is alone.
    Regularisation: (2 + 4 + 3) / 3 = 3.
    """
    target = one_row([1, 2, 3], [0, 1, 0], [0, 0, 1])
    front = torch.tensor([[0.0, 3.0, 3.0], [0.0, 1.0, 0.0]])
    back = torch.tensor([[99.0, 4.0, 99.0], [99.0, 0.0, 99.0]])
    embeddings = torch.stack([front, back])[None, :, :, None]  # [1,2,2,1,3]
    found = embedding_losses(embeddings, target, CONFIG)
    assert [float(value) for value in found] == pytest.approx([0.75, 1.0, 3.0])


def test_class_loss_by_hand() -> None:
    """Two layers of two pixels. The front is sure to ln 3, ln 3; the back knows nothing of two classes and nothing."""
    logits = torch.zeros(1, 2, 2, 1, 2)
    logits[0, 0, 1, 0, 0] = math.log(3)  # probability 3/4 of class 1 at the first pixel, 1/2 at the second
    classes = torch.tensor([[[[1, 0]], [[0, 1]]]])
    front = (-math.log(3 / 4) - math.log(1 / 2)) / 2
    assert float(class_loss(logits, classes)) == pytest.approx(front + math.log(2))


def test_class_loss_sums_layers_whatever_their_number() -> None:
    """Three layers of one pixel that know nothing of four classes and nothing: three times ln 5."""
    loss = class_loss(torch.zeros(2, 3, 5, 1, 1), torch.zeros(2, 3, 1, 1, dtype=torch.int64))
    assert float(loss) == pytest.approx(3 * math.log(5))


def test_one_instance_in_the_image() -> None:
    """Pixels at (0,0) and (4,0), mean (2,0): (2 - 0.5)^2 each, nothing to be pushed from, 2 from the origin."""
    target = one_row([1, 0], [0, 1], [0])
    embeddings = torch.zeros(1, 2, 2, 1, 2)
    embeddings[0, 1, 0, 0, 1] = 4.0
    found = embedding_losses(embeddings, target, CONFIG)
    assert [float(value) for value in found] == pytest.approx([2.25, 0.0, 2.0])


def test_weights_are_applied() -> None:
    target = one_row([1, 2, 3], [0, 1, 0], [0, 0, 1])
    output = LayeredOutput(torch.zeros(1, 2, 3, 1, 3), torch.randn(1, 2, 2, 1, 3, generator=torch.manual_seed(0)))
    plain = layered_losses(output, target, CONFIG)
    weighted = layered_losses(output, target, LayeredLossConfig(variance=2, distance=3, regularization=0.01))
    unweighted = embedding_losses(output.embeddings, target, CONFIG)
    assert [float(plain[name]) for name in ("variance", "distance", "regularization")] == pytest.approx(
        [float(value) for value in unweighted]
    )
    ratios = {name: float(weighted[name] / plain[name]) for name in plain}
    assert ratios == pytest.approx({"class": 1, "variance": 2, "distance": 3, "regularization": 0.01})


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_loops_say_the_same(layers: int) -> None:
    generator = torch.manual_seed(layers)
    instances = torch.randint(0, 6, (3, layers, 5, 4), generator=generator)
    instances[2] = 0  # an image without instances
    instances[1][instances[1] == 2] = 0  # an instance without pixels
    target = LayeredTarget(instances, torch.randint(0, 2, (3, 5), generator=generator))
    embeddings = torch.randn(3, layers, 4, 5, 4, generator=generator)
    expected = [sum(parts) / 3 for parts in zip(*(_loops(embeddings[i], target, i) for i in range(3)), strict=True)]
    found = [float(value) for value in embedding_losses(embeddings, target, CONFIG)]
    assert found == pytest.approx(expected, rel=1e-5)


def _loops(embeddings: Tensor, target: LayeredTarget, image: int) -> tuple[float, float, float]:
    """Equations 1 to 3 of one image, pixel by pixel."""
    pixels: dict[int, list[list[float]]] = {}
    layers, _, height, width = embeddings.shape
    for layer in range(layers):
        for y in range(height):
            for x in range(width):
                number = int(target.instances[image, layer, y, x])
                if number:
                    pixels.setdefault(number, []).append(embeddings[layer, :, y, x].tolist())
    if not pixels:
        return 0.0, 0.0, 0.0
    means = {n: [sum(values) / len(own) for values in zip(*own, strict=True)] for n, own in pixels.items()}
    variance = 0.0
    for n, own in pixels.items():
        variance += sum(max(_l1(means[n], point) - 0.5, 0) ** 2 for point in own) / len(own) / len(pixels)
    distance = 0.0
    for kind in range(2):
        members = [n for n in means if int(target.classes[image, n - 1]) == kind]
        for n in members:
            for m in members:
                if n != m:
                    gap = max(2 * 1.5 - _l1(means[n], means[m]), 0) ** 2
                    distance += gap / (len(members) * (len(members) - 1))
    regularization = sum(sum(map(abs, mean)) for mean in means.values()) / len(means)
    return variance, distance, regularization


def _l1(a: list[float], b: list[float]) -> float:
    return sum(abs(x - y) for x, y in zip(a, b, strict=True))


def test_one_image_without_instances_has_no_loss_but_a_gradient() -> None:
    target = LayeredTarget(torch.zeros(1, 2, 3, 3, dtype=torch.int64), torch.zeros(1, 0, dtype=torch.int64))
    embeddings = torch.randn(1, 2, 4, 3, 3, requires_grad=True)
    found = embedding_losses(embeddings, target, CONFIG)
    assert [float(value.detach()) for value in found] == [0, 0, 0]
    (gradient,) = torch.autograd.grad(sum(found), embeddings)
    assert (gradient == 0).all()


def test_gradients_are_those_of_differences() -> None:
    target = one_row([1, 2, 1, 3], [2, 0, 3, 1], [0, 0, 0])
    embeddings = torch.randn(1, 2, 3, 1, 4, dtype=torch.float64, generator=torch.manual_seed(1), requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: embedding_losses(x, target, CONFIG), embeddings)


def test_classes_of_pixels() -> None:
    target = one_row([1, 0, 2], [2, 0, 0], [2, 0])
    assert target.pixel_classes()[0, :, 0].tolist() == [[3, 0, 1], [1, 0, 0]]
