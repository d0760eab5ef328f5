"""The order track: of two objects of which one hides a part of the other, which one is in front?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from shape3d_amodal import masks
from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.errors import DataError
from shape3d_amodal.evaluation.given_masks.evaluator import GivenMasksEvaluator, is_scored
from shape3d_amodal.evaluation.given_masks.pixels import common_window
from shape3d_amodal.evaluation.means import MeanTable
from shape3d_amodal.evaluation.metrics import Metric, by_name
from shape3d_amodal.masks.occlusion import is_in_front
from shape3d_amodal.structures import OCCLUDER, AmodalImage, AmodalInstance, Rle

ORDER = "order: visible masks given, matched by annotation id, pairs without two predictions count as wrong"
"""The protocol tag of the order track."""

METRICS = by_name(
    Metric(
        "order_accuracy",
        "order accuracy",
        "share of the pairs whose predicted order is the true one, over pairs i, j of an image, one of them scored, "
        "whose visible masks touch (4-neighbours), with |Vi ∩ Aj| + |Vj ∩ Ai| > 0; i is truly in front if the "
        "annotations order the two so, else if |Vi ∩ Aj| > |Vj ∩ Ai|; it is predicted so by the results' depth_order, "
        "else if |Vi ∩ Pj| > |Vj ∩ Pi|",
        ORDER,
        "order accuracy over occluded pairs of PCNet-M (Zhan et al., CVPR 2020), whose order is that of the masks "
        "alone and whose ties count as 'in front'; here a true tie is no pair and a predicted one is wrong",
    )
)
"""The metrics of the order track by their names."""

COLUMNS = ("image_id", "first", "second", "category_id", "truth", "prediction", "missing")
"""The row of a pair: ids of the two instances; category id of the one that is truly behind; who is in front by the
annotations and by the results (1 the first, -1 the second, 0 undecided); 1 where one of the two has no result."""


class OrderEvaluator(GivenMasksEvaluator):
    """Accuracy of the order of pairs.

    A pair counts if one of the two is scored. The other one may be marked ``ignore``, as what hides a target is in many
    scenes, but it must be more than a bare occluder (``structures.OCCLUDER``).
    """

    key: ClassVar[Literal["annotation id", "image id"]] = "image id"
    row_length: ClassVar[int] = len(COLUMNS)

    def evaluate(self) -> MeanTable:
        self._scored()
        rows = self._stack(self._images)
        if len(rows) == 0:
            raise DataError("no order can be scored: expected objects that hide each other in the annotations")
        values = {"order_accuracy": (rows[:, 4] == rows[:, 5]).astype(np.float64)}
        names, metrics = self._dataset.category_names, tuple(METRICS.values())
        return MeanTable(ORDER, metrics, names, rows[:, 3], values, rows[:, 6] > 0, by_row=True)

    def _score(self, number: int, results: Sequence[AmodalResult]) -> NDArray[np.int64]:
        """The rows of an image's pairs."""
        image, by_id = self._images[number], {result.annotation_id: result for result in results}
        names, rows = self._dataset.category_names, []
        objects = [one for one in image.instances if one.amodal is not None and names[one.category_id] != OCCLUDER]
        for first, second in combinations(objects, 2):
            truth = _true_order(image, first, second) if is_scored(first) or is_scored(second) else 0
            if truth == 0 or not touch(first.visible, second.visible):
                continue
            found = by_id.get(first.id), by_id.get(second.id)
            behind = second if truth > 0 else first
            prediction = _predicted_order(first, second, *found)
            rows.append([image.id, first.id, second.id, behind.category_id, truth, prediction, int(None in found)])
        return np.array(rows, np.int64).reshape(-1, len(COLUMNS))


def touch(first: Rle, second: Rle) -> bool:
    """Whether two masks of one image share a pixel or have neighbouring ones (4-neighbours)."""
    mask, other = common_window([first, second])
    return bool((ndimage.binary_dilation(mask) & other).any())


def _order_of_masks(visible: tuple[Rle, Rle], amodal: tuple[Rle, Rle]) -> int:
    """Who is in front: the one that is visible where the other one is, too. 1 the first, -1 the second, 0 undecided."""
    return int(np.sign(masks.overlap(visible[0], amodal[1]) - masks.overlap(visible[1], amodal[0])))


def _true_order(image: AmodalImage, first: AmodalInstance, second: AmodalInstance) -> int:
    """Which of two instances with amodal masks is in front: 1 the first, -1 the second, 0 if neither hides the other.

    An order that the annotations state has precedence over that of the masks.
    """
    assert first.amodal is not None and second.amodal is not None, "only pairs with amodal masks are compared"
    if not masks.overlap(first.visible, second.amodal) + masks.overlap(second.visible, first.amodal):
        return 0
    for one, other, sign in ((first, second, 1), (second, first, -1)):
        if is_in_front(one, other, image.depth_constraint):
            return sign
    return _order_of_masks((first.visible, second.visible), (first.amodal, second.amodal))


def _predicted_order(
    first: AmodalInstance, second: AmodalInstance, one: AmodalResult | None, other: AmodalResult | None
) -> int:
    """The order of two instances by their results, ``one`` of the first and ``other`` of the second."""
    if one is None or other is None:
        return 0
    if one.depth_order is not None and other.depth_order is not None:
        return int(np.sign(other.depth_order - one.depth_order))
    return _order_of_masks((first.visible, second.visible), (one.segmentation, other.segmentation))
