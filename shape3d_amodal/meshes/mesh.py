"""Meshes in the object frame (up +y, front +z, right-handed), the axes of files, and sources of meshes in files.

A source lists its meshes when it is opened and reads a mesh when it is asked for. A mesh that cannot be used does not
stop a source of thousands: ``load`` raises ``UnusableMeshError`` for it each time, and code that draws meshes at random
draws another one. ``strict`` sources raise a plain ``DataError``, which stops everything.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.array_fields import ArrayFields
from shape3d_amodal.errors import DataError, UsageError
from shape3d_amodal.meshes.parsers import read_mesh_file
from shape3d_amodal.structures import Pose

_KEPT_BYTES = 256 * 1024**2
"""Size of the meshes that a source keeps in memory; the oldest are dropped first."""
_TOLD = 3
"""Meshes of a source whose notes are logged; all are in its manifest."""

log = logging.getLogger(__name__)

_SIGNS = {"+": 1.0, "-": -1.0}
_AXES = {sign + axis: factor * np.eye(3)[i] for sign, factor in _SIGNS.items() for i, axis in enumerate("xyz")}


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
"""README of ShapeNetCore v1: up +Y, front +X; the X-Y plane mirrors most categories. Its mirrored models stay so."""
SHAPENET_V2 = Frame("+y", "-z")
"""README of ShapeNetCore v2: up +Y, front -Z; the Y-Z plane mirrors most categories. Models mirrored in v1 are not."""


class UnusableMeshError(DataError):
    """A mesh that its source lists and that cannot be used; another one may be drawn."""

    @property
    def reason(self) -> str:
        """Why, without the file."""
        return f"{self.field}: {self.problem}" if self.field else self.problem


@dataclass(frozen=True, eq=False, repr=False)
class FilePlace(ArrayFields):
    """Where the object frame lies in a mesh's own file: a point is ``rotation.T @ (unit * point) + centre`` there.

    Attributes:
        rotation: [3,3] float64, from the file's axes to the object frame's.
        centre: [3] float64, the object frame's origin in the file.
        unit: length of the object frame's unit, the box's diagonal, in the file.
    """

    rotation: NDArray[np.float64]
    centre: NDArray[np.float64]
    unit: float

    @classmethod
    def same(cls) -> FilePlace:
        """Of a mesh that was made in the object frame."""
        return cls(np.eye(3), np.zeros(3), 1.0)

    def pose(self, rotation: NDArray[np.floating[Any]], translation: NDArray[np.floating[Any]]) -> Pose:
        """The pose of the file's model.

        Args:
            rotation: [3,3], from the object frame to the camera's.
            translation: [3], the object frame's origin in the camera's, in units of the object frame.
        """
        turn = np.asarray(rotation, np.float64) @ self.rotation
        moved = self.unit * np.asarray(translation, np.float64) - turn @ self.centre
        return Pose(tuple(turn.ravel().tolist()), tuple(moved.tolist()))

    def to_camera(self, pose: Pose) -> NDArray[np.float64]:
        """[4,4], from the object frame to the camera's, in the file's unit, where the file's model has ``pose``."""
        turn = np.array(pose.rotation).reshape(3, 3)
        matrix = np.eye(4)
        matrix[:3, :3] = self.unit * turn @ self.rotation.T
        matrix[:3, 3] = turn @ self.centre + np.array(pose.translation)
        return matrix


class KnownModel(NamedTuple):
    """A mesh of a bank: its name in its source, and where the object frame lies in its file."""

    name: str
    place: FilePlace


@dataclass(frozen=True, eq=False, repr=False)
class Mesh(ArrayFields):
    """A triangle mesh in the object frame: y up, front +z, bounding box centred at the origin, its diagonal 1.

    Attributes:
        name: unique in its source.
        category: category name.
        verts: [V,3] float32.
        faces: [F,3] int32.
        colors: [F,3] uint8, flat colour of each face.
        place: where the object frame lies in its file.
        notes: what of its file was left out or is read in a way that a user may not expect.
    """

    name: str
    category: str
    verts: NDArray[np.float32]
    faces: NDArray[np.int32]
    colors: NDArray[np.uint8]
    notes: tuple[str, ...] = ()
    place: FilePlace = field(default_factory=FilePlace.same)

    @property
    def nbytes(self) -> int:
        return self.verts.nbytes + self.faces.nbytes + self.colors.nbytes


class MeshSource(Protocol):
    """Meshes by name, in a fixed order; ``load`` always gives the same mesh for a name, or always the same error."""

    @property
    def names(self) -> Sequence[str]: ...
    def category(self, name: str) -> str: ...
    def load(self, name: str) -> Mesh: ...


@dataclass(frozen=True)
class MeshFile:
    """The file of a mesh, its category, the axes of the file, and the name of its group of near-duplicates, if any."""

    category: str
    path: Path
    frame: Frame = OBJECT_FRAME
    cluster: str | None = None


class FileMeshes:
    """Meshes in files.

    Args:
        entries: the meshes by name.
        spec: the text that named the source, for its manifest.
        strict: raise a plain ``DataError`` for a mesh that cannot be used.
        skipped: meshes that were found and cannot be used, with the reason.

    Attributes:
        passed_over: the same for meshes that ``load`` was asked for; may be emptied to start a new list.
        notes: the notes of the meshes that ``load`` gave, where they have any; may be emptied likewise.
        left_out: those of ``skipped`` that are meshes which a check has read.
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
        self.passed_over: dict[str, str] = {}
        self.notes: dict[str, tuple[str, ...]] = {}
        self.left_out: frozenset[str] = frozenset()
        self._told: set[str] = set()
        self._skipped_are_told = not self.skipped
        self._loaded: dict[str, Mesh] = {}
        self._loaded_bytes = 0
        self._unusable: dict[str, UnusableMeshError] = {}

    def category(self, name: str) -> str:
        return self._entries[name].category

    def path(self, name: str) -> Path:
        """The file of the mesh ``name``, for what needs the coordinates of the file."""
        return self._entries[name].path

    def near_duplicates(self, name: str) -> tuple[str, ...]:
        """The names of the meshes that are known to be nearly the same as ``name``, including ``name`` itself."""
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
        if not self._skipped_are_told:
            self._skipped_are_told = True
            first = min(self.skipped)
            more = f"{len(self.skipped)} skipped of {self.spec}; `shape3d-amodal meshes` lists them all"
            log.warning("%s: %s (%s)", first, self.skipped[first], more)
        if name not in self._loaded and name not in self._unusable:
            try:
                mesh = self.read(name)
            except UnusableMeshError as error:
                self._unusable[name] = error
                log.warning("mesh skipped: %s", error)
            else:
                self._keep(mesh)
                self._tell_notes(mesh)
        if unusable := self._unusable.get(name):
            self.passed_over[name] = unusable.reason
            raise unusable
        found = self._loaded[name]
        if found.notes:
            self.notes[name] = found.notes
        return found

    def read(self, name: str) -> Mesh:
        """The same mesh, read anew: it is neither kept nor listed nor logged.

        Raises:
            UnusableMeshError: it cannot be used (of a strict source: ``DataError``).
        """
        try:
            return read_mesh(self._entries[name], name=name)
        except DataError as error:
            if self._strict:
                raise
            raise UnusableMeshError(error.problem, file=error.file, field=error.field) from error

    def _tell_notes(self, mesh: Mesh) -> None:
        if not mesh.notes or mesh.name in self._told or len(self._told) > _TOLD:
            return
        self._told.add(mesh.name)
        if len(self._told) <= _TOLD:
            log.warning("mesh read with notes: %s: %s", self._entries[mesh.name].path, "; ".join(mesh.notes))
        else:
            log.warning("more meshes of %s have notes; `shape3d-amodal meshes` lists them all", self.spec)

    def _keep(self, mesh: Mesh) -> None:
        self._loaded[mesh.name] = mesh
        self._loaded_bytes += mesh.nbytes
        while self._loaded_bytes > _KEPT_BYTES and len(self._loaded) > 1:
            self._loaded_bytes -= self._loaded.pop(next(iter(self._loaded))).nbytes

    def fingerprint(self) -> str:
        """A SHA-256 over names, sizes and times: it changes when a mesh is added, removed, renamed or rewritten."""
        stats = {name: file.path.stat() for name, file in self._entries.items()}
        rows = [f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats.items()]
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()

    def listing_sha256(self) -> str:
        """A SHA-256 over names, categories, frames and sizes, the same on every machine that has a copy."""
        rows = [f"{name} {file.category} {file.frame} {_size(file.path)}" for name, file in self._entries.items()]
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()

    def manifest(self) -> dict[str, Any]:
        """A description of the source as plain values for JSON."""
        return {
            "source": self.spec,
            "listing_sha256": self.listing_sha256(),
            "meshes": len(self.names),
            "categories": dict(sorted(Counter(file.category for file in self._entries.values()).items())),
            "file_frames": dict(sorted(Counter(str(file.frame) for file in self._entries.values()).items())),
            "object_frame": f"{OBJECT_FRAME}, bounding box centred, its diagonal 1",
            "skipped": dict(sorted({**self.skipped, **self.passed_over}.items())),
            "notes": {name: list(notes) for name, notes in sorted(self.notes.items())},
        }

    def without(self, skipped: dict[str, str]) -> FileMeshes:
        """The source without the meshes ``skipped``, which come with the reason and are known to the user."""
        left = {name: file for name, file in self._entries.items() if name not in skipped}
        source = FileMeshes(left, spec=self.spec, strict=self._strict, skipped={**self.skipped, **skipped})
        source.left_out = self.left_out | (self._entries.keys() & skipped.keys())
        source._skipped_are_told = True
        return source

    def only(self, categories: Container[str]) -> FileMeshes:
        """The meshes of ``categories``."""
        left = {name: file for name, file in self._entries.items() if file.category in categories}
        source = FileMeshes(left, spec=self.spec, strict=self._strict, skipped=self.skipped)
        source._skipped_are_told = self._skipped_are_told
        return source


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
    axes = file.frame.rotation
    turned = data.verts if file.frame == OBJECT_FRAME else data.verts @ axes.T
    used = np.unique(data.faces)
    low, high = turned[used].min(axis=0), turned[used].max(axis=0)
    diagonal = float(np.linalg.norm(high - low))
    if not diagonal > 0:
        raise DataError("expected a mesh with an extent, all its vertices coincide", file=file.path, field="vertices")
    verts = (turned - (low + high) / 2) / diagonal
    place = FilePlace(axes, axes.T @ ((low.astype(np.float64) + high) / 2), diagonal)
    colors = np.full((len(data.faces), 3), 180, np.uint8) if data.colors is None else data.colors
    return Mesh(name, file.category, verts.astype(np.float32), data.faces.astype(np.int32), colors, data.notes, place)
