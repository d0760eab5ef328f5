"""A pool of training crops on disk: made once from scenes by all cores, shared by every stage and every restart."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import shutil
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.progress import track
from torch.utils.data import DataLoader

from shape3d_amodal.config import dump_config
from shape3d_amodal.crops.config import CropsConfig
from shape3d_amodal.crops.scenes import CropArrays, SceneCrops
from shape3d_amodal.errors import DataError, TrainingError
from shape3d_amodal.files.atomic import make_folder
from shape3d_amodal.meshes.sources import CATEGORIES, mesh_source
from shape3d_amodal.scenes import shards
from shape3d_amodal.scenes.compose import SceneConfig

SCENES_VERSION = 2
"""To be raised when the same configuration gives other crops."""

Arrays = TypeVar("Arrays")

log = logging.getLogger(__name__)


def open_pool(config: CropsConfig, cache: Path, *, categories: Sequence[str] = CATEGORIES, workers: int) -> CropArrays:
    """The pool of this configuration, made if it is not in ``cache`` yet.

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
    make_folder(cache)
    with (cache / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several processes one makes the pool, the others wait for it
        if not folder.is_dir():
            log.info("cutting %d scenes of %s in %s", config.count, config.origin, folder)
            _make(config, categories, folder, workers)
    return read_arrays(folder, CropArrays)


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
    """What stands for all that the pool's crops depend on."""
    if config.shards is None:
        origin = mesh_source(config.meshes).fingerprint()
    else:
        origin = shards.fingerprint(Path(config.shards))
    return hashlib.sha256(f"{dump_config(config)}{' '.join(categories)}{origin} {SCENES_VERSION}".encode()).hexdigest()[
        :16
    ]


def _make(config: CropsConfig, categories: Sequence[str], folder: Path, workers: int) -> None:
    dataset = SceneCrops(config, categories)
    loader = DataLoader(
        dataset,
        batch_size=16,
        num_workers=workers,
        collate_fn=_join,
        worker_init_fn=_one_thread,
        multiprocessing_context="spawn" if workers else None,
    )
    parts = list(track(loader, description="scenes", total=len(loader), console=Console(stderr=True)))
    write_arrays(_join(parts), dump_config(config), folder)


def write_arrays(arrays: Any, config_yaml: str, folder: Path) -> None:
    """Put the fields of a dataclass of arrays into ``folder`` as .npy files; it appears whole or not at all.

    Raises:
        TrainingError: the disk is full.
    """
    temporary = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        for field in fields(arrays):
            np.save(temporary / f"{field.name}.npy", getattr(arrays, field.name))
        (temporary / "config.yaml").write_text(config_yaml, encoding="utf-8")
        temporary.replace(folder)
    except OSError as error:  # numpy's has no file name
        problem = f"{folder}: cannot save the crops: {error.strerror or error}"
        raise TrainingError(f"{problem}; free some space, or choose another --cache") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_arrays(folder: Path, kind: type[Arrays]) -> Arrays:
    """What ``write_arrays`` wrote, memory-mapped, as the dataclass ``kind``."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]  # it is a dataclass
    return kind(**{name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in names})


def _join(parts: list[CropArrays]) -> CropArrays:
    joined = {field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(CropArrays)}
    return CropArrays(**joined)


def _one_thread(_worker: int) -> None:
    torch.set_num_threads(1)
