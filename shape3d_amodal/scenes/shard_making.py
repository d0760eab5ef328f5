"""Scenes in shards, made by any number of processes on any number of machines.

Scene k depends only on (configuration, seed, k), so that any process may make any shard. Every process has its share of
the shards; the scenes of a shard are spread over local workers and written in order. Finished shards are verified and
kept, so that a killed job continues where it was and loses at most the shard in progress.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field, TypeAdapter

from shape3d_amodal.annotations.formats.coco_amodal import coco_document
from shape3d_amodal.config import configuration
from shape3d_amodal.files.atomic import make_folder
from shape3d_amodal.files.processes import spread
from shape3d_amodal.files.progress import progress as shown
from shape3d_amodal.meshes.sources import mesh_source
from shape3d_amodal.scenes import shards
from shape3d_amodal.scenes.compose import SceneConfig, make_scene
from shape3d_amodal.scenes.sets import annotate, category_names, png_bytes
from shape3d_amodal.scenes.shards import Sample, Shard
from shape3d_amodal.structures import OCCLUDER, AmodalDataset

_CHUNK = 8
"""Scenes that a worker makes at a time."""
_UNIT = f"groups of {_CHUNK} scenes"
_IDS_A_SCENE = 16
"""Annotation ids that are reserved for each scene."""
_VERSION = 1
"""To be increased when the same configuration gives other scenes."""


@configuration
class ShardsConfig:
    """Scenes in shards."""

    meshes: str = "open13:train"
    """Mesh source: open13[:SPLIT], shapenet:FOLDER[:SPLIT], a folder of meshes by category, a checked list (.json)."""
    scenes: SceneConfig = SceneConfig()
    """How the scenes are made."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the scenes."""
    count: Annotated[int, Field(ge=1, le=10**9)] = 1000
    """Number of scenes. With a larger number later, the scenes that are there are kept."""
    shard_size: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Scenes in a shard."""
    targets_only: bool = False
    """Score only the targets; the other objects stay in the annotations, marked to be ignored."""
    strict: bool = False
    """Stop at a mesh that cannot be used, instead of drawing another one and listing it in the manifest."""


@dataclass(frozen=True)
class Made:
    """Shards that were made, and those that were found finished."""

    made: tuple[Shard, ...]
    kept: tuple[Shard, ...]


def make_shards(
    config: ShardsConfig,
    folder: Path,
    *,
    share: tuple[int, int] = (0, 1),
    workers: int = 1,
    progress: Callable[[Shard, bool], None] | None = None,
) -> Made:
    """Make the shards i, i + n, i + 2 n, ... of the set, where ``share`` is (i, n).

    Args:
        config: the set.
        folder: the folder for the shards of all processes.
        workers: processes on this machine; the bytes of a shard depend neither on it nor on ``share``.
        progress: called after each shard with whether it was made or found finished.

    Raises:
        DataError: a mesh source that cannot be used, a folder that holds another set, or one that cannot be written.
        UsageError: scenes as configured cannot be made of these meshes.
    """
    plan = _planned(config, folder, share)
    make_folder(folder)
    if plan.done:
        workers = 1  # nothing is left to make
    with spread(_SceneMaker, (config,), workers) as make:
        for shard in plan.shards:
            if shard.number not in plan.finished:
                told = _Told({}, {})
                chunks = shown(make(_chunks(shard)), shard.tar.name, -(-shard.count // _CHUNK), unit=_UNIT)
                shards.write_shard(shard, _samples(chunks, told), {**plan.manifest, **told._asdict()})
            if progress is not None:
                progress(shard, shard.number not in plan.finished)
    kept = tuple(shard for shard in plan.shards if shard.number in plan.finished)
    return Made(tuple(shard for shard in plan.shards if shard.number not in plan.finished), kept)


def are_made(config: ShardsConfig, folder: Path) -> bool:
    """Whether all shards of the set are in ``folder``, each verified. Nothing is written.

    Raises:
        DataError: a mesh source that cannot be used, or a folder that holds another set.
    """
    return _planned(config, folder, (0, 1)).done


class _Plan(NamedTuple):
    """Shards to be made, the numbers of those that are finished, and what the manifest of each says."""

    shards: list[Shard]
    finished: set[int]
    manifest: dict[str, Any]

    @property
    def done(self) -> bool:
        return len(self.finished) == len(self.shards)


def _planned(config: ShardsConfig, folder: Path, share: tuple[int, int]) -> _Plan:
    meshes = mesh_source(config.meshes, strict=config.strict)
    names = (*category_names(meshes), OCCLUDER)
    description = _describe(config, meshes.listing_sha256())
    identity = hashlib.sha256(json.dumps([description, names]).encode()).hexdigest()
    mine = shards.shards_of(folder, config.count, config.shard_size)[share[0] :: share[1]]
    finished = {shard.number for shard in mine if shards.is_finished(shard, identity, description)}
    return _Plan(mine, finished, {"identity": identity, "config": description, "categories": names})


def _describe(config: ShardsConfig, listing: str) -> dict[str, Any]:
    """Everything that scenes depend on; not the folder of the meshes."""
    plain = TypeAdapter(ShardsConfig).dump_python(config, mode="json")
    for name in ("meshes", "count", "strict"):
        del plain[name]
    return {**plain, "meshes_listing_sha256": listing, "version": _VERSION}


class _Told(NamedTuple):
    """Meshes that could not be used, with the reason, and the notes of those that were used, where they have any."""

    skipped: dict[str, str]
    notes: dict[str, tuple[str, ...]]


_Chunk = tuple[list[Sample], _Told]


def _samples(chunks: Iterator[_Chunk], told: _Told) -> Iterator[Sample]:
    """The scenes of a shard; what there is to tell of their meshes is added to ``told``."""
    for samples, more in chunks:
        told.skipped.update(more.skipped)
        told.notes.update(more.notes)
        yield from samples


def _chunks(shard: Shard) -> Iterator[range]:
    end = shard.first + shard.count
    return (range(start, min(start + _CHUNK, end)) for start in range(shard.first, end, _CHUNK))


class _SceneMaker:
    """Makes scenes as the bytes of a shard, with what there is to tell of their meshes."""

    def __init__(self, config: ShardsConfig) -> None:
        self._config = config
        self._meshes = mesh_source(config.meshes, strict=config.strict)
        self._names = (*category_names(self._meshes), OCCLUDER)

    def __call__(self, indices: range) -> _Chunk:
        told = _Told({}, {})
        self._meshes.passed_over, self._meshes.notes = told
        return [self._sample(index) for index in indices], told

    def _sample(self, index: int) -> Sample:
        config = self._config
        scene = make_scene(self._meshes, config.scenes, config.seed, index)
        first_id = index * _IDS_A_SCENE + 1
        name = f"{index:09d}.png"
        image = annotate(scene, index, self._names, name, first_id=first_id, targets_only=config.targets_only)
        document = coco_document(AmodalDataset(images=(image,), categories=()))
        del document["categories"]
        return Sample(index, png_bytes(scene.image), json.dumps(document, allow_nan=False).encode())
