"""The axes of mesh files, and the rotation into the object frame (up +y, front +z, right-handed)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.errors import UsageError

_AXES = {
    sign + axis: factor * np.eye(3)[i] for sign, factor in (("+", 1.0), ("-", -1.0)) for i, axis in enumerate("xyz")
}


@dataclass(frozen=True)
class Frame:
    """The axes of a file, such as ``+y`` or ``-z``, that point up and to the front of the object."""

    up: str = "+y"
    front: str = "+z"

    def __post_init__(self) -> None:
        for name, axis in (("up", self.up), ("front", self.front)):
            if axis not in _AXES:
                raise UsageError(f"{name}: expected one of {', '.join(_AXES)}, got {axis[:20]!r}")
        if self.up[1] == self.front[1]:
            raise UsageError(f"expected up and front along different axes, got {self.up} and {self.front}")

    @property
    def rotation(self) -> NDArray[np.float64]:
        """[3,3]; ``points @ rotation.T`` brings points [N,3] of the file into the object frame."""
        up, front = _AXES[self.up], _AXES[self.front]
        return np.stack([np.cross(up, front), up, front])

    def __str__(self) -> str:
        return f"up {self.up}, front {self.front}"


OBJECT_FRAME = Frame()
SHAPENET_V1 = Frame("+y", "+x")
"""README of ShapeNetCore v1: up +Y, front +X; the X-Y plane is the mirror plane of most categories."""
SHAPENET_V2 = Frame("+y", "-z")
"""README of ShapeNetCore v2: up +Y, front -Z; the Y-Z plane is the mirror plane of most categories.

It says that v2 corrects mirrored models of v1; the models of v1 are read as they are.
"""
