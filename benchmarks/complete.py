"""Time of ``complete`` an instance on one core, with and without the fit: images, crops, all stages and pasting back.

OMP_NUM_THREADS=1 python benchmarks/complete.py [--per-category 4] [--weights open13] [--write]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch
from report import machine, write_section

from shape3d_amodal.annotations.images import ImageFiles
from shape3d_amodal.methods.completion import complete_image
from shape3d_amodal.pipeline import ShapePriorPipeline
from shape3d_amodal.scenes.sets import SceneSetConfig, write_scene_set
from shape3d_amodal.structures import AmodalDataset


def seconds_an_instance(pipeline: ShapePriorPipeline, dataset: AmodalDataset, folder: Path) -> float:
    start = time.perf_counter()
    count = 0
    for record in dataset.images:
        image = ImageFiles(folder / "images", folder / "annotations.json").read(record)
        count += len(complete_image(pipeline, image, record, dataset.category_names))
    return (time.perf_counter() - start) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--per-category", type=int, default=4)
    parser.add_argument("--weights", default="open13")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    pipeline = ShapePriorPipeline.from_pretrained(arguments.weights)
    rows = ["| fit steps | seconds an instance, one core |", "|---|---|"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        warm = write_scene_set(SceneSetConfig(per_category=1, seed=1), folder / "warm")
        dataset = write_scene_set(SceneSetConfig(per_category=arguments.per_category), folder / "set")
        for steps in (0, 10, 30, 100):
            seconds_an_instance(pipeline.with_fit_steps(min(steps, 2)), warm, folder / "warm")
            seconds = seconds_an_instance(pipeline.with_fit_steps(steps), dataset, folder / "set")
            rows.append(f"| {steps} | {seconds:.3f} |")
            print(rows[-1], flush=True)
    if arguments.write:
        write_section(
            "complete", "Completion", "OMP_NUM_THREADS=1 python benchmarks/complete.py --write", "\n".join(rows)
        )
    print(machine())


if __name__ == "__main__":
    main()
