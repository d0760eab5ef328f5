"""The one way in: an annotation file of any known format, told apart by the keys of its records."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from shape3d_amodal.annotations.formats.coco_amodal import COCO_AMODAL
from shape3d_amodal.annotations.formats.cocoa import COCOA, as_document, read_cocoa
from shape3d_amodal.annotations.formats.fields import Record
from shape3d_amodal.annotations.formats.kins import KINS_2019, KINS_2020
from shape3d_amodal.annotations.formats.layout import Layout, Listener, Reading
from shape3d_amodal.annotations.formats.packing import pack_masks
from shape3d_amodal.annotations.formats.records import read_records
from shape3d_amodal.files import safe_io
from shape3d_amodal.structures import AmodalDataset

_SIGNS: dict[str, Layout] = {"regions": COCOA, "a_segm": KINS_2020, "i_segm": KINS_2020, "inmodal_seg": KINS_2019}
_LOOK_AT = 100


def read_dataset(path: str | Path) -> AmodalDataset:
    """Read the annotation file ``path``: KINS 2019 or 2020, COCOA, COCOA-cls, D2SA or our own form.

    Masks stay run-length codes. Fully hidden objects are kept, with an empty visible mask.

    Raises:
        DataError: naming the file and the field, e.g. ``annotations[3].visible_mask``.
    """
    return read_annotations(path).dataset


def read_annotations(path: str | Path, listener: Listener | None = None) -> Reading:
    """Read the annotation file ``path`` and tell its format.

    Args:
        listener: hears of every error and every object; without one the first error is raised.

    Raises:
        DataError: the file cannot be read as JSON of an object, or what ``listener`` does not let pass.
    """
    listener = listener or Listener()
    with _collector_paused():
        root = Record(safe_io.read_json(path, object_hook=pack_masks, finite=False), path, "")
        if "regions" in root.values:
            root = as_document(root)
        layout = detect_layout(root)
        return read_cocoa(root, listener) if layout is COCOA else read_records(root, layout, listener)


def detect_layout(root: Record) -> Layout:
    """The format of the document ``root`` by the keys of its first annotations; without any, by its categories."""
    annotations: Any = root.values.get("annotations")
    first = list(islice(annotations, _LOOK_AT)) if isinstance(annotations, list) else []
    keys = {key for record in first if isinstance(record, dict) for key in record}
    signs = [layout for sign, layout in _SIGNS.items() if sign in keys]
    without = COCO_AMODAL if "categories" in root.values or keys else COCOA
    return signs[0] if signs else without


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Millions of records without a cycle grow here; Python would walk through all of them again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
