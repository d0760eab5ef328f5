"""What is made of a mesh once and kept on disk, by the mesh's hash."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.errors import DataError
from shape3d_amodal.files.cache import made_once

log = logging.getLogger(__name__)


def kept_of_mesh(
    what: str,
    names: tuple[str, ...],
    verts: NDArray[np.float32],
    faces: NDArray[np.int64],
    make: Callable[[], dict[str, NDArray[Any]]],
    cache: Path | None,
) -> dict[str, NDArray[Any]]:
    """The arrays that ``make`` makes of a mesh from ``cache``, made if they are missing, or if it is of no use.

    Args:
        what: a word for the kind, and all that the arrays depend on beside the mesh.
        names: of the arrays.
        verts, faces: the mesh, [V,3] and [F,3].
        cache: a folder; None keeps nothing.
    """
    if cache is None:
        return make()
    kind, _, settings = what.partition(" ")
    digest = hashlib.sha256(settings.encode())
    digest.update(np.ascontiguousarray(verts, np.float32).tobytes())
    digest.update(np.ascontiguousarray(faces, np.int64).tobytes())

    def write(folder: Path) -> None:
        for name, array in make().items():
            np.save(folder / f"{name}.npy", array)

    folder = cache / f"{kind}-{digest.hexdigest()[:24]}"
    try:
        made_once(folder, write)
        return {name: np.load(folder / f"{name}.npy", allow_pickle=False) for name in names}
    except (DataError, OSError, ValueError, EOFError) as error:
        log.warning("%s: %s; %s are made anew; remove the folder, or make room", folder, error, kind)
        return make()
