"""Which trainings there are: the ``stage`` of a configuration names one.

A new training is a ``TrainingConfig`` entered into ``_TRAININGS``; nothing else knows it by name. A module is imported
when its training is asked for, since some take long to import.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shape3d_amodal.config import load_config_by
from shape3d_amodal.errors import UsageError

if TYPE_CHECKING:
    from shape3d_amodal.training.loop.interface import TrainingConfig

_STAGES = ("prior", "reconstruction", "viewpoint", "completion2d", "refinement", "end_to_end")
_TRAININGS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(_STAGES, ("training.tasks.stages", "StageConfig")),
    "known_cameras": ("papers.nmr.training", "NmrConfig"),
    "layered_embeddings": ("papers.layered.training", "LayeredTraining"),
    "pcnet_m": ("training.tasks.pcnet_m", "PcnetMTraining"),
    "c2f_codebook": ("training.tasks.c2f_seg", "CodebookTraining"),
    "c2f_seg": ("training.tasks.c2f_seg", "C2FSegTraining"),
    "rcnn": ("training.tasks.rcnn", "RcnnTraining"),
    "vrsp_shapes": ("training.tasks.vrsp_shapes", "VrspShapesTraining"),
    "trust": ("training.tasks.trust", "TrustTraining"),
}
"""The module of each stage, and the class in it."""
_OPTIONS = {"rcnn": ("training.tasks.rcnn_options", "RcnnOptions")}
"""The same for stages whose options stand in a module of their own, which is quick to import."""


def load_training(path: Path, *, overrides: Sequence[str] = ()) -> TrainingConfig:
    """Read the YAML file ``path`` as the configuration of the training that its ``stage`` names.

    Raises:
        UsageError: the stage is unknown; otherwise as for ``load_config``.
    """
    load_config_by(path, "stage", _options_class, overrides=overrides)  # what is wrong with them is said at once
    return load_config_by(path, "stage", training_class, overrides=overrides)


def training_class(stage: object) -> type[TrainingConfig]:
    """The configuration class of ``stage``.

    Raises:
        UsageError: there is no such stage.
    """
    return _imported(_TRAININGS, stage)


def _options_class(stage: object) -> type[Any]:
    return _imported(_TRAININGS | _OPTIONS, stage)


def _imported(places: Mapping[str, tuple[str, str]], stage: object) -> type[Any]:
    if stage not in places:
        raise UsageError(f"stage: expected one of {', '.join(_TRAININGS)}, got {stage!r}")
    module, name = places[str(stage)]
    return getattr(import_module(f"shape3d_amodal.{module}"), name)
