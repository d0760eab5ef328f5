"""The order track: of two objects that hide each other, which one is in front?"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from shape3d_amodal import masks
from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.errors import DataError
from shape3d_amodal.evaluation.given_masks.pairing import MatchedEvaluator, is_scored
from shape3d_amodal.evaluation.given_masks.windows import common_window
from shape3d_amodal.evaluation.means import MeanTable
from shape3d_amodal.evaluation.metrics import Metric
from shape3d_amodal.masks.occlusion import is_in_front
from shape3d_amodal.structures import OCCLUDER, AmodalImage, AmodalInstance, Rle

ORDER = "order: visible masks given, matched by annotation id, pairs without two predictions count as wrong"
"""The protocol tag of the order track."""

ORDER_ACCURACY = Metric(
    "order_accuracy",
    "order accuracy",
    "share of the pairs whose predicted order is the true one, over pairs i, j of an image, one of them scored, whose "
    "visible masks touch (4-neighbours), with |Vi ∩ Aj| + |Vj ∩ Ai| > 0; i is truly in front if the annotations order "
    "the two so, else if |Vi ∩ Aj| > |Vj ∩ Ai|; it is predicted so by the results' depth_order, else if "
    "|Vi ∩ Pj| > |Vj ∩ Pi|",
    ORDER,
    "order accuracy over occluded pairs of PCNet-M (Zhan et al., CVPR 2020), whose order is that of the masks alone "
    "and whose ties count as 'in front'; here a true tie is no pair and a predicted one is wrong",
)
METRICS = {ORDER_ACCURACY.name: ORDER_ACCURACY}
"""Every metric of the order track by its name."""

COLUMNS = ("image_id", "first", "second", "category_id", "truth", "prediction", "missing")
"""A pair: ids of the two instances, the category of the one that is truly behind, and who is in front: 1 the first, -1
the second, 0 undecided; ``missing`` is 1 where one of the two has no prediction."""


class OrderEvaluator(MatchedEvaluator):
    """Accuracy of the pairwise order.

    A pair counts if one of the two is scored; the other may be marked ``ignore``, as what hides a target is in many
    scenes, but is no bare occluder (``structures.OCCLUDER``).
    """

    def reset(self) -> None:
        super().reset()
        self._results: dict[int, AmodalResult] = {}
        self._images: dict[int, NDArray[np.int64]] = {}

    def records(self) -> NDArray[np.int64]:
        """Rows [M,len(COLUMNS)] of the images with results; a worker gets all results of an image."""
        touched = {self._results[key].image_id for key in self._results}
        own = [self._pairs(image) for image in self._dataset.images if image.id in touched]
        return np.concatenate([np.zeros((0, len(COLUMNS)), np.int64), *self._images.values(), *own])

    def merge(self, records: NDArray[np.int64]) -> None:
        known = {image.id for image in self._dataset.images}
        done = {result.image_id for result in self._results.values()} | set(self._images)
        for key in np.unique(records[:, 0]).tolist():
            if key not in known:
                raise DataError(f"image id {key} of a shard is not in the annotations; shards need one data set")
            if key in done:
                raise DataError(f"image id {key} came before; give all results of an image to one worker")
            self._images[key] = records[records[:, 0] == key]

    def evaluate(self) -> MeanTable:
        self._scored()
        rows = np.concatenate(
            [
                self._images[image.id] if image.id in self._images else self._pairs(image)
                for image in self._dataset.images
            ]
        )
        if len(rows) == 0:
            raise DataError("no order can be scored: expected objects that hide each other in the annotations")
        right = (rows[:, 4] == rows[:, 5]).astype(np.float64)
        return MeanTable(
            ORDER,
            tuple(METRICS.values()),
            self._dataset.category_names,
            rows[:, 3],
            {ORDER_ACCURACY.name: right},
            rows[:, 6] > 0,
            by_row=True,
        )

    def _take(self, instance: AmodalInstance, result: AmodalResult) -> None:
        self._results[instance.id] = result

    def _pairs(self, image: AmodalImage) -> NDArray[np.int64]:
        """The rows of an image's pairs."""
        names, rows = self._dataset.category_names, []
        objects = [one for one in image.instances if one.amodal is not None and names[one.category_id] != OCCLUDER]
        for first, second in combinations(objects, 2):
            truth = true_order(image, first, second) if is_scored(first) or is_scored(second) else 0
            if truth == 0 or not touch(first.visible, second.visible):
                continue
            found = self._results.get(first.id), self._results.get(second.id)
            behind = second if truth > 0 else first
            prediction = _predicted(first, second, *found)
            rows.append([image.id, first.id, second.id, behind.category_id, truth, prediction, int(None in found)])
        return np.array(rows, np.int64).reshape(-1, len(COLUMNS))


def order_of_masks(visible: tuple[Rle, Rle], amodal: tuple[Rle, Rle]) -> int:
    """Who is in front: the one seen where the other is, too; 1 the first, -1 the second, 0 undecided."""
    return int(np.sign(masks.overlap(visible[0], amodal[1]) - masks.overlap(visible[1], amodal[0])))


def true_order(image: AmodalImage, first: AmodalInstance, second: AmodalInstance) -> int:
    """Who of two instances with amodal masks is in front, 1 the first, -1 the second; 0 if neither hides the other.

    An order that the annotations state goes before that of the masks.
    """
    assert first.amodal is not None and second.amodal is not None
    if not masks.overlap(first.visible, second.amodal) + masks.overlap(second.visible, first.amodal):
        return 0
    for one, other, sign in ((first, second, 1), (second, first, -1)):
        if (one.id, other.id) in image.depth_constraint or is_in_front(one, other):
            return sign
    return order_of_masks((first.visible, second.visible), (first.amodal, second.amodal))


def touch(first: Rle, second: Rle) -> bool:
    """Whether a pixel of one mask is, or is beside or above, one of the other."""
    mask, other = common_window([first, second])
    return bool((ndimage.binary_dilation(mask) & other).any())


def _predicted(
    first: AmodalInstance, second: AmodalInstance, one: AmodalResult | None, other: AmodalResult | None
) -> int:
    if one is None or other is None:
        return 0
    if one.depth_order is not None and other.depth_order is not None:
        return int(np.sign(other.depth_order - one.depth_order))
    return order_of_masks((first.visible, second.visible), (one.segmentation, other.segmentation))
