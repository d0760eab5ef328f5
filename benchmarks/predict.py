"""Time and memory of ``predict`` a picture: stage 1 with random weights, then stages 2 to 5 on what it finds.

OMP_NUM_THREADS=2 python benchmarks/predict.py [--depth 18] [--size 512] [--objects 10] [--device cpu] [--write]

Random weights find boxes everywhere; of these the surest few that overlap little are taken for objects. What is timed
does not depend on the weights but on the number of objects, which the table gives. Processor seconds are those of all
threads together: on a machine that does other things besides they say what a quiet one would need.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time

import numpy as np
import torch
from report import machine, write_section

from shape3d_amodal.meshes.sources import CATEGORIES
from shape3d_amodal.methods.prediction import ImagePredictor
from shape3d_amodal.pipeline import ShapePriorPipeline
from shape3d_amodal.segmentation.config import BackboneConfig, DetectorConfig, InputConfig, RegionConfig
from shape3d_amodal.segmentation.detector import Detector
from shape3d_amodal.segmentation.model import Rcnn
from shape3d_amodal.segmentation.systems import RcnnConfig

_ROUNDS = 5


def random_detector(depth: int, size: int, objects: int) -> Detector:
    """A detector of that depth which takes up to twice so many boxes for objects, and fills them."""
    config = DetectorConfig(
        categories=CATEGORIES,
        input=InputConfig(short_side=size, long_side=2 * size),
        backbone=BackboneConfig(depth=depth, norm="GN", frozen_stages=0),
        regions=RegionConfig(min_score=0.0, detections=2 * objects),
    )
    torch.manual_seed(0)
    model = Rcnn(RcnnConfig(detector=config, options={"masks": "both"}))
    for branch in model.mask_head.branches.values():
        torch.nn.init.constant_(branch.predictor.bias, 3.0)
    return Detector(model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, default=18)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--objects", type=int, default=10)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    arguments = parser.parse_args()
    detector = random_detector(arguments.depth, arguments.size, arguments.objects)
    detector.model.to(arguments.device)
    pipeline = ShapePriorPipeline.from_pretrained("open13", device=arguments.device, gap_px=1)
    predictor = ImagePredictor(detector, pipeline, min_score=0.0)
    image = np.random.default_rng(0).integers(0, 256, (arguments.size, arguments.size, 3), dtype=np.uint8)
    wall, processor = [], []
    for _ in range(_ROUNDS + 1):
        begin, spent = time.perf_counter(), time.process_time()
        found = predictor.predict(image)
        wall.append(time.perf_counter() - begin)
        processor.append(time.process_time() - spent)
    seconds, spent = statistics.median(wall[1:]), statistics.median(processor[1:])
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    rows = [
        "| ResNet | picture | objects | device | threads | seconds | processor seconds | peak memory, GB |",
        "|---|---|---|---|---|---|---|---|",
        f"| {arguments.depth} | {arguments.size} px | {len(found)} | {arguments.device} | {torch.get_num_threads()} | "
        f"{seconds:.2f} | {spent:.2f} | {gigabytes:.2f} |",
    ]
    print("\n".join(rows))
    print(machine())
    if arguments.write:
        write_section("predict", "Pictures", "OMP_NUM_THREADS=2 python benchmarks/predict.py --write", "\n".join(rows))


if __name__ == "__main__":
    main()
