"""Networks built from their weights: shipped weights by name, others by their folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from shape3d_amodal.config import check_text, parse_config
from shape3d_amodal.errors import UsageError, WeightsError, nearest
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
        WeightsError: the weights are missing, damaged, of another kind, or do not fit their own configuration.
    """
    return read_network(weights_folder(name_or_folder), config_class, build)


def read_network(folder: Path, config_class: type[Config], build: Callable[[Config], Module]) -> tuple[Module, Config]:
    """As ``load_network``, but ``folder`` is never taken for the name of shipped weights."""
    text, state = load_weights(folder)
    config = read_config(folder, text, config_class)
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


def read_config(folder: Path, text: str, config_class: type[Config]) -> Config:
    """The configuration ``text`` that lies beside the weights in ``folder``.

    Raises:
        WeightsError: it is of other weights than those that are asked for, and the message says of which.
        UsageError: it is of no known weights.
    """
    try:
        return parse_config(text, config_class, source=str(folder / CONFIG_FILE))
    except UsageError:
        keys = set(check_text(text))
        kind = next((kind for kind in _KINDS if kind.keys <= keys), None)
        own = next((kind for kind in _KINDS if kind.config_class == config_class.__name__), None)
        if kind is None or kind is own:
            raise
        wanted = "" if own is None else f"expected weights of {own.name}, "
        raise WeightsError(f"{wanted}got those of {kind.name}, which belong to {kind.place}", file=folder) from None


@dataclass(frozen=True)
class _Kind:
    """Weights of one kind: the class of their configuration, keys that only these have, and where they are given."""

    name: str
    config_class: str
    keys: frozenset[str]
    place: str


_KINDS = (
    _Kind(
        "a detector (stage 1, the R-CNN family)",
        "RcnnConfig",
        frozenset(("detector", "system")),
        "predict --detector, and to benchmark methods of the kind rcnn",
    ),
    _Kind(
        "stages 2 to 5",
        "AmodalModelConfig",
        frozenset(("prior", "refinement")),
        "--weights of complete, predict, render and demo, and to benchmark methods of the kinds pipeline and bank",
    ),
    _Kind("PCNet-M", "PcnetMConfig", frozenset(("size", "width")), "benchmark methods of the kind pcnet_m"),
    _Kind("C2F-Seg", "C2FSegConfig", frozenset(("codebook", "transformer")), "benchmark methods of the kind c2f_seg"),
    _Kind("the codebook of C2F-Seg", "CodebookConfig", frozenset(("codes", "size")), "codebook of the stage c2f_seg"),
    _Kind("the shapes of VRSP", "ShapesConfig", frozenset(("memory", "categories")), "options.shapes of system vrsp"),
    _Kind(
        "layered embeddings",
        "LayeredConfig",
        frozenset(("embedding", "backbone")),
        "shapes2d show --weights, and to benchmark methods of the kind layered_embeddings",
    ),
    _Kind(
        "reconstruction with known cameras",
        "KnownCamerasConfig",
        frozenset(("synsets",)),
        "known_cameras.weights of a benchmark",
    ),
)


def is_known(name_or_folder: str | Path) -> bool:
    """Whether there is a folder of that path, or shipped weights of that name."""
    return Path(name_or_folder).is_dir() or (CHECKPOINTS / str(name_or_folder).removeprefix(_IN_CHECKOUT)).is_dir()


def weights_folder(name_or_folder: str | Path) -> Path:
    """The folder of weights that the name of shipped weights (``open13``, or ``assets/checkpoints/open13``), or a
    path, stands for.

    Raises:
        WeightsError: there is none.
    """
    folder, own = Path(name_or_folder), CHECKPOINTS / str(name_or_folder).removeprefix(_IN_CHECKOUT)
    if not (folder / MANIFEST).is_file() and own.is_dir():
        return own  # a folder of other files with the name of shipped weights does not hide them
    if not is_known(name_or_folder):
        shipped = sorted(str(file.parent.relative_to(CHECKPOINTS)) for file in CHECKPOINTS.rglob(MANIFEST))
        near, known = nearest(str(name_or_folder).removeprefix(_IN_CHECKOUT), shipped), ", ".join(shipped) or "others"
        remedy = f"did you mean {near}?" if near else f"train them first, or take {known}"
        problem = f"no such folder of weights, and none are shipped by that name; {remedy}"
        raise WeightsError(problem, file=name_or_folder)
    return folder
