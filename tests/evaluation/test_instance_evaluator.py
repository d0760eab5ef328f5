from __future__ import annotations

import contextlib
import io
import json
import math
from dataclasses import replace

import faster_coco_eval
import numpy as np
import pytest
from drawn import CATEGORIES, dataset, drawn, instance
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scoring import evaluate_instances

from shape3d_amodal import masks
from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.errors import DataError, UsageError
from shape3d_amodal.evaluation.instance.evaluator import InstanceEvaluator
from shape3d_amodal.evaluation.instance.image_rows import COLUMNS
from shape3d_amodal.evaluation.instance.metrics import SUBSETS
from shape3d_amodal.structures import AmodalDataset, AmodalImage

CHAIR, RIFLE, LAMP = (category.id for category in CATEGORIES)
EMPTY = drawn("........", "........")
LEFT = drawn("####....", "####....")
RIGHT = drawn("....####", "....####")
FULL = drawn("########", "########")
THREE = drawn("###.....", "###.....")  # IoU with LEFT 6 / 8


def found(mask, score, category=CHAIR, image_id=1, visible=None) -> AmodalResult:
    return AmodalResult(
        image_id=image_id,
        category_id=category,
        score=score,
        segmentation=masks.encode(mask),
        visible=None if visible is None else masks.encode(visible),
    )


# Recalls 0, 0.01 ... 1: 51 of 101 are at most one half.
@pytest.mark.parametrize(
    ("truth", "results", "ap", "ap50", "ar1"),
    [
        ([(1, LEFT)], [found(LEFT, 0.9)], 1, 1, 1),
        ([(1, LEFT)], [], 0, 0, 0),
        ([(1, LEFT)], [found(RIGHT, 0.9)], 0, 0, 0),
        ([(1, LEFT)], [found(EMPTY, 0.9)], 0, 0, 0),
        ([(1, LEFT)], [found(LEFT, 0.9, RIFLE)], 0, 0, 0),
        ([(1, LEFT)], [found(THREE, 0.9)], 6 / 10, 1, 6 / 10),  # IoU 0.75 reaches 0.50 to 0.75
        ([(1, LEFT)], [found(RIGHT, 0.9), found(LEFT, 0.8)], 1 / 2, 1 / 2, 0),
        ([(1, LEFT)], [found(LEFT, 0.9), found(LEFT, 0.8)], 1, 1, 1),  # the second find of it is after full recall
        ([(1, LEFT), (2, RIGHT)], [found(LEFT, 0.9)], 51 / 101, 51 / 101, 1 / 2),
        ([(1, LEFT), (2, RIGHT)], [found(LEFT, 0.9), found(FULL, 0.8), found(RIGHT, 0.7)], None, None, 1 / 2),
    ],
)
def test_literals(truth, results, ap, ap50, ar1):
    score = evaluate_instances(dataset(*(instance(i, CHAIR, mask, mask) for i, mask in truth)), results).score
    if ap is None:  # at 0.50 the full mask matches RIGHT (IoU 1/2 each, LEFT is taken), above it is wrong
        ap = (1 + 9 * (51 / 101 + 50 / 101 * 2 / 3)) / 10
        ap50 = 1
    assert score["amodal_ap"] == pytest.approx(ap)
    assert score["amodal_ap50"] == pytest.approx(ap50)
    assert score["amodal_ar1"] == pytest.approx(ar1)
    assert math.isnan(score["occluded_ap"])  # nothing is hidden
    assert score.counts["instances"] == len(truth)


def test_without_classes_any_object_may_be_found_as_any_other():
    """Of two objects the second is found by the third find: precision 1 up to a recall of one half, then 2 / 3."""
    truth = dataset(instance(1, CHAIR, LEFT, LEFT), instance(2, RIFLE, RIGHT, RIGHT))
    results = [found(LEFT, 0.9, LAMP), found(LEFT, 0.8, CHAIR), found(RIGHT, 0.7, CHAIR)]
    table = evaluate_instances(truth, results, class_agnostic=True)
    assert table.score["amodal_ap"] == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert list(table.by_category()) == ["object"] and table.score.counts["instances"] == 2
    assert evaluate_instances(truth, results).score["amodal_ap"] == pytest.approx(0.5)  # the chair is found, no rifle
    with pytest.raises(DataError, match=r"expected a category of the annotations"):
        evaluate_instances(truth, [found(LEFT, 0.9, 77)], class_agnostic=True)


def test_visible_and_occluded_masks():
    truth = dataset(instance(1, CHAIR, LEFT, FULL), instance(2, RIFLE, RIGHT, RIGHT))
    right = [found(FULL, 0.9, visible=LEFT), found(RIGHT, 0.9, RIFLE, visible=RIGHT)]
    score = evaluate_instances(truth, right).score
    assert (score["amodal_ap"], score["visible_ap"], score["occluded_ap"]) == (1, 1, 1)
    assert score["amodal_ap_over15"] == 1 and score["occlusion_accuracy"] == 1
    # The chair seen whole: its visible mask is half the predicted one, nothing hidden is found.
    wrong = [found(FULL, 0.9, visible=FULL), found(RIGHT, 0.9, RIFLE, visible=RIGHT)]
    table = evaluate_instances(truth, wrong)
    assert table.score["amodal_ap"] == 1
    assert table.score["visible_ap"] == pytest.approx((1 / 10 + 1) / 2)  # IoU 1/2 reaches the lowest threshold
    assert table.score["occluded_ap"] == 0
    assert table.score["occlusion_accuracy"] == 1 / 2
    assert table.by_category()["chair"]["occlusion_accuracy"] == 0
    # Nothing is said of what is visible: only the amodal masks are scored.
    bare = evaluate_instances(truth, [found(FULL, 0.9)]).score
    assert bare["amodal_ap"] == 1 / 2
    assert all(math.isnan(bare[name]) for name in ("visible_ap", "occluded_ap", "occlusion_accuracy"))


def test_subsets_ignore_what_is_outside():
    # One instance half hidden, one not hidden at all.
    truth = dataset(instance(1, CHAIR, drawn("##......", "##......"), LEFT), instance(2, CHAIR, RIGHT, RIGHT))
    both = [found(RIGHT, 0.9, visible=RIGHT), found(LEFT, 0.8, visible=drawn("##......", "##......"))]
    table = evaluate_instances(truth, both)
    levels = table.by_level()
    assert [levels[name].counts["instances"] for name in ("none", "partial", "heavy")] == [1, 0, 1]
    assert levels["none"]["amodal_ap"] == levels["heavy"]["amodal_ap"] == table.score["amodal_ap_over15"] == 1
    assert math.isnan(levels["partial"]["amodal_ar100"])
    # A wrong detection that says that nothing of it is hidden counts at level none alone.
    third = found(drawn("...##...", "...##..."), 0.95, visible=drawn("...##...", "...##..."))
    levels = evaluate_instances(truth, [third, *both]).by_level()
    assert levels["none"]["amodal_ap"] == pytest.approx(1 / 2) and levels["heavy"]["amodal_ap"] == 1
    # One that says nothing of what is visible counts at all levels.
    levels = evaluate_instances(truth, [replace(third, visible=None), *both]).by_level()
    assert levels["none"]["amodal_ap"] == levels["heavy"]["amodal_ap"] == pytest.approx(1 / 2)


def test_ignored_and_unlabelled_instances_do_not_count():
    truth = dataset(
        instance(1, CHAIR, LEFT, LEFT), instance(2, CHAIR, RIGHT, RIGHT, ignore=True), instance(3, LAMP, RIGHT, None)
    )
    table = evaluate_instances(truth, [found(RIGHT, 0.9), found(LEFT, 0.8), found(RIGHT, 0.9, LAMP)])
    assert table.score["amodal_ap"] == 1
    assert list(table.by_category()) == ["chair", "lamp"]
    assert math.isnan(table.by_category()["lamp"]["amodal_ap"])
    assert table.score.counts == {"instances": 1, "missing": 0}
    assert list(table.without("lamp").by_category()) == ["chair"]
    with pytest.raises(UsageError, match=r"rifle.*chair, lamp"):
        table.without("rifle")


@pytest.mark.parametrize(("crowd", "ap"), [(True, 1), (False, 1 / 3)])
def test_a_crowd_takes_all_detections_that_lie_in_it(crowd, ap):
    # Both detections on the right lie in the ignored region, of which each covers a quarter.
    truth = dataset(instance(1, CHAIR, LEFT, LEFT), instance(2, CHAIR, RIGHT, RIGHT, ignore=True, crowd=crowd))
    parts = [found(drawn("....#...", "....#..."), 0.9), found(drawn(".....#..", ".....#.."), 0.9)]
    score = evaluate_instances(truth, [*parts, found(LEFT, 0.8)]).score
    assert score["amodal_ap"] == pytest.approx(ap)
    # Of this one only a third lies in it.
    outside = [found(drawn("...##...", "...#...."), 0.9)] * 2
    assert evaluate_instances(truth, [*outside, found(LEFT, 0.8)]).score["amodal_ap"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("truth", [dataset(), dataset(instance(1, CHAIR, LEFT, LEFT, ignore=True))])
def test_nothing_to_score_is_an_error(truth):
    with pytest.raises(DataError, match="expected amodal masks of objects that are neither crowds"):
        evaluate_instances(truth, [])


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (found(LEFT, 1.0, image_id=7), r"r\.json: \[1\]\.image_id: 7 is not in the annotations"),
        (found(LEFT, 1.0, 5), r"\[1\]\.category_id: expected a category .*10, 20, 30.* got 5"),
        (found(LEFT.T, 1.0), r"\[1\]\.segmentation\.size: expected 2 x 8 .* got 8 x 2"),
        (found(LEFT, 1.0, visible=LEFT.T), r"\[1\]\.visible_mask\.size: expected 2 x 8"),
    ],
)
def test_bad_results_are_errors(result, message):
    with pytest.raises(DataError, match=message):
        evaluate_instances(dataset(instance(1, CHAIR, LEFT, LEFT)), [found(LEFT, 1.0), result], file="r.json")


def random_case(seed: int, images: int, most: int = 6):
    """Scenes of random rectangles, and detections that are those rectangles shaken, doubled, lost or invented."""
    rng = np.random.default_rng(seed)
    records, results = [], []
    number = 0

    def rectangle() -> np.ndarray:
        mask = np.zeros((40, 50), bool)
        y, x, h, w = rng.integers(0, 30), rng.integers(0, 40), rng.integers(2, 20), rng.integers(2, 20)
        mask[y : y + h, x : x + w] = True
        return mask

    def shaken(mask: np.ndarray) -> np.ndarray:
        return np.roll(mask, tuple(rng.integers(-2, 3, 2)), (0, 1))

    for image in range(images):
        instances = []
        for _ in range(int(rng.integers(0, most))):
            number += 1
            amodal = rectangle()
            visible = amodal & ~rectangle() if rng.random() < 0.6 else amodal
            category = int(rng.choice([CHAIR, RIFLE]))
            ignore = bool(rng.random() < 0.2)
            crowd = ignore and bool(rng.random() < 0.5)
            instances.append(instance(number, category, visible, amodal, ignore=ignore, crowd=crowd))
            for _ in range(int(rng.integers(0, 3))):
                guess = shaken(amodal)
                score = float(rng.integers(0, 8)) / 8  # many ties
                results.append(found(guess, score, category, image + 1, visible=guess & shaken(visible)))
        results += [
            found(rectangle(), float(rng.random()), int(rng.choice([CHAIR, LAMP])), image + 1, rectangle())
            for _ in range(int(rng.integers(0, 2)))
        ]
        records.append(AmodalImage(id=image + 1, file_name="a", width=50, height=40, instances=tuple(instances)))
    order = rng.permutation(len(results))
    return AmodalDataset(images=tuple(records), categories=CATEGORIES), [results[i] for i in order]


def coco_numbers(data, results, kind, measure, ranges, engine=(COCO, COCOeval)):
    """AP, AP50, AP75 and AR at 1, 10, 100 of pycocotools by subset; its ``area`` holds whatever ``measure`` is."""

    def area(part, whole):
        return masks.area(part) / max(masks.area(whole), 1)

    annotations, detections = [], []
    for image in data.images:
        for one in image.instances:
            hidden = masks.subtract(one.amodal, one.visible)
            mask = {"amodal": one.amodal, "visible": one.visible, "occluded": hidden}[kind]
            if kind != "amodal" and masks.area(mask) == 0:
                continue
            value = masks.area(mask) if measure == "area" else area(hidden, one.amodal)
            # An ignored instance that is no crowd is put out of all ranges; pycocotools knows no other ones.
            annotations.append(
                {
                    "id": one.id, "image_id": image.id, "category_id": one.category_id, "segmentation": mask.to_coco(),
                    "area": -1.0 if one.ignore else value, "iscrowd": int(one.crowd),
                }
            )  # fmt: skip
    for one in results:
        hidden = masks.subtract(one.segmentation, one.visible)
        mask = {"amodal": one.segmentation, "visible": one.visible, "occluded": hidden}[kind]
        value = masks.area(mask) if measure == "area" else area(hidden, one.segmentation)
        if kind != "amodal" and masks.area(mask) == 0:
            value = -1.0
        detections.append((one, mask, value))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = engine[0]()
        truth.dataset = {
            "images": [{"id": image.id, "width": image.width, "height": image.height} for image in data.images],
            "categories": [{"id": category.id} for category in data.categories],
            "annotations": annotations,
        }
        truth.createIndex()
        guesses = engine[0]()
        guesses.dataset = {
            **truth.dataset,
            "annotations": [
                {
                    "id": i + 1, "image_id": one.image_id, "category_id": one.category_id, "score": one.score,
                    "segmentation": mask.to_coco(), "area": value, "iscrowd": 0,
                }
                for i, (one, mask, value) in enumerate(detections)
            ],
        }  # fmt: skip
        guesses.createIndex()
        run = engine[1](truth, guesses, "segm")
        run.params.areaRng = list(ranges.values())
        run.params.areaRngLbl = list(ranges)
        run.evaluate()
        run.accumulate()

    def mean(values):
        return values[values > -1].mean() if (values > -1).any() else math.nan

    precision, recall = run.eval["precision"], run.eval["recall"]
    return {
        name: {
            "ap": mean(precision[..., i, 2]),
            "ap50": mean(precision[0, ..., i, 2]), "ap75": mean(precision[5, ..., i, 2]),
            "ar1": mean(recall[..., i, 0]), "ar10": mean(recall[..., i, 1]), "ar100": mean(recall[..., i, 2]),
        }
        for i, name in enumerate(ranges)
    }  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_equals_pycocotools(seed, images):
    data, results = random_case(seed, images)
    if not any(not one.ignore for image in data.images for one in image.instances) or not results:
        return
    table = evaluate_instances(data, results)
    sizes = {"all": [0, 1e10], "small": [0, 32**2], "medium": [32**2, 96**2], "large": [96**2, 1e10]}
    for kind in ("amodal", "visible", "occluded"):
        expected = coco_numbers(data, results, kind, "area", sizes)
        for name, value in expected["all"].items():
            assert table.score[f"{kind}_{name}"] == pytest.approx(value, abs=1e-6, nan_ok=True)
        for size in ("small", "medium", "large"):
            assert table.score[f"{kind}_ap_{size}"] == pytest.approx(expected[size]["ap"], abs=1e-6, nan_ok=True)
    above = math.nextafter
    shares = {
        "over15": [above(0.15, 1), 1], "none": [0, 0], "partial": [above(0, 1), 0.25], "heavy": [above(0.25, 1), 1]
    }  # fmt: skip
    expected = coco_numbers(data, results, "amodal", "share", shares)
    assert table.score["amodal_ap_over15"] == pytest.approx(expected["over15"]["ap"], abs=1e-6, nan_ok=True)
    for level, score in table.by_level().items():
        for name in ("ap", "ap50", "ap75", "ar100"):
            assert score[f"amodal_{name}"] == pytest.approx(expected[level][name], abs=1e-6, nan_ok=True)


def test_equals_faster_coco_eval():
    data, results = random_case(11, 40)
    table = evaluate_instances(data, results)
    engine = faster_coco_eval.COCO, faster_coco_eval.COCOeval_faster
    for kind in ("amodal", "visible", "occluded"):
        expected = coco_numbers(data, results, kind, "area", {"all": [0, 1e10]}, engine)["all"]
        for name in ("ap", "ap50", "ap75", "ar1", "ar10", "ar100"):
            assert table.score[f"{kind}_{name}"] == pytest.approx(expected[name], abs=1e-6)


def test_more_than_a_hundred_detections_of_an_image_are_cut():
    truth = dataset(instance(1, CHAIR, LEFT, LEFT))
    many = [found(RIGHT, 0.9)] * 100
    assert evaluate_instances(truth, [*many, found(LEFT, 0.8)]).score["amodal_ar100"] == 0
    assert evaluate_instances(truth, [*many[1:], found(LEFT, 0.8)]).score["amodal_ar100"] == 1


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_shards_merge_to_the_identical_table(workers):
    data, results = random_case(7, 20)
    whole = evaluate_instances(data, results)
    merged = InstanceEvaluator(data)
    for worker in reversed(range(workers)):
        evaluator = InstanceEvaluator(data)
        evaluator.process([one for one in results if one.image_id % workers == worker])
        rows = evaluator.records()
        assert rows.dtype == np.int64 and rows.shape[1] == len(COLUMNS)
        merged.merge(rows)
    np.testing.assert_array_equal(merged.evaluate().rows, whole.rows)
    assert json.dumps(merged.evaluate().to_dict(samples=5)) == json.dumps(whole.to_dict(samples=5))


def test_shards_that_overlap_or_are_of_other_data_are_errors():
    data, results = random_case(8, 6)
    evaluator = InstanceEvaluator(data)
    evaluator.process(results)
    rows = evaluator.records()
    with pytest.raises(DataError, match="came before"):
        evaluator.merge(rows[:1])
    rows[0, 0] = 99
    with pytest.raises(DataError, match="image id 99 of a shard"):
        InstanceEvaluator(data).merge(rows[:1])
    other = InstanceEvaluator(data)
    other.merge(evaluator.records())
    with pytest.raises(DataError, match="another worker"):
        other.process(results[:1])
    evaluator.reset()
    assert evaluator.records().shape == (0, len(COLUMNS))
    assert evaluator.evaluate().score["amodal_ap"] == 0


def test_intervals_hold_the_score_and_repeat():
    data, results = random_case(3, 30)
    table = evaluate_instances(data, results)
    rows = table.intervals(samples=60, seed=1)
    assert rows == table.intervals(samples=60, seed=1)
    for metric, own in rows.items():
        assert own["mean"].low <= table.score[metric] <= own["mean"].high
    assert set(rows["amodal_ap"]) == {"chair", "rifle", "mean"}


def test_interval_of_two_images():
    # One image found, one missed; a drawing of two images has 0, 1 or 2 of the found one.
    images = tuple(
        AmodalImage(id=i, file_name="a", width=8, height=2, instances=(instance(i, CHAIR, LEFT, LEFT),)) for i in (1, 2)
    )
    table = evaluate_instances(AmodalDataset(images=images, categories=CATEGORIES), [found(LEFT, 0.9)])
    assert table.score["amodal_ap"] == pytest.approx(51 / 101)
    row = table.intervals(samples=200)["amodal_ap"]["mean"]
    assert (row.low, row.high) == (0, 1)


def test_area_of_instances_is_left_alone():
    data, results = random_case(5, 4)
    before = json.dumps([str(image) for image in data.images])
    evaluate_instances(data, results).by_level()
    assert json.dumps([str(image) for image in data.images]) == before
    assert {one.measure for one in SUBSETS.values()} == {"area", "hidden"}


def test_a_part_of_one_pixel_is_a_part():
    """Visible: 7 of 8 pixels; hidden: one. Both are found, and only a part without a pixel is not asked for."""
    seen = drawn("########", "........")
    seen[0, 7] = False
    whole = drawn("########", "........")
    score = evaluate_instances(dataset(instance(1, CHAIR, seen, whole)), [found(whole, 0.9, visible=seen)]).score
    assert (score["occluded_ap"], score["visible_ap"]) == (1, 1)
    score = evaluate_instances(dataset(instance(1, CHAIR, seen, whole)), [found(seen, 0.9, visible=seen)]).score
    assert (score["occluded_ap"], score["visible_ap"]) == (0, 1)


def test_what_no_detection_took_is_missing():
    truth = dataset(instance(1, CHAIR, LEFT, LEFT), instance(2, CHAIR, RIGHT, RIGHT))
    assert evaluate_instances(truth, [found(LEFT, 0.9)]).score.counts == {"instances": 2, "missing": 1}
    assert evaluate_instances(truth, []).score.counts == {"instances": 2, "missing": 2}


@pytest.mark.parametrize("place", [1, 2, 9, 10, 11, 12, 99, 100, 101])
def test_how_many_detections_a_recall_looks_at(place):
    """The only right one comes at that rank: a recall of 1, 10 or 100 detections has it if the rank is no larger."""
    results = [found(RIGHT, 0.9)] * (place - 1) + [found(LEFT, 0.8)]
    score = evaluate_instances(dataset(instance(1, CHAIR, LEFT, LEFT)), results).score
    assert [score[f"amodal_ar{most}"] for most in (1, 10, 100)] == [float(place <= most) for most in (1, 10, 100)]


def test_a_detection_without_a_pixel_is_a_wrong_one():
    """As in COCO: an area of 0 lies in the range of all sizes. Of its masks that show parts none is asked for."""
    seen = drawn("##......", "##......")
    truth = dataset(instance(1, CHAIR, seen, LEFT), instance(2, RIFLE, RIGHT, RIGHT))
    right = [found(LEFT, 0.8, visible=seen), found(RIGHT, 0.8, RIFLE, visible=RIGHT)]
    empty = [found(EMPTY, 0.9, category, visible=EMPTY) for category in (CHAIR, RIFLE)]
    table = evaluate_instances(truth, [*empty, *right])
    assert table.score["amodal_ap"] == pytest.approx(1 / 2)
    assert table.score["visible_ap"] == table.score["occluded_ap"] == 1
    # Nothing of it is hidden: it is wrong where nothing is hidden, and counts nowhere else.
    levels = table.by_level()
    assert levels["none"]["amodal_ap"] == pytest.approx(1 / 2) and levels["heavy"]["amodal_ap"] == 1
    expected = coco_numbers(truth, [*empty, *right], "amodal", "area", {"all": [0, 1e10]})
    assert table.score["amodal_ap"] == pytest.approx(expected["all"]["ap"])


def test_masks_of_the_size_of_a_limit_are_in_both_sizes():
    """Squares whose areas lie at COCO's limits, 32 and 96 squared: which sizes have a number, by pycocotools, too."""
    sizes = {"all": [0, 1e10], "small": [0, 32**2], "medium": [32**2, 96**2], "large": [96**2, 1e10]}
    for side, own in ((31, {"small"}), (32, {"small", "medium"}), (33, {"medium"}), (95, {"medium"}),
                      (96, {"medium", "large"}), (97, {"large"}), (200, {"large"})):  # fmt: skip
        mask = np.zeros((200, 200), bool)
        mask[:side, :side] = True
        data, results = dataset(instance(1, CHAIR, mask, mask)), [found(mask, 0.9, visible=mask)]
        score = evaluate_instances(data, results).score
        expected = coco_numbers(data, results, "amodal", "area", sizes)
        for size in ("small", "medium", "large"):
            assert score[f"amodal_ap_{size}"] == pytest.approx(expected[size]["ap"], nan_ok=True)
            assert (score[f"amodal_ap_{size}"] == 1) == (size in own)


def test_intervals_are_of_the_thresholds_that_their_names_say():
    """One mask of IoU 6 / 8: right at 0.50 to 0.75, so AP50 is 1 and AP 6 / 10 in whatever images are drawn."""
    rows = evaluate_instances(dataset(instance(1, CHAIR, LEFT, LEFT)), [found(THREE, 0.9, visible=THREE)]).intervals(
        samples=5
    )
    means = {name: (row["mean"].low, row["mean"].high) for name, row in rows.items()}
    assert means["amodal_ap50"] == (1, 1) and means["amodal_ap"] == means["visible_ap"] == pytest.approx((0.6, 0.6))
    half = drawn("#####...", "........")
    rows = evaluate_instances(dataset(instance(1, CHAIR, FULL, FULL)), [found(LEFT, 0.9), found(half, 0.8)]).intervals(
        samples=5
    )
    assert (rows["amodal_ap50"]["mean"].low, rows["amodal_ap"]["mean"].low) == pytest.approx((1, 0.1))


def test_intervals_are_the_same_unless_another_seed_is_asked_for():
    data, results = random_case(4, 12)
    table = evaluate_instances(data, results)
    assert table.intervals(samples=30) == table.intervals(samples=30, seed=0) != table.intervals(samples=30, seed=1)
    few = AmodalDataset(images=data.images[:4], categories=CATEGORIES)
    table = evaluate_instances(few, [one for one in results if one.image_id <= 4])
    assert table.intervals() == table.intervals(samples=1000)


@pytest.mark.parametrize(("hidden", "inside"), [(0, False), (14, False), (15, False), (16, True), (50, True)])
def test_more_than_fifteen_hundredths_hidden(hidden, inside):
    """Objects of 100 pixels: only those of which more than 15 are hidden are among the occluded ones."""
    whole = np.ones((10, 10), bool)
    seen = whole.copy()
    seen.flat[:hidden] = False
    score = evaluate_instances(dataset(instance(1, CHAIR, seen, whole)), [found(whole, 0.9, visible=seen)]).score
    assert score["amodal_ap_over15"] == 1 if inside else math.isnan(score["amodal_ap_over15"])


@pytest.mark.parametrize(("hidden", "label"), [(0, False), (5, False), (6, True), (40, True)])
def test_occluded_is_what_is_hidden_by_more_than_five_hundredths(hidden, label):
    """Found as wholly visible: right where the true label is that, too."""
    whole = np.ones((10, 10), bool)
    seen = whole.copy()
    seen.flat[:hidden] = False
    truth = dataset(instance(1, CHAIR, seen, whole))
    score = evaluate_instances(truth, [found(whole, 0.9, visible=whole)]).score
    assert score["occlusion_accuracy"] == float(not label)
    score = evaluate_instances(truth, [found(whole, 0.9, visible=seen)]).score
    assert score["occlusion_accuracy"] == 1


def test_an_object_without_a_pixel_is_asked_for_as_in_coco():
    truth = dataset(instance(1, CHAIR, EMPTY, EMPTY), instance(2, CHAIR, LEFT, LEFT))
    table = evaluate_instances(truth, [found(LEFT, 0.9, visible=LEFT)])
    assert table.score.counts == {"instances": 2, "missing": 1}
    assert table.score["amodal_ap"] == pytest.approx(51 / 101) and table.score["visible_ap"] == 1
    assert table.by_level()["none"].counts["instances"] == 2


def test_labels_of_ignored_objects_do_not_count():
    truth = dataset(instance(1, CHAIR, LEFT, LEFT), instance(2, CHAIR, RIGHT, RIGHT, ignore=True))
    half = drawn("....##..", "....##..")  # says that the ignored one is half hidden, which is wrong
    score = evaluate_instances(truth, [found(LEFT, 0.9, visible=LEFT), found(RIGHT, 0.9, visible=half)]).score
    assert score["occlusion_accuracy"] == 1


def test_what_is_stored_says_how_it_came_about():
    data, results = random_case(9, 5)
    stored = evaluate_instances(data, results).to_dict(samples=7, seed=3)
    assert {key: stored["intervals"][key] for key in ("level", "samples", "seed")} == {
        "level": 0.95,
        "samples": 7,
        "seed": 3,
    }
    assert set(stored["levels"]) == set(stored["by_level"]) == {"none", "partial", "heavy"}
    assert stored["levels"]["partial"] == "hidden share > 0 and <= 0.25"


@pytest.mark.parametrize(("says_hidden", "accuracy"), [("first", 0), ("second", 1)])
def test_the_label_is_that_of_the_detection_that_is_first_at_one_half(says_hidden, accuracy):
    """At IoU 0.50 the surer detection (IoU 6 / 8) takes the object, at 0.80 the other one; nothing is hidden."""
    part = drawn("##......", "##......")
    results = [found(THREE, 0.9, visible=THREE), found(LEFT, 0.8, visible=LEFT)]
    place = ("first", "second").index(says_hidden)
    results[place] = replace(results[place], visible=masks.encode(part))
    score = evaluate_instances(dataset(instance(1, CHAIR, LEFT, LEFT)), results).score
    assert score["occlusion_accuracy"] == accuracy


def test_one_detection_finds_one_object_whatever_the_levels_take():
    """It is the chair that is wholly seen. Among the heavily hidden ones alone it would be taken for the other one."""
    hidden = instance(2, CHAIR, drawn("....##..", "....##.."), drawn("######..", "######.."))
    truth = dataset(instance(1, CHAIR, LEFT, LEFT), hidden)
    table = evaluate_instances(truth, [found(LEFT, 0.9, visible=LEFT)])
    assert table.score.counts == {"instances": 2, "missing": 1} and table.score["occlusion_accuracy"] == 1
    assert table.by_level()["heavy"]["amodal_ap50"] == 1


def test_an_object_is_found_from_an_iou_of_one_half():
    assert evaluate_instances(dataset(instance(1, CHAIR, LEFT, LEFT)), [found(FULL, 0.9)]).score.counts["missing"] == 0


def test_the_label_is_of_the_object_that_is_taken_among_all_sizes():
    """Of a large object wholly seen, not of a small one in it, half hidden, that is taken where small ones count."""
    large, small = np.zeros((2, 40, 40), bool)
    large[:], small[:32, :32] = True, True
    seen = small.copy()
    seen[:16] = False
    truth = dataset(instance(1, CHAIR, large, large), instance(2, CHAIR, seen, small))
    table = evaluate_instances(truth, [found(large, 0.9, visible=large)])
    assert table.score["occlusion_accuracy"] == 1 and table.score.counts["missing"] == 1
