"""A data set of rectangles behind bars, drawn on disk, and configurations of benchmarks on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.coco_amodal import write_coco_amodal
from shape3d_amodal.benchmarking.config import Benchmark, load_benchmark
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance, Category

SIDE = 32


def draw_data(folder: Path, images: int = 6) -> AmodalDataset:
    """``images`` pictures of one 20 x 20 square each, every second one of category "car", the others "chair".

    In picture i (0-based) the columns from 10 on of its 20 are hidden, down to row 2 + 2 i of its 20 rows: the visible
    mask has 400 - 10 (2 + 2 i) pixels, and its IoU with the whole mask is 1 - (1 + i) / 20.
    """
    (folder / "images").mkdir(parents=True)
    records = []
    for i in range(images):
        amodal = np.zeros((SIDE, SIDE), bool)
        amodal[6:26, 6:26] = True
        visible = amodal.copy()
        visible[6 : 8 + 2 * i, 16:26] = False
        picture = np.full((SIDE, SIDE, 3), 20 * i, np.uint8)
        Image.fromarray(picture).save(folder / "images" / f"{i}.png")
        square = AmodalInstance(
            id=10 + i, category_id=1 + i % 2, visible=masks.encode(visible), amodal=masks.encode(amodal), depth_order=1
        )
        bar = AmodalInstance(
            id=100 + i, category_id=1, visible=masks.encode(amodal & ~visible), depth_order=0, ignore=True
        )
        records.append(AmodalImage(id=1 + i, file_name=f"{i}.png", width=SIDE, height=SIDE, instances=(square, bar)))
    dataset = AmodalDataset(images=tuple(records), categories=(Category(1, "chair"), Category(2, "car")))
    write_coco_amodal(folder / "annotations.json", dataset)
    return dataset


def benchmark(folder: Path, **changes: object) -> Benchmark:
    """Visible mask and hull on the drawn data of ``folder``; ``changes`` replace parts of the configuration."""
    return load_benchmark(write_config(folder, **changes))


def write_config(folder: Path, **changes: object) -> Path:
    content: dict[str, object] = {
        "data": {"squares": {"annotations": str(folder / "annotations.json"), "images": str(folder / "images")}},
        "methods": {"visible": {"kind": "visible_only"}, "hull": {"kind": "convex_hull", "background": False}},
        "runs": [{"data": "squares"}],
    }
    path = folder / "benchmark.yaml"
    path.write_text(yaml.safe_dump({**content, **changes}, sort_keys=False))
    return path
