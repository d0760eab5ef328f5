"""Who hides whom: the order of objects in depth, the pixels that may hide each, and visible masks by order.

Orders are those of KINS (``masks.clusters``): of two objects of a cluster, or of an image without clusters, the smaller
``depth_order`` is nearer, and where the two overlap the pixels belong to the nearer one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal import masks
from shape3d_amodal.array_fields import ArrayFields
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance, Rle

Mask = NDArray[np.bool_]
Order = Collection[tuple[int, int]]
"""The known part of an order in depth: pairs (in front, behind) of indices into a list of objects."""


@dataclass(frozen=True, eq=False, repr=False)
class VisibleObjects(ArrayFields):
    """The objects of one image that are to be completed, in any order.

    Attributes:
        masks: visible masks [H,W] bool.
        names: category names; ``occluder`` for regions that only hide others.
        occluders: [H,W] bool, the pixels that may hide each object.
    """

    masks: Sequence[Mask]
    names: Sequence[str]
    occluders: Sequence[Mask]

    def __len__(self) -> int:
        return len(self.masks)


def occluders(visible: Sequence[Mask], order: Order = (), of: Sequence[int] | None = None) -> list[Mask]:
    """The pixels that may hide each object: those of all others except the ones known to be behind it.

    Args:
        visible: N masks [H,W] bool.
        order: the known part of their order.
        of: the objects that are asked about; None for all.
    """
    known = frozenset(order)
    result = []
    for i in range(len(visible)) if of is None else of:
        mask = visible[i]
        occluder = np.zeros_like(mask)
        for j, other in enumerate(visible):
            if j != i and (i, j) not in known:
                occluder |= other
        result.append(occluder & ~mask)
    return result


def known_order(image: AmodalImage) -> Order:
    """The pairs of an image's instances whose order is known, from ``depth_order`` and ``depth_constraint``."""
    instances = image.instances
    constraint = set(image.depth_constraint)
    return {
        (i, j)
        for i, one in enumerate(instances)
        for j, other in enumerate(instances)
        if is_in_front(one, other, constraint)
    }


def order_of_ranks(ranks: Sequence[int | None]) -> Order:
    """The pairs whose order follows from ranks, 0 nearest; None where a rank is unknown."""
    known = [(place, rank) for place, rank in enumerate(ranks) if rank is not None]
    return {(i, j) for i, first in known for j, second in known if first < second}


def visible_by_order(instances: Sequence[AmodalInstance], index: int) -> Rle:
    """The visible mask of instance ``index``: its amodal mask minus those of the nearer objects of its cluster.

    Args:
        instances: those of one image, with amodal masks. Instances without an order hide nothing.
    """
    whole = instances[index]
    nearer = [one.amodal for one in instances if one.amodal is not None and is_in_front(one, whole)]
    assert whole.amodal is not None
    return masks.subtract(whole.amodal, masks.union(nearer)) if nearer else whole.amodal


def without_invisible(dataset: AmodalDataset) -> AmodalDataset:
    """The data set without its fully hidden objects, for methods that start from visible masks."""
    return replace(dataset, images=tuple(map(with_something_visible, dataset.images)))


def with_something_visible(image: AmodalImage) -> AmodalImage:
    """The image without its fully hidden objects."""
    return keeping(image, (one for one in image.instances if masks.area(one.visible) > 0))


def keeping(image: AmodalImage, instances: Iterable[AmodalInstance]) -> AmodalImage:
    """The image with only ``instances`` and the pairs of ``depth_constraint`` between them."""
    kept = tuple(instances)
    ids = {one.id for one in kept}
    pairs = tuple(pair for pair in image.depth_constraint if ids.issuperset(pair))
    return replace(image, instances=kept, depth_constraint=pairs)


def is_in_front(first: AmodalInstance, second: AmodalInstance, constraint: Collection[tuple[int, int]] = ()) -> bool:
    """Whether the annotations say that ``first`` hides ``second`` where they overlap.

    Args:
        first: an instance of an image.
        second: another one of the same image.
        constraint: pairs of ids (in front, behind) to count beside ``depth_order``, as ``depth_constraint`` has them.
    """
    if (first.id, second.id) in constraint:
        return True
    if first.depth_order is None or second.depth_order is None or first.cluster != second.cluster:
        return False
    return first.depth_order < second.depth_order
