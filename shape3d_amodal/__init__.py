"""Amodal instance segmentation with a 3D shape prior.

Importing the package is cheap: torch and the other heavy libraries are imported where they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shape3d_amodal.pipeline import ShapePriorPipeline

__version__ = "0.1.0"
__all__ = ["ShapePriorPipeline", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "ShapePriorPipeline":
        from shape3d_amodal.pipeline import ShapePriorPipeline

        return ShapePriorPipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
