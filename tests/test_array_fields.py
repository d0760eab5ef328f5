"""Dataclasses with arrays: texts stay short, and ``==`` has one answer."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
import torch

from shape3d_amodal.array_fields import ArrayFields
from shape3d_amodal.crops.pasting import CompletedObject
from shape3d_amodal.masks.occlusion import VisibleObjects
from shape3d_amodal.methods.prediction import PredictedObject
from shape3d_amodal.segmentation.detector import DetectedObject
from shape3d_amodal.structures import (
    AmodalDataset,
    AmodalImage,
    AmodalInstance,
    AmodalPrediction,
    Category,
    Estimate,
    InstanceCrops,
    MeshEstimate,
    Rle,
    SupervisedCrops,
    Viewpoint,
    ViewpointHypotheses,
)

MASK = np.zeros((60, 80), bool)
MASK[10:20, 10:30] = True


def masks_and_meshes() -> dict[str, ArrayFields]:
    """One of each; new arrays with each call."""
    visible = MASK.copy()
    visible[:, 25:] = False
    whole = CompletedObject(
        category="chair",
        amodal=MASK.copy(),
        visible=visible,
        silhouette=MASK.copy(),
        verts=np.zeros((42, 3), np.float32),
        faces=np.zeros((80, 3), np.int64),
        viewpoint={"azimuth_deg": 1.0},
        window=np.zeros(4, np.float32),
        score=0.5,
        hypotheses=((MASK.copy(), 0.5), (visible, 0.25)),
    )
    crops = InstanceCrops(
        torch.zeros(2, 3, 64, 64), *torch.zeros(2, 2, 64, 64), torch.zeros(2, dtype=torch.int64), torch.zeros(2, 4)
    )
    view = Viewpoint(*torch.zeros(4, 2), torch.zeros(2, 2))
    verts, faces = torch.zeros(2, 42, 3), torch.zeros(2, 80, 3, dtype=torch.int64)
    estimate = Estimate(verts, faces, view, torch.zeros(2, 64, 64), torch.zeros(2))
    found = (
        whole,
        PredictedObject("chair", 0.7, np.zeros(4, np.float32), visible, MASK.copy(), whole),
        DetectedObject("chair", 0.7, np.zeros(4, np.float32), MASK.copy(), visible, (MASK.copy(),)),
        VisibleObjects([MASK.copy(), visible], ["chair", "table"], [visible, MASK.copy()]),
        crops,
        SupervisedCrops(crops, torch.zeros(2, 64, 64)),
        view,
        ViewpointHypotheses(view, torch.zeros(2, 4)),
        MeshEstimate(verts, faces[0], torch.zeros(2, 8)),
        estimate,
        AmodalPrediction(torch.zeros(2, 64, 64), estimate),
    )
    return {type(one).__name__: one for one in found}


NAMES = list(masks_and_meshes())


@pytest.mark.parametrize("name", NAMES)
def test_texts_are_short_and_hold_no_arrays(name: str) -> None:
    text = repr(masks_and_meshes()[name])
    assert text.startswith(f"{name}(") and text.endswith(")")
    assert "\n" not in text and "array(" not in text and "tensor(" not in text
    assert len(text) < 400


def test_texts() -> None:
    some = masks_and_meshes()
    assert repr(some["CompletedObject"]) == (
        "CompletedObject('chair', score 0.50, 150 visible and 50 hidden pixels of 60 x 80, mesh of 42 vertices)"
    )
    assert repr(some["PredictedObject"]) == (
        "PredictedObject('chair', score 0.70, 150 visible and 50 hidden pixels of 60 x 80, by all stages)"
    )
    assert repr(some["SupervisedCrops"]) == (
        "SupervisedCrops(crops=InstanceCrops(rgb=float32[2,3,64,64], visible=float32[2,64,64], "
        "occluder=float32[2,64,64], category=int64[2], window=float32[2,4], doubt=None), "
        "amodal=float32[2,64,64], known=None, silhouette=None, fit=None)"
    )
    assert "masks=[2 of bool[60,80]], names=['chair', 'table']" in repr(some["VisibleObjects"])


def test_texts_of_annotations_are_short() -> None:
    long = Rle(60, 80, "0" * 10_000)
    instance = AmodalInstance(id=1, category_id=2, visible=long, amodal=long)
    image = AmodalImage(id=7, file_name="a.png", width=80, height=60, instances=(instance,) * 500)
    dataset = AmodalDataset(images=(image,) * 3, categories=(Category(2, "chair"),))
    assert repr(image) == "AmodalImage(id=7, file_name='a.png', width=80, height=60, 500 instances)"
    assert repr(dataset) == "AmodalDataset(3 images, 1500 instances, 1 categories)"
    assert len(repr(instance)) < 400 and repr(long).startswith("Rle(height=60, width=80, counts='000")


@pytest.mark.parametrize("name", NAMES)
def test_equal_ones_are_equal(name: str) -> None:
    one, other = masks_and_meshes()[name], masks_and_meshes()[name]
    assert one is not other
    assert (one == other) is True and (one != other) is False
    assert one in [other]
    for stranger in (None, 1, "chair", np.zeros(3), object()):
        assert (one == stranger) is False if not isinstance(stranger, np.ndarray) else True
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)


@pytest.mark.parametrize("name", NAMES)
def test_one_field_makes_them_differ(name: str) -> None:
    one = masks_and_meshes()[name]
    for field in fields(one):  # type: ignore[arg-type]
        assert (one == replace(one, **{field.name: changed(getattr(one, field.name))})) is False, field.name


def changed(value):
    """Something else of the same kind."""
    if value is None:
        return 1
    if isinstance(value, (np.ndarray, torch.Tensor)):
        other = value.copy() if isinstance(value, np.ndarray) else value.clone()
        other.reshape(-1)[-1] = not other.reshape(-1)[-1]
        return other
    if isinstance(value, (list, tuple)):
        return type(value)(map(changed, value))
    if is_dataclass(value):
        first = fields(value)[0].name
        return replace(value, **{first: changed(getattr(value, first))})
    if isinstance(value, bool):
        return not value
    return {**value, "more": 1} if isinstance(value, dict) else value * 2


def test_shape_dtype_and_library_count() -> None:
    one = masks_and_meshes()["MeshEstimate"]
    assert one != replace(one, verts=one.verts.double())
    assert one != replace(one, verts=one.verts[:1])
    assert one != replace(one, verts=one.verts.numpy())
    assert one != replace(one, verts=None)
    assert one == replace(one, verts=one.verts.clone().requires_grad_())
