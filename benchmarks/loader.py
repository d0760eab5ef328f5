"""Crops and images a second that the loader of batches gives, without and with worker processes.

python benchmarks/loader.py [--seconds 20] [--workers 0 1 2] [--write]

Nothing is trained: the main process takes batch after batch. The first batches, for which workers start, are not
counted. On a busy machine the clock tells less than the processor time of all processes: both are given.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from multiprocessing import active_children
from pathlib import Path

import torch
from report import machine, write_section

from shape3d_amodal.crops.config import CropsConfig
from shape3d_amodal.crops.sources import open_crops
from shape3d_amodal.meshes.sources import CATEGORIES
from shape3d_amodal.model import AmodalModelConfig
from shape3d_amodal.scenes.compose import SceneConfig
from shape3d_amodal.scenes.kins_like import ANNOTATIONS, CLASSES, KinsScenesConfig, write_kins_scenes
from shape3d_amodal.scenes.shard_making import ShardsConfig, make_shards
from shape3d_amodal.segmentation.config import AugmentConfig, InputConfig
from shape3d_amodal.segmentation.images import ImagesConfig, open_images
from shape3d_amodal.segmentation.mapper import Mapper
from shape3d_amodal.training.loop.interface import BatchMaker, LoopConfig
from shape3d_amodal.training.loop.loader import StepBatches, StepLoader
from shape3d_amodal.training.tasks.rcnn import ImagesMaker
from shape3d_amodal.training.tasks.refinement import RefinementMaker
from shape3d_amodal.training.tasks.stages import StageConfig

TICKS = 100
"""Of /proc/<pid>/stat, a second."""
WARM = 4
"""Batches that are not counted."""


def of_crops(crops: CropsConfig, categories: tuple[str, ...], cache: Path, supervision: str = "amodal") -> BatchMaker:
    """Batches of stage 5."""
    model = AmodalModelConfig(categories=categories)
    options = StageConfig(
        stage="completion2d", model=model, train=crops, validation=crops, supervision=supervision, loop=LoopConfig()
    )
    return RefinementMaker(options, open_crops(crops, cache, categories=categories, workers=2), None)


def of_images(images: ImagesConfig, categories: tuple[str, ...], size: InputConfig, cache: Path) -> BatchMaker:
    """Batches of the R-CNN family."""
    return ImagesMaker(Mapper(open_images(images, cache, workers=2), categories, size, AugmentConfig()))


def makers(folder: Path, scenes: int) -> Iterator[tuple[str, BatchMaker, int]]:
    """What is measured, what makes it, and the size of its batches."""
    cache, streets, shards = folder / "cache", folder / "streets", folder / "shards"
    cache.mkdir()
    pool = CropsConfig(count=4 * scenes)
    yield "crops of a pool, stage 5", of_crops(pool, CATEGORIES, cache), 64
    yield "the same from visible masks alone", of_crops(pool, CATEGORIES, cache, "visible"), 64
    write_kins_scenes(KinsScenesConfig(count=scenes), streets)
    annotated = {"annotations": str(streets / ANNOTATIONS), "images": str(streets / "images")}
    asked = of_crops(CropsConfig(**annotated, on_demand=True), CLASSES, cache)
    yield "crops of KINS-like pictures, cut when asked for", asked, 16
    size = InputConfig(short_side=375, long_side=1242)
    yield "KINS-like pictures, R-CNN", of_images(ImagesConfig(**annotated), CLASSES, size, cache), 8
    make_shards(ShardsConfig(scenes=SceneConfig(), count=scenes, shard_size=scenes), shards, workers=2)
    square = InputConfig(short_side=256, long_side=256)
    yield "scenes of shards, R-CNN", of_images(ImagesConfig(shards=str(shards)), CATEGORIES, square, cache), 8


def processor_seconds() -> float:
    """Of this process and its children, those that have ended too, so far."""
    total = 0.0
    for process in ("self", *(str(child.pid) for child in active_children())):
        stat = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        total += sum(map(int, stat[11:15])) / TICKS
    return total


def measured(maker: BatchMaker, size: int, workers: int, seconds: float) -> tuple[float, float]:
    """Samples a second by the clock, and by processor time."""
    batches = StepLoader(StepBatches(maker, 0, size), 10**6, workers, torch.device("cpu"))
    first = WARM + 4 * workers
    for step in range(first):
        batches(step)
    start, used, step = time.perf_counter(), processor_seconds(), first
    while time.perf_counter() - start < seconds:
        batches(step)
        step += 1
    clock, processor = time.perf_counter() - start, processor_seconds() - used
    batches.close()
    count = (step - first) * size
    return count / clock, count / processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--scenes", type=int, default=200, help="scenes and pictures that are made for it")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = ["| samples | batch | workers | a second | a second and core, by processor time |", "|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as temporary:
        for name, maker, size in makers(Path(temporary), arguments.scenes):
            for workers in arguments.workers:
                clock, processor = measured(maker, size, workers, arguments.seconds)
                rows.append(f"| {name} | {size} | {workers} | {clock:,.0f} | {processor:,.0f} |")
                print(rows[-1], flush=True)
    if arguments.write:
        options = f"--seconds {arguments.seconds:g} --scenes {arguments.scenes}"
        command = f"OMP_NUM_THREADS=1 python benchmarks/loader.py {options} --write"
        rows.append(f"\nThe machine's load was {os.getloadavg()[0]:.1f} at the end of {os.cpu_count()} cores.")
        write_section("batches", "Batches", command, "\n".join(rows))
    print(machine())


if __name__ == "__main__":
    main()
