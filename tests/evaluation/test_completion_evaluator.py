from __future__ import annotations

import json
import math
import time

import numpy as np
import pytest
from drawn import CATEGORIES, dataset, drawn, instance, result
from hypothesis import given, settings
from hypothesis import strategies as st
from scoring import boundary, evaluate_completion

from shape3d_amodal.errors import DataError, UsageError
from shape3d_amodal.evaluation.given_masks.completion import COUNTS, CompletionEvaluator, CompletionTable
from shape3d_amodal.evaluation.metrics import iou, occluded_iou
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance

CHAIR, RIFLE, LAMP = (category.id for category in CATEGORIES)
LEFT = drawn("##..", "##..")
TOP = drawn("####", "....")
FULL = drawn("####", "####")
ONE = drawn("#...", "....")
EMPTY = drawn("....", "....")


def drawn_set() -> AmodalDataset:
    return dataset(
        instance(1, CHAIR, LEFT, FULL),  # half hidden
        instance(2, CHAIR, FULL, FULL),  # not hidden
        instance(3, RIFLE, ONE, TOP),  # three quarters hidden
        instance(4, LAMP, TOP, FULL, ignore=True),
        instance(5, LAMP, TOP, None),
    )


def test_table_of_drawn_masks():
    table = evaluate_completion(
        drawn_set(), [result(1, CHAIR, TOP | LEFT), result(2, CHAIR, FULL), result(3, RIFLE, LEFT)]
    )
    # 1: P 6 of A 8; hidden 4, of which 2 are found. 2: equal. 3: P 4, A 4, shared 2; hidden 3, P outside V 3, shared 1.
    np.testing.assert_allclose(table.iou, [6 / 8, 1, 2 / 6])
    np.testing.assert_allclose(table.occluded_iou, [2 / 4, math.nan, 1 / 5])
    np.testing.assert_allclose(table.hidden_share, [0.5, 0, 0.75])
    score = table.score
    assert (score.counts["instances"], score.counts["missing"], score.counts["hidden_instances"]) == (3, 0, 2)
    assert score["miou"] == pytest.approx(((6 / 8 + 1) / 2 + 2 / 6) / 2)
    assert score["occluded_miou"] == pytest.approx((2 / 4 + 1 / 5) / 2)
    assert score["instance_miou"] == pytest.approx((6 / 8 + 1 + 2 / 6) / 3)
    assert score["instance_occluded_miou"] == pytest.approx((2 / 4 + 1 / 5) / 2)
    assert score["micro_miou"] == pytest.approx((6 + 8 + 2) / (8 + 8 + 6))
    assert "boundary_miou" not in score.values
    assert list(table.by_category()) == ["chair", "rifle"]
    assert table.by_category()["chair"]["miou"] == pytest.approx(7 / 8)
    assert table.without("rifle").score["miou"] == pytest.approx(7 / 8)
    levels = table.by_level()
    assert [level.counts["instances"] for level in levels.values()] == [1, 0, 2]
    assert levels["none"]["miou"] == 1 and math.isnan(levels["partial"]["miou"])
    with pytest.raises(UsageError, match=r"lamp.*chair, rifle"):
        table.without("lamp")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.02, 0.25, 0.26])
def test_level_limits_belong_to_the_lower_level(share):
    amodal = np.ones((10, 10), bool)
    visible = amodal.copy()
    visible.flat[: round(100 * share)] = False
    table = evaluate_completion(dataset(instance(1, CHAIR, visible, amodal)), [])
    expected = "none" if share <= 0.01 else "partial" if share <= 0.25 else "heavy"
    assert [name for name, score in table.by_level().items() if score.counts["instances"]] == [expected]


def test_missing_predictions_count_zero():
    table = evaluate_completion(drawn_set(), [result(2, CHAIR, FULL)])
    assert table.score.counts["missing"] == 2
    assert table.score["miou"] == pytest.approx((1 / 2 + 0) / 2)
    assert table.score["occluded_miou"] == 0
    assert table.score["micro_miou"] == pytest.approx(8 / (8 + 8 + 4))


def test_all_missed():
    score = evaluate_completion(drawn_set(), []).score
    assert (score["miou"], score["occluded_miou"], score["micro_miou"], score.counts["missing"]) == (0, 0, 0, 3)


def test_a_missing_prediction_of_an_empty_mask_is_no_hit():
    truth = dataset(instance(1, CHAIR, EMPTY, EMPTY))
    assert evaluate_completion(truth, []).score["miou"] == 0
    assert evaluate_completion(truth, [result(1, CHAIR, EMPTY)]).score["miou"] == 1


def test_nothing_is_hidden_of_an_object_without_a_pixel():
    table = evaluate_completion(dataset(instance(1, CHAIR, EMPTY, EMPTY), instance(2, CHAIR, LEFT, FULL)), [])
    assert table.hidden_share.tolist() == [0, 1 / 2]
    assert [score.counts["instances"] for score in table.by_level().values()] == [1, 0, 1]


def test_micro_iou_is_weighted_by_pixels():
    counts = np.zeros((2, len(COUNTS)), np.int64)
    counts[:, :6] = [(1, CHAIR, 1, 2, 1, 1), (2, CHAIR, 1, 100, 100, 90)]  # ids, predicted, |P|, |A| and |P ∩ A|
    table = CompletionTable({CHAIR: "chair"}, counts)
    assert table.score["micro_miou"] == pytest.approx(91 / (2 + 110))
    assert math.isnan(table.by_level()["heavy"]["micro_miou"])
    counts[:, 3:] = 0
    assert CompletionTable({CHAIR: "chair"}, counts).score["micro_miou"] == 1


def test_boundary_iou_of_shifted_squares():
    a, b = np.zeros((30, 30), bool), np.zeros((30, 30), bool)
    a[5:15, 5:15] = True
    b[5:15, 6:16] = True
    table = evaluate_completion(dataset(instance(1, CHAIR, a, a)), [result(1, CHAIR, b)], boundary=True)
    # Bands one pixel wide (2 % of 42): 36 pixels each; shared are the top and bottom rows where both run, 2 x 9.
    assert table.score["boundary_miou"] == pytest.approx(18 / 54)


@pytest.mark.parametrize(("height", "width", "reach"), [(30, 40, 1), (60, 80, 2), (90, 120, 3), (126, 168, 4)])
def test_the_boundary_band_grows_with_the_images_diagonal(height, width, reach):
    """2 % of the diagonal: 1, 2, 3 and 4.2 pixels; bands of hollow squares, one of them shifted by two columns."""
    a = np.zeros((height, width), bool)
    a[5:25, 5:25] = True
    b = np.roll(a, 2, axis=1)
    table = evaluate_completion(dataset(instance(1, CHAIR, a, a)), [result(1, CHAIR, b)], boundary=True)
    true, found = boundary(a, reach), boundary(b, reach)
    assert table.score["boundary_miou"] == pytest.approx((true & found).sum() / (true | found).sum())


def test_intervals_are_of_a_thousand_samples_and_always_the_same_ones():
    masks = [np.arange(1000) < n for n in np.random.default_rng(0).integers(1, 1000, 16)]
    truth = dataset(*(instance(n, CHAIR, mask[None], np.ones((1, 1000), bool)) for n, mask in enumerate(masks, 1)))
    table = evaluate_completion(truth, [result(n, CHAIR, mask[None]) for n, mask in enumerate(masks, 1)])
    assert table.intervals() == table.intervals(samples=1000, seed=0) != table.intervals(samples=1001)
    assert table.intervals() != table.intervals(seed=1)
    assert table.to_dict() == table.to_dict(samples=1000, seed=0) != table.to_dict(seed=1)


def test_single_instance():
    table = evaluate_completion(dataset(instance(1, CHAIR, LEFT, FULL)), [result(1, CHAIR, FULL)], boundary=True)
    score = table.score
    assert (score["miou"], score["occluded_miou"], score["micro_miou"], score["boundary_miou"]) == (1, 1, 1, 1)
    assert all((row.low, row.high) == (1, 1) for rows in table.intervals().values() for row in rows.values())


@pytest.mark.parametrize("truth", [dataset(), dataset(instance(1, CHAIR, LEFT, None))])
def test_nothing_to_score_is_an_error(truth):
    with pytest.raises(DataError, match="expected amodal masks"):
        evaluate_completion(truth, [])


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ([result(None, CHAIR, FULL)], r"r\.json: \[0\]\.annotation_id: expected the id .*instance track"),
        ([result(1, CHAIR, FULL), result(9, CHAIR, FULL)], r"r\.json: \[1\]\.annotation_id: 9 is not in"),
        (
            [result(2, CHAIR, FULL), result(2, CHAIR, FULL)],
            r"r\.json: \[1\]\.annotation_id: annotation id 2 came before",
        ),
        ([result(4, LAMP, FULL), result(4, LAMP, FULL)], r"annotation id 4 came before"),
        ([result(1, RIFLE, FULL)], r"\[0\]\.category_id: expected 10 .* got 20"),
        ([result(1, CHAIR, FULL, image_id=2)], r"\[0\]\.image_id: expected 1 .* got 2"),
        ([result(1, CHAIR, FULL.T)], r"\[0\]\.segmentation\.size: expected 2 x 4 .* got 4 x 2"),
    ],
)
def test_bad_results_are_errors(results, message):
    with pytest.raises(DataError, match=message):
        evaluate_completion(drawn_set(), results, file="r.json")


def test_results_of_instances_that_are_not_scored_are_accepted():
    results = [result(4, LAMP, FULL), result(5, LAMP, FULL), result(2, CHAIR, FULL)]
    assert evaluate_completion(drawn_set(), results).score.counts["missing"] == 2


def random_case(seed: int, count: int):
    """Random masks, with some predictions missing: a data set, results, and for each instance (P or None, A, V)."""
    rng = np.random.default_rng(seed)
    images, results, truth = [], [], []
    for number in range(count):
        shape = tuple(rng.integers(1, 12, 2))
        p, a, v = (rng.random(shape) < rng.random() for _ in range(3))
        category = int(rng.choice([CHAIR, RIFLE, LAMP]))
        images.append(
            AmodalImage(
                id=number,
                file_name="a",
                height=int(shape[0]),
                width=int(shape[1]),
                instances=(instance(number + 100, category, v, a),),
            )
        )
        missing = rng.random() < 0.2
        truth.append((category, None if missing else p, a, v))
        if not missing:
            results.append(result(number + 100, category, p, image_id=number))
    return AmodalDataset(images=tuple(images), categories=CATEGORIES), results, truth


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_equals_brute_force(seed, count):
    data, results, truth = random_case(seed, count)
    table = evaluate_completion(data, results, boundary=True)
    ious = [0.0 if p is None else iou(p, a) for _, p, a, _ in truth]
    occluded = [math.nan if not (a & ~v).any() else 0.0 if p is None else occluded_iou(p, a, v) for _, p, a, v in truth]
    edges = [0.0 if p is None else iou(boundary(p, 1), boundary(a, 1)) for _, p, a, _ in truth]
    np.testing.assert_allclose(table.iou, ious)
    np.testing.assert_allclose(table.occluded_iou, occluded)
    np.testing.assert_allclose(table.values["boundary_miou"], edges)
    for values, name in ((ious, "miou"), (occluded, "occluded_miou"), (edges, "boundary_miou")):
        means = []
        for category in (CHAIR, RIFLE, LAMP):
            own = [x for x, row in zip(values, truth, strict=True) if row[0] == category and not math.isnan(x)]
            means += [sum(own) / len(own)] if own else []
        expected = sum(means) / len(means) if means else math.nan
        assert table.score[name] == pytest.approx(expected, nan_ok=True)
    p_or_nothing = [np.zeros_like(a) if p is None else p for _, p, a, _ in truth]
    shared = sum(int((p & row[2]).sum()) for p, row in zip(p_or_nothing, truth, strict=True))
    union = sum(int((p | row[2]).sum()) for p, row in zip(p_or_nothing, truth, strict=True))
    assert table.score["micro_miou"] == pytest.approx(shared / union if union else 1.0)


@pytest.mark.parametrize("workers", [2, 3])
def test_shards_merge_to_the_identical_table(workers):
    data, results, _ = random_case(7, 60)
    whole = evaluate_completion(data, results, boundary=True)
    shards = []
    for worker in range(workers):
        evaluator = CompletionEvaluator(data, boundary=True)
        evaluator.process(results[worker::workers])
        shards.append(evaluator.records())
    merged = CompletionEvaluator(data, boundary=True)
    for counts in reversed(shards):
        assert counts.dtype == np.int64 and counts.shape[1] == len(COUNTS)
        merged.merge(counts)
    table = merged.evaluate()
    np.testing.assert_array_equal(table.counts, whole.counts)
    assert json.dumps(table.to_dict()) == json.dumps(whole.to_dict())


def test_shards_that_overlap_or_are_of_other_data_are_errors():
    data, results, _ = random_case(8, 10)
    evaluator = CompletionEvaluator(data)
    evaluator.process(results)
    counts = evaluator.records()
    with pytest.raises(DataError, match="came before"):
        evaluator.merge(counts[:1])
    counts[0, 0] = 9999
    with pytest.raises(DataError, match="9999 of a shard"):
        evaluator.merge(counts[:1])
    evaluator.reset()
    assert evaluator.records().shape == (0, len(COUNTS))
    assert evaluator.evaluate().score["miou"] == 0


def test_table_as_json_has_definitions_and_no_nan():
    content = evaluate_completion(drawn_set(), [result(2, CHAIR, FULL)]).to_dict(samples=10)
    text = json.dumps(content, allow_nan=False)
    assert content["by_level"]["partial"]["miou"] is None
    assert {metric["name"] for metric in content["metrics"]} >= {"miou", "occluded_miou", "micro_miou"}
    assert "visible masks given" in text


@pytest.mark.slow
def test_fifty_thousand_pairs_in_a_minute():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:256, :256]

    def blob() -> np.ndarray:
        ellipses = [(rng.uniform(40, 216, 2), rng.uniform(10, 90, 2)) for _ in range(4)]
        return np.any([((y - c[0]) / r[0]) ** 2 + ((x - c[1]) / r[1]) ** 2 < 1 for c, r in ellipses], axis=0)

    images: list[AmodalImage] = []
    results = []
    pool: list[tuple[AmodalInstance, np.ndarray]] = []
    for _ in range(200):
        amodal = blob()
        pool.append((instance(0, CHAIR, amodal & (x > 120), amodal), np.roll(amodal, 3, axis=1)))
    codes = [result(0, CHAIR, mask).segmentation for _, mask in pool]
    for number in range(50_000):
        one = pool[number % 200][0]
        own = AmodalInstance(id=number, category_id=CHAIR, visible=one.visible, amodal=one.amodal)
        images.append(AmodalImage(id=number, file_name="a", width=256, height=256, instances=(own,)))
        template = result(number, CHAIR, ONE, image_id=number)
        results.append(type(template)(**{**vars(template), "segmentation": codes[number % 200]}))
    start = time.process_time()
    table = evaluate_completion(AmodalDataset(images=tuple(images), categories=CATEGORIES), results)
    assert table.score.counts["missing"] == 0
    assert time.process_time() - start < 60


def test_the_boundary_band_is_two_hundredths_of_the_diagonal():
    """Cheng et al. (2021): in a picture of 300 x 400 pixels, 500 across, it is 10 pixels wide."""
    a, b = np.zeros((300, 400), bool), np.zeros((300, 400), bool)
    a[50:200, 60:260] = True
    b[56:204, 70:250] = True
    table = evaluate_completion(dataset(instance(1, CHAIR, a, a)), [result(1, CHAIR, b)], boundary=True)
    true, found = boundary(a, 10), boundary(b, 10)
    assert table.score["boundary_miou"] == pytest.approx((true & found).sum() / (true | found).sum())
