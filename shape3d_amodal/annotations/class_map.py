"""Mapping of category names to classes by an explicit list, e.g. of COCOA's free text to the 80 classes of COCO."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Literal

from shape3d_amodal.config import configuration
from shape3d_amodal.errors import UsageError
from shape3d_amodal.masks.occlusion import keeping
from shape3d_amodal.structures import OCCLUDER, AmodalDataset, Category


@configuration
class ClassEntry:
    """One class."""

    id: int
    """Its id in the new file."""
    name: str
    """Its name; objects of this name belong to it, too."""
    names: tuple[str, ...] = ()
    """Further names of its objects; upper and lower case are equal."""


@configuration
class ClassMap:
    """The classes of the new file.

    For example::

        classes:
          - {id: 1, name: person, names: [man, woman, boy in a red shirt]}
          - {id: 3, name: car, names: [taxi]}
        others: occluder
    """

    classes: tuple[ClassEntry, ...]
    """The classes; no name may stand in two of them."""
    others: Literal["leave_out", "occluder"] = "leave_out"
    """Whether objects without a class are left out, or kept as occluders, which are not scored."""


def map_classes(dataset: AmodalDataset, classes: ClassMap) -> tuple[AmodalDataset, Counter[str]]:
    """The data set with the classes of ``classes``, and the number of objects without a class by name.

    Raises:
        UsageError: an id or a name stands in two classes.
    """
    target = _by_name(classes)
    names = dataset.category_names
    without: Counter[str] = Counter()
    occluder = max((one.id for one in classes.classes), default=0) + 1
    keep = classes.others == "occluder"
    images = []
    for image in dataset.images:
        instances = []
        for one in image.instances:
            if entry := target.get(_plain(names[one.category_id])):
                instances.append(replace(one, category_id=entry.id))
                continue
            without[names[one.category_id]] += 1
            if keep:
                instances.append(replace(one, category_id=occluder, ignore=True))
        images.append(keeping(image, instances))
    categories = [Category(entry.id, entry.name) for entry in classes.classes]
    if keep:
        categories.append(Category(occluder, OCCLUDER))
    return AmodalDataset(images=tuple(images), categories=tuple(categories)), without


def _by_name(classes: ClassMap) -> dict[str, ClassEntry]:
    found: dict[str, ClassEntry] = {}
    for entry in classes.classes:
        for name in {_plain(name) for name in (entry.name, *entry.names)}:
            if name in found:
                raise UsageError(f"class map: {name!r} stands in {found[name].name!r} and in {entry.name!r}")
            found[name] = entry
    repeated = [number for number, count in Counter(entry.id for entry in classes.classes).items() if count > 1]
    if repeated:
        raise UsageError(f"class map: id {repeated[0]} stands in two classes")
    return found


def _plain(name: str) -> str:
    return " ".join(name.split()).casefold()
