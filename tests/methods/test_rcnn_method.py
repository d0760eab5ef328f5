"""A system as a method: both tracks, from weights in a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from rcnn_small import CATEGORIES, SIZE, drawn_sample, small_config, small_rcnn, write_drawn

from shape3d_amodal import masks
from shape3d_amodal.benchmarking.config import load_benchmark
from shape3d_amodal.benchmarking.methods import RcnnOptions
from shape3d_amodal.benchmarking.runner import run_benchmark
from shape3d_amodal.config import dump_config
from shape3d_amodal.errors import UsageError, WeightsError
from shape3d_amodal.files.weights import save_weights
from shape3d_amodal.methods.interface import CompletionMethod, FindsObjects
from shape3d_amodal.methods.rcnn import RcnnMethod
from shape3d_amodal.segmentation.detector import Detector
from shape3d_amodal.segmentation.roi_heads import MaskPrediction
from shape3d_amodal.structures import AmodalImage, AmodalInstance

NAMES = {4: "box", 5: "disc", 6: "bar", 9: "occluder"}
DRAWN, TARGETS = drawn_sample(3, seed=2)
IMAGE = DRAWN.permute(1, 2, 0).numpy()
VISIBLE = [mask.numpy() for mask in TARGETS.visible]


def record(*categories: int) -> AmodalImage:
    instances = tuple(
        AmodalInstance(id=i + 1, category_id=category, visible=masks.encode(VISIBLE[i]))
        for i, category in enumerate(categories)
    )
    return AmodalImage(id=3, file_name="a.png", width=SIZE, height=SIZE, instances=instances)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(small_rcnn(masks="both"))


def test_weights_in_a_folder_are_found_again(detector: Detector, tmp_path: Path) -> None:
    save_weights(tmp_path / "w", dump_config(small_config(masks="both")), detector.model.state_dict())
    again = RcnnOptions(weights=str(tmp_path / "w")).build(NAMES, "cpu")
    assert again.name == "mask_rcnn" and again.parameters == sum(p.numel() for p in detector.model.parameters())
    assert isinstance(again, CompletionMethod) and isinstance(again, FindsObjects)
    assert again.find(IMAGE, record()) == RcnnMethod(detector, NAMES).find(IMAGE, record())
    with pytest.raises(WeightsError):
        Detector.from_pretrained(tmp_path / "nothing")


def test_categories_that_the_weights_do_not_know(detector: Detector) -> None:
    """They are not found; a given object of theirs cannot be completed; and without any other nothing can be done."""
    names = {4: "box", 5: "plane"}
    assert {one.category_id for one in RcnnMethod(detector, names).find(IMAGE, record())} <= {4}
    with pytest.raises(UsageError, match=r"unknown category 'plane'; known are box, disc, bar"):
        RcnnMethod(detector, names).complete(IMAGE, record(4, 5))
    with pytest.raises(UsageError, match=r"expected names in common, got none: the detector knows box, disc, bar"):
        RcnnMethod(detector, {1: "plane"})


def test_what_is_hidden_altogether_cannot_be_completed(detector: Detector) -> None:
    nothing = np.zeros((SIZE, SIZE), bool)
    with pytest.raises(UsageError, match=r"visible\[1\]: expected a mask with a visible pixel, got an empty one"):
        detector.complete(IMAGE, [VISIBLE[0], nothing], ["box", "disc"])
    hidden = AmodalInstance(id=8, category_id=5, visible=masks.encode(nothing))
    instances = (*record(4, 5).instances, hidden)
    image = AmodalImage(id=3, file_name="a.png", width=SIZE, height=SIZE, instances=instances)
    assert [one.annotation_id for one in RcnnMethod(detector, NAMES).complete(IMAGE, image)] == [1, 2]


def test_what_is_found_is_ordered_and_consistent(detector: Detector) -> None:
    results = RcnnMethod(detector, NAMES).find(IMAGE, record())
    assert results and all(one.annotation_id is None and one.image_id == 3 for one in results)
    assert [one.score for one in results] == sorted((one.score for one in results), reverse=True)
    for one in results:
        amodal, visible, occluded = (masks.decode(mask) for mask in (one.segmentation, one.visible, one.occluded))
        np.testing.assert_array_equal(occluded, amodal & ~visible)
    boxes = {4: "box"}
    only = RcnnMethod(detector, boxes).find(IMAGE, record())
    assert len(only) < len(results) and {one.category_id for one in only} <= {4}


def test_given_masks_are_kept_and_known_background_is_left_out(detector: Detector) -> None:
    method = RcnnMethod(detector, NAMES)
    results = method.complete(IMAGE, record(4, 9, 6))
    assert [one.annotation_id for one in results] == [1, 3], "what only hides others has no result"
    everything = np.logical_or.reduce(VISIBLE)
    for one, row in zip(results, (0, 2), strict=True):
        amodal = masks.decode(one.segmentation)
        assert (amodal & VISIBLE[row]).sum() == VISIBLE[row].sum()
        assert not (amodal & ~everything).any()
    assert method.complete(IMAGE, record()) == []


def test_the_guessed_box_holds_the_visible_one(detector: Detector) -> None:
    for one, visible in zip(detector.complete(IMAGE, VISIBLE, CATEGORIES), VISIBLE, strict=True):
        rows, columns = np.nonzero(visible)
        inner = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        assert (one.box[:2] <= inner[:2] + 1e-3).all() and (one.box[2:] >= inner[2:] - 1e-3).all()
        assert one.score == 1


def test_scores_are_corrected_and_samples_handed_on(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = detector.detect(IMAGE)
    head = detector.model.mask_head

    def predict(rois):
        known = torch.zeros(len(rois), 28, 28)
        known[:, 14:] = 1
        factor = torch.linspace(0.1, 1, len(rois))
        return MaskPrediction(known, factor=factor, samples=torch.stack([known, 1 - known, known], dim=1))

    monkeypatch.setattr(head, "predict", predict)
    found = detector.detect(IMAGE)
    expected = np.array([one.score for one in plain]) * np.linspace(0.1, 1, len(plain))
    np.testing.assert_allclose([one.score for one in found], sorted(expected, reverse=True), rtol=1e-5)
    assert all(one.visible is None and one.samples == () for one in found), "one mask is asked for"
    least = expected.max() / 2
    assert [one.score for one in detector.detect(IMAGE, min_score=least)] == [
        one.score for one in found if one.score >= least
    ]
    given = detector.complete(IMAGE, VISIBLE, CATEGORIES, samples=True)
    np.testing.assert_allclose([one.score for one in given], [0.1, 0.55, 1])
    assert [one.category for one in given] == list(CATEGORIES), "in the order of the masks, whatever their scores"
    assert all(len(one.samples) == 3 for one in given)
    several = RcnnMethod(detector, NAMES, samples=True, background=False).complete(IMAGE, record(4, 5))
    assert [one.annotation_id for one in several] == [1, 1, 1, 2, 2, 2]
    assert several[0].segmentation == several[2].segmentation != several[1].segmentation


def test_a_benchmark_of_both_tracks(detector: Detector, tmp_path: Path) -> None:
    (tmp_path / "drawn").mkdir()
    folder = write_drawn(tmp_path / "drawn", (2, 3))
    save_weights(tmp_path / "w", dump_config(small_config(masks="both")), detector.model.state_dict())
    content = {
        "data": {"drawn": {"annotations": str(folder / "annotations.json"), "images": str(folder)}},
        "methods": {"mask_rcnn": {"kind": "rcnn", "weights": str(tmp_path / "w")}},
        "runs": [{"data": "drawn", "track": track} for track in ("instance", "completion")],
    }
    (tmp_path / "benchmark.yaml").write_text(yaml.safe_dump(content))
    scores = run_benchmark(load_benchmark(tmp_path / "benchmark.yaml"), tmp_path / "out")
    found, completed = (one.methods["mask_rcnn"].results for one in scores)
    assert found and {one.annotation_id for one in found} == {None}
    truth = {one.id: one for image in scores[1].data.dataset.images for one in image.instances}
    assert {one.annotation_id for one in completed} == truth.keys()
    assert all(one.visible == truth[one.annotation_id].visible for one in completed)
    assert 0 <= scores[0].tables["mask_rcnn"].score["amodal_ap"] <= 1
    assert 0 < scores[1].tables["mask_rcnn"].score["miou"] <= 1
