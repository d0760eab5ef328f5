"""From the network's output to instances, and the method of the instance track."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.device import torch_device
from shape3d_amodal.errors import UsageError
from shape3d_amodal.files.pretrained import load_network
from shape3d_amodal.methods.results import to_result
from shape3d_amodal.papers.layered.clustering import mean_shift
from shape3d_amodal.papers.layered.network import LayeredConfig, LayeredNetwork, LayeredOutput
from shape3d_amodal.structures import AmodalImage

RADIUS = 1.5
"""L1 radius of the mean shift."""
MIN_PIXELS = 5
"""Pixels of the output that an instance has at least, as in the authors' code."""


@dataclass(frozen=True)
class LayeredInstance:
    """A cluster of pixels of one class.

    Attributes:
        kind: place in the model's classes.
        score: mean probability of the class over its pixels.
        layers: [L,H,W] bool, its pixels in each layer, the nearest first.
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
    """Cluster the pixels of each class, of all layers together.

    Args:
        output: of one image, without the batch's dimension.
        radius: L1 radius of the mean shift.
        min_pixels: smaller clusters are left out.
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
        found = find_instances(look_at(self._network, image))
        return [_result(one, record, self._ids[one.kind]) for one in found if one.kind in self._ids]


def look_at(network: LayeredNetwork, image: NDArray[np.uint8]) -> LayeredOutput:
    """What ``network`` says of an image [H,W,3] uint8, brought to its size; without the batch's dimension."""
    size = network.config.image_size
    device = next(network.parameters()).device
    tensor = torch.from_numpy(np.ascontiguousarray(image)).to(device).permute(2, 0, 1)[None].float() / 255
    if tensor.shape[-2:] != (size, size):
        tensor = nn.functional.interpolate(tensor, size=(size, size), mode="bilinear", antialias=True)
    with torch.inference_mode():
        output = network(tensor)
    return LayeredOutput(output.logits[0], output.embeddings[0])


def _result(one: LayeredInstance, record: AmodalImage, category_id: int) -> AmodalResult:
    amodal, visible = (_enlarged(mask, record.height, record.width) for mask in (one.amodal, one.visible))
    return to_result(record.id, category_id, amodal, visible, score=one.score)


def _enlarged(mask: NDArray[np.bool_], height: int, width: int) -> NDArray[np.bool_]:
    """``mask`` [h,w] at the image's size: the pixel that each pixel's centre lies in."""
    rows = (np.arange(height) * 2 + 1) * mask.shape[0] // (2 * height)
    columns = (np.arange(width) * 2 + 1) * mask.shape[1] // (2 * width)
    return mask[rows[:, None], columns]
