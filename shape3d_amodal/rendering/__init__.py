"""Differentiable silhouettes. What needs no gradients (``zbuffer``) is imported without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shape3d_amodal.rendering.silhouettes import blur_sigma, render_silhouettes

__all__ = ["blur_sigma", "render_silhouettes"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from shape3d_amodal.rendering import silhouettes

    return getattr(silhouettes, name)
