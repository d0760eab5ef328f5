"""Time and memory of reading, validating and indexing annotations as many as KINS has, on one core.

    python benchmarks/data.py [--images 15000] [--instances 190000] [--write]

makes outputs/benchmarks/kins2020-{rle,polygons}.json and measures, for each, what GNU time says of

    taskset -c 0 python benchmarks/data.py --check FILE
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from report import write_section

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.kins import write_kins2020
from shape3d_amodal.annotations.formats.writing import mask_value
from shape3d_amodal.annotations.validation import validate
from shape3d_amodal.masks.occlusion import visible_by_order
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance, Category, Rle

FOLDER = Path("outputs/benchmarks")
HEIGHT, WIDTH = 375, 1242
NAMES = ("cyclist", "pedestrian", "rider", "car", "tram", "truck", "van", "misc")
POINTS = 34
"""Corners of an outline; those of KINS have 33.70 on average (section 3.2 of its paper)."""


def outlines(index: int, count: int) -> list[list[float]]:
    """Star-shaped objects along a horizon, from near (large) to far: polygons of ``POINTS`` whole pixels."""
    generator = np.random.default_rng((1, index))
    angles = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)
    found = []
    for radius in np.sort(generator.lognormal(3.2, 0.6, count).clip(4, 160))[::-1]:
        reach = radius * generator.uniform(0.8, 1.1, POINTS)
        x = generator.uniform(0.05, 0.95) * WIDTH + reach * np.cos(angles)
        y = HEIGHT / 2 + 0.6 * radius + 0.6 * reach * np.sin(angles)
        found.append(np.stack([x, y], axis=1).round(1).ravel().tolist())
    return found


def street(index: int, count: int, first_id: int) -> AmodalImage:
    """An image of KINS' size with ``count`` objects."""
    whole = []
    for order, outline in enumerate(outlines(index, count)):
        mask = masks.from_annotation([outline], HEIGHT, WIDTH, file=None, field=None)
        category = (first_id + order) % len(NAMES) + 1
        one = AmodalInstance(id=first_id + order, category_id=category, visible=mask, amodal=mask, depth_order=order)
        whole.append(one)
    instances = tuple(replace(one, visible=visible_by_order(whole, order)) for order, one in enumerate(whole))
    return AmodalImage(id=index + 1, file_name=f"{index:06d}.png", width=WIDTH, height=HEIGHT, instances=instances)


def streets(images: int, instances: int) -> AmodalDataset:
    ends = np.linspace(0, instances, images + 1).round().astype(int).tolist()
    pictures = tuple(street(i, ends[i + 1] - ends[i], ends[i] + 1) for i in range(images))
    return AmodalDataset(images=pictures, categories=tuple(Category(i, name) for i, name in enumerate(NAMES, start=1)))


def write_polygons(path: Path, source: Path) -> None:
    """The same annotations with the outlines that were drawn, and of what is hidden in part the exact outline."""
    document = json.loads(source.read_text())
    records = iter(document["annotations"])
    counts = Counter(record["image_id"] for record in document["annotations"])
    for image in document["images"]:
        for outline in outlines(image["id"] - 1, counts[image["id"]]):
            record = next(records)
            unhidden = record["i_segm"] == record["a_segm"]
            visible = Rle(HEIGHT, WIDTH, record["i_segm"]["counts"])
            record["a_segm"] = [outline]
            record["i_segm"] = [outline] if unhidden else mask_value(visible, "polygons", path)
    path.write_text(json.dumps(document))


def check(path: Path) -> None:
    """Parse, validate and index ``path``."""
    start = time.process_time()
    report, dataset = validate(path)
    index = {one.id: (image, one) for image in dataset.images for one in image.instances}
    seconds = time.process_time() - start
    print(f"{report.format}: {report.counts}, {report.errors} errors, {len(index)} indexed in {seconds:.1f} s")


def measure(path: Path) -> tuple[float, float, float]:
    """Seconds of processor and of wall clock, and resident GB, of a process of its own on one core, by GNU time."""
    command = ["/usr/bin/time", "-v", "taskset", "-c", "0", sys.executable, __file__, "--check", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    print(done.stdout, end="")
    said = dict(line.strip().rpartition(": ")[::2] for line in done.stderr.splitlines())
    clock = said["Elapsed (wall clock) time (h:mm:ss or m:ss)"].split(":")
    seconds = sum(float(part) * 60**place for place, part in enumerate(reversed(clock)))
    processor = float(said["User time (seconds)"]) + float(said["System time (seconds)"])
    return processor, seconds, int(said["Maximum resident set size (kbytes)"]) * 1024 / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=15_000)
    parser.add_argument("--instances", type=int, default=190_000)
    parser.add_argument("--check", type=Path, help="only parse, validate and index this file")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    arguments = parser.parse_args()
    if arguments.check:
        check(arguments.check)
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    files = {"run-length codes": FOLDER / "kins2020-rle.json", "polygons": FOLDER / "kins2020-polygons.json"}
    plain, polygons = files.values()
    write_kins2020(plain, streets(arguments.images, arguments.instances))
    write_polygons(polygons, plain)
    head = ("masks", "file MB", "images", "instances", "processor s", "wall clock s", "resident GB")
    rows = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for form, path in files.items():
        processor, clock, memory = measure(path)
        size = f"{path.stat().st_size / 1e6:.0f}"
        counts = f"{arguments.images:,} | {arguments.instances:,}"
        rows.append(f"| {form} | {size} | {counts} | {processor:.1f} | {clock:.1f} | {memory:.2f} |")
        print(rows[-1], flush=True)
    if arguments.write:
        note = "Processor seconds are user and system time; the wall clock also counts what else ran on the core."
        write_section("data", "Annotations", "python benchmarks/data.py --write", "\n".join([*rows, "", note]))


if __name__ == "__main__":
    main()
