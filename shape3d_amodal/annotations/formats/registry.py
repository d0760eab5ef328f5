"""All formats, and the one way in: a file of any of them, recognised by the keys of its records.

A new format is a file with its ``Format`` and one more name in ``FORMATS``.
"""

from __future__ import annotations

import gc
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from shape3d_amodal.annotations.formats.coco_amodal import COCO_AMODAL, D2SA
from shape3d_amodal.annotations.formats.cocoa import COCOA
from shape3d_amodal.annotations.formats.fields import Record, pack_masks
from shape3d_amodal.annotations.formats.interface import Format, Listener, Reading
from shape3d_amodal.annotations.formats.kins import KINS_2019, KINS_2020
from shape3d_amodal.files import safe_io
from shape3d_amodal.structures import AmodalDataset

FORMATS = {one.name: one for one in (COCO_AMODAL, COCOA, KINS_2020, KINS_2019, D2SA)}
"""The formats by name. If a file has the signs of several, the first of them is taken."""
PUBLISHED = {name: counts for one in FORMATS.values() for name, counts in one.published.items()}
"""Counts of images and categories in published sets, by the name of the set."""

_MASK_KEYS = tuple(dict.fromkeys(key for one in FORMATS.values() for key in one.mask_keys))
_LOOK_AT = 100


def read_dataset(path: str | Path) -> AmodalDataset:
    """Read the annotation file ``path``, of any of ``FORMATS``.

    Masks stay run-length codes. Fully hidden objects are kept, with an empty visible mask.

    Raises:
        DataError: naming the file and the field, e.g. ``annotations[3].visible_mask``.
    """
    return read_annotations(path).dataset


def read_annotations(path: str | Path, listener: Listener | None = None) -> Reading:
    """Read the annotation file ``path`` and recognise its format.

    Args:
        listener: is told of every error and every object; without one the first error is raised.

    Raises:
        DataError: the file cannot be read as JSON of an object, or has an error that ``listener`` does not let pass.
    """
    enabled = gc.isenabled()
    gc.disable()  # it would walk again and again through millions of records, which have no cycles
    try:
        pack = partial(pack_masks, keys=_MASK_KEYS)
        root = Record(safe_io.read_json(path, object_hook=pack, finite=False), path, "")
        found = _recognise(root)
        return found.read(root, found, listener or Listener())
    finally:
        if enabled:
            gc.enable()


def _recognise(root: Record) -> Format:
    """The format of the document ``root`` by the keys of its first annotations; without any, by its categories."""
    annotations: Any = root.values.get("annotations")
    first = list(islice(annotations, _LOOK_AT)) if isinstance(annotations, list) else []
    keys = {key for record in first if isinstance(record, dict) for key in record}
    for one in FORMATS.values():  # a file may also be a lone annotation
        if not (keys | root.values.keys()).isdisjoint(one.signs):
            return one
    return COCO_AMODAL if "categories" in root.values or keys else COCOA
