"""Conversion of annotation files from one format to another, with a list of what the other format cannot hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from shape3d_amodal.annotations.calibration import with_calibration
from shape3d_amodal.annotations.class_map import ClassMap, map_classes
from shape3d_amodal.annotations.formats.bop import BopOptions, Places, read_bop
from shape3d_amodal.annotations.formats.interface import Listener
from shape3d_amodal.annotations.formats.registry import FORMATS, Segmentation, read_annotations, read_dataset
from shape3d_amodal.annotations.formats.writing import MaskForm, check_form
from shape3d_amodal.errors import DataError, UsageError, counted
from shape3d_amodal.files.atomic import make_folder
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance


@dataclass(frozen=True)
class Conversion:
    """The result of a conversion.

    Attributes:
        dataset: what was written.
        source: the name of the file's format.
        left_out: the errors of records that were left out.
        unclassed: objects without a class by name, where classes were mapped.
        losses: a line for each thing that was not read, or that differs when the new file is read again.
        notes: lines on how a BOP split was read.
    """

    dataset: AmodalDataset
    source: str
    left_out: tuple[DataError, ...]
    unclassed: Counter[str]
    losses: tuple[str, ...]
    notes: tuple[str, ...] = ()


def convert(
    source: str | Path,
    target: str | Path,
    to: str,
    *,
    form: MaskForm = "rle",
    drop_invalid: bool = False,
    classes: ClassMap | None = None,
    segmentation: Segmentation = "amodal",
    bop: BopOptions | None = None,
    calibration: str | Path | None = None,
    progress: Callable[[Places], Places] = iter,
) -> Conversion:
    """Write the annotations of ``source`` to ``target`` in the format ``to``, then read them again and compare.

    Args:
        source: an annotation file, or with ``bop`` the folder of a BOP split.
        to: a name in ``FORMATS``.
        form: how the masks are written, for formats that allow either kind (KINS 2020).
        drop_invalid: leave out records with errors instead of refusing the file.
        classes: maps the names of the file to classes before it is written.
        segmentation: as for ``read_annotations``.
        bop: how the split is read; None for files.
        calibration: folder of KITTI's calibration files, by which the cameras of the images are known.
        progress: wraps the pictures of a BOP split while they are read.

    Raises:
        DataError: ``source`` cannot be read, an object lacks an amodal mask that ``to`` needs, or ``target`` cannot be
            written.
        UsageError: there is no format ``to``, it does not allow ``form``, or ``classes`` contradicts itself.
    """
    check_target(to, form)
    write = FORMATS[to].write if form == "rle" else FORMATS[to].write_polygons
    assert write is not None, "checked"
    listener = Listener(drop_invalid=drop_invalid)
    if bop is None:
        reading, notes = read_annotations(source, listener, segmentation=segmentation), []
    else:
        reading = read_bop(source, bop, listener, progress=progress)
        notes = reading.notes()
    dataset, unclassed = reading.dataset, Counter[str]()
    if classes is not None:
        dataset, unclassed = map_classes(dataset, classes)
    if calibration is not None:
        dataset = with_calibration(dataset, calibration)
    make_folder(Path(target).parent)
    write(target, dataset)
    unread = [f"{key} is not read" for key in reading.unread]
    why = FORMATS[to].notes
    lost = differences(dataset, read_dataset(target))
    losses = [f"{loss}: {why.get(loss.split()[0], 'the format has no place for it')}" for loss in lost]
    return Conversion(dataset, reading.format.name, tuple(listener.errors), unclassed, (*unread, *losses), tuple(notes))


def check_target(to: str, form: MaskForm) -> None:
    """Refuse a format or a form that is not known, or not allowed with the other, with a ``UsageError``."""
    check_form(form)
    if to not in FORMATS:
        raise UsageError(f"to: expected a format of {', '.join(FORMATS)}, got {to!r}")
    if form == "polygons" and FORMATS[to].write_polygons is None:
        flexible = ", ".join(name for name, one in FORMATS.items() if one.write_polygons)
        raise UsageError(f"masks: {to} has one form; leave polygons to {flexible}")


def differences(before: AmodalDataset, after: AmodalDataset) -> list[str]:
    """A line for each thing that differs in two data sets of the same images and objects, in the same order."""
    images = list(zip(before.images, after.images, strict=True))
    objects = [pair for a, b in images for pair in zip(a.instances, b.instances, strict=True)]
    old, new = before.category_names, after.category_names
    names = [(old[a.category_id], new[b.category_id]) for a, b in objects]
    lines = _differing("image", images, _IMAGE_FACTS) + _differing("object", objects, _OBJECT_FACTS)
    lines += _differing("object", names, {"category name": str})
    if set(before.categories) != set(after.categories):
        lines.append("categories that no object has, ids or supercategories of categories")
    return lines


def _places(image: AmodalImage) -> list[tuple[int, int]]:
    """The image's pairs as places among its objects, which stay when ids do not."""
    place = {one.id: index for index, one in enumerate(image.instances)}
    return [(place.get(front, -1), place.get(behind, -1)) for front, behind in image.depth_constraint]


Facts = dict[str, Callable[[Any], Any]]
"""Functions whose values are compared, by name."""
_IMAGE_FACTS: Facts = {
    **{name: attrgetter(name) for name in ("id", "file_name", "width", "height", "camera", "intrinsics")},
    "depth_constraint": _places,
}
_OBJECT_FACTS: Facts = {
    name: attrgetter(name)
    for name in AmodalInstance.__dataclass_fields__
    if name not in ("category_id", "occlude_rate")  # categories are compared by name; the rate follows from the masks
}


def _differing(what: str, pairs: list[tuple[Any, Any]], facts: Facts) -> list[str]:
    """How many of ``pairs`` differ in each of ``facts``."""
    counts = {name: sum(fact(a) != fact(b) for a, b in pairs) for name, fact in facts.items()}
    return [f"{name} of {count} of {counted(len(pairs), what)}" for name, count in counts.items() if count]
