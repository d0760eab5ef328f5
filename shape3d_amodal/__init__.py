"""Amodal instance segmentation with a 3D shape prior.

- ``ShapePriorPipeline``: whole masks, meshes and viewpoints from an image and visible masks.
- ``ImagePredictor``: the same from the image alone; ``Detector`` is its first stage.
- ``read_dataset``: annotation files; ``render_silhouettes``: differentiable silhouettes of meshes.

Importing the package is cheap: torch and the other heavy libraries are imported where they are used.

It sets OMP_WAIT_POLICY=PASSIVE where that is not set and torch is not loaded yet: threads of OpenMP that wait for each
other then sleep. By default they spin, which on a busy machine makes everything several times slower.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shape3d_amodal.annotations.formats.registry import read_dataset
    from shape3d_amodal.crops.pasting import CompletedObject
    from shape3d_amodal.methods.prediction import ImagePredictor, PredictedObject
    from shape3d_amodal.pipeline import ShapePriorPipeline
    from shape3d_amodal.rendering import blur_sigma, render_silhouettes
    from shape3d_amodal.segmentation.detector import DetectedObject, Detector

__version__ = "0.1.0"
__all__ = [
    "CompletedObject",
    "DetectedObject",
    "Detector",
    "ImagePredictor",
    "PredictedObject",
    "ShapePriorPipeline",
    "__version__",
    "blur_sigma",
    "read_dataset",
    "render_silhouettes",
]
_HOMES = {
    "CompletedObject": "crops.pasting",
    "DetectedObject": "segmentation.detector",
    "Detector": "segmentation.detector",
    "ImagePredictor": "methods.prediction",
    "PredictedObject": "methods.prediction",
    "ShapePriorPipeline": "pipeline",
    "blur_sigma": "rendering.silhouettes",
    "read_dataset": "annotations.formats.registry",
    "render_silhouettes": "rendering.silhouettes",
}
"""The module of each name, which is imported with the first use."""

if "torch" not in sys.modules:  # OpenMP reads it once, when it is loaded
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
