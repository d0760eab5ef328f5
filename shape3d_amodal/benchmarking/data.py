"""The data of a benchmark: scenes that are made once and kept, or annotations that are read."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from shape3d_amodal.annotations.formats.registry import read_dataset
from shape3d_amodal.annotations.images import ImageFiles
from shape3d_amodal.benchmarking.config import Benchmark, DataConfig
from shape3d_amodal.benchmarking.provenance import code_hash
from shape3d_amodal.config import dump_config
from shape3d_amodal.errors import DataError, UsageError
from shape3d_amodal.evaluation.tables import counted
from shape3d_amodal.files.atomic import write_atomic
from shape3d_amodal.meshes.sources import mesh_source
from shape3d_amodal.scenes.sets import SceneSetConfig, write_scene_set
from shape3d_amodal.structures import OCCLUDER, AmodalDataset

_SEAL = "made-from"  # file beside made scenes that states what they were made from; it is written last
_MAKERS = ("scenes", "meshes", "masks", "rendering", "geometry")  # rooms whose code decides what scenes look like


@dataclass(frozen=True)
class BenchmarkData:
    """Annotated images of a benchmark.

    Attributes:
        name: name in the benchmark.
        dataset: the annotations.
        files: the images and the annotation file.
        sha256: hash of the annotations and the images, and of the way in which these are read.
        origin: the source of the data, in one line for readers.
        meshes: name of the source of the objects' meshes; None where it is not known.
    """

    name: str
    dataset: AmodalDataset
    files: ImageFiles
    sha256: str
    origin: str
    meshes: str | None = None


def open_data(benchmark: Benchmark, name: str, folder: Path) -> BenchmarkData:
    """Read the data ``name``, and make its scenes in ``folder`` first if they are not there already.

    Raises:
        DataError: the mesh source, the annotations or an image cannot be used.
    """
    given = benchmark.config.data[name]
    if given.annotations is not None and given.images is not None:
        if given.meshes is not None:
            mesh_source(given.meshes)  # they are needed last, and should not be found missing then
        read = _read(name, given.files(given.images, given.annotations), str(given.annotations), given.meshes)
        return replace(read, dataset=_scored_alone(read.dataset, given, name)) if given.categories else read
    scenes = benchmark.scenes[name]
    _make_scenes(scenes, folder)
    targets = counted(scenes.per_category, "target")
    origin = f"scenes of {scenes.meshes} ({given.scenes}), seed {scenes.seed}, {targets} a category"
    return _read(name, ImageFiles(folder / "images", folder / "annotations.json"), origin, scenes.meshes)


def _scored_alone(dataset: AmodalDataset, given: DataConfig, name: str) -> AmodalDataset:
    """The data set with objects of all other categories than ``given.categories`` as mere occluders.

    Raises:
        UsageError: the data do not have one of the categories.
    """
    names = dataset.category_names
    if absent := set(given.categories) - set(names.values()):
        known = ", ".join(names.values())
        raise UsageError(f"data.{name}.categories: expected categories of the data ({known}), got {min(absent)!r}")
    others = {key for key, category in names.items() if category not in given.categories}
    images = tuple(
        replace(
            image,
            instances=tuple(replace(one, ignore=True) if one.category_id in others else one for one in image.instances),
        )
        for image in dataset.images
    )
    categories = tuple(replace(one, name=OCCLUDER) if one.id in others else one for one in dataset.categories)
    return replace(dataset, images=images, categories=categories)


def _make_scenes(config: SceneSetConfig, folder: Path) -> None:
    """Make the scenes in ``folder`` unless they are there; other scenes of a benchmark in it are replaced."""
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


def _read(name: str, files: ImageFiles, origin: str, meshes: str | None = None) -> BenchmarkData:
    """Read an annotation file and hash it together with its images."""
    dataset = read_dataset(files.annotations)
    digest = hashlib.sha256(files.annotations.read_bytes())
    for image in dataset.images:
        path = files.path(image)
        try:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError as error:
            problem, place = f"cannot read {path} ({error.strerror})", f"images[id={image.id}].file_name"
            raise DataError(problem, file=files.annotations, field=place) from error
    if files.orientation != "exif":
        digest.update(files.orientation.encode())
    return BenchmarkData(name, dataset, files, digest.hexdigest(), origin, meshes)
