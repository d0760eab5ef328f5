from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from drawn import CATEGORIES, dataset, drawn, instance, result
from hypothesis import given, settings
from hypothesis import strategies as st
from scoring import evaluate_completion, evaluate_instances, evaluate_multimodal

from shape3d_amodal.errors import DataError
from shape3d_amodal.evaluation.given_masks.multimodal import BINS, COLUMNS, MultimodalEvaluator
from shape3d_amodal.structures import AmodalDataset, AmodalImage

CHAIR, RIFLE, LAMP = (category.id for category in CATEGORIES)
ONE = drawn("#...", "....")
LEFT = drawn("##..", "##..")
TOP = drawn("####", "....")
FULL = drawn("####", "####")
EMPTY = drawn("....", "....")


def test_drawn_masks():
    truth = dataset(instance(1, CHAIR, LEFT, FULL), instance(2, RIFLE, ONE, ONE))
    table = evaluate_multimodal(truth, [result(1, CHAIR, mask) for mask in (LEFT, TOP, FULL, FULL)])
    chair, rifle = table.by_category()["chair"], table.by_category()["rifle"]
    assert chair["best_miou"] == 1
    assert chair["sample_miou"] == pytest.approx((1 / 2 + 1 / 2 + 1 + 1) / 4)
    # Votes: 4 and 4 left and top corner, 3 3 the other left and top pixels, 2 below right: not more than half.
    assert chair["consensus_miou"] == pytest.approx(6 / 8)
    assert chair["best_occluded_miou"] == 1
    # Pairs: LEFT-TOP 2 / 6, LEFT-FULL and TOP-FULL 1 / 2 twice each, FULL-FULL 1.
    assert chair["diversity"] == pytest.approx(1 - (2 / 6 + 4 / 2 + 1) / 6)
    # Outside of LEFT: two pixels of probability 3/4, two of 1/2, all true.
    assert chair["calibration_error"] == pytest.approx((2 / 4 + 2 / 2) / 4)
    assert chair.counts == {"instances": 1, "missing": 0, "samples": 4}
    assert (rifle["best_miou"], rifle.counts["missing"]) == (0, 1)
    assert math.isnan(rifle["diversity"]) and math.isnan(rifle["best_occluded_miou"])
    assert table.score["best_miou"] == 1 / 2
    assert table.score["calibration_error"] == chair["calibration_error"]
    assert list(table.without("rifle").by_category()) == ["chair"]
    assert table.without("rifle").score["best_miou"] == 1


def test_answers_with_a_chance_are_the_masks_and_the_one_without_is_left_out():
    """FULL is the object's one mask; its three answers are scored here, and only here."""
    truth = dataset(instance(1, CHAIR, ONE, FULL))
    answers = [replace(result(1, CHAIR, mask), chance=chance) for mask, chance in ((LEFT, 0.6), (TOP, 0.3), (ONE, 0.1))]
    found = [answers[0], result(1, CHAIR, FULL), *answers[1:]]
    score = evaluate_multimodal(truth, found).score
    assert score.counts["samples"] == 3
    assert score["best_miou"] == 1 / 2 and score["sample_miou"] == pytest.approx((1 / 2 + 1 / 2 + 1 / 8) / 3)
    assert evaluate_completion(truth, found).score["miou"] == 1
    assert evaluate_instances(truth, found).score["amodal_ap"] == 1, "the answers are no false detections"


@pytest.mark.parametrize(("share", "merged"), [(4 / 5, False), (3 / 5, False), (1, True)])
def test_pixels_that_all_samples_have_are_a_bin_of_their_own(share, merged):
    """One false pixel that all of five samples have, and a true one that some have: errors of bins do not cancel."""
    some = round(5 * share)
    samples = [drawn("####", "####")] * some + [drawn("###.", "####")] * (5 - some)
    truth = dataset(instance(1, CHAIR, drawn("##..", "####"), drawn("##.#", "####")))
    found = evaluate_multimodal(truth, [result(1, CHAIR, mask) for mask in samples]).score["calibration_error"]
    assert found == pytest.approx(abs(1 - 2) / 2 if merged else (1 + (1 - share)) / 2)


@pytest.mark.parametrize(
    ("samples", "diversity", "error"),
    [
        ([FULL], math.nan, 0),  # sure and right
        ([LEFT], math.nan, math.nan),  # nothing is asked outside of V in its box
        ([TOP], math.nan, 2 / 4),  # the box has two more pixels, below right, said to be out and in
        ([EMPTY, EMPTY], 0, math.nan),
        ([FULL, FULL], 0, 0),
        ([FULL, EMPTY], 1, 1 / 2),
    ],
)
def test_calibration_and_diversity(samples, diversity, error):
    score = evaluate_multimodal(
        dataset(instance(1, CHAIR, LEFT, FULL)), [result(1, CHAIR, mask) for mask in samples]
    ).score
    assert score["diversity"] == pytest.approx(diversity, nan_ok=True)
    assert score["calibration_error"] == pytest.approx(error, nan_ok=True)


def test_all_missed_and_nothing_to_score():
    table = evaluate_multimodal(dataset(instance(1, CHAIR, LEFT, FULL)), [])
    assert (table.score["best_miou"], table.score["best_occluded_miou"]) == (0, 0)
    assert math.isnan(table.score["calibration_error"])
    with pytest.raises(DataError, match="expected amodal masks"):
        evaluate_multimodal(dataset(instance(1, CHAIR, LEFT, FULL, ignore=True)), [])


def random_case(seed: int, count: int):
    rng = np.random.default_rng(seed)
    images, results = [], []
    for number in range(count):
        shape = tuple(rng.integers(1, 8, 2))
        amodal, visible = (rng.random(shape) < rng.random() for _ in range(2))
        one = instance(number, int(rng.choice([CHAIR, RIFLE])), visible, amodal)
        images.append(
            AmodalImage(id=number, file_name="a", height=int(shape[0]), width=int(shape[1]), instances=(one,))
        )
        results += [
            result(number, one.category_id, rng.random(shape) < 0.5, image_id=number) for _ in range(rng.integers(0, 5))
        ]
    return AmodalDataset(images=tuple(images), categories=CATEGORIES), results


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_mean_mask_is_calibrated_on_itself(seed):
    """Two instances, one with each pixel and one without it, and two masks that say the same: shares are exact."""
    rng = np.random.default_rng(seed)
    mask = rng.random((5, 6)) < 0.5
    mask[0, 0] = mask[-1, -1] = True
    nothing, both = np.zeros_like(mask), [mask, ~mask]
    truth = dataset(instance(1, CHAIR, nothing, mask), instance(2, CHAIR, nothing, ~mask))
    samples = [result(key, CHAIR, sample) for key in (1, 2) for sample in both]
    assert evaluate_multimodal(truth, samples).score["calibration_error"] == 0


def brute_force(samples, amodal, visible):
    """All numbers of one instance from the pixels of the whole image."""

    def iou(first, second):
        return len(first & second) / len(first | second) if first | second else 1.0

    def pixels(mask):
        return set(zip(*np.nonzero(mask), strict=True))

    found, a, v = [pixels(mask) for mask in samples], pixels(amodal), pixels(visible)
    share = {x: sum(x in one for one in found) / len(found) for x in set().union(v, *found)}
    values = {
        "best_miou": max(iou(one, a) for one in found),
        "sample_miou": sum(iou(one, a) for one in found) / len(found),
        "consensus_miou": iou({x for x in share if share[x] > 1 / 2}, a),
        "best_occluded_miou": max(iou(one - v, a - v) for one in found) if a - v else math.nan,
        "diversity": np.mean([1 - iou(one, other) for one, other in combinations(found, 2)])
        if len(found) > 1
        else math.nan,
    }
    ys, xs = [x[0] for x in share], [x[1] for x in share]
    box = {(y, x) for y in range(min(ys), max(ys) + 1) for x in range(min(xs), max(xs) + 1)} - v if share else set()
    bins: dict[int, list[float]] = {}
    for x in box:
        votes = round(share.get(x, 0) * len(found))
        bins.setdefault(min(votes * BINS // len(found), BINS - 1), []).append((x in a) - votes / len(found))
    values["calibration_error"] = sum(abs(sum(one)) for one in bins.values()) / len(box) if box else math.nan
    return values


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_equals_brute_force(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 9, 2))
    amodal, visible, *samples = (
        rng.random(shape) < rng.choice([0.0, 0.1, 0.5, 0.9]) for _ in range(int(rng.integers(3, 8)))
    )
    score = evaluate_multimodal(
        dataset(instance(1, CHAIR, visible, amodal)), [result(1, CHAIR, sample) for sample in samples]
    ).score
    for name, value in brute_force(samples, amodal, visible).items():
        assert score[name] == pytest.approx(value, nan_ok=True), name


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_shards_merge_to_the_identical_table(workers):
    data, results = random_case(4, 30)
    whole = evaluate_multimodal(data, results)
    merged = MultimodalEvaluator(data)
    for worker in reversed(range(workers)):
        evaluator = MultimodalEvaluator(data)
        evaluator.process([one for one in results if one.image_id % workers == worker])
        rows = evaluator.records()
        assert rows.shape[1] == len(COLUMNS) + 3 * BINS
        merged.merge(rows)
    assert merged.evaluate().to_dict() == whole.to_dict()
    with pytest.raises(DataError, match="came before"):
        merged.merge(rows[:1])
    with pytest.raises(DataError, match=r"\[0\]\.annotation_id: annotation id \d+ came before"):
        merged.process(results[:1])


def test_shares_of_eight_and_nine_tenths_are_bins_of_their_own():
    """Ten samples: a true pixel in 8 of them (0.2 too little), a false one in 9 (0.9 too much), nothing cancels."""
    truth = dataset(instance(1, CHAIR, drawn("#..."), drawn("##..")))
    rows = ["####"] * 7 + ["###."] + ["#.#."] + ["#..."]  # votes: 10, 8, 9, 7
    found = [result(1, CHAIR, drawn(row)) for row in rows]
    error = evaluate_multimodal(truth, found).score["calibration_error"]
    assert error == pytest.approx((abs(0.8 - 1) + 0.9 + 0.7) / 3)
