"""A trained system as a method beside others, in the completion and in the instance track."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal import masks
from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.errors import UsageError
from shape3d_amodal.masks.occlusion import known_order, occluders
from shape3d_amodal.methods.results import completion_result, to_result
from shape3d_amodal.segmentation.finder import FoundObject, ObjectFinder
from shape3d_amodal.structures import OCCLUDER, AmodalImage


class RcnnMethod:
    """See ``interface.CompletionMethod`` and ``interface.FindsObjects``.

    Args:
        finder: the system.
        names: category names by id.
        background: leave out known background where visible masks are given, as the other methods may.
        samples: give all plausible masks of a system that has several, in place of its first answer.
        stride: found masks hold every stride-th pixel and are enlarged again, as the truth of a set of shapes may.

    Raises:
        UsageError: the weights know none of the names.
    """

    def __init__(
        self,
        finder: ObjectFinder,
        names: Mapping[int, str],
        *,
        background: bool = True,
        samples: bool = False,
        stride: int = 1,
    ) -> None:
        check_shared(finder.categories, names.values())
        self.name = finder.model.config.system
        self.parameters = finder.parameters
        self._finder, self._background, self._samples, self._stride = finder, background, samples, stride
        self._names = dict(names)
        self._ids = {name: key for key, name in names.items()}

    def find(self, image: NDArray[np.uint8], record: AmodalImage, /) -> list[AmodalResult]:
        found = [one for one in self._finder.find(image) if one.category in self._ids]
        return [found_result(record.id, self._ids[one.category], _sampled(one, self._stride)) for one in found]

    def complete(self, image: NDArray[np.uint8], record: AmodalImage, /) -> list[AmodalResult]:
        """Instances of category ``occluder``, and those of which nothing is visible, have no result.

        Raises:
            UsageError: a category that the weights do not know.
        """
        instances = record.instances
        seen = [masks.decode(one.visible) for one in instances]
        hiding = occluders(seen, known_order(record))
        rows = [i for i, one in enumerate(instances) if self._names[one.category_id] != OCCLUDER and seen[i].any()]
        names = [self._names[instances[i].category_id] for i in rows]
        results = []
        found = self._finder.complete(image, [seen[i] for i in rows], names, samples=self._samples)
        for i, one in zip(rows, found, strict=True):
            possible = seen[i] | hiding[i] if self._background else np.ones_like(seen[i])
            answers = one.samples or (one.amodal,)
            results += [completion_result(record, instances[i], answer & possible) for answer in answers]
        return results


def check_shared(known: Iterable[str], names: Iterable[str]) -> None:
    """
    Raises:
        UsageError: a detector's categories and those of the data have no name in common, so that nothing can be found.
    """
    if not set(known) & set(names):
        problem = f"the detector knows {', '.join(known)}; the data have {', '.join(names)}"
        raise UsageError(f"categories: expected names in common, got none: {problem}; rename those of the data")


def _sampled(found: FoundObject, stride: int) -> FoundObject:
    visible = None if found.visible is None else _on_grid(found.visible, stride)
    return replace(found, amodal=_on_grid(found.amodal, stride), visible=visible)


def _on_grid(mask: NDArray[np.bool_], stride: int) -> NDArray[np.bool_]:
    """``mask`` [H,W] with every ``stride``-th pixel alone, enlarged to the same size."""
    rows, columns = (np.minimum(np.arange(side) // stride * stride + stride // 2, side - 1) for side in mask.shape)
    sampled: NDArray[np.bool_] = mask[rows[:, None], columns]
    return sampled


def found_result(image_id: int, category_id: int, found: FoundObject) -> AmodalResult:
    """A found object in the results format."""
    return to_result(image_id, category_id, found.amodal, found.visible, score=found.score)
