"""A trained system as a method beside others, in the completion and in the instance track."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.baselines.interface import make_result
from shape3d_amodal.baselines.rcnn.detecting import FoundObject, ObjectFinder
from shape3d_amodal.data import masks
from shape3d_amodal.data.crops import occluders
from shape3d_amodal.data.formats.results import AmodalResult
from shape3d_amodal.errors import UsageError
from shape3d_amodal.structures import OCCLUDER, AmodalImage


class RcnnMethod:
    """See ``interface.CompletionMethod`` and ``interface.FindsObjects``.

    Args:
        finder: the system.
        names: category names by id.
        background: leave out known background where visible masks are given, as the other methods may.
        samples: give all plausible masks of a system that has several, in place of its first answer.

    Raises:
        UsageError: a name that the weights do not know.
    """

    def __init__(
        self, finder: ObjectFinder, names: Mapping[int, str], *, background: bool = True, samples: bool = False
    ) -> None:
        unknown = set(names.values()) - {*finder.categories, OCCLUDER}
        if unknown:
            raise UsageError(f"unknown category {min(unknown)!r}; known are {', '.join(finder.categories)}")
        self.name = finder.model.config.system
        self.parameters = finder.parameters
        self._finder, self._background, self._samples = finder, background, samples
        self._names = dict(names)
        self._ids = {name: key for key, name in names.items()}

    def find(self, image: NDArray[np.uint8], record: AmodalImage, /) -> list[AmodalResult]:
        found = [one for one in self._finder.find(image) if one.category in self._ids]
        return [to_result(record.id, self._ids[one.category], one) for one in found]

    def complete(self, image: NDArray[np.uint8], record: AmodalImage, /) -> list[AmodalResult]:
        """Instances of category ``occluder`` have no result."""
        instances = record.instances
        seen = [masks.decode(one.visible) for one in instances]
        hiding = occluders(seen, [one.depth_order for one in instances], [one.cluster for one in instances])
        rows = [i for i, one in enumerate(instances) if self._names[one.category_id] != OCCLUDER]
        names = [self._names[instances[i].category_id] for i in rows]
        results = []
        for i, one in zip(rows, self._finder.complete(image, [seen[i] for i in rows], names), strict=True):
            possible = seen[i] | hiding[i] if self._background else np.ones_like(seen[i])
            answers = one.samples if self._samples and one.samples else (one.amodal,)
            results += [make_result(record, instances[i], answer & possible) for answer in answers]
        return results


def to_result(image_id: int, category_id: int, found: FoundObject) -> AmodalResult:
    """A found object in the results format."""
    visible = found.visible
    return AmodalResult(
        image_id=image_id,
        category_id=category_id,
        score=found.score,
        segmentation=masks.encode(found.amodal),
        visible=None if visible is None else masks.encode(visible),
        occluded=None if visible is None else masks.encode(found.amodal & ~visible),
    )
