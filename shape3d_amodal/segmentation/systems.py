"""The registry of systems: ``system`` of a configuration names one, ``options`` are that system's own.

A new RoI head touches two files: ``baselines/rcnn/<head>.py``, with its options (``roi_heads.SystemConfig``) and its
head (``roi_heads.MaskHead``), and this one, with a line in ``SYSTEMS``. Training, methods and benchmarks find it here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from shape3d_amodal.config import configuration, from_mapping
from shape3d_amodal.errors import UsageError
from shape3d_amodal.segmentation.config import DetectorConfig

if TYPE_CHECKING:
    from shape3d_amodal.segmentation.roi_heads import SystemConfig

SYSTEMS: dict[str, tuple[str, str]] = {
    "mask_rcnn": ("mask_rcnn", "MaskRcnnConfig"),
    "orcnn": ("orcnn", "OrcnnConfig"),
    "panet": ("panet", "PanetConfig"),
    "asn": ("asn", "AsnConfig"),
    "arcnn": ("arcnn", "ArcnnConfig"),
    "arcnn_add": ("arcnn", "ArcnnAddConfig"),
    "bcnet": ("bcnet", "BcnetConfig"),
    "vrsp": ("vrsp", "VrspConfig"),
    "imle": ("imle", "ImleConfig"),
    "aisformer": ("aisformer", "AisformerConfig"),
}
"""By system: the module of ``baselines.rcnn``, and the class of options in it. They are imported when they are used."""


@configuration
class RcnnConfig:
    """A detector with the heads of a system; saved beside its weights."""

    detector: DetectorConfig
    """Everything but the heads of the system."""
    system: str = "mask_rcnn"
    """Name of the system."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the system."""


def system_config(system: str, options: Mapping[str, Any]) -> SystemConfig:
    """The checked options of ``system``.

    Raises:
        UsageError: there is no such system, or it has no such option or value.
    """
    if system not in SYSTEMS:
        raise UsageError(f"system: expected one of {', '.join(SYSTEMS)}, got {system!r}")
    module, name = SYSTEMS[system]
    kind: type[SystemConfig] = getattr(import_module(f"shape3d_amodal.baselines.rcnn.{module}"), name)
    return from_mapping(dict(options), kind, source="options")
