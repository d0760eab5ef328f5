"""``shape3d-amodal scenes``: occlusion benchmarks from any meshes, from a few images to millions in shards."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from shape3d_amodal.cli.shared.inputs import refuse_configured
from shape3d_amodal.cli.shared.options import Overrides, check_positive, flat, load, refuse_existing
from shape3d_amodal.cli.shared.stopping import keeps
from shape3d_amodal.errors import UsageError, counted

_BESIDE = ("images", "meshes.json")
"""What is written beside the annotations."""


def scenes(
    *,
    out: Path,
    meshes: str | None = None,
    count: int | None = None,
    seed: int | None = None,
    layout: Literal["folder", "shards", "kins"] | None = None,
    shard: str | None = None,
    shard_size: int | None = None,
    workers: int = 1,
    strict: bool = False,
    config: Path | None = None,
    overrides: Overrides = (),
) -> None:
    """Make occlusion scenes with exact ground truth.

    Without --count, a benchmark set: images/*.png and annotations.json (COCO), with --set per_category=20 targets of
    each category. With --count, that many scenes of random targets in shards: tar files in WebDataset's layout, each
    with a manifest. Finished shards are kept, so that the same command continues after a crash; it may run on several
    machines:

        shape3d-amodal scenes --meshes shapenet13:/data/ShapeNetCore.v2:train --count 1000000 --shard 3/32 --out scenes

    Args:
        out: folder to write to.
        meshes: mesh source: open13 (all its meshes) or open13:train (val, test, train+val); shapenet:FOLDER or
            shapenet:FOLDER:train (ShapeNetCore v1 or v2; shapenet13: its 13 published categories); any FOLDER of meshes
            by category, FOLDER?up=+z&front=-y where y is not up; or the meshes.json of `shape3d-amodal meshes`.
        count: number of scenes.
        seed: seed of the scenes; scene k depends on the options, the seed and k alone.
        layout: folder (a benchmark set; the default without --count), shards (the default with it), or kins (--count
            wide images of streets with vehicles, annotated in the format of KINS 2020).
        shard: i/n, i from 0: make the shards i, i + n, i + 2 n, ...; by default as set by torchrun, srun or a SLURM
            array.
        shard_size: scenes in a shard, 1000 by default.
        workers: processes on this machine; the result does not depend on it.
        strict: stop at a mesh that cannot be used; otherwise another one is drawn, and the manifest lists it.
        config: YAML file such as configs/open13/test.yaml; without it, the defaults.
        overrides: options to change: per_category=20, targets_only=true, scenes.kind=composed (or bars),
            scenes.image_size=256, scenes.min_hidden=0.1, ...
    """
    import json

    from shape3d_amodal.cli.shared.kinds import check_kind
    from shape3d_amodal.files.outputs import output_folder

    check_positive(workers=workers)
    check_kind(config, "scenes --config")
    output_folder(out)
    layout = layout or ("folder" if count is None else "shards")
    named = {"meshes": meshes, "count": count, "seed": seed, "shard_size": shard_size, "strict": strict or None}
    given = {name: json.dumps(value, ensure_ascii=False) for name, value in named.items() if value is not None}
    options = [*flat(overrides), *(f"{name}={value}" for name, value in given.items())]  # JSON is YAML
    if layout == "shards":
        _shards(out, config, options, shard, workers)
    elif shard is not None or shard_size is not None or workers != 1:
        remedy = "leave them out" if layout == "kins" else "give --count, or --layout shards"
        raise UsageError(f"--shard, --shard-size and --workers go with shards, got the layout {layout}; {remedy}")
    elif layout == "kins":
        _kins(out, config, options)
    elif count is not None:
        raise UsageError("--count: a benchmark set has per_category targets; set that, or use --layout shards")
    else:
        _folder(out, config, options)


def _refuse_inputs(out: Path, writes: Iterable[str], config: Path | None, chosen: Any) -> None:
    """Refuse to write over the configuration or what it names, or among the meshes."""
    refuse_configured(out, writes=writes, files=[config], configs=[chosen])


def _folder(out: Path, config: Path | None, options: list[str]) -> None:
    from shape3d_amodal.scenes.sets import SceneSetConfig, write_scene_set

    chosen = load(config, SceneSetConfig, options)
    _refuse_inputs(out, ("annotations.json", *_BESIDE), config, chosen)
    refuse_existing(out / "annotations.json")
    dataset = write_scene_set(chosen, out)
    scored = sum(not instance.ignore for image in dataset.images for instance in image.instances)
    print(f"{counted(len(dataset.images), 'scene')} with {counted(scored, 'scored object')} in {out}")


def _kins(out: Path, config: Path | None, options: list[str]) -> None:
    from shape3d_amodal.scenes.kins_like import ANNOTATIONS, KinsScenesConfig, write_kins_scenes

    chosen = load(config, KinsScenesConfig, options)
    _refuse_inputs(out, (ANNOTATIONS, *_BESIDE), config, chosen)
    refuse_existing(out / ANNOTATIONS)
    dataset = write_kins_scenes(chosen, out)
    objects = sum(len(image.instances) for image in dataset.images)
    print(f"{counted(len(dataset.images), 'frame')} with {counted(objects, 'vehicle')}: {out / ANNOTATIONS}")


def _shards(out: Path, config: Path | None, options: list[str], shard: str | None, workers: int) -> None:
    import os
    import time

    from shape3d_amodal.launcher import share_of
    from shape3d_amodal.scenes.shard_making import ShardsConfig, make_shards
    from shape3d_amodal.scenes.shards import Shard

    chosen = load(config, ShardsConfig, options)
    _refuse_inputs(out, (one.name for one in out.glob("scenes-*")), config, chosen)
    share = share_of(shard, os.environ)
    start = time.monotonic()

    def progress(shard: Shard, made: bool) -> None:
        print(f"{shard.tar.name}: {'made' if made else 'kept'}, {time.monotonic() - start:.1f} s", flush=True)

    with keeps(f"finished shards are kept in {out}"):
        done = make_shards(chosen, out, share=share, workers=workers, progress=progress)
    scenes = sum(one.count for one in done.made)
    rate = scenes / max(time.monotonic() - start, 1e-3)
    made = f"{counted(len(done.made), 'shard')} made ({counted(scenes, 'scene')}, {rate:.0f} a second)"
    print(f"share {share[0]}/{share[1]}: {made}, {len(done.kept)} kept, in {out}")
