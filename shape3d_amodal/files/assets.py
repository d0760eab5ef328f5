"""Where the files lie that come with the package: shipped weights, meshes and configurations."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_INSTALLED = _PACKAGE / "_data"
"""Where ``setup.py`` puts them in a wheel; a checkout has them beside the package."""
_ROOT = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent

ASSETS = _ROOT / "assets"
"""Shipped weights (``checkpoints``) and meshes (``open13``)."""
CONFIGS = _ROOT / "configs"
"""Shipped configurations."""


def find_config(path: str | Path) -> Path:
    """The configuration file that ``path`` names: the file of that path where there is one, else the shipped one.

    Shipped files are named with or without the folder ``configs``: ``configs/open13/test.yaml``, ``open13/test.yaml``.
    A path that names neither is returned as it is, so that who reads it says that it is missing.
    """
    path = Path(path)
    below = path.parts[1:] if path.parts[:1] == ("configs",) else path.parts
    shipped = CONFIGS.joinpath(*below)
    return shipped if shipped.is_file() and not path.exists() else path
