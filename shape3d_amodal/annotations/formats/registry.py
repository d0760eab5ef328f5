"""All formats, and the one way in: a file of any of them, recognised by the keys of its records.

A new format is a file with its ``Format`` and one more name in ``FORMATS``.
"""

from __future__ import annotations

import gc
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

from shape3d_amodal.annotations.formats.coco_amodal import COCO, COCO_AMODAL, D2SA
from shape3d_amodal.annotations.formats.cocoa import COCOA
from shape3d_amodal.annotations.formats.detections import read_detections
from shape3d_amodal.annotations.formats.fields import Record, pack_masks
from shape3d_amodal.annotations.formats.interface import Format, Listener, Reading
from shape3d_amodal.annotations.formats.kins import KINS_2019, KINS_2020
from shape3d_amodal.errors import DataError, UsageError, check_choice, check_path
from shape3d_amodal.files import safe_io
from shape3d_amodal.structures import AmodalDataset

FORMATS = {one.name: one for one in (COCO_AMODAL, COCOA, KINS_2020, KINS_2019, D2SA)}
"""The formats by name. If a file has the signs of several, the first of them is taken."""
PUBLISHED = {name: counts for one in FORMATS.values() for name, counts in one.published.items()}
"""Counts of images and categories in published sets, by the name of the set."""

Segmentation = Literal["amodal", "visible"]
"""What the key ``segmentation`` shows: the whole object, or its visible pixels as in plain COCO."""

_MASK_KEYS = tuple(dict.fromkeys(key for one in FORMATS.values() for key in one.mask_keys))
_LOOK_AT = 100


def read_dataset(path: str | Path, *, segmentation: Segmentation = "amodal") -> AmodalDataset:
    """Read the annotation file ``path``, of any of ``FORMATS``.

    Masks stay run-length codes. Fully hidden objects are kept, with an empty visible mask.

    Args:
        segmentation: ``visible`` reads plain COCO, whose ``segmentation`` shows the visible pixels.

    Raises:
        DataError: naming the file and the field, e.g. ``annotations[3].visible_mask``.
        UsageError: ``path`` is no path, ``segmentation`` is neither word, or is ``visible`` though the file has visible
            masks elsewhere.
    """
    return read_annotations(path, segmentation=segmentation).dataset


def read_annotations(
    path: str | Path,
    listener: Listener | None = None,
    *,
    segmentation: Segmentation = "amodal",
    image_info: str | Path | None = None,
    min_score: float = 0.5,
) -> Reading:
    """Read the annotation file ``path`` and recognise its format, or read a list of detections.

    Args:
        listener: is told of every error and every object; without one the first error is raised.
        segmentation: ``visible`` reads plain COCO, whose ``segmentation`` shows the visible pixels.
        image_info: JSON file with the ``images`` and ``categories`` of the detections in ``path``, a list in the form
            of COCO's results.
        min_score: detections with a lower score are left out.

    Raises:
        DataError: the file cannot be read as JSON of an object, or of a list where ``image_info`` is given, or has an
            error that ``listener`` does not let pass.
        UsageError: ``path`` is no path, ``segmentation`` is neither word, or is ``visible`` though the file has visible
            masks elsewhere.
    """
    check_path("path", path)
    check_choice("segmentation", segmentation, get_args(Segmentation))
    if Path(path).is_dir():
        problem = "expected an annotation file, got a folder"
        raise DataError(f"{problem}; of the folder of a BOP split data convert --from bop makes a file", file=path)
    enabled = gc.isenabled()
    gc.disable()  # it would walk again and again through millions of records, which have no cycles
    try:
        root, listener = _parsed(path), listener or Listener()
        if image_info is not None:
            if not isinstance(root, list):
                raise DataError("expected a list of detections, as image_info goes with them", file=path)
            info = Record(_parsed(image_info), image_info, "")
            return read_detections(root, path, info, listener, min_score=min_score)
        if isinstance(root, list):
            problem = "expected an object, got a list; a detector's results are for complete and render"
            raise DataError(f"{problem}, with --image-info for the file of their images and categories", file=path)
        document = Record(root, path, "")
        found = _recognise(document)
        if segmentation == "visible":
            found = _plain_coco(document, found)
        return found.read(document, found, listener)
    finally:
        if enabled:
            gc.enable()


def _parsed(path: str | Path) -> Any:
    return safe_io.read_json(path, object_hook=partial(pack_masks, keys=_MASK_KEYS), finite=False)


def _keys(root: Record) -> set[str]:
    """The keys of the first annotations of a document."""
    annotations: Any = root.values.get("annotations")
    first = list(islice(annotations, _LOOK_AT)) if isinstance(annotations, list) else []
    return {key for record in first if isinstance(record, dict) for key in record}


def _plain_coco(root: Record, found: Format) -> Format:
    if found is not COCO_AMODAL or found.visible in _keys(root):
        problem = f"{root.file}: has visible masks of its own ({found.visible}), as {found.name} has them"
        raise UsageError(f"{problem}; segmentation=visible is for plain COCO, leave it out")
    return COCO


def _recognise(root: Record) -> Format:
    """The format of the document ``root`` by the keys of its first annotations; without any, by its categories."""
    keys = _keys(root)
    for one in FORMATS.values():  # a file may also be a lone annotation
        if not (keys | root.values.keys()).isdisjoint(one.signs):
            return one
    return COCO_AMODAL if "categories" in root.values or keys else COCOA
