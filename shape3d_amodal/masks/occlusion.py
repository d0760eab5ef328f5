"""Who hides whom: orders, clusters and visible masks, and what follows of one from the others.

The rules are those of KINS.
Qi et al., Amodal Instance Segmentation with KINS Dataset, CVPR 2019, sections 3.1 and 3.2: objects are divided into
clusters, inside a cluster the nearer has the smaller order, and where two overlap the pixels are the nearer one's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal import masks
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance, Rle

Mask = NDArray[np.bool_]
Order = Collection[tuple[int, int]]
"""Pairs (in front, behind) of places in a list of objects: what is known of their order in depth."""


@dataclass(frozen=True)
class VisibleObjects:
    """The objects of one image as completion sees them, in any order.

    Attributes:
        masks: visible masks [H,W] bool.
        names: category names; ``occluder`` for what only hides others.
        occluders: [H,W] bool, the pixels that may hide each.
    """

    masks: Sequence[Mask]
    names: Sequence[str]
    occluders: Sequence[Mask]

    def __len__(self) -> int:
        return len(self.masks)


def occluders(visible: Sequence[Mask], order: Order = ()) -> list[Mask]:
    """The pixels that may hide each object: those of all others, less those that are known to be behind it.

    Args:
        visible: N masks [H,W] bool.
        order: what is known of their order.
    """
    known = frozenset(order)
    result = []
    for i, mask in enumerate(visible):
        occluder = np.zeros_like(mask)
        for j, other in enumerate(visible):
            if j != i and (i, j) not in known:
                occluder |= other
        result.append(occluder & ~mask)
    return result


def known_order(image: AmodalImage) -> Order:
    """The pairs of an image's instances whose order is known: by their ``depth_order``, or as ``depth_constraint``."""
    instances = image.instances
    constraint = set(image.depth_constraint)
    return {
        (i, j)
        for i, one in enumerate(instances)
        for j, other in enumerate(instances)
        if is_in_front(one, other) or (one.id, other.id) in constraint
    }


def order_of_ranks(ranks: Sequence[int | None]) -> Order:
    """The pairs whose order follows from ranks, 0 nearest; None where a rank is unknown."""
    known = [(place, rank) for place, rank in enumerate(ranks) if rank is not None]
    return {(i, j) for i, first in known for j, second in known if first < second}


def overlapping(regions: Sequence[Rle]) -> Iterator[tuple[int, int]]:
    """The pairs i < j of masks of one image that share a pixel."""
    boxes = np.array([masks.bbox(region) for region in regions]).reshape(-1, 4)
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    for i in range(len(regions) - 1):
        near = ((low[i + 1 :] < high[i]) & (low[i] < high[i + 1 :])).all(axis=1)
        for j in (np.flatnonzero(near) + i + 1).tolist():
            if masks.overlap(regions[i], regions[j]):
                yield i, j


def clusters(regions: Sequence[Rle]) -> list[int]:
    """The cluster of each mask, counted from 0 in the order of the masks: two that overlap share theirs."""
    return connected(len(regions), overlapping(regions))


def connected(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """The group of each of ``count`` things, counted from 0 in their order, where pairs connect them."""
    parents = list(range(count))

    def first_of(index: int) -> int:
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    for i, j in pairs:
        low, high = sorted((first_of(i), first_of(j)))
        parents[high] = low
    firsts = [first_of(index) for index in range(count)]
    numbers = {first: number for number, first in enumerate(dict.fromkeys(firsts))}
    return [numbers[first] for first in firsts]


def visible_by_order(instances: Sequence[AmodalInstance], index: int) -> Rle:
    """The visible mask of instance ``index``: its amodal mask without those of its cluster that are nearer.

    Args:
        instances: those of one image, with amodal masks; those without an order hide nothing.
    """
    whole = instances[index]
    nearer = [one.amodal for one in instances if one.amodal is not None and is_in_front(one, whole)]
    assert whole.amodal is not None
    return masks.subtract(whole.amodal, masks.union(nearer)) if nearer else whole.amodal


def without_invisible(dataset: AmodalDataset) -> AmodalDataset:
    """The data set without the objects of which nothing is visible, for methods that start from visible masks."""
    return replace(dataset, images=tuple(map(with_something_visible, dataset.images)))


def with_something_visible(image: AmodalImage) -> AmodalImage:
    """The image without the objects of which nothing is visible."""
    return keeping(image, (one for one in image.instances if masks.area(one.visible) > 0))


def keeping(image: AmodalImage, instances: Iterable[AmodalInstance]) -> AmodalImage:
    """The image with ``instances`` alone, and the pairs between them."""
    kept = tuple(instances)
    ids = {one.id for one in kept}
    pairs = tuple(pair for pair in image.depth_constraint if ids.issuperset(pair))
    return replace(image, instances=kept, depth_constraint=pairs)


def is_in_front(first: AmodalInstance, second: AmodalInstance) -> bool:
    """Whether the orders say that ``first`` hides ``second`` where they overlap."""
    if first.depth_order is None or second.depth_order is None or first.cluster != second.cluster:
        return False
    return first.depth_order < second.depth_order


def kins_orders(image: AmodalImage) -> list[tuple[int, int | None]]:
    """Cluster and order of each instance as KINS counts them: 0 for an object that overlaps no other, else from 1 on.

    Orders stay as they are where the image is divided into clusters already. Otherwise its clusters are those of its
    amodal masks, in each the ranks of ``depth_order``; None where an order in the cluster is unknown.
    """
    instances = image.instances
    if instances and all(one.cluster is not None for one in instances):
        return [(one.cluster or 0, one.depth_order) for one in instances]
    labels = clusters([one.visible if one.amodal is None else one.amodal for one in instances])
    members: dict[int, list[int | None]] = defaultdict(list)
    for label, one in zip(labels, instances, strict=True):
        members[label].append(one.depth_order)
    return [(label, _rank(one.depth_order, members[label])) for label, one in zip(labels, instances, strict=True)]


def image_orders(image: AmodalImage) -> list[int | None]:
    """One order for the whole image, 0 nearest: that of the clusters, where there are some, with ties undone.

    Clusters do not overlap, so that any order between them is right.
    """
    orders = [one.depth_order for one in image.instances]
    if all(one.cluster is None for one in image.instances):
        return orders
    ranked = sorted((order, index) for index, order in enumerate(orders) if order is not None)
    ranks: list[int | None] = [None] * len(orders)
    for rank, (_, index) in enumerate(ranked):
        ranks[index] = rank
    return ranks


def _rank(order: int | None, orders: Sequence[int | None]) -> int | None:
    known = [one for one in orders if one is not None]
    if len(orders) == 1:
        return 0
    if order is None or len(known) < len(orders):
        return None
    return sorted(set(known)).index(order) + 1
