"""Small masks written as text, and data sets of them."""

from __future__ import annotations

import numpy as np

from shape3d_amodal import masks
from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance, Category

CATEGORIES = (Category(10, "chair"), Category(20, "rifle"), Category(30, "lamp"))


def drawn(*rows: str) -> np.ndarray:
    """A mask from rows of text, ``#`` is inside."""
    return np.array([[letter == "#" for letter in row] for row in rows])


def instance(id: int, category: int, visible: np.ndarray, amodal: np.ndarray | None, **more: object) -> AmodalInstance:
    return AmodalInstance(
        id=id,
        category_id=category,
        visible=masks.encode(visible),
        amodal=None if amodal is None else masks.encode(amodal),
        **more,  # type: ignore[arg-type]
    )


def dataset(*instances: AmodalInstance, image_id: int = 1) -> AmodalDataset:
    """One image with all instances."""
    size = {"height": instances[0].visible.height, "width": instances[0].visible.width} if instances else {}
    image = AmodalImage(
        id=image_id, file_name="a.png", width=size.get("width", 1), height=size.get("height", 1), instances=instances
    )
    return AmodalDataset(images=(image,), categories=CATEGORIES)


def result(annotation_id: int | None, category: int, mask: np.ndarray, image_id: int = 1) -> AmodalResult:
    return AmodalResult(
        image_id=image_id,
        category_id=category,
        score=1.0,
        segmentation=masks.encode(mask),
        annotation_id=annotation_id,
    )
