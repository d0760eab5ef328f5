"""The statistics that the KINS paper gives of its data (section 3.2, tables 1 and 2, figure 4), for any data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from shape3d_amodal import masks
from shape3d_amodal.masks.clusters import connected, overlapping
from shape3d_amodal.masks.outlines import loops
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance, Rle

LEVELS = 10
"""Bins of the occlusion level."""
KINDS = ("inmodal", "amodal")


@dataclass
class DatasetStatistics:
    """Counts and measures of a data set; objects without amodal mask count only in the first four.

    Attributes:
        images, objects: how many.
        by_class: number of objects by category name, the most frequent first.
        hidden: objects of which nothing is visible.
        covered, pixels: pixels inside at least one amodal mask, and of all images.
        occlusion: occlusion level, hidden area / amodal area, of each object.
        shapes: convexity and simplicity of each visible and each amodal mask that is not empty, by kind.
        max_orders: number of clusters of two or more objects by their max occlusion order, which is the number of their
            objects that are occluded. Clusters are those of the annotations, or else of overlapping amodal masks.
        matches: number of objects by their max match number, the number of others whose amodal masks overlap theirs.
    """

    images: int = 0
    objects: int = 0
    by_class: dict[str, int] = field(default_factory=dict)
    hidden: int = 0
    covered: int = 0
    pixels: int = 0
    occlusion: list[float] = field(default_factory=list)
    shapes: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    max_orders: Counter[int] = field(default_factory=Counter)
    matches: Counter[int] = field(default_factory=Counter)

    @property
    def occluded(self) -> list[float]:
        """The occlusion levels above 0."""
        return [level for level in self.occlusion if level > 0]

    def levels(self) -> list[int]:
        """Number of occluded objects by occlusion level, in ``LEVELS`` bins of equal width over 0..1."""
        counts: list[int] = np.histogram(self.occluded, bins=LEVELS, range=(0, 1))[0].tolist()
        return counts

    def to_dict(self) -> dict[str, Any]:
        """All statistics for JSON; those of single objects as means (None without objects) and histograms."""
        means = {kind: np.mean(rows, axis=0).tolist() if rows else (None, None) for kind, rows in self.shapes.items()}
        return {
            "images": self.images,
            "objects": self.objects,
            "objects_an_image": _ratio(self.objects, self.images),
            "by_class": self.by_class,
            "fully_hidden": self.hidden,
            "covered_share": _ratio(self.covered, self.pixels),
            "occluded_share": _ratio(len(self.occluded), len(self.occlusion)),
            "mean_occlusion_of_occluded": _ratio(sum(self.occluded), len(self.occluded)),
            "occlusion_level": {"bins": LEVELS, "objects": self.levels()},
            "shapes": {kind: {"convexity": mean[0], "simplicity": mean[1]} for kind, mean in means.items()},
            "max_occlusion_order": _sorted(self.max_orders),
            "max_match_number": _sorted(self.matches),
        }


def statistics(
    dataset: AmodalDataset, *, progress: Callable[[Iterable[AmodalImage]], Iterable[AmodalImage]] = iter
) -> DatasetStatistics:
    """Measure ``dataset``, image by image.

    Args:
        progress: wraps the images.
    """
    found = DatasetStatistics()
    names = dataset.category_names
    classes = Counter({category.name: 0 for category in dataset.categories})
    for image in progress(dataset.images):
        found.images += 1
        found.objects += len(image.instances)
        found.pixels += image.height * image.width
        classes.update(names[one.category_id] for one in image.instances)
        found.hidden += sum(masks.area(one.visible) == 0 for one in image.instances)
        _add_image([one for one in image.instances if one.amodal is not None], found)
    found.by_class = dict(classes.most_common())
    return found


def _add_image(instances: list[AmodalInstance], found: DatasetStatistics) -> None:
    """Add the objects of one image, all with amodal mask."""
    regions = [one.amodal for one in instances if one.amodal is not None]
    if not regions:
        return
    found.covered += masks.area(masks.union(regions))
    found.occlusion += [one.occlude_rate or 0.0 for one in instances]
    found.shapes["amodal"] += map(shape_of, regions)
    found.shapes["inmodal"] += [shape_of(one.visible) for one in instances if masks.area(one.visible)]
    pairs = list(overlapping(regions))
    partners = Counter(index for pair in pairs for index in pair)
    found.matches.update(partners[index] for index in range(len(instances)))
    labels: list[int] = [one.cluster for one in instances if one.cluster is not None]
    if len(labels) < len(instances):
        labels = connected(len(instances), pairs)
    sizes = Counter(labels)
    occluded = Counter(label for label, one in zip(labels, instances, strict=True) if one.occlude_rate)
    found.max_orders.update(occluded[label] for label, size in sizes.items() if size > 1)


def shape_of(rle: Rle) -> tuple[float, float]:
    """Convexity and simplicity of a mask that is not empty (KINS paper, equation 1), each in 0..1, and 1 for a disc.

    Convexity is area / area of the convex hull, simplicity sqrt(4 pi area) / perimeter; the outlines of all parts and
    holes count. The paper measures outlines drawn by hand; ours follow the edges of pixels, which makes slanted lines
    up to 8 % too long. So the outline runs through the midpoints of the pixels' outer edges, and each point is replaced
    by the mean of itself and its two neighbours. Discs of a radius of 4 pixels or more then have 0.99 of either
    measure; boxes of 20 pixels or more have their simplicity within 2 % and a convexity of at least 0.96 at any angle.
    """
    outlines = [_smooth((loop + np.roll(loop, -1, axis=0)) / 2) for loop in loops(masks.crop(rle)[0])]
    area = sum(map(_area, outlines))
    hull = ConvexHull(np.concatenate(outlines)).volume
    perimeter = sum(map(_length, outlines))
    return min(area / hull, 1.0), min(float(np.sqrt(4 * np.pi * area)) / perimeter, 1.0)


def _smooth(outline: NDArray[np.float64]) -> NDArray[np.float64]:
    return (np.roll(outline, 1, axis=0) + outline + np.roll(outline, -1, axis=0)) / 3


def _area(outline: NDArray[np.float64]) -> float:
    x, y = outline.T
    return float(x @ np.roll(y, -1) - np.roll(x, -1) @ y) / 2


def _length(outline: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(np.roll(outline, -1, axis=0) - outline, axis=1).sum())


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _sorted(counts: Counter[int]) -> dict[str, int]:
    return {str(key): counts[key] for key in sorted(counts)}
