"""PCNet-M as a completion method: depth order and amodal masks of the instances of an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from shape3d_amodal import masks
from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.baselines.pcnet_m.crops import look, object_window, tight_box
from shape3d_amodal.baselines.pcnet_m.network import CompletionNetwork, PcnetMConfig
from shape3d_amodal.geometry.windows import paste
from shape3d_amodal.masks.occlusion import Mask, Order, known_order, with_something_visible
from shape3d_amodal.methods.networks import NetworkMethod
from shape3d_amodal.methods.results import completion_result
from shape3d_amodal.refinement.regions import check_gap
from shape3d_amodal.structures import OCCLUDER, AmodalImage, AmodalInstance

ORDER_THRESHOLD = 0.1
AMODAL_THRESHOLD = 0.2
_BATCH = 64
Relation = NDArray[np.bool_]
"""[N,N]: whether instance j (the column) is in front of instance i (the row)."""


class PcnetM(NetworkMethod):
    """PCNet-M as a completion method whose results have a depth order.

    Args:
        network: the trained network.
        names: category names by id; instances of category ``occluder`` are not completed.
        occluders: whether these are in front of all other instances; otherwise they are ignored.
        gap_px: pixels by which erasers are dilated, since predicted masks leave gaps between each other.

    Raises:
        UsageError: a gap that is none (``refinement.regions.check_gap``).
    """

    name = "PCNet-M"
    config_class, network_class = PcnetMConfig, CompletionNetwork

    def __init__(
        self, network: CompletionNetwork, names: Mapping[int, str], *, occluders: bool = True, gap_px: int = 0
    ) -> None:
        check_gap(gap_px)
        super().__init__(network)
        self._size = network.config.size
        self._bare = {key for key, name in names.items() if name == OCCLUDER}
        self._occluders = occluders
        self._gap = gap_px

    def complete(self, _image: NDArray[np.uint8], record: AmodalImage, /) -> list[AmodalResult]:
        """See ``interface.CompletionMethod``; the image is not used. A known depth order in ``record`` is kept.

        Instances of which nothing is visible have no result.
        """
        record = with_something_visible(record)
        instances = record.instances
        if not instances:
            return []
        visible = [masks.decode(instance.visible) for instance in instances]
        front = self.order(instances, visible, known_order(record))
        ranks = front.sum(axis=1).tolist()  # 0 is nearest: the number of instances in front
        completed = zip(instances, self._complete(visible, front), ranks, strict=True)
        return [replace(completion_result(record, one, mask), depth_order=rank) for one, mask, rank in completed]

    def order(self, instances: Sequence[AmodalInstance], visible: Sequence[Mask], known: Order = ()) -> Relation:
        """Which instances are in front: of two neighbours the one whose completion enters the other one more is behind.

        Args:
            instances: N of one image.
            visible: their visible masks [H,W] bool, none empty.
            known: pairs whose order is known; they keep it.
        """
        bare = np.array([instance.category_id in self._bare for instance in instances])
        pairs = [(i, j) for i, j in neighbours(visible, self._gap) if not (bare[i] or bare[j])]
        behind = np.zeros((len(visible), len(visible)))
        unknown = []
        for i, j in [*pairs, *((j, i) for i, j in pairs)]:
            if (j, i) in known:
                behind[i, j] = np.inf
            elif (i, j) not in known:
                unknown.append((i, j))
        windows = [object_window(mask) for mask in visible]
        crops = [look(visible[i], windows[i], self._size) for i, _ in unknown]
        erasers = [look(self._grown(visible[j]), windows[i], self._size) for i, j in unknown]
        for (i, j), grown, eraser in zip(unknown, self._predict(crops, erasers), erasers, strict=True):
            pixels = ((grown > ORDER_THRESHOLD) & eraser).sum()
            behind[i, j] = pixels * (windows[i][2] / self._size) ** 2
        if self._occluders:
            behind[np.ix_(~bare, bare)] = np.inf
        return in_front(behind)

    def _complete(self, visible: Sequence[Mask], front: Relation) -> list[Mask]:
        """Each instance's visible mask, and its completion where it may be hidden (``_region``)."""
        completed = list(visible)
        hidden = np.flatnonzero(front.any(axis=1)).tolist()
        windows = [object_window(visible[i]) for i in hidden]
        regions = [self._region(i, visible, front) for i in hidden]
        crops = [look(visible[i], window, self._size) for i, window in zip(hidden, windows, strict=True)]
        erasers = [look(region, window, self._size) for region, window in zip(regions, windows, strict=True)]
        predicted = self._predict(crops, erasers)
        for i, probability, window, region in zip(hidden, predicted, windows, regions, strict=True):
            left, top, side = window
            square = torch.tensor([left, top, left + side, top + side])
            pasted = paste(torch.from_numpy(probability), square, *region.shape).numpy()
            completed[i] = visible[i] | (pasted > AMODAL_THRESHOLD) & region
        return completed

    def _region(self, i: int, visible: Sequence[Mask], front: Relation) -> Mask:
        """Where instance ``i`` may be hidden: the dilated masks in front of it, without all other visible masks."""
        before = np.flatnonzero(front[i]).tolist()
        others = [mask for j, mask in enumerate(visible) if j != i and not front[i, j]]
        region = self._grown(np.logical_or.reduce([visible[j] for j in before]))
        return region & ~np.logical_or.reduce([np.zeros_like(region), *others])

    def _grown(self, mask: Mask) -> Mask:
        if self._gap == 0:
            return mask  # binary_dilation would take 0 iterations as "until nothing changes"
        return np.asarray(ndimage.binary_dilation(mask, structure=np.ones((3, 3)), iterations=self._gap))

    def _predict(self, visible: Sequence[Mask], erasers: Sequence[Mask]) -> list[NDArray[np.float32]]:
        """Probability [S,S] of the object for each pair of crops [S,S] bool; the eraser's pixels are not visible."""
        result: list[NDArray[np.float32]] = []
        for start in range(0, len(visible), _BATCH):
            own, eraser = (
                torch.from_numpy(np.stack(crops[start : start + _BATCH])).to(self._device)
                for crops in (visible, erasers)
            )
            with torch.no_grad():
                probability = self._network(own & ~eraser, eraser).softmax(dim=1)[:, 1]
            result.extend(probability.cpu().numpy())
        return result


def neighbours(visible: Sequence[Mask], gap: int = 0) -> list[tuple[int, int]]:
    """The pairs i < j of masks [H,W] bool that overlap or touch, with at most ``gap`` pixels between them."""
    boxes = np.array([tight_box(mask) for mask in visible]).reshape(-1, 4)
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    reach = 1 + gap
    pairs = []
    for i, mask in enumerate(visible):
        near = ((low[i + 1 :] <= high[i] + gap) & (low[i] <= high[i + 1 :] + gap)).all(axis=1)
        if not near.any():
            continue
        (x0, y0), (x1, y1) = np.maximum(low[i] - reach, 0), high[i] + reach
        about = np.s_[y0:y1, x0:x1]
        grown = ndimage.binary_dilation(mask[about], iterations=reach)
        pairs += [(i, j) for j in (np.flatnonzero(near) + i + 1).tolist() if (grown & visible[j][about]).any()]
    return pairs


def in_front(behind: NDArray[np.float64]) -> Relation:
    """The transitive relation of which instances are in front of which, without cycles.

    Each pair of instances is ordered by the larger of its two values, with their difference as the certainty; equal
    values leave it open. Pairs are added from the most certain one on, and one that would close a cycle is left out.

    Args:
        behind: [N,N] float, the evidence that instance i (the row) is behind instance j.
    """
    surplus = np.subtract(behind, behind.T, out=np.zeros_like(behind), where=behind > behind.T)  # not inf - inf
    rows, columns = np.nonzero(surplus > 0)
    reached = np.eye(len(behind), dtype=bool)
    for place in np.argsort(-surplus[rows, columns], kind="stable").tolist():
        i, j = rows[place], columns[place]
        if not reached[j, i]:
            reached |= np.outer(reached[:, i], reached[j])
    return reached & ~np.eye(len(behind), dtype=bool)
