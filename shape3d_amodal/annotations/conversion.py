"""From one annotation format to another, and what of it the other cannot hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from shape3d_amodal.annotations.class_map import ClassMap, map_classes
from shape3d_amodal.annotations.formats.coco_amodal import write_coco_amodal, write_d2sa
from shape3d_amodal.annotations.formats.cocoa import write_cocoa
from shape3d_amodal.annotations.formats.detect import read_annotations, read_dataset
from shape3d_amodal.annotations.formats.kins import write_kins2019, write_kins2020
from shape3d_amodal.annotations.formats.layout import Listener
from shape3d_amodal.annotations.formats.writing import MaskForm
from shape3d_amodal.errors import DataError, UsageError
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance

FormatName = Literal["coco_amodal", "kins2020", "kins2019", "cocoa", "d2sa"]
"""d2sa is also the form of COCOA-cls."""
FORMATS: tuple[FormatName, ...] = get_args(FormatName)

_WRITERS: dict[FormatName, Callable[[str | Path, AmodalDataset], None]] = {
    "coco_amodal": write_coco_amodal,
    "kins2020": write_kins2020,
    "kins2019": write_kins2019,
    "cocoa": write_cocoa,
    "d2sa": write_d2sa,
}


@dataclass(frozen=True)
class Conversion:
    """What a conversion did.

    Attributes:
        dataset: what was written.
        source: the format that the file's keys have shown.
        left_out: the errors of records that were left out.
        unclassed: objects without a class by name, where classes were mapped.
        losses: what differs when the new file is read again, and what was never read, a line each.
    """

    dataset: AmodalDataset
    source: str
    left_out: tuple[DataError, ...]
    unclassed: Counter[str]
    losses: tuple[str, ...]


def convert(
    source: str | Path,
    target: str | Path,
    to: FormatName,
    *,
    form: MaskForm = "rle",
    drop_invalid: bool = False,
    classes: ClassMap | None = None,
) -> Conversion:
    """Write the annotations of ``source`` to ``target`` in the format ``to``, then read them again and compare.

    Args:
        form: how KINS 2020 holds its masks; the other formats have one form.
        drop_invalid: leave out records with errors instead of refusing the file.
        classes: maps the names of the file to classes before it is written.

    Raises:
        DataError: ``source`` cannot be read, an object lacks an amodal mask that ``to`` needs, or ``target`` cannot be
            written.
        UsageError: ``form`` is for KINS 2020 alone, or ``classes`` contradicts itself.
    """
    if form == "polygons" and to != "kins2020":
        raise UsageError(f"masks: {to} has one form; leave polygons to kins2020")
    listener = _Dropper() if drop_invalid else Listener()
    reading = read_annotations(source, listener)
    dataset, unclassed = reading.dataset, Counter[str]()
    if classes is not None:
        dataset, unclassed = map_classes(dataset, classes)
    if to == "kins2020":
        write_kins2020(target, dataset, form=form)
    else:
        _WRITERS[to](target, dataset)
    unread = [f"{key} is not read" for key in reading.unread]
    losses = (*unread, *(_explained(loss, to) for loss in differences(dataset, read_dataset(target))))
    left_out = tuple(listener.errors) if isinstance(listener, _Dropper) else ()
    return Conversion(dataset, reading.layout.name, left_out, unclassed, losses)


def differences(before: AmodalDataset, after: AmodalDataset) -> list[str]:
    """A line for each thing that differs in two data sets of the same images and objects, in the same order."""
    images = list(zip(before.images, after.images, strict=True))
    objects = [pair for a, b in images for pair in zip(a.instances, b.instances, strict=True)]
    names = before.category_names, after.category_names
    lines = [
        *_counted("images", images, _IMAGE_FACTS),
        *_counted("objects", objects, _OBJECT_FACTS),
        *_counted("objects", [(names[0][a.category_id], names[1][b.category_id]) for a, b in objects], _NAME),
    ]
    if set(before.categories) != set(after.categories):
        lines.append("categories that no object has, ids or supercategories of categories")
    return lines


def _explained(loss: str, to: FormatName) -> str:
    return f"{loss}: {_NOTES.get((to, loss.split()[0]), 'the format has no place for it')}"


_CROWDS = "ignored objects are written as crowds"
_NOTES: dict[tuple[FormatName, str], str] = {
    ("kins2020", "crowd"): _CROWDS,
    ("kins2019", "crowd"): _CROWDS,
    ("d2sa", "crowd"): _CROWDS,
    ("kins2020", "depth_order"): "counted anew in each cluster, from 1 on, 0 for what overlaps no other",
    ("kins2020", "cluster"): "the overlaps of the amodal masks decide",
    ("cocoa", "depth_order"): "counted anew in the whole image",
    ("cocoa", "id"): "counted anew",
    ("cocoa", "category"): "without blanks at the ends",
    ("cocoa", "categories"): "the format has names alone",
}


class _Dropper(Listener):
    """Leaves out records with errors, and keeps the errors."""

    def __init__(self) -> None:
        self.errors: list[DataError] = []

    def passes(self, error: DataError) -> bool:
        self.errors.append(error)
        return True


Facts = dict[str, Callable[[Any], Any]]


def _places(image: AmodalImage) -> list[tuple[int, int]]:
    """The image's pairs as places among its objects, which stay when ids do not."""
    place = {one.id: index for index, one in enumerate(image.instances)}
    return [(place.get(front, -1), place.get(behind, -1)) for front, behind in image.depth_constraint]


def _field(name: str) -> Callable[[AmodalInstance | AmodalImage], Any]:
    return lambda one: getattr(one, name)


_IMAGE_FACTS: Facts = {
    **{name: _field(name) for name in ("id", "file_name", "width", "height", "camera")},
    "depth_constraint": _places,
}
_OBJECT_FACTS: Facts = {
    name: _field(name)
    for name in AmodalInstance.__dataclass_fields__
    if name not in ("category_id", "occlude_rate")  # compared by name; follows from the masks
}
_NAME: Facts = {"category name": lambda name: name}


def _counted(what: str, pairs: list[tuple[Any, Any]], facts: Facts) -> list[str]:
    """How many of ``pairs`` differ in each of ``facts``."""
    counts = {name: sum(fact(a) != fact(b) for a, b in pairs) for name, fact in facts.items()}
    return [f"{name} of {count} of {len(pairs)} {what}" for name, count in counts.items() if count]
