"""A detector as a method of the completion track and of the instance track."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal import masks
from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.errors import UsageError, listed
from shape3d_amodal.masks.occlusion import known_order, occluders
from shape3d_amodal.methods.results import completion_result, to_result
from shape3d_amodal.structures import OCCLUDER, AmodalImage

if TYPE_CHECKING:
    from shape3d_amodal.segmentation.detector import Detector


class RcnnMethod:
    """See ``interface.CompletionMethod`` and ``interface.FindsObjects``.

    Args:
        detector: with the trained weights of a system.
        names: category names by id.
        background: leave out known background where visible masks are given, as the other methods do.
        samples: give all plausible masks of a system that has several, instead of one.
        stride: keep every stride-th pixel of predicted masks and enlarge them again, as sets of 2D shapes do with
            their annotations.

    Raises:
        UsageError: the weights know none of the names.
    """

    def __init__(
        self,
        detector: Detector,
        names: Mapping[int, str],
        *,
        background: bool = True,
        samples: bool = False,
        stride: int = 1,
    ) -> None:
        check_shared(detector.categories, names.values())
        self.name = detector.model.config.system
        self.parameters = detector.parameters
        self._detector, self._background, self._samples, self._stride = detector, background, samples, stride
        self._names = dict(names)
        self._ids = {name: key for key, name in names.items()}

    def find(self, image: NDArray[np.uint8], record: AmodalImage, /) -> list[AmodalResult]:
        """See ``interface.FindsObjects``; objects of categories that the data do not have are left out."""
        results = []
        for one in self._detector.detect(image):
            if one.category in self._ids:
                amodal = on_grid(one.amodal, self._stride)
                visible = None if one.visible is None else on_grid(one.visible, self._stride)
                results.append(to_result(record.id, self._ids[one.category], amodal, visible, score=one.score))
        return results

    def complete(self, image: NDArray[np.uint8], record: AmodalImage, /) -> list[AmodalResult]:
        """See ``interface.CompletionMethod``. Instances of category ``occluder`` and fully hidden ones have no result.

        Raises:
            UsageError: a category that the weights do not know.
        """
        instances = record.instances
        visible = [masks.decode(one.visible) for one in instances]
        hiding = occluders(visible, known_order(record))
        rows = [i for i, one in enumerate(instances) if self._names[one.category_id] != OCCLUDER and visible[i].any()]
        names = [self._names[instances[i].category_id] for i in rows]
        results = []
        found = self._detector.complete(image, [visible[i] for i in rows], names, samples=self._samples)
        for i, one in zip(rows, found, strict=True):
            possible = visible[i] | hiding[i] if self._background else np.ones_like(visible[i])
            answers = one.samples or (one.amodal,)
            results += [completion_result(record, instances[i], answer & possible) for answer in answers]
        return results


def check_shared(known: Iterable[str], names: Iterable[str]) -> None:
    """Check that a detector's category names and those of the data have some in common.

    Raises:
        UsageError: they have none, so that nothing can be found.
    """
    if not set(known) & set(names):
        problem = f"the detector knows {listed(known)}; the data have {listed(names)}"
        remedy = "map those of the data by data convert --classes"
        raise UsageError(f"categories: expected names in common, got none: {problem}; {remedy}")


def on_grid(mask: NDArray[np.bool_], stride: int) -> NDArray[np.bool_]:
    """Every ``stride``-th pixel of ``mask`` [H,W], enlarged to the same size."""
    rows, columns = (np.minimum(np.arange(side) // stride * stride + stride // 2, side - 1) for side in mask.shape)
    sampled: NDArray[np.bool_] = mask[rows[:, None], columns]
    return sampled
