"""A pool of training crops on disk: cut from scenes once, by all cores, and used by every stage and every restart."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.progress import track

from shape3d_amodal.config import Count, configuration, dump_config
from shape3d_amodal.crops.scenes import CropArrays, SceneCrops, SceneCropsConfig
from shape3d_amodal.errors import DataError, TrainingError
from shape3d_amodal.files.cache import made_once
from shape3d_amodal.files.processes import spread
from shape3d_amodal.meshes.sources import mesh_source
from shape3d_amodal.scenes import shards
from shape3d_amodal.scenes.compose import SceneConfig

SCENES_VERSION = 2
"""To be raised when the same configuration gives other crops."""
_CHUNK = 16
"""Scenes that a worker cuts at a time."""

Arrays = TypeVar("Arrays")

log = logging.getLogger(__name__)


@configuration
class PoolConfig:
    """The training crops."""

    crops: SceneCropsConfig = SceneCropsConfig()
    """How each scene is made and cut."""
    scenes: Count = 30_000
    """Number of scenes; each gives one to four crops."""
    shards: str | None = None
    """Folder of shards that `shape3d-amodal scenes` has made: its first scenes are cut, and none are made of meshes."""

    def smaller(self) -> PoolConfig:
        """As much as a dry run needs."""
        return replace(self, scenes=min(self.scenes, 16))


def open_pool(config: PoolConfig, cache: Path, *, workers: int) -> CropArrays:
    """The pool of this configuration, made if it is not in ``cache`` yet.

    Args:
        config: what the pool holds; its hash, with that of the mesh files or shards, names the folder.
        cache: folder of all pools.
        workers: processes that make scenes; the result does not depend on it.

    Returns:
        Memory-mapped arrays.

    Raises:
        DataError: ``cache`` cannot be made.
        TrainingError: the disk is full.
    """
    folder = cache / f"crops-{pool_name(config)}"

    def cut() -> CropArrays:
        log.info("cutting %d scenes of %s in %s", config.scenes, config.shards or config.crops.meshes, folder)
        chunks = [range(i, min(i + _CHUNK, config.scenes)) for i in range(0, config.scenes, _CHUNK)]
        with spread(_Cutter, (config,), workers) as run:
            return _join(list(track(run(chunks), "scenes", len(chunks), console=Console(stderr=True))))

    return kept_arrays(folder, CropArrays, dump_config(config), cut)


def scenes_of(config: PoolConfig) -> SceneConfig:
    """How the pool's scenes are made; of shards, what their manifests say.

    Raises:
        DataError: the shards say nothing of it.
    """
    if config.shards is None:
        return config.crops.scenes
    manifests = sorted(Path(config.shards).glob("scenes-*.json"))
    if not manifests:
        raise DataError(
            "expected shards of scenes, found none; make them with `shape3d-amodal scenes`", file=config.shards
        )
    try:
        return TypeAdapter(SceneConfig).validate_python(shards.read_manifest(manifests[0])["config"]["scenes"])
    except (KeyError, TypeError, ValidationError) as error:
        raise DataError(
            "expected the manifest to say how its scenes were made", file=manifests[0], field="config"
        ) from error


def pool_name(config: PoolConfig) -> str:
    """What stands for all that the pool's crops depend on."""
    if config.shards is None:
        origin = mesh_source(config.crops.meshes).fingerprint()
    else:
        origin = shards.fingerprint(Path(config.shards))
    return hashlib.sha256(f"{dump_config(config)}{origin} {SCENES_VERSION}".encode()).hexdigest()[:16]


def kept_arrays(folder: Path, kind: type[Arrays], config_yaml: str, make: Callable[[], Arrays]) -> Arrays:
    """The dataclass of arrays that is kept in ``folder``, a .npy file for each field; made where it is missing.

    Args:
        folder: appears whole or not at all.
        kind: the dataclass.
        config_yaml: what the arrays were made with, kept beside them for people.
        make: called where there is no ``folder`` yet.

    Returns:
        Memory-mapped arrays.

    Raises:
        DataError: no folder can be made there.
        TrainingError: the disk is full.
    """
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]  # it is a dataclass

    def write(unfinished: Path) -> None:
        arrays = make()
        try:
            for name in names:
                np.save(unfinished / f"{name}.npy", getattr(arrays, name))
            (unfinished / "config.yaml").write_text(config_yaml, encoding="utf-8")
        except OSError as error:  # numpy's has no file name
            problem = f"{folder}: cannot save the crops: {error.strerror or error}"
            raise TrainingError(f"{problem}; free some space, or choose another --cache") from error

    made_once(folder, write)
    return kind(**{name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in names})


class _Cutter:
    """Cuts the crops of some scenes."""

    def __init__(self, config: PoolConfig) -> None:
        self._scenes = SceneCrops(config.crops, config.scenes, shards=config.shards)

    def __call__(self, indices: range) -> CropArrays:
        return _join([self._scenes[index] for index in indices])


def _join(parts: list[CropArrays]) -> CropArrays:
    joined = {field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(CropArrays)}
    return CropArrays(**joined)
