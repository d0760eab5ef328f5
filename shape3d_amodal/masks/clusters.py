"""Clusters of overlapping objects, and orders in depth inside them, as KINS counts them.

Qi et al., Amodal Instance Segmentation with KINS Dataset, CVPR 2019, sections 3.1 and 3.2: objects are divided into
clusters, and inside a cluster the nearer object has the smaller order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from shape3d_amodal import masks
from shape3d_amodal.structures import AmodalImage, Rle


def overlapping(regions: Sequence[Rle]) -> Iterator[tuple[int, int]]:
    """The pairs i < j of masks of one image that share a pixel."""
    boxes = np.array([masks.bbox(region) for region in regions]).reshape(-1, 4)
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    for i in range(len(regions) - 1):
        boxes_meet = ((low[i + 1 :] < high[i]) & (low[i] < high[i + 1 :])).all(axis=1)
        for j in (np.flatnonzero(boxes_meet) + i + 1).tolist():
            if masks.overlap(regions[i], regions[j]):
                yield i, j


def clusters(regions: Sequence[Rle]) -> list[int]:
    """The cluster of each mask, numbered from 0 in the order of the masks; masks that overlap share a cluster."""
    return connected(len(regions), overlapping(regions))


def connected(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """The connected component of each of ``count`` nodes, numbered from 0 in the order of the nodes."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first, second = np.array(list(pairs), dtype=np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(count, count))
    labels: list[int] = connected_components(graph, directed=False)[1].tolist()
    return labels


def kins_orders(image: AmodalImage) -> list[tuple[int, int | None]]:
    """Cluster and order of each instance as KINS counts them: 0 for an object that overlaps no other, else from 1 on.

    An image that is already divided into clusters keeps them and its orders. Otherwise the overlaps of the amodal masks
    make the clusters, and the orders are ranks of ``depth_order`` in each; None where one in the cluster is unknown.
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
    """One order for the whole image, 0 nearest: that of its clusters, if it has some, with ties broken.

    Clusters do not overlap, so that any order between them is right.
    """
    orders = [one.depth_order for one in image.instances]
    if all(one.cluster is None for one in image.instances):
        return orders
    ranked = sorted((order, index) for index, order in enumerate(orders) if order is not None)
    ranks = {index: rank for rank, (_, index) in enumerate(ranked)}
    return [ranks.get(index) for index in range(len(orders))]


def _rank(order: int | None, orders: Sequence[int | None]) -> int | None:
    """The rank of ``order`` in its cluster from 1 on; 0 in a cluster of one."""
    if len(orders) == 1:
        return 0
    if order is None or None in orders:
        return None
    return sorted({one for one in orders if one is not None}).index(order) + 1
