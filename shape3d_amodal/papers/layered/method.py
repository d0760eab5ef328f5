"""From the network's output to instances, as a method of the instance track and of a benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import nn

from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.benchmarking.methods import TrainedOptions
from shape3d_amodal.config import configuration
from shape3d_amodal.errors import UsageError
from shape3d_amodal.methods.ground_truth import Given
from shape3d_amodal.methods.interface import FindsObjects
from shape3d_amodal.methods.networks import NetworkMethod
from shape3d_amodal.methods.results import to_result
from shape3d_amodal.papers.layered.network import LayeredConfig, LayeredNetwork, LayeredOutput
from shape3d_amodal.structures import AmodalImage

RADIUS = 1.5
"""L1 radius of the mean shift."""
MIN_PIXELS = 5
"""Smallest number of output pixels of an instance, as in the authors' code."""
MAX_SHIFTS = 100
"""Largest number of shifts of one mean; with a flat kernel and L1 distance they may not converge."""
_ROUNDING = 1e-9
"""Bound of the rounding error of a sum, as a share of the largest L1 norm."""


@dataclass(frozen=True)
class LayeredInstance:
    """A cluster of pixels of one class.

    Attributes:
        kind: place in the network's classes.
        score: mean probability of the class over its pixels.
        layers: [L,H,W] bool, its pixels in each layer, the nearest layer first.
        amodal, visible: [H,W] bool.
    """

    kind: int
    score: float
    layers: NDArray[np.bool_]

    @property
    def amodal(self) -> NDArray[np.bool_]:
        return np.asarray(self.layers.any(axis=0))

    @property
    def visible(self) -> NDArray[np.bool_]:
        return np.asarray(self.layers[0])


def find_instances(output: LayeredOutput, *, min_pixels: int = MIN_PIXELS) -> list[LayeredInstance]:
    """The instances of an image: the pixels of each class, of all layers together, clustered by their embeddings.

    Args:
        output: that of one image, without the batch dimension.
        min_pixels: clusters with fewer pixels are left out.
    """
    probability = output.logits.softmax(dim=1).cpu().numpy()  # [L,1+K,H,W]
    kinds = probability.argmax(axis=1)  # [L,H,W]
    points = output.embeddings.permute(0, 2, 3, 1).cpu().numpy()  # [L,H,W,C]
    found = []
    for kind in range(1, probability.shape[1]):
        chosen = kinds == kind
        labels = np.full(kinds.shape, -1)
        labels[chosen] = mean_shift(points[chosen], RADIUS)
        for label in np.nonzero(np.bincount(labels[chosen]) >= min_pixels)[0]:
            layers = labels == label
            found.append(LayeredInstance(kind - 1, float(probability[:, kind][layers].mean()), layers))
    return found


class LayeredEmbeddings(NetworkMethod):
    """Layered embeddings as a method of the instance track (``methods.interface.FindsObjects``).

    Args:
        network: the trained network, on the device where it shall run.
        names: category names by id.

    Raises:
        UsageError: a category that the network does not know.
    """

    name = "layered embeddings"
    config_class, network_class = LayeredConfig, LayeredNetwork

    def __init__(self, network: LayeredNetwork, names: Mapping[int, str]) -> None:
        known = network.config.classes
        for name in names.values():
            if name not in known:
                raise UsageError(f"unknown category {name!r}; the weights know {', '.join(known)}")
        super().__init__(network)
        self._ids = {known.index(name): key for key, name in names.items()}

    def find(self, image: NDArray[np.uint8], record: AmodalImage, /) -> list[AmodalResult]:
        """See ``interface.FindsObjects``."""
        results = []
        for one in find_instances(look_at(self._network, image)):
            if one.kind in self._ids:
                amodal, visible = (resampled(mask, record.height, record.width) for mask in (one.amodal, one.visible))
                results.append(to_result(record.id, self._ids[one.kind], amodal, visible, score=one.score))
        return results


@configuration
class LayeredOptions(TrainedOptions):
    """Layered embeddings as a method of a benchmark."""

    takes: ClassVar[tuple[Given, ...]] = ("image",)

    def build(self, names: Mapping[int, str], device: str) -> FindsObjects:
        return LayeredEmbeddings.from_pretrained(self.weights, names, device=device)


def look_at(network: LayeredNetwork, image: NDArray[np.uint8]) -> LayeredOutput:
    """The output of ``network`` for an image [H,W,3] uint8, resized to its input; without the batch dimension."""
    size = network.config.image_size
    device = next(network.parameters()).device
    tensor = torch.from_numpy(np.ascontiguousarray(image)).to(device).permute(2, 0, 1)[None].float() / 255
    if tensor.shape[-2:] != (size, size):
        tensor = nn.functional.interpolate(tensor, size=(size, size), mode="bilinear", antialias=True)
    with torch.inference_mode():
        output = network(tensor)
    return LayeredOutput(output.logits[0], output.embeddings[0])


def resampled(image: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """An image or mask [h,w,...] at another size: each pixel takes the value at its centre."""
    rows = (np.arange(height) * 2 + 1) * image.shape[0] // (2 * height)
    columns = (np.arange(width) * 2 + 1) * image.shape[1] // (2 * width)
    return image[rows[:, None], columns]


def mean_shift(points: NDArray[np.float32], radius: float, *, seed: int = 0) -> NDArray[np.int64]:
    """The cluster of each point, [P] int64 from 0 on, by the paper's mean shift.

    A mean starts at a point without a cluster and moves to the mean of those that are less than ``radius`` (L1) away.
    When it is stable, these points and the point where it started become a cluster. The neighbours of a mean are found
    fast by two sums of coordinates, with different signs, in which they differ by less than ``radius``: points are
    sorted by the first sum, and the distance is computed only for those that are near the mean in both.

    Args:
        points: [P,C] float32.
        seed: random seed of the order of the starting points.
    """
    points = np.ascontiguousarray(points, np.float32)
    starts = np.random.default_rng(seed).permutation(len(points))
    even, odd = (points[:, k::2].sum(axis=1, dtype=np.float64) for k in (0, 1))
    reach = radius + _ROUNDING * np.abs(points).sum(axis=1, dtype=np.float64).max(initial=0)
    ranks = np.argsort(even + odd)
    ranked = (ranks, points[ranks], (even + odd)[ranks], (even - odd)[ranks])
    labels: NDArray[np.int64] = _cluster(points, radius, starts, ranked, reach)
    return labels


@njit(cache=True)
def _cluster(points, radius, starts, ranked, reach):  # type: ignore[no-untyped-def]
    """``ranked``: numbers [P] of the points by their first sum, and in that order points [P,C] and both sums [P]."""
    numbers, _, _, second = ranked
    place = np.empty(len(points), np.int64)
    place[numbers] = np.arange(len(points))
    labels = np.full(len(points), -1)
    near = np.empty(len(points) + 1, np.int64)
    count = 0
    for start in starts:
        if labels[start] >= 0:
            continue
        mean = points[start].astype(np.float64)
        size = _find_near(ranked, mean, radius, reach, near)
        for _ in range(MAX_SHIFTS):
            moved = _mean_of(points, near[:size])
            if size == 0 or np.all(moved == mean):
                break
            mean = moved
            size = _find_near(ranked, mean, radius, reach, near)
        near[size] = start  # the mean may have moved away from it
        for i in near[: size + 1]:
            labels[i] = count
            second[place[i]] = np.inf  # near nothing from now on
        count += 1
    return labels


@njit(cache=True)
def _find_near(ranked, centre, radius, reach, near):  # type: ignore[no-untyped-def]
    """Write the numbers of the unlabelled points near ``centre`` into ``near``, ascending; returns their count."""
    numbers, points, first, second = ranked
    even, odd = centre[::2].sum(), centre[1::2].sum()
    size = 0
    for k in range(np.searchsorted(first, even + odd - reach), np.searchsorted(first, even + odd + reach)):
        if abs(second[k] - (even - odd)) < reach and _near(points[k], centre, radius):
            near[size] = numbers[k]
            size += 1
    near[:size].sort()  # the last digit of a mean depends on the order of addition
    return size


@njit(cache=True)
def _mean_of(points, chosen):  # type: ignore[no-untyped-def]
    """The mean of the points ``chosen``; zeros where there are none."""
    total = np.zeros(points.shape[1])
    for i in chosen:
        for k in range(len(total)):
            total[k] += points[i, k]
    return total / max(len(chosen), 1)


@njit(cache=True)
def _near(point, centre, radius):  # type: ignore[no-untyped-def]
    distance = 0.0
    for k in range(len(centre)):
        distance += abs(point[k] - centre[k])
        if distance >= radius:
            return False
    return True
