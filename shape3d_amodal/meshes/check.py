"""Every mesh of a source read once: which can be used, and why the others cannot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from shape3d_amodal.files.processes import spread
from shape3d_amodal.meshes.mesh import FileMeshes, Mesh, UnusableMeshError
from shape3d_amodal.meshes.sources import mesh_source

_CHUNK = 32


def check_meshes(spec: str, *, workers: int = 1, progress: Callable[[int], None] | None = None) -> dict[str, Any]:
    """The manifest of the source ``spec`` after each of its meshes was read; as JSON it is a source itself.

    Args:
        workers: processes that read.
        progress: called with the number of meshes read so far.

    Returns:
        ``FileMeshes.manifest`` with every mesh that cannot be used in ``skipped``, the notes of the others in
        ``notes`` where they have any, and ``usable``, the number of the others. ``unusable`` names those of
        ``skipped`` that are meshes, and no links or other entries that were passed over.

    Raises:
        DataError: there is no such source.
    """
    source = mesh_source(spec)
    chunks = [source.names[start : start + _CHUNK] for start in range(0, len(source.names), _CHUNK)]
    unusable: dict[str, str] = {}
    notes: dict[str, list[str]] = {}
    done = 0
    with spread(partial, (_read, spec), workers) as read:
        for chunk, (bad, noted) in zip(chunks, read(chunks), strict=True):
            unusable |= bad
            notes |= noted
            done += len(chunk)
            if progress is not None:
                progress(done)
    skipped = dict(sorted({**source.skipped, **unusable}.items()))
    usable = len(source.names) - len(unusable)
    known = {"usable": usable, "unusable": sorted({*source.left_out, *unusable})}
    return {**source.manifest(), **known, "skipped": skipped, "notes": dict(sorted(notes.items()))}


def _read(spec: str, names: Sequence[str]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Which of the meshes ``names`` cannot be used, and why, and the notes of the others."""
    meshes = mesh_source(spec)
    unusable: dict[str, str] = {}
    notes: dict[str, list[str]] = {}
    for name in names:
        mesh = _mesh_or_reason(meshes, name)
        if isinstance(mesh, str):
            unusable[name] = mesh
        elif mesh.notes:
            notes[name] = list(mesh.notes)
    return unusable, notes


def _mesh_or_reason(meshes: FileMeshes, name: str) -> Mesh | str:
    try:
        return meshes.read(name)
    except UnusableMeshError as error:
        return error.reason
