"""Predictions for crops back in the image: where half a pixel is the limit, and what comes with the mask."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from shape3d_amodal.crops.cutting import instance_crops
from shape3d_amodal.crops.pasting import CompletedObject, completed_objects
from shape3d_amodal.masks.occlusion import VisibleObjects
from shape3d_amodal.pipeline import Refine, ShapePriorPipeline
from shape3d_amodal.structures import OCCLUDER as OCCLUDER_NAME
from shape3d_amodal.structures import AmodalPrediction, Estimate, InstanceCrops, Viewpoint

S, H, W = 16, 24, 32
WINDOW = np.array([[4, 2, 20, 18]], np.float32)
"""One crop pixel an image pixel."""
VISIBLE, OCCLUDER = np.zeros((H, W), bool), np.zeros((H, W), bool)
VISIBLE[6:14, 6:12] = True
OCCLUDER[6:14, 12:18] = True


def crops(window: np.ndarray = WINDOW) -> InstanceCrops:
    return instance_crops(np.zeros((H, W, 3), np.uint8), [VISIBLE], [OCCLUDER], [0], S, window)


def estimate(silhouette: torch.Tensor) -> Estimate:
    """A triangle, one row of padding behind it, seen from the front left."""
    degrees = [torch.tensor([float(value)]).deg2rad() for value in (-30, 20, 5)]
    return Estimate(
        verts=torch.tensor([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0]]]),
        faces=torch.tensor([[[0, 1, 2], [0, 0, 0]]]),
        viewpoint=Viewpoint(*degrees, torch.tensor([1.5]), torch.tensor([[0.25, -0.5]])),
        silhouette=silhouette,
        fit=torch.tensor([0.625]),
    )


def pasted(probability: float | torch.Tensor, silhouette: float = 0.0, **options) -> CompletedObject:
    given = crops()
    if not isinstance(probability, torch.Tensor):  # as ``compose`` leaves it
        probability = given.visible + given.occluder * probability
    prediction = AmodalPrediction(probability, estimate(torch.full((1, S, S), silhouette)))
    (found,) = completed_objects(prediction, given, VisibleObjects([VISIBLE], ["chair"], [OCCLUDER]), **options)
    return found


@pytest.mark.parametrize(("probability", "inside"), [(0.0, 0), (0.36, 0), (0.42, 0), (0.53, 1), (0.64, 1), (1.0, 1)])
def test_a_hidden_pixel_belongs_to_the_mask_from_one_half_on(probability: float, inside: bool) -> None:
    """An eighth of the crop pixels beside the visible mask is visible, as cutting blurs: 0.42 becomes 0.49 there."""
    found = pasted(probability)
    assert np.array_equal(found.amodal, VISIBLE | OCCLUDER if inside else VISIBLE)
    assert np.array_equal(found.occluded, OCCLUDER if inside else np.zeros_like(VISIBLE))


@pytest.mark.parametrize(("value", "inside"), [(0.36, 0), (0.47, 0), (0.53, 1), (0.64, 1)])
def test_a_silhouette_pixel_counts_from_one_half_on(value: float, inside: bool) -> None:
    window = np.zeros((H, W), bool)
    window[2:18, 4:20] = True
    found = pasted(0.0, value)
    assert np.array_equal(found.silhouette, window if inside else np.zeros_like(window))
    assert np.array_equal(found.amodal, VISIBLE), "the silhouette is not the mask"
    bare = pasted(1.0, value, bare=True)
    assert np.array_equal(bare.amodal, found.silhouette), "and bare it is"


def test_the_limit_lies_where_the_probability_crosses_one_half() -> None:
    """A slope over the columns: 0 in the occluder's first column, 1 in its sixth, one half between third and fourth."""
    given = crops()
    slope = torch.zeros(S)
    slope[8:14] = torch.linspace(0, 1, 6)
    found = pasted(given.visible + given.occluder * slope)
    hidden = np.zeros_like(OCCLUDER)
    hidden[6:14, 15:18] = True
    assert np.array_equal(found.occluded, hidden)


@pytest.mark.parametrize("probability", [0.4, 0.6])
def test_pixels_that_a_crop_pixel_shares_with_the_background_are_judged_by_their_own_half(probability: float) -> None:
    """Crop pixels of 1.5 image pixels straddle the occluder's border; the constant probability still decides alike."""
    given = crops(np.array([[1, 1, 25, 25]], np.float32))
    prediction = AmodalPrediction(given.visible + given.occluder * probability, estimate(torch.zeros(1, S, S)))
    (found,) = completed_objects(prediction, given, VisibleObjects([VISIBLE], ["chair"], [OCCLUDER]))
    inner = OCCLUDER.copy()
    inner[:, 12] = False  # a crop pixel there is shared with the visible mask, which is sure
    expected = inner if probability > 0.5 else np.zeros_like(inner)
    assert np.array_equal(found.occluded & inner, expected)


def test_known_background_is_left_out_and_what_is_seen_is_kept() -> None:
    sure, never = pasted(torch.ones(1, S, S)), pasted(torch.zeros(1, S, S))
    assert np.array_equal(sure.amodal, VISIBLE | OCCLUDER)
    assert np.array_equal(never.amodal, VISIBLE)
    assert np.array_equal(sure.visible, VISIBLE)


def test_what_comes_with_the_mask() -> None:
    found = pasted(1.0)
    assert found.category == "chair" and found.score == 0.625
    assert found.verts.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0]] and found.faces.tolist() == [[0, 1, 2]]
    assert found.window.tolist() == [4, 2, 20, 18]
    assert found.viewpoint.pop("offset") == [0.25, -0.5]
    expected = {"azimuth_deg": 330, "elevation_deg": 20, "roll_deg": 5, "scale": 1.5}
    assert found.viewpoint == pytest.approx(expected, rel=1e-5)


def test_a_mesh_without_its_padding() -> None:
    """Padding is what begins with one vertex twice; faces without area belong to the mesh."""
    alone = estimate(torch.zeros(1, S, S))
    fan = torch.tensor([[[0, 1, 2], [2, 3, 0], [1, 2, 1], [1, 2, 2], [0, 0, 0]]])
    prediction = AmodalPrediction(torch.zeros(1, S, S), replace(alone, faces=fan))
    (found,) = completed_objects(prediction, crops(), VisibleObjects([VISIBLE], ["chair"], [OCCLUDER]))
    assert found.verts.shape == (4, 3) and found.faces.tolist() == fan[0, :4].tolist()
    none = AmodalPrediction(torch.zeros(1, S, S), replace(alone, faces=torch.zeros(1, 2, 3, dtype=torch.int64)))
    (found,) = completed_objects(none, crops(), VisibleObjects([VISIBLE], ["chair"], [OCCLUDER]))
    assert found.verts.shape == found.faces.shape == (0, 3) and found.viewpoint == {}


def test_masks_that_overlap_make_a_pixel_no_more_than_possible() -> None:
    """Crops whose occluder also covers the visible mask: all of a pixel is possible there, not two of it."""
    given = crops()
    given = replace(given, visible=given.visible + given.occluder)
    prediction = AmodalPrediction(given.occluder * 0.6, estimate(torch.zeros(1, S, S)))
    (found,) = completed_objects(prediction, given, VisibleObjects([VISIBLE], ["chair"], [OCCLUDER]))
    assert found.occluded[7:13, 13:17].all()


def test_each_object_has_its_own_window_and_mask() -> None:
    other = np.array([[12, 6, 28, 22]], np.float32)
    masks, hiding = [VISIBLE, OCCLUDER], [OCCLUDER, VISIBLE]
    windows = np.concatenate([WINDOW, other])
    given = instance_crops(np.zeros((H, W, 3), np.uint8), masks, hiding, [0, 0], S, windows)
    probability = torch.stack([given.visible[0], given.visible[1] + given.occluder[1]])
    silhouettes = torch.stack([torch.zeros(S, S), torch.ones(S, S)])
    both = estimate(torch.zeros(1, S, S))
    both = replace(Estimate.join([both, both]), silhouette=silhouettes)
    objects = VisibleObjects(masks, ["chair", "table"], hiding)
    first, second = completed_objects(AmodalPrediction(probability, both), given, objects)
    assert not first.silhouette.any() and not first.occluded.any()
    square = np.zeros((H, W), bool)
    square[6:22, 12:28] = True
    assert np.array_equal(second.silhouette, square)
    assert not second.occluded.any(), "its window ends where the other begins"
    assert (second.category, second.window.tolist()) == ("table", other[0].tolist())


class _Constant:
    """A prior whose silhouette has one value all over the crop."""

    categories = known = ("chair",)
    parameters = 0
    device = torch.device("cpu")

    def __init__(self, value: float) -> None:
        self.value = value

    def estimate(self, crops: InstanceCrops, *, windows: object = None) -> Estimate:  # noqa: ARG002
        return estimate(torch.full_like(crops.visible, self.value))


@pytest.mark.parametrize("refine", ["visible-union", "none"])
@pytest.mark.parametrize(("value", "inside"), [(0.36, False), (0.42, False), (0.51, True), (0.64, True)])
def test_the_pipelines_masks_start_at_one_half(refine: Refine, value: float, inside: bool) -> None:
    pipeline = ShapePriorPipeline({"learned": _Constant(value)}, refine=refine)  # type: ignore[dict-item]
    image = np.zeros((H, W, 3), np.uint8)
    (found,) = pipeline.complete(image, [VISIBLE, OCCLUDER], ["chair", OCCLUDER_NAME])
    if refine == "none":
        assert found.amodal.any() == inside
        assert np.array_equal(found.amodal, found.silhouette)
    else:
        assert found.occluded[7:13, 13:17].any() == found.occluded[7:13, 13:17].all() == inside
        assert not (found.amodal & ~(VISIBLE | OCCLUDER)).any()


def test_how_an_object_shows_itself() -> None:
    whole = pasted(1.0)
    assert "mesh of 3 vertices" in repr(whole) and "no mesh" not in repr(whole)
    assert "no mesh" in repr(replace(whole, verts=np.zeros((0, 3), np.float32), faces=np.zeros((0, 3), np.int64)))
