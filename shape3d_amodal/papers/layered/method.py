"""From the network's output to instances, as a method of the instance track and of a benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.benchmarking.methods import TrainedOptions
from shape3d_amodal.config import configuration
from shape3d_amodal.device import torch_device
from shape3d_amodal.errors import UsageError
from shape3d_amodal.files.pretrained import load_network
from shape3d_amodal.methods.ground_truth import Given
from shape3d_amodal.methods.interface import FindsObjects
from shape3d_amodal.methods.results import to_result
from shape3d_amodal.papers.layered.clustering import mean_shift
from shape3d_amodal.papers.layered.network import LayeredConfig, LayeredNetwork, LayeredOutput
from shape3d_amodal.structures import AmodalImage

RADIUS = 1.5
"""L1 radius of the mean shift."""
MIN_PIXELS = 5
"""Smallest number of output pixels of an instance, as in the authors' code."""


@dataclass(frozen=True)
class LayeredInstance:
    """A cluster of pixels of one class.

    Attributes:
        kind: place in the network's classes.
        score: mean probability of the class over its pixels.
        layers: [L,H,W] bool, its pixels in each layer, the nearest layer first.
    """

    kind: int
    score: float
    layers: NDArray[np.bool_]

    @property
    def amodal(self) -> NDArray[np.bool_]:
        """[H,W] bool."""
        return np.asarray(self.layers.any(axis=0))

    @property
    def visible(self) -> NDArray[np.bool_]:
        """[H,W] bool."""
        return np.asarray(self.layers[0])


def find_instances(
    output: LayeredOutput, *, radius: float = RADIUS, min_pixels: int = MIN_PIXELS
) -> list[LayeredInstance]:
    """The instances of an image: the pixels of each class, of all layers together, clustered by their embeddings.

    Args:
        output: that of one image, without the batch dimension.
        radius: L1 radius of the mean shift.
        min_pixels: clusters with fewer pixels are left out.
    """
    probability = output.logits.softmax(dim=1).cpu().numpy()  # [L,1+K,H,W]
    kinds = probability.argmax(axis=1)  # [L,H,W]
    points = output.embeddings.permute(0, 2, 3, 1).cpu().numpy()  # [L,H,W,C]
    found = []
    for kind in range(1, probability.shape[1]):
        chosen = kinds == kind
        labels = np.full(kinds.shape, -1)
        labels[chosen] = mean_shift(points[chosen], radius)
        for label in np.nonzero(np.bincount(labels[chosen]) >= min_pixels)[0]:
            layers = labels == label
            found.append(LayeredInstance(kind - 1, float(probability[:, kind][layers].mean()), layers))
    return found


class LayeredEmbeddings:
    """Layered embeddings as a method of the instance track (``methods.interface.FindsObjects``).

    Args:
        network: the trained network, on the device where it shall run.
        names: category names by id.

    Raises:
        UsageError: a category that the network does not know.
    """

    name = "layered embeddings"

    def __init__(self, network: LayeredNetwork, names: Mapping[int, str]) -> None:
        known = network.config.classes
        for name in names.values():
            if name not in known:
                raise UsageError(f"unknown category {name!r}; the weights know {', '.join(known)}")
        self._network = network.eval()
        self._ids = {known.index(name): key for key, name in names.items()}
        self.parameters = sum(parameter.numel() for parameter in network.parameters())

    @classmethod
    def from_pretrained(
        cls, name_or_folder: str | Path, names: Mapping[int, str], *, device: str = "cpu"
    ) -> LayeredEmbeddings:
        """Load weights that a training of the stage layered_embeddings wrote.

        Raises:
            WeightsError: they are missing, damaged, or do not fit their own configuration.
            UsageError: they are of something else, a category that they do not know, or there is no such device.
            MissingBackendError: the device is not on this machine.
        """
        network, _ = load_network(name_or_folder, LayeredConfig, LayeredNetwork)
        return cls(network.to(torch_device(device)), names)

    def find(self, image: NDArray[np.uint8], record: AmodalImage, /) -> list[AmodalResult]:
        """See ``interface.FindsObjects``."""
        found = [one for one in find_instances(look_at(self._network, image)) if one.kind in self._ids]
        return [
            to_result(
                record.id,
                self._ids[one.kind],
                resampled(one.amodal, record.height, record.width),
                resampled(one.visible, record.height, record.width),
                score=one.score,
            )
            for one in found
        ]


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
