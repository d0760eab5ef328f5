"""Where the files lie that come with the package: shipped weights, meshes and configurations."""

from __future__ import annotations

from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
ASSETS = _ROOT / "assets"
"""Shipped weights (``checkpoints``), meshes (``open13``) and images."""
CONFIGS = _ROOT / "configs"
"""Shipped configurations."""
