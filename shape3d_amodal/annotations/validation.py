"""All problems of an annotation file and its images, found in one pass."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from shape3d_amodal.annotations.checks import Severity, check_object, check_orders
from shape3d_amodal.annotations.formats.fields import Record
from shape3d_amodal.annotations.formats.interface import Format, Listener
from shape3d_amodal.annotations.formats.registry import PUBLISHED, Segmentation, read_annotations
from shape3d_amodal.annotations.images import ImageFiles, switch
from shape3d_amodal.annotations.usable import count_objects
from shape3d_amodal.errors import DataError, UsageError, without_values
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance


@dataclass(frozen=True)
class Problem:
    """One problem: an ``error`` if masks or ids are wrong or unreadable, else a ``warning``."""

    severity: Severity
    check: str
    field: str
    problem: str


@dataclass
class ValidationReport:
    """What ``validate`` found, in the order of the file.

    Attributes:
        file: the annotation file.
        format: the name of the file's format.
        counts: images, categories and objects that could be read.
    """

    file: str
    format: str = "unknown"
    counts: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @property
    def unreadable(self) -> bool:
        """Whether there are records that cannot be read, which ``convert`` can leave out."""
        return any(problem.check == "record" for problem in self.problems)

    @property
    def errors(self) -> int:
        return sum(problem.severity == "error" for problem in self.problems)

    def add(self, severity: Severity, check: str, place: str, problem: str) -> None:
        self.problems.append(Problem(severity, check, place, problem))

    def groups(self) -> list[list[Problem]]:
        """The problems by kind, errors and frequent ones first; those of a kind differ only in numbers and names."""
        kinds: dict[tuple[str, ...], list[Problem]] = defaultdict(list)
        for one in self.problems:
            problem = one.problem if one.check in _BY_NUMBER else without_values(one.problem)
            kinds[one.severity, one.check, _INDEX.sub("", one.field), problem].append(one)
        return sorted(kinds.values(), key=lambda group: (group[0].severity, -len(group)))

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "errors": self.errors, "warnings": len(self.problems) - self.errors}


_INDEX = re.compile(r"\[[^\]]*\]")
_BY_NUMBER = frozenset(("exif-orientation",))
"""Checks whose kinds differ in a number: an image that lies on its side is another case than one that is mirrored."""


def validate(
    path: str | Path,
    *,
    images: ImageFiles | None = None,
    segmentation: Segmentation = "amodal",
    published: Collection[str] = (),
    progress: Callable[[Iterable[AmodalImage]], Iterable[AmodalImage]] = iter,
) -> tuple[ValidationReport, AmodalDataset]:
    """Check the annotation file ``path``; returns all problems, and the data set of the records without errors.

    Args:
        images: the image files; every one is then decoded, too.
        segmentation: as for ``read_annotations``.
        published: names in ``PUBLISHED`` whose counts the set must have.
        progress: wraps the images while they are decoded.

    Raises:
        UsageError: a name that is not in ``PUBLISHED``.
    """
    check_published(published)
    report = ValidationReport(str(path))
    try:
        reading = read_annotations(path, _Collector(report), segmentation=segmentation)
    except DataError as error:
        report.add("error", "file", error.field or "", error.problem)
        return report, AmodalDataset(images=(), categories=())
    dataset = reading.dataset
    report.format = reading.format.name
    objects = sum(len(image.instances) for image in dataset.images)
    report.counts = {"images": len(dataset.images), "categories": len(dataset.categories), "objects": objects}
    for image in dataset.images:
        check_orders(image, report.add)
    _check_set(dataset, report)
    _check_counts(report, published)
    if images is not None:
        for image in progress(dataset.images):
            _check_image(image, images, report)
    return report, dataset


def check_published(names: Collection[str]) -> None:
    """Refuse names that are not in ``PUBLISHED`` with a ``UsageError``."""
    if unknown := set(names) - PUBLISHED.keys():
        raise UsageError(f"published: expected sets of {', '.join(PUBLISHED)}, got {min(unknown)!r}")


class _Collector(Listener):
    """Records all errors and checks every object."""

    def __init__(self, report: ValidationReport) -> None:
        super().__init__()
        self._report = report

    def passes(self, error: DataError) -> bool:
        self._report.add("error", "record", error.field or "", error.problem)
        return True

    def images_alone(self, error: DataError) -> None:
        problem = "missing, as in D2SA's test_info; nothing can be completed or scored"
        self._report.add("warning", "no-annotations", error.field or "", problem)

    def instance(self, record: Record, instance: AmodalInstance, format: Format) -> None:
        check_object(record, instance, format, self._report.add)


def _check_set(dataset: AmodalDataset, report: ValidationReport) -> None:
    _check_categories(dataset, report)
    _check_usable(dataset, report)
    for name, number in Counter(image.file_name for image in dataset.images).items():
        if number > 1:
            report.add("warning", "same-file", "images", f"{number} images have the file {name!r}")
    if empty := sum(not image.instances for image in dataset.images):
        report.add("warning", "empty-images", "images", f"{empty} of {len(dataset.images)} have no object")


def _check_categories(dataset: AmodalDataset, report: ValidationReport) -> None:
    ids = sorted(category.id for category in dataset.categories)
    if missing := sorted(set(range(1, max(ids, default=0) + 1)) - set(ids)):
        told = ", ".join(map(str, missing[:10]))
        problem = f"{len(ids)} classes, ids {told} are absent; take class numbers from the list, not from the ids"
        report.add("warning", "category-ids", "categories", problem)
    for name, number in Counter(category.name for category in dataset.categories).items():
        if number > 1:
            report.add("warning", "same-name", "categories", f"{number} categories are called {name!r}")
    used = {one.category_id for image in dataset.images for one in image.instances}
    if idle := len(set(ids) - used):
        report.add("warning", "empty-categories", "categories", f"{idle} of {len(ids)} have no object")


def _check_usable(dataset: AmodalDataset, report: ValidationReport) -> None:
    counts = count_objects(one for image in dataset.images for one in image.instances)
    if counts.objects and not counts.usable:
        left_for = "to score" if counts.ignored else "to learn from or to score"  # what is ignored is learned from
        report.add("warning", "nothing-usable", "annotations", f"nothing is left {left_for}: {counts}")
    elif 2 * counts.crowds > counts.objects:
        problem = f"{counts.crowds} of {counts.objects} objects are crowds (iscrowd 1), neither learned from nor scored"
        report.add("warning", "crowds", "annotations", f"{problem}; give each that is one object iscrowd 0")


def _check_counts(report: ValidationReport, published: Collection[str]) -> None:
    for name in published:
        for what, expected in PUBLISHED[name].items():
            if report.counts[what] != expected:
                problem = f"expected {expected} as published for {name}, got {report.counts[what]}"
                report.add("error", "published-count", what, f"{problem}; see which part it is")


def _check_image(image: AmodalImage, files: ImageFiles, report: ValidationReport) -> None:
    place = f"images[id={image.id}].file_name"
    try:
        decoded = files.decode(image)
    except DataError as error:
        place = error.field if error.field and error.field.startswith("images") else place
        own = error.file == str(files.annotations)
        report.add("error", "image", place, error.problem if own else str(error))
        return
    if decoded.exif_damage is not None:
        problem = f"damaged EXIF data ({decoded.exif_damage}); the image is read as it is stored"
        report.add("warning", "exif-damaged", place, problem)
    elif decoded.exif_orientation != 1:
        turned = files.orientation == "exif"
        how = "turned upright, as viewers show it" if turned else "read as it is stored, not as viewers show it"
        other = switch("stored" if turned else "exif")
        problem = f"EXIF orientation {decoded.exif_orientation}: {how}; if the masks do not fit, give {other}"
        report.add("warning", "exif-orientation", place, problem)
