"""Amodal instance segmentation with a 3D shape prior.

Importing the package is cheap: torch and the other heavy libraries are imported where they are used.

It sets OMP_WAIT_POLICY=PASSIVE where that is not set and torch is not loaded yet: threads of OpenMP that wait for each
other then sleep. By default they spin, which on a busy machine makes everything several times slower.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shape3d_amodal.pipeline import ShapePriorPipeline

__version__ = "0.1.0"
__all__ = ["ShapePriorPipeline", "__version__"]

if "torch" not in sys.modules:  # OpenMP reads it once, when it is loaded
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def __getattr__(name: str) -> Any:
    if name == "ShapePriorPipeline":
        from shape3d_amodal.pipeline import ShapePriorPipeline

        return ShapePriorPipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
