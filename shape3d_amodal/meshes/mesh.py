"""Meshes in the object frame, and collections of them that lie in files.

A collection lists its meshes when it is opened and reads them when they are asked for. A mesh that cannot be used does
not stop a collection of thousands: ``load`` raises ``UnusableMeshError`` for it, always, and who draws meshes at random
draws another; ``strict`` collections raise the plain ``DataError``.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.errors import DataError
from shape3d_amodal.meshes.frames import OBJECT_FRAME, Frame
from shape3d_amodal.meshes.parsers import read_mesh_file

_KEPT_BYTES = 256 * 1024**2
"""Meshes that a source keeps in memory; the oldest go first."""

log = logging.getLogger(__name__)


class UnusableMeshError(DataError):
    """A mesh that its source lists and that cannot be used; another one may be drawn."""


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh in the object frame: y up, front +z, bounding box centred at the origin, its diagonal 1.

    Attributes:
        name: unique in its source.
        category: category name.
        verts: [V,3] float32.
        faces: [F,3] int32.
        colors: [F,3] uint8, flat colour of each face.
    """

    name: str
    category: str
    verts: NDArray[np.float32]
    faces: NDArray[np.int32]
    colors: NDArray[np.uint8]

    @property
    def nbytes(self) -> int:
        return self.verts.nbytes + self.faces.nbytes + self.colors.nbytes


class MeshSource(Protocol):
    """Meshes by name; ``load`` may cache, and says always the same of one name. The order of the names is fixed."""

    @property
    def names(self) -> Sequence[str]: ...

    def category(self, name: str) -> str: ...

    def load(self, name: str) -> Mesh: ...


@dataclass(frozen=True)
class MeshFile:
    """Where a mesh lies, its category, how the file's axes lie, and the name that its near-duplicates share, if any."""

    category: str
    path: Path
    frame: Frame = OBJECT_FRAME
    cluster: str | None = None


class FileMeshes:
    """Meshes that lie in files.

    Args:
        entries: the meshes by name.
        spec: what the source was named by, for its manifest.
        strict: a mesh that cannot be used is a plain ``DataError``, which nobody passes over.
        skipped: what was found and cannot be used, and why.
    """

    def __init__(
        self,
        entries: dict[str, MeshFile],
        *,
        spec: str = "",
        strict: bool = False,
        skipped: dict[str, str] | None = None,
    ) -> None:
        self._entries = entries
        self._strict = strict
        self.names = tuple(entries)
        self.spec = spec
        self.skipped = dict(skipped or {})
        self._loaded: dict[str, Mesh] = {}
        self._loaded_bytes = 0
        self._unusable: dict[str, DataError] = {}

    def category(self, name: str) -> str:
        return self._entries[name].category

    def near_duplicates(self, name: str) -> tuple[str, ...]:
        """The names of the meshes that are known to be all but the same as ``name``, itself among them."""
        own = self._entries.get(name)
        if own is None or own.cluster is None:
            return (name,)
        place = (own.category, own.cluster)
        return tuple(other for other, file in self._entries.items() if (file.category, file.cluster) == place)

    def load(self, name: str) -> Mesh:
        """The mesh ``name`` in the object frame.

        Raises:
            UnusableMeshError: it cannot be used (of a strict source: ``DataError``).
        """
        if name in self._unusable:
            raise self._unusable[name]
        if name not in self._loaded:
            try:
                self._keep(read_mesh(self._entries[name], name=name))
            except DataError as error:
                if self._strict:
                    raise
                self._unusable[name] = UnusableMeshError(error.problem, file=error.file, field=error.field)
                log.warning("mesh skipped: %s", error)
                raise self._unusable[name] from error
        return self._loaded[name]

    def _keep(self, mesh: Mesh) -> None:
        self._loaded[mesh.name] = mesh
        self._loaded_bytes += mesh.nbytes
        while self._loaded_bytes > _KEPT_BYTES and len(self._loaded) > 1:
            self._loaded_bytes -= self._loaded.pop(next(iter(self._loaded))).nbytes

    def fingerprint(self) -> str:
        """Changes when a mesh is added, removed, renamed or written anew: a SHA-256 over names, sizes and times."""
        rows = [
            f"{name} {file.path.stat().st_size} {file.path.stat().st_mtime_ns}" for name, file in self._entries.items()
        ]
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()

    def listing_sha256(self) -> str:
        """The same on every machine that has a copy: a SHA-256 over names, categories, frames and sizes."""
        rows = [f"{name} {file.category} {file.frame} {_size(file.path)}" for name, file in self._entries.items()]
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()

    def manifest(self) -> dict[str, Any]:
        """What the source holds, as plain values for JSON."""
        return {
            "source": self.spec,
            "listing_sha256": self.listing_sha256(),
            "meshes": len(self.names),
            "categories": dict(sorted(Counter(file.category for file in self._entries.values()).items())),
            "file_frames": dict(sorted(Counter(str(file.frame) for file in self._entries.values()).items())),
            "object_frame": f"{OBJECT_FRAME}, bounding box centred, its diagonal 1",
            "skipped": dict(sorted(self.skipped.items())),
        }

    def without(self, skipped: dict[str, str]) -> FileMeshes:
        """The source less the meshes ``skipped``, which are listed with the reason."""
        left = {name: file for name, file in self._entries.items() if name not in skipped}
        return FileMeshes(left, spec=self.spec, strict=self._strict, skipped={**self.skipped, **skipped})

    def only(self, categories: Container[str]) -> FileMeshes:
        """The meshes of ``categories``."""
        left = {name: file for name, file in self._entries.items() if file.category in categories}
        return FileMeshes(left, spec=self.spec, strict=self._strict, skipped=self.skipped)


class RecordedMeshes:
    """A mesh source that remembers in ``skipped`` which of the meshes asked for could not be used, and why."""

    def __init__(self, source: FileMeshes) -> None:
        self._source = source
        self.names = source.names
        self.skipped: dict[str, str] = {}

    def category(self, name: str) -> str:
        return self._source.category(name)

    def load(self, name: str) -> Mesh:
        try:
            return self._source.load(name)
        except UnusableMeshError as error:
            self.skipped[name] = f"{error.field}: {error.problem}" if error.field else error.problem
            raise

    def manifest(self) -> dict[str, Any]:
        """The source's, with what could not be used so far."""
        manifest = self._source.manifest()
        return {**manifest, "skipped": dict(sorted({**manifest["skipped"], **self.skipped}.items()))}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise DataError(f"cannot read the mesh ({error.strerror}); check the path", file=path) from error


def read_mesh(file: MeshFile, *, name: str) -> Mesh:
    """Read a mesh file and bring it into the object frame.

    Raises:
        DataError: the file cannot be used, or all its vertices coincide.
    """
    data = read_mesh_file(file.path)
    turned = data.verts if file.frame == OBJECT_FRAME else data.verts @ file.frame.rotation.T
    used = np.unique(data.faces)
    low, high = turned[used].min(axis=0), turned[used].max(axis=0)
    diagonal = float(np.linalg.norm(high - low))
    if not diagonal > 0:
        raise DataError("expected a mesh with an extent, all its vertices coincide", file=file.path, field="vertices")
    verts = (turned - (low + high) / 2) / diagonal
    colors = np.full((len(data.faces), 3), 180, np.uint8) if data.colors is None else data.colors
    return Mesh(name, file.category, verts.astype(np.float32), data.faces.astype(np.int32), colors)
