"""Every mesh of a source read once: which can be used, and why the others cannot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from shape3d_amodal.files.processes import spread
from shape3d_amodal.meshes.mesh import UnusableMeshError
from shape3d_amodal.meshes.sources import mesh_source

_CHUNK = 32


def check_meshes(spec: str, *, workers: int = 1, progress: Callable[[int], None] | None = None) -> dict[str, Any]:
    """The manifest of the source ``spec`` after each of its meshes was read; as JSON it is a source itself.

    Args:
        workers: processes that read.
        progress: called with the number of meshes read so far.

    Returns:
        ``FileMeshes.manifest`` with every mesh that cannot be used in ``skipped``, and ``usable``, the number of the
        others.

    Raises:
        DataError: there is no such source.
    """
    source = mesh_source(spec)
    chunks = [source.names[start : start + _CHUNK] for start in range(0, len(source.names), _CHUNK)]
    unusable: dict[str, str] = {}
    done = 0
    with spread(partial, (_passed_over, spec), workers) as read:
        for chunk, found in zip(chunks, read(chunks), strict=True):
            unusable |= found
            done += len(chunk)
            if progress is not None:
                progress(done)
    skipped = dict(sorted({**source.skipped, **unusable}.items()))
    return {**source.manifest(), "usable": len(source.names) - len(unusable), "skipped": skipped}


def _passed_over(spec: str, names: Sequence[str]) -> dict[str, str]:
    """Which of the meshes ``names`` cannot be used, and why."""
    meshes = mesh_source(spec)  # anew, so that no mesh stays in memory
    for name in names:
        with suppress(UnusableMeshError):
            meshes.load(name)
    return meshes.passed_over
