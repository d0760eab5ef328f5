"""The data of a benchmark: scenes are made once and kept, annotations are read, both are known by their content."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from shape3d_amodal.annotations.formats.registry import read_dataset
from shape3d_amodal.benchmarking.config import Benchmark
from shape3d_amodal.benchmarking.provenance import code_hash
from shape3d_amodal.config import dump_config
from shape3d_amodal.errors import DataError
from shape3d_amodal.files.atomic import write_atomic
from shape3d_amodal.files.safe_io import resolve_inside
from shape3d_amodal.meshes.sources import mesh_source
from shape3d_amodal.scenes.sets import SceneSetConfig, write_scene_set
from shape3d_amodal.structures import AmodalDataset

_SEAL = "made-from"
"""File beside made scenes that says what they were made from; written last."""
_MAKERS = ("scenes", "meshes", "masks", "rendering", "geometry")
"""Rooms whose code decides what scenes look like."""


@dataclass(frozen=True)
class BenchmarkData:
    """Annotated images, ready to be shown to methods.

    Attributes:
        name: its name in the benchmark.
        dataset: the annotations.
        images: folder that file names are relative to.
        annotations: the file that was read.
        sha256: of annotations and pictures.
        meshes: the source of the scenes' meshes; None of data that were not made here.
        origin: one line for people.
    """

    name: str
    dataset: AmodalDataset
    images: Path
    annotations: Path
    sha256: str
    origin: str
    meshes: str | None = None


def open_data(benchmark: Benchmark, name: str, folder: Path) -> BenchmarkData:
    """Read the data ``name``; scenes are made in ``folder`` unless they are there already.

    Raises:
        DataError: the mesh source, the annotations or a picture cannot be used.
    """
    given = benchmark.config.data[name]
    if given.annotations is not None and given.images is not None:
        return read_data(name, given.annotations, given.images, origin=str(given.annotations))
    scenes = benchmark.scenes[name]
    make_scenes(scenes, folder)
    origin = f"scenes of {scenes.meshes} ({given.scenes}), seed {scenes.seed}, {scenes.per_category} targets a category"
    data = read_data(name, folder / "annotations.json", folder / "images", origin=origin)
    return replace(data, meshes=scenes.meshes)


def make_scenes(config: SceneSetConfig, folder: Path) -> None:
    """Make the scenes in ``folder``, in place of others that a benchmark made there, unless they are there already."""
    source = f"{dump_config(config)}meshes: {mesh_source(config.meshes).fingerprint()}\ncode: {code_hash(*_MAKERS)}\n"
    seal = folder / _SEAL
    if folder.exists():
        if not seal.is_file():
            raise DataError("expected scenes that a benchmark made, found others; move them away", file=folder)
        if seal.read_text(encoding="utf-8") == source:
            return
    temporary = folder.with_name(f".partial-{folder.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    write_scene_set(config, temporary)
    write_atomic(temporary / _SEAL, source.encode())
    shutil.rmtree(folder, ignore_errors=True)
    temporary.replace(folder)


def read_data(name: str, annotations: Path, images: Path, *, origin: str) -> BenchmarkData:
    """Read an annotation file and hash it with its pictures."""
    dataset = read_dataset(annotations)
    digest = hashlib.sha256(annotations.read_bytes())
    for image in dataset.images:
        place = f"images[id={image.id}].file_name"
        path = resolve_inside(images, image.file_name, file=annotations, field=place)
        try:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError as error:
            raise DataError(f"cannot read {path} ({error.strerror})", file=annotations, field=place) from error
    return BenchmarkData(name, dataset, images, annotations, digest.hexdigest(), origin)
