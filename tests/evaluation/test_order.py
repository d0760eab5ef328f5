from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from drawn import CATEGORIES, dataset, drawn, instance, result
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from shape3d_amodal import masks
from shape3d_amodal.errors import DataError
from shape3d_amodal.evaluation.given_masks.order import OrderEvaluator, touch
from shape3d_amodal.structures import OCCLUDER, AmodalDataset, AmodalImage

CHAIR, RIFLE, LAMP = (category.id for category in CATEGORIES)
LEFT = drawn("####....")
MIDDLE = drawn("..####..")
RIGHT = drawn("....####")
HIDDEN_MIDDLE = drawn("....##..")


def evaluate(data, results):
    evaluator = OrderEvaluator(data)
    evaluator.process(results)
    return evaluator.evaluate()


def two(**order):
    """The left chair hides half of the rifle in the middle."""
    first, second = instance(1, CHAIR, LEFT, LEFT), instance(2, RIFLE, HIDDEN_MIDDLE, MIDDLE)
    return dataset(replace(first, depth_order=order.get("chair")), replace(second, depth_order=order.get("rifle")))


@pytest.mark.parametrize(
    ("results", "accuracy"),
    [
        ([result(1, CHAIR, LEFT), result(2, RIFLE, MIDDLE)], 1),
        ([result(1, CHAIR, LEFT), result(2, RIFLE, HIDDEN_MIDDLE)], 0),  # nothing completed: no order
        ([result(1, CHAIR, drawn("######..")), result(2, RIFLE, HIDDEN_MIDDLE)], 0),  # the wrong one completed
        ([result(1, CHAIR, drawn("#####...")), result(2, RIFLE, MIDDLE)], 1),  # both, the rifle by more
        ([result(2, RIFLE, MIDDLE)], 0),
        ([], 0),
        (
            [
                replace(result(1, CHAIR, LEFT), depth_order=1),
                replace(result(2, RIFLE, HIDDEN_MIDDLE), depth_order=5),
            ],
            1,
        ),
        ([replace(result(1, CHAIR, LEFT), depth_order=1), replace(result(2, RIFLE, MIDDLE), depth_order=0)], 0),
    ],
)
def test_one_pair(results, accuracy):
    table = evaluate(two(), results)
    assert table.score["order_accuracy"] == accuracy
    assert table.score.counts == {"instances": 1, "missing": int(len(results) < 2)}
    assert list(table.by_category()) == ["rifle"]  # the one behind


def test_stated_order_goes_before_the_masks():
    results = [result(1, CHAIR, LEFT), result(2, RIFLE, MIDDLE)]
    assert evaluate(two(chair=0, rifle=1), results).score["order_accuracy"] == 1
    turned = two(chair=1, rifle=0)
    assert evaluate(turned, results).score["order_accuracy"] == 0
    (image,) = two().images
    listed = AmodalDataset(images=(replace(image, depth_constraint=((2, 1),)),), categories=CATEGORIES)
    assert evaluate(listed, results).score["order_accuracy"] == 0


def test_which_pairs_count():
    apart = dataset(instance(1, CHAIR, LEFT, LEFT), instance(2, RIFLE, RIGHT, RIGHT))  # they touch, nothing hidden
    with pytest.raises(DataError, match="no order can be scored"):
        evaluate(apart, [])
    # A third object between: what is seen of the two does not touch.
    gap = dataset(
        instance(1, CHAIR, drawn("##......"), drawn("##......")), instance(2, RIFLE, RIGHT, drawn(".#######"))
    )
    with pytest.raises(DataError, match="no order can be scored"):
        evaluate(gap, [])
    with pytest.raises(DataError, match="expected amodal masks"):
        evaluate(dataset(), [])


def test_ignored_objects_count_beside_a_scored_one():
    (image,) = two().images
    results = [result(1, CHAIR, LEFT), result(2, RIFLE, MIDDLE)]

    def marked(*ignored, names=CATEGORIES):
        instances = tuple(replace(one, ignore=one.id in ignored) for one in image.instances)
        return AmodalDataset(images=(replace(image, instances=instances),), categories=names)

    assert evaluate(marked(1), results).score["order_accuracy"] == 1
    assert evaluate(marked(1), results[1:]).score["order_accuracy"] == 0
    with pytest.raises(DataError, match="expected amodal masks"):
        evaluate(marked(1, 2), results)
    bare = tuple(replace(one, name=OCCLUDER) if one.id == CHAIR else one for one in CATEGORIES)
    with pytest.raises(DataError, match="no order can be scored"):
        evaluate(marked(1, names=bare), results)


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_touch_equals_dilation(seed):
    rng = np.random.default_rng(seed)
    a, b = (rng.random((6, 7)) < rng.random() / 4 for _ in range(2))
    expected = bool((ndimage.binary_dilation(a) & b).any())
    assert touch(masks.encode(a), masks.encode(b)) == expected


def random_case(seed: int, images: int):
    rng = np.random.default_rng(seed)
    records, results = [], []
    for image in range(images):
        order = rng.permutation(4)
        amodal = [np.zeros((12, 12), bool) for _ in range(4)]
        for mask in amodal:
            y, x = rng.integers(0, 8, 2)
            mask[y : y + 5, x : x + 5] = True
        instances = []
        for i in range(4):
            visible = amodal[i].copy()
            for j in range(4):
                if order[j] < order[i]:
                    visible &= ~amodal[j]
            number = 4 * image + i + 1
            instances.append(instance(number, CHAIR, visible, amodal[i]))
            if rng.random() < 0.9:
                results.append(result(number, CHAIR, visible | (amodal[i] & (rng.random((12, 12)) < 0.5)), image))
        records.append(AmodalImage(id=image, file_name="a", width=12, height=12, instances=tuple(instances)))
    return AmodalDataset(images=tuple(records), categories=CATEGORIES), results


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_equals_the_matrices_of_pcnet(seed):
    """Order matrices by pixel counts, as the published evaluation writes them."""
    data, results = random_case(seed, 3)
    found = {one.annotation_id: masks.decode(one.segmentation) for one in results}
    pairs = right = 0
    for image in data.images:
        seen = [masks.decode(one.visible) for one in image.instances]
        whole = [masks.decode(one.amodal) for one in image.instances]
        for i in range(4):
            for j in range(i + 1, 4):
                if not (ndimage.binary_dilation(seen[i]) & seen[j]).any():
                    continue
                in_front, behind = (seen[i] & whole[j]).sum(), (seen[j] & whole[i]).sum()
                if in_front == behind:
                    continue
                pairs += 1
                ids = [image.instances[k].id for k in (i, j)]
                if all(key in found for key in ids):
                    p, q = found[ids[0]], found[ids[1]]
                    right += np.sign((seen[i] & q).sum() - (seen[j] & p).sum()) == np.sign(in_front - behind)
    if pairs:
        assert evaluate(data, results).score["order_accuracy"] == pytest.approx(right / pairs)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_shards_merge_to_the_identical_table(workers):
    data, results = random_case(5, 9)
    whole = evaluate(data, results)
    merged = OrderEvaluator(data)
    for worker in reversed(range(workers)):
        evaluator = OrderEvaluator(data)
        evaluator.process([one for one in results if one.image_id % workers == worker])
        merged.merge(evaluator.records())
    assert merged.evaluate().to_dict() == whole.to_dict()
    row = whole.intervals()["order_accuracy"]["mean"]
    assert row.low <= whole.score["order_accuracy"] <= row.high


def test_shards_that_overlap_or_are_of_other_data_are_errors():
    data, results = random_case(6, 2)
    evaluator = OrderEvaluator(data)
    evaluator.process(results)
    rows = evaluator.records()
    with pytest.raises(DataError, match="came before"):
        evaluator.merge(rows)
    with pytest.raises(DataError, match="image id 9 of a shard"):
        OrderEvaluator(data).merge(np.array([[9, 1, 2, CHAIR, 1, 1, 0]]))


def test_every_pair_counts_alike_whatever_its_category():
    """Of three pairs two are right, both with a chair behind: 2 / 3, not the mean of the categories 1 and 0."""
    truth = {1: (LEFT, LEFT, LAMP), 2: (HIDDEN_MIDDLE, MIDDLE, CHAIR)}
    records, results = [], []
    for image, (behind, right) in enumerate([(CHAIR, True), (CHAIR, True), (RIFLE, False)]):
        own = [instance(10 * image + n, category, v, a) for n, (v, a, category) in truth.items()]
        own[1] = replace(own[1], category_id=behind)
        records.append(replace(dataset(*own).images[0], id=image))
        results += [result(10 * image + 1, LAMP, LEFT, image)]
        results += [result(10 * image + 2, behind, MIDDLE if right else HIDDEN_MIDDLE, image)]
    table = evaluate(AmodalDataset(images=tuple(records), categories=CATEGORIES), results)
    assert table.score["order_accuracy"] == pytest.approx(2 / 3)
    whole = table.intervals(samples=20)["order_accuracy"]["mean"]  # pairs of a category are alike: nothing varies
    assert (whole.low, whole.high) == pytest.approx((2 / 3, 2 / 3))


def test_a_stated_order_decides_where_each_hides_as_much_of_the_other():
    """Two loops through each other: a pixel of either lies in the other; only the stated order tells them apart."""
    first = instance(1, CHAIR, drawn("##..", "#..."), drawn("##..", "##.."))
    second = instance(2, RIFLE, drawn("..##", ".###"), drawn(".###", ".###"))
    with pytest.raises(DataError, match="no order can be scored"):
        evaluate(dataset(first, second), [])
    stated = dataset(replace(first, depth_order=1), replace(second, depth_order=0))
    results = [
        replace(result(1, CHAIR, LEFT[:, :4]), depth_order=3),
        replace(result(2, RIFLE, LEFT[:, :4]), depth_order=2),
    ]
    results = [replace(one, segmentation=own.amodal) for one, own in zip(results, (first, second), strict=True)]
    assert evaluate(stated, results).score["order_accuracy"] == 1
    half_told = [results[0], replace(results[1], depth_order=None)]
    assert evaluate(stated, half_told).score["order_accuracy"] == 0, "the masks are undecided"


def test_two_ignored_objects_are_no_pair_beside_what_is_scored():
    """The rifle is scored, the chair in front is not; the lamp behind the chair, not scored either, makes no pair."""
    chair, rifle = (replace(one, ignore=one.id == 1) for one in two().images[0].instances)
    tall = [np.vstack([masks.decode(one), np.zeros((1, 8), bool)]) for one in (chair.visible, chair.amodal)]
    lamp = np.zeros((2, 8), bool)
    lamp[1, :4] = True
    whole = lamp.copy()
    whole[0, :4] = True
    wide = [np.vstack([masks.decode(one), np.zeros((1, 8), bool)]) for one in (rifle.visible, rifle.amodal)]
    data = dataset(
        instance(1, CHAIR, *tall, ignore=True), instance(2, RIFLE, *wide), instance(3, LAMP, lamp, whole, ignore=True)
    )
    assert evaluate(data, []).score.counts["instances"] == 1
