"""Annotations as many as KINS has: 15,000 images of 375 x 1242 with 190,000 instances, on one core."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.kins import write_kins2020
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance, Category

IMAGES, INSTANCES = 15_000, 190_000
VALIDATE = """
import json, resource, sys
from shape3d_amodal.annotations.validation import validate
report, dataset = validate(sys.argv[1])
index = {one.id: (image, one) for image in dataset.images for one in image.instances}
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([len(index), report.errors, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024]))
"""


def streets() -> AmodalDataset:
    """Every image has 12 or 13 of 299 blobs (23 rows of 13) that do not overlap in it."""
    rows, columns = np.mgrid[:375, :1242]
    pool = []
    for number in range(299):
        generator = np.random.default_rng(number)
        x, y, radius = 45 + 90 * (number % 13), generator.uniform(100, 270), generator.uniform(8, 40)
        amodal = (rows - y) ** 2 + (columns - x) ** 2 < radius**2 * (1 + 0.2 * np.sin(columns / 3))
        pool.append((masks.encode(amodal & (columns > x)), masks.encode(amodal)))
    ends = np.linspace(0, INSTANCES, IMAGES + 1).round().astype(int).tolist()
    images = []
    for index in range(IMAGES):
        instances = tuple(
            AmodalInstance(id=one, category_id=1, visible=pool[one % 299][0], amodal=pool[one % 299][1], depth_order=0)
            for one in range(ends[index], ends[index + 1])
        )
        images.append(AmodalImage(id=index, file_name=f"{index}.png", width=1242, height=375, instances=instances))
    return AmodalDataset(images=tuple(images), categories=(Category(1, "car"),))


@pytest.mark.slow
def test_a_file_as_large_as_kins_in_25_seconds_and_a_gigabyte_and_a_half(tmp_path: Path) -> None:
    write_kins2020(tmp_path / "set.json", streets())
    command = [sys.executable, "-c", VALIDATE, str(tmp_path / "set.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    count, errors, seconds, memory = json.loads(done.stdout)
    assert (count, errors) == (INSTANCES, 0)
    assert seconds < 25
    assert memory < 1.5e9
