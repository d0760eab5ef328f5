"""Networks of baselines from their weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from torch import nn

from shape3d_amodal.config import parse_config
from shape3d_amodal.errors import WeightsError
from shape3d_amodal.pipeline import weights_folder
from shape3d_amodal.weights import CONFIG_FILE, load_weights

Config = TypeVar("Config")
Module = TypeVar("Module", bound=nn.Module)


def load_network(
    name_or_folder: str | Path, config_class: type[Config], build: Callable[[Config], Module]
) -> tuple[Module, Config]:
    """The network of shipped weights, or of a folder that a training wrote, in evaluation mode; and its configuration.

    Args:
        config_class: class of the configuration beside the weights.
        build: makes the network from it.

    Raises:
        WeightsError: the weights are missing, damaged, or do not fit their own configuration.
        UsageError: the configuration is not of that class.
    """
    folder = weights_folder(name_or_folder)
    text, state = load_weights(folder)
    config = parse_config(text, config_class, source=str(folder / CONFIG_FILE))
    network = build(config)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise WeightsError(f"the tensors do not fit the configuration beside them: {first}", file=folder) from error
    return network.eval(), config
