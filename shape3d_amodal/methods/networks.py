"""What methods that apply one trained network share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import nn
from typing_extensions import Self

from shape3d_amodal.device import torch_device
from shape3d_amodal.files.pretrained import load_network


class NetworkMethod:
    """A method that applies one trained network, on the device where the network lies.

    Attributes:
        config_class: class of the configuration beside the weights.
        network_class: class of the network, which is built from that configuration.
    """

    config_class: ClassVar[type]
    network_class: ClassVar[type[nn.Module]]

    def __init__(self, network: nn.Module) -> None:
        self.parameters = sum(parameter.numel() for parameter in network.parameters())
        self._network: Any = network.eval()
        self._device = next(network.parameters()).device

    @classmethod
    def from_pretrained(
        cls, weights: str | Path, names: Mapping[int, str], *, device: str = "auto", **options: Any
    ) -> Self:
        """Load shipped weights by name, or a folder that a training wrote.

        Args:
            names: category names by id.
            device: auto (a GPU where there is one), cpu, cuda or cuda:N.
            options: further arguments of the class.

        Raises:
            WeightsError: the weights are missing, damaged, or do not fit their own configuration.
            UsageError: they are of something else, or there is no such device.
            MissingBackendError: the device is not on this machine.
        """
        network, _ = load_network(weights, cls.config_class, cls.network_class)
        return cls(network.to(torch_device(device)), names, **options)  # type: ignore[call-arg]
