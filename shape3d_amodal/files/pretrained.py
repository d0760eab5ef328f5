"""Networks built from their weights: shipped weights by name, others by their folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from shape3d_amodal.config import parse_config
from shape3d_amodal.errors import WeightsError
from shape3d_amodal.files.assets import ASSETS
from shape3d_amodal.files.weights import CONFIG_FILE, MANIFEST, load_weights, read_sealed

if TYPE_CHECKING:
    from torch import nn

CHECKPOINTS = ASSETS / "checkpoints"
"""The shipped weights, one folder each."""
_IN_CHECKOUT = "assets/checkpoints/"

Config = TypeVar("Config")
Module = TypeVar("Module", bound="nn.Module")


def load_network(
    name_or_folder: str | Path, config_class: type[Config], build: Callable[[Config], Module]
) -> tuple[Module, Config]:
    """The network of shipped weights or of a folder that a training wrote, in evaluation mode, and its configuration.

    Args:
        config_class: class of the configuration beside the weights.
        build: makes the network from it.

    Raises:
        WeightsError: the weights are missing, damaged, or do not fit their own configuration.
        UsageError: the configuration is not of that class.
    """
    return read_network(weights_folder(name_or_folder), config_class, build)


def read_network(folder: Path, config_class: type[Config], build: Callable[[Config], Module]) -> tuple[Module, Config]:
    """As ``load_network``, but ``folder`` is never taken for the name of shipped weights."""
    text, state = load_weights(folder)
    config = parse_config(text, config_class, source=str(folder / CONFIG_FILE))
    network = build(config)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise WeightsError(f"the tensors do not fit the configuration beside them: {first}", file=folder) from error
    return network.eval(), config


def trained_config(name_or_folder: str | Path) -> dict[str, Any]:
    """What the configuration beside weights says, unchecked, without reading the weights themselves.

    Raises:
        WeightsError: the weights are missing, or their configuration is damaged.
    """
    folder = weights_folder(name_or_folder)
    said = yaml.safe_load(read_sealed(folder, (CONFIG_FILE,))[CONFIG_FILE])
    return said if isinstance(said, dict) else {}


def weights_folder(name_or_folder: str | Path) -> Path:
    """The folder of weights that the name of shipped weights (``open13``, or ``assets/checkpoints/open13``), or a
    path, stands for.

    Raises:
        WeightsError: there is none.
    """
    folder, own = Path(name_or_folder), CHECKPOINTS / str(name_or_folder).removeprefix(_IN_CHECKOUT)
    if not (folder / MANIFEST).is_file() and own.is_dir():
        return own  # a folder of other files with the name of shipped weights does not hide them
    if not folder.is_dir():
        shipped = sorted(str(file.parent.relative_to(CHECKPOINTS)) for file in CHECKPOINTS.rglob(MANIFEST))
        known = ", ".join(shipped) or "others"
        problem = f"no such folder of weights, and none are shipped by that name; train them first, or take {known}"
        raise WeightsError(problem, file=name_or_folder)
    return folder
