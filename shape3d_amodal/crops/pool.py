"""A pool of training crops on disk: cut from scenes once, by all cores, and used by every stage and every restart."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError

from shape3d_amodal.annotations.images import ImageReading
from shape3d_amodal.config import dump_config
from shape3d_amodal.crops.config import CropsConfig
from shape3d_amodal.crops.parts import arrays_of, in_parts
from shape3d_amodal.crops.scenes import CropArrays, SceneCrops
from shape3d_amodal.errors import DataError, TrainingError
from shape3d_amodal.files.cache import made_once
from shape3d_amodal.files.processes import spread
from shape3d_amodal.meshes.sources import CATEGORIES, mesh_source
from shape3d_amodal.scenes import shards
from shape3d_amodal.scenes.compose import SceneConfig

SCENES_VERSION = 2
"""To be raised when the same configuration gives other crops."""
_CHUNK = 16
"""Scenes that a worker cuts at a time."""
_PART = 32
"""Chunks after which what was cut is kept on disk: half a minute's work of one core."""

Arrays = TypeVar("Arrays")

log = logging.getLogger(__name__)


def open_pool(config: CropsConfig, cache: Path, *, categories: Sequence[str] = CATEGORIES, workers: int) -> CropArrays:
    """The pool of this configuration, made if it is not in ``cache`` yet. If that is stopped, it goes on the next time.

    Args:
        config: what the pool holds; its hash, with that of the mesh files or shards, names the folder.
        cache: folder of all pools.
        categories: names that the crops' categories count.
        workers: processes that make scenes; the result does not depend on it.

    Returns:
        Memory-mapped arrays.

    Raises:
        DataError: ``cache`` cannot be made.
        TrainingError: the disk is full.
    """
    folder = cache / f"crops-{pool_name(config, categories)}"

    def cut(parts: Path) -> CropArrays:
        log.info("cutting %d scenes of %s in %s", config.count, config.origin, folder)
        chunks = [range(i, min(i + _CHUNK, config.count)) for i in range(0, config.count, _CHUNK)]
        with spread(SceneCrops, (config, categories), workers) as run:
            size, words = _PART, {"description": "scenes", "unit": f"groups of {_CHUNK} scenes"}
            kept = parts / f"{_PART}x{_CHUNK}"  # parts of other sizes hold other scenes
            return CropArrays.join(in_parts(kept, CropArrays, chunks, run, CropArrays.join, size=size, **words))

    return kept_arrays(folder, CropArrays, dump_config(config), cut)


def scenes_of(config: CropsConfig) -> SceneConfig:
    """How the pool's scenes are made; of shards, what their manifests say.

    Raises:
        DataError: the shards say nothing of it.
    """
    if config.shards is None:
        return config.scenes
    manifests = shards.manifests(Path(config.shards))
    try:
        return TypeAdapter(SceneConfig).validate_python(shards.read_manifest(manifests[0])["config"]["scenes"])
    except (KeyError, TypeError, ValidationError) as error:
        raise DataError(
            "expected the manifest to say how its scenes were made", file=manifests[0], field="config"
        ) from error


def pool_name(config: CropsConfig, categories: Sequence[str] = CATEGORIES) -> str:
    """Key of the pool in the cache: a hash of all that its crops depend on."""
    if config.shards is None:
        origin = mesh_source(config.meshes).fingerprint()
    else:
        origin = shards.fingerprint(Path(config.shards))
    settings = dump_config(config, leave_out=[field.name for field in fields(ImageReading)])  # scenes have no files
    content = f"{settings}{' '.join(categories)}{origin} {SCENES_VERSION}"
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def kept_arrays(folder: Path, kind: type[Arrays], config_yaml: str, make: Callable[[Path], Arrays]) -> Arrays:
    """The dataclass of arrays that is kept in ``folder``, a .npy file for each field; made where it is missing.

    Args:
        folder: appears whole or not at all.
        kind: the dataclass; of arrays that it may lack there are files only where it has them.
        config_yaml: what the arrays were made with, kept beside them for people.
        make: called where there is no ``folder`` yet, with another one for parts of the work, which stays if the work
            is stopped, and is removed at its end.

    Returns:
        Memory-mapped arrays.

    Raises:
        DataError: no folder can be made there.
        TrainingError: the disk is full.
    """
    parts = folder.with_name(f"{folder.name}.parts")

    def write(unfinished: Path) -> None:
        arrays = make(parts)
        try:
            for name, array in arrays_of(arrays).items():
                np.save(unfinished / f"{name}.npy", array)
            (unfinished / "config.yaml").write_text(config_yaml, encoding="utf-8")
        except OSError as error:  # numpy's has no file name
            problem = f"{folder}: cannot save the crops: {error.strerror or error}"
            raise TrainingError(f"{problem}; free some space, or choose another --cache") from error

    made_once(folder, write)
    shutil.rmtree(parts, ignore_errors=True)
    files = {field.name: folder / f"{field.name}.npy" for field in fields(kind)}  # type: ignore[arg-type]
    lacking = {name for name, file in files.items() if not file.exists()} & _may_lack(kind)
    return kind(**{name: np.load(file, mmap_mode="r") for name, file in files.items() if name not in lacking})


def _may_lack(kind: type[Any]) -> set[str]:
    return {field.name for field in fields(kind) if field.default is None}
