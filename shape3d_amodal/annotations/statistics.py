"""The statistics that the KINS paper gives of its data (section 3.2, tables 1 and 2, figure 4), for any data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from shape3d_amodal import masks
from shape3d_amodal.masks.clusters import connected, overlapping
from shape3d_amodal.masks.shape_statistics import shape_of
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance

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

    def shape_means(self) -> dict[str, dict[str, float | None]]:
        """Mean convexity and simplicity by kind; None without objects."""
        means: dict[str, dict[str, float | None]] = {}
        for kind, values in self.shapes.items():
            convexity, simplicity = np.mean(values, axis=0).tolist() if values else (None, None)
            means[kind] = {"convexity": convexity, "simplicity": simplicity}
        return means

    def to_dict(self) -> dict[str, Any]:
        """All statistics for JSON; those of single objects as means and histograms."""
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
            "shapes": self.shape_means(),
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


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _sorted(counts: Counter[int]) -> dict[str, int]:
    return {str(key): counts[key] for key in sorted(counts)}
