"""Renders any meshes by the protocol of NMR, to files that ``papers.nmr.files`` reads.

Light and colours are our own: flat faces, lit from the camera's upper left. Each pixel is the mean of 4 x 4 samples;
its colour is the mean of the covered ones (straight alpha), as in the published images.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shape3d_amodal.errors import DataError
from shape3d_amodal.files import safe_io
from shape3d_amodal.files.archives import npz_writer
from shape3d_amodal.files.atomic import make_folder, remove_leftovers, write_json_atomic
from shape3d_amodal.files.processes import spread
from shape3d_amodal.geometry.cameras import DISTANCE, FOCAL, rotation
from shape3d_amodal.meshes.check import check_meshes
from shape3d_amodal.meshes.mesh import FileMeshes, Mesh
from shape3d_amodal.meshes.sources import SYNSETS, mesh_source
from shape3d_amodal.papers.nmr.files import AZIMUTHS_DEG, ELEVATION_DEG, RESOLUTION, SIZE, VIEWS, nmr_voxels
from shape3d_amodal.rendering.zbuffer import rasterize
from shape3d_amodal.scenes.shading import normals
from shape3d_amodal.scenes.shards import MAX_MANIFEST_BYTES

FORMAT = "shape3d-amodal NMR renders 1"
_SAMPLES = 4  # along each side of a pixel
_LIGHT = np.array([0.4, 0.6, -0.7]) / np.linalg.norm([0.4, 0.6, -0.7])
"""Where the light comes from in the view's frame (x left, y up, z forward)."""
_AMBIENT, _DIRECT = 0.45, 0.55


def render_views(mesh: Mesh) -> NDArray[np.uint8]:
    """A mesh, scaled to a longest side of 1, from the 24 views: [24,4,64,64] uint8 RGBA."""
    verts = unit_side(mesh)
    normal = normals(verts.astype(np.float32), mesh.faces)
    azimuth = torch.tensor(AZIMUTHS_DEG, dtype=torch.float64).deg2rad()
    elevation = torch.full_like(azimuth, math.radians(ELEVATION_DEG))
    turns = rotation(azimuth, elevation, torch.zeros_like(azimuth)).numpy()
    return np.stack([_render(verts, normal, mesh, turn) for turn in turns])


def unit_side(mesh: Mesh) -> NDArray[np.float64]:
    """The vertices [V,3] of a mesh, scaled to a longest side of 1."""
    used = mesh.verts[np.unique(mesh.faces)]
    return mesh.verts.astype(np.float64) / float(np.ptp(used, axis=0).max())


def _render(
    verts: NDArray[np.float64], normal: NDArray[np.float32], mesh: Mesh, turn: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """One view [4,64,64] uint8; ``turn`` [3,3] is from the world to the view."""
    view = verts @ turn.T
    depth = view[:, 2] + DISTANCE
    side = SIZE * _SAMPLES
    flat = (1 - view[:, :2] * FOCAL / depth[:, None]) * side / 2
    hit_depth, face = rasterize(np.column_stack([flat, depth]).astype(np.float32), mesh.faces, side, side)
    covered = np.isfinite(hit_depth)
    lit = _AMBIENT + _DIRECT * np.abs(normal @ (turn.T @ _LIGHT))
    colors = np.zeros((side, side, 3))
    colors[covered] = (mesh.colors * lit[:, None])[face[covered]]

    def means(samples: NDArray[Any]) -> NDArray[np.float64]:
        return samples.reshape(SIZE, _SAMPLES, SIZE, _SAMPLES, -1).mean(axis=(1, 3))

    share = means(covered[..., None].astype(float))
    color = means(colors) / np.maximum(share, 1e-9)
    image = np.concatenate([color, 255 * share], axis=2)
    return (np.clip(image, 0, 255) + 0.5).astype(np.uint8).transpose(2, 0, 1)


def _renderer(spec: str) -> Callable[[str], tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    meshes = mesh_source(spec, strict=True)

    def render(name: str) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        mesh = meshes.load(name)
        return render_views(mesh), nmr_voxels(unit_side(mesh), mesh.faces)

    return render


def write_nmr(
    spec: str, folder: Path, split: str, *, workers: int = 1, progress: Callable[[str, int], None] | None = None
) -> list[Path]:
    """Render every mesh of the source ``spec`` to ``<synset>_<split>_{images,voxels}.npz`` and ``.json`` in ``folder``.

    The JSON is written last and names the objects in their order, the meshes that could not be used, and notes about
    the others. A synset with a JSON of the same meshes is finished: its files are verified and kept.

    Args:
        progress: called with each finished synset and its number of objects.

    Returns:
        The JSON files.

    Raises:
        DataError: the source cannot be used, or the folder holds renders of other meshes.
    """
    source = mesh_source(spec)
    listing = source.listing_sha256()
    groups: dict[str, list[str]] = {}
    for name in source.names:
        groups.setdefault(synset_of(source, name), []).append(name)
    manifests = {synset: folder / f"{synset}_{split}.json" for synset in groups}
    objects = {synset: _finished(path, listing) for synset, path in manifests.items()}
    left = [synset for synset, names in objects.items() if names is None]
    checked = check_meshes(spec, workers=workers) if left else {"skipped": {}, "notes": {}}
    unusable, notes = checked["skipped"], checked["notes"]
    make_folder(folder)
    with spread(_renderer, (spec,), workers if left else 1) as render:
        for synset, path in sorted(manifests.items()):
            names = objects[synset]
            if names is None:
                names = [name for name in groups[synset] if name not in unusable]
                skipped = {name: unusable[name] for name in groups[synset] if name in unusable}
                noted = {name: notes[name] for name in names if name in notes}
                told = {"skipped": skipped, "notes": noted}
                manifest = {"format": FORMAT, "meshes_listing_sha256": listing, "source": spec, **told}
                if names:
                    _write(path, names, render(names), manifest)
            if progress is not None:
                progress(synset, len(names))
    return sorted(path for path in manifests.values() if path.exists())


def synset_of(source: FileMeshes, name: str) -> str:
    """The name in NMR's file names: the synset of a mesh's category, or the category where it has none."""
    category = source.category(name)
    own = re.match(r"(\d{8})/", name)
    return SYNSETS.get(category) or (own[1] if own else re.sub(r"[^\w.-]", "-", category))


def _write(path: Path, names: Sequence[str], renders: Any, manifest: dict[str, Any]) -> None:
    images, voxels = (path.with_name(f"{path.stem}_{kind}.npz") for kind in ("images", "voxels"))
    for one in (images, voxels, path):
        remove_leftovers(one)
    path.unlink(missing_ok=True)
    count = len(names)
    with (
        npz_writer(images, "arr_0", (count, VIEWS, 4, SIZE, SIZE), np.uint8) as write_images,
        npz_writer(voxels, "arr_0", (count, RESOLUTION, RESOLUTION, RESOLUTION), np.bool_) as write_voxels,
    ):
        for views, cells in renders:
            write_images(views)
            write_voxels(cells)
    files = {file.name: safe_io.sha256(file) for file in (images, voxels)}
    write_json_atomic(path, {**manifest, "files": files, "objects": list(names)})


def _finished(path: Path, listing: str) -> list[str] | None:
    """The objects of a finished synset; None where it must be made."""
    if not path.exists():
        return None
    manifest = safe_io.read_json(path, limit=MAX_MANIFEST_BYTES)
    wanted = {"format": str, "files": dict, "objects": list}
    kinds = {key: type(manifest.get(key)) for key in wanted} if type(manifest) is dict else {}
    if kinds != wanted or manifest["format"] != FORMAT:
        raise DataError(f"expected the list of {FORMAT!r}, got something else; choose another folder", file=path)
    if manifest.get("meshes_listing_sha256") != listing:
        raise DataError("holds renders of other meshes; choose another folder or remove it", file=path)
    files = {safe_io.resolve_inside(path.parent, name, file=path): digest for name, digest in manifest["files"].items()}
    whole = all(file.is_file() and safe_io.sha256(file) == digest for file, digest in files.items())
    return manifest["objects"] if whole else None
