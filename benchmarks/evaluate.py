"""Time and memory of ``shape3d-amodal evaluate``, from files to files: reading, scoring, intervals, tables.

python benchmarks/evaluate.py [--pairs 50000] [--images 7500] [--write]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from report import machine, write_section

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.coco_amodal import write_coco_amodal
from shape3d_amodal.annotations.results import AmodalResult, write_results
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance, Category, Rle

DISTINCT = 1000
"""Objects that are drawn; the sets take them in turn."""
CATEGORIES = tuple(Category(i + 1, f"category {i + 1}") for i in range(7))
Drawn = tuple[Rle, Rle, Rle]


def draw(rng: np.random.Generator, height: int, width: int, size: tuple[float, float]) -> Drawn:
    """Amodal and visible mask of an object of four ellipses, and a prediction that is three pixels off."""
    y, x = np.mgrid[:height, :width]
    radius = rng.uniform(*size)
    centre = rng.uniform(radius, height - radius), rng.uniform(radius, width - radius)
    amodal = np.zeros((height, width), bool)
    for _ in range(4):
        (cy, cx), (ry, rx) = centre + rng.uniform(-0.5, 0.5, 2) * radius, rng.uniform(0.2, 0.7, 2) * radius
        amodal |= ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1
    visible = amodal & (x > centre[1] - 0.3 * radius) if rng.random() < 0.6 else amodal
    return masks.encode(amodal), masks.encode(visible), masks.encode(np.roll(amodal, 3, axis=1))


def write_sets(
    folder: Path, drawn: list[Drawn], size: tuple[int, int], images: int, objects: int, invented: int
) -> tuple[Path, Path]:
    """Annotations, and results: one for each object, and ``invented`` more an image at random."""
    rng = np.random.default_rng(1)
    records, results = [], []
    for index in range(images):
        instances = []
        for number in range(objects + invented):
            amodal, visible, found = drawn[int(rng.integers(len(drawn)))]
            key, category = index * objects + number + 1, int(rng.integers(len(CATEGORIES))) + 1
            real = number < objects
            if real:
                instances.append(AmodalInstance(id=key, category_id=category, visible=visible, amodal=amodal))
            results.append(
                AmodalResult(
                    image_id=index + 1,
                    category_id=category,
                    score=float(rng.random()),
                    segmentation=found,
                    annotation_id=key if real else None,
                    visible=visible,
                )
            )
        records.append(
            AmodalImage(id=index + 1, file_name="", height=size[0], width=size[1], instances=tuple(instances))
        )
    folder.mkdir()
    write_coco_amodal(folder / "annotations.json", AmodalDataset(images=tuple(records), categories=CATEGORIES))
    write_results(folder / "results.json", results)
    return folder / "annotations.json", folder / "results.json"


def measure(annotations: Path, results: Path, *options: str) -> tuple[float, float, float]:
    """Wall-clock and processor seconds, and the largest memory in MiB of all processes together."""
    command = [sys.executable, "-m", "shape3d_amodal", "evaluate", str(results), "--annotations", str(annotations)]
    start = time.perf_counter()
    process = subprocess.Popen([*command, "--out", str(results.parent / "out"), *options], stdout=subprocess.DEVNULL)
    peak = 0.0
    while True:
        done, status, usage = os.wait4(process.pid, os.WNOHANG)
        if done:
            break
        peak = max(peak, sum(map(proportional_mib, family(process.pid))))
        time.sleep(0.1)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"evaluate failed with {process.returncode}")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, peak


def family(pid: int) -> list[int]:
    """A process and all its children's children."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(member for child in children for member in family(int(child)))]


def proportional_mib(pid: int) -> float:
    """Memory of a process; what it shares with others counts in parts."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--pairs", type=int, default=50_000, help="objects of the completion track, of 256 x 256 pixels"
    )
    parser.add_argument("--images", type=int, default=7_500, help="images of the instance track, of 375 x 1242 pixels")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    small = [draw(rng, 256, 256, (20, 110)) for _ in range(DISTINCT)]
    wide = [draw(rng, 375, 1242, (10, 120)) for _ in range(DISTINCT)]
    rows = ["| track | scored | workers | seconds | processor seconds | peak MiB |", "|---|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as temporary:
        pairs = write_sets(Path(temporary) / "pairs", small, (256, 256), arguments.pairs // 5, 5, 0)
        kins = write_sets(Path(temporary) / "kins", wide, (375, 1242), arguments.images, 13, 7)
        measure(*pairs, "--boundary")  # compiles what is not compiled yet
        for name, scored, files, options in (
            ("completion", f"{arguments.pairs:,} pairs", pairs, []),
            ("completion with boundaries", f"{arguments.pairs:,} pairs", pairs, ["--boundary"]),
            ("instance", f"{arguments.images:,} images, 13 objects, 20 detections", kins, ["--track", "instance"]),
        ):
            for workers in (1, 2):
                wall, cpu, peak = measure(*files, *options, "--workers", str(workers))
                rows.append(f"| {name} | {scored} | {workers} | {wall:.1f} | {cpu:.1f} | {peak:.0f} |")
                print(rows[-1], flush=True)
    rows.append(f"\nFrom files to files, with 95 % intervals. Load of the machine meanwhile: {os.getloadavg()[1]:.1f}.")
    if arguments.write:
        write_section("evaluation", "Evaluation", "python benchmarks/evaluate.py --write", "\n".join(rows))
    print(machine())


if __name__ == "__main__":
    main()
