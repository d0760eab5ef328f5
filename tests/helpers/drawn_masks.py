"""A small data set of ellipses and boxes that hide each other, with exact masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.coco_amodal import write_coco_amodal
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance, Category


def drawn_dataset(images: int = 4, side: int = 48, objects: int = 3) -> AmodalDataset:
    """Each image has ``objects`` shapes, the first one nearest."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side]
    records = []
    for k in range(images):
        taken = np.zeros((side, side), bool)
        instances = []
        for i in range(objects):
            y, x = rng.uniform(0.3, 0.7, 2) * side
            height, width = rng.uniform(0.15, 0.3, 2) * side
            if (k + i) % 2:
                amodal = ((rows - y) / height) ** 2 + ((columns - x) / width) ** 2 < 1
            else:
                amodal = (abs(rows - y) < height) & (abs(columns - x) < width)
            visible = amodal & ~taken
            taken |= amodal
            instances.append(
                AmodalInstance(
                    id=10 * k + i + 1,
                    category_id=1 + i % 2,
                    visible=masks.encode(visible),
                    amodal=masks.encode(amodal),
                    occlude_rate=1 - float(visible.sum() / amodal.sum()),
                    depth_order=i,
                )
            )
        records.append(AmodalImage(id=k + 1, file_name=f"{k}.png", width=side, height=side, instances=tuple(instances)))
    return AmodalDataset(images=tuple(records), categories=(Category(1, "chair"), Category(2, "car")))


def write_drawn(folder: Path, dataset: AmodalDataset) -> Path:
    """Pictures, each object in a grey of its own, in ``folder/images``; returns the annotations beside it."""
    (folder / "images").mkdir(parents=True)
    for image in dataset.images:
        picture = np.full((image.height, image.width, 3), 30, np.uint8)
        for i, one in enumerate(image.instances):
            picture[masks.decode(one.visible)] = 80 + 60 * i
        Image.fromarray(picture).save(folder / "images" / image.file_name)
    write_coco_amodal(folder / "annotations.json", dataset)
    return folder / "annotations.json"
