"""Differentiable silhouettes."""

from shape3d_amodal.rendering.silhouettes import blur_sigma, render_silhouettes

__all__ = ["blur_sigma", "render_silhouettes"]
