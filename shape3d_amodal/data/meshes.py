"""Mesh sources: where scenes, the shape bank and the renderers get their meshes from."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.data import safe_io
from shape3d_amodal.errors import DataError

CATEGORIES = (
    "airplane",
    "bench",
    "dresser",
    "car",
    "chair",
    "display",
    "lamp",
    "speaker",
    "rifle",
    "sofa",
    "table",
    "phone",
    "vessel",
)
"""The 13 ShapeNet categories in the order of the published tables."""

SYNSETS = dict(
    zip(
        CATEGORIES,
        (
            "02691156",
            "02828884",
            "02933112",
            "02958343",
            "03001627",
            "03211117",
            "03636649",
            "03691459",
            "04090263",
            "04256520",
            "04379243",
            "04401088",
            "04530566",
        ),
        strict=True,
    )
)
"""ShapeNet synset of each category."""
_SYNSET_NAMES = {synset: name for name, synset in SYNSETS.items()}

MESH_SUFFIXES = (".obj", ".ply", ".off", ".glb", ".npz")
_KEPT = 1024
"""Meshes that a source keeps in memory; the oldest goes first."""
OPEN13 = Path(__file__).resolve().parents[2] / "assets" / "open13"


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh in the object frame: y up, bounding box centred at the origin, its diagonal 1.

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


class MeshSource(Protocol):
    """Meshes by name; ``load`` may cache. The order of the names is fixed."""

    @property
    def names(self) -> Sequence[str]: ...

    def category(self, name: str) -> str: ...

    def load(self, name: str) -> Mesh: ...


class FileMeshes:
    """Meshes that lie in files: ``entries`` maps each mesh name to its category and path."""

    def __init__(self, entries: dict[str, tuple[str, Path]]) -> None:
        self._entries = entries
        self.names = tuple(entries)
        self._loaded: dict[str, Mesh] = {}

    def category(self, name: str) -> str:
        return self._entries[name][0]

    def fingerprint(self) -> str:
        """Changes when a mesh is added, removed, renamed or written anew: a SHA-256 over names, sizes and times."""
        rows = [f"{name} {path.stat().st_size} {path.stat().st_mtime_ns}" for name, (_, path) in self._entries.items()]
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()

    def load(self, name: str) -> Mesh:
        if name not in self._loaded:
            if len(self._loaded) >= _KEPT:
                self._loaded.pop(next(iter(self._loaded)))
            category, path = self._entries[name]
            self._loaded[name] = read_mesh(path, name=name, category=category)
        return self._loaded[name]


def read_mesh(path: Path, *, name: str, category: str) -> Mesh:
    """Read a mesh file (y up) and bring it into the object frame.

    Raises:
        DataError: the file cannot be used, or all its vertices coincide.
    """
    data = safe_io.read_mesh(path)
    used = np.unique(data.faces)
    low, high = data.verts[used].min(axis=0), data.verts[used].max(axis=0)
    diagonal = float(np.linalg.norm(high - low))
    if not diagonal > 0:
        raise DataError("expected a mesh with an extent, all its vertices coincide", file=path, field="vertices")
    verts = (data.verts - (low + high) / 2) / diagonal
    colors = np.full((len(data.faces), 3), 180, np.uint8) if data.colors is None else data.colors
    return Mesh(name, category, verts.astype(np.float32), data.faces.astype(np.int32), colors)


def open13(split: str, folder: Path = OPEN13) -> FileMeshes:
    """The meshes of Open13's ``split``: train, val, test, or several joined by ``+``.

    Raises:
        DataError: the folder has no index (open13 travels with a clone of the repository, not with the wheel).
    """
    index = folder / "index.tsv"
    if not index.is_file():
        raise DataError("no such file; open13 lies in assets/open13 of a clone of the repository", file=index)
    wanted = set(split.split("+"))
    if not wanted <= {"train", "val", "test"}:
        raise DataError(f"expected train, val, test or a sum of them, got {split!r}", file=index, field="split")
    with index.open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines, delimiter="\t") if row["split"] in wanted]
    return FileMeshes({f"{row['category']}/{row['name']}": (row["category"], folder / row["path"]) for row in rows})


def mesh_folder(folder: Path) -> FileMeshes:
    """Any folder of meshes, ``<category>/.../<file>``; files directly in it have the folder's own name as category.

    Folders named by one of ``SYNSETS`` (ShapeNet) have its category's name.

    Raises:
        DataError: the folder is missing or holds no mesh.
    """
    if not folder.is_dir():
        raise DataError("expected a folder of meshes, there is none", file=folder)
    entries: dict[str, tuple[str, Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in MESH_SUFFIXES and path.is_file():
            parts = path.relative_to(folder).parts
            category = parts[0] if len(parts) > 1 else folder.resolve().name
            entries["/".join(parts)] = (_SYNSET_NAMES.get(category, category), path)
    if not entries:
        raise DataError(f"expected mesh files ({', '.join(MESH_SUFFIXES)}), found none", file=folder)
    return FileMeshes(entries)


def mesh_source(spec: str) -> FileMeshes:
    """``open13:train`` (or val, test, train+val), or the path of a folder of meshes."""
    kind, _, rest = spec.partition(":")
    return open13(rest) if kind == "open13" else mesh_folder(Path(spec))
