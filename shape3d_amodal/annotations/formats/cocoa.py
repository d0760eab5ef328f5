"""COCOA (amodalAPI): one annotation an image, with regions from near to far.

    {"images": [{"id", "file_name", "width", "height"}],
     "annotations": [{"id", "image_id", "depth_constraint"? ("1-2,1-5": region 1 is in front of 2 and of 5),
                      "regions": [{"segmentation" (one flat polygon, amodal), "name" (free text), "area", "isStuff",
                                   "occlude_rate", "order" (1 is nearest),
                                   "visible_mask"?, "invisible_mask"? (RLE, only where something hides it)}]}]}

Names, stripped, become categories, numbered from 1 in order of appearance. Regions have no ids and are numbered from 1
in the order of the file. Where several people annotated one image, every annotation after the first becomes an image of
its own, with the same file and a new id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.fields import Record, told
from shape3d_amodal.annotations.formats.interface import Format, Listener, Reading
from shape3d_amodal.annotations.formats.objects import Found, find_object
from shape3d_amodal.annotations.formats.reading import (
    about,
    image_of,
    read_images,
    settle,
    unique_records,
    unread_keys,
)
from shape3d_amodal.annotations.formats.writing import image_entry, polygon_of, require_amodal
from shape3d_amodal.files.atomic import write_json_atomic
from shape3d_amodal.masks.clusters import image_orders
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance, Category

_ANNOTATION_KEYS = frozenset(("id", "image_id", "regions", "depth_constraint", "size"))


def read_cocoa(root: Record, format: Format, listener: Listener) -> Reading:
    """Read the document ``root``, or a lone annotation; masks stay run-length codes.

    Raises:
        DataError: an error that ``listener`` does not let pass, naming e.g. ``annotations[0].regions[3].name``.
    """
    if "regions" in root.values:
        root = _as_document(root)
    images = read_images(root, listener)
    new_image_ids = count(max(images, default=0) + 1)
    ids, names = count(1), dict[str, int]()
    done: dict[int, AmodalImage] = {}
    for record in unique_records(root, "annotations", listener, one_object=False):
        with about(record.values, "annotations", listener, one_object=False):
            image = image_of(record, images)
            if image.id in done:
                image = replace(image, id=next(new_image_ids))
            found = _find_regions(record, format, image, ids, names, listener)
            done[image.id] = replace(image, instances=settle([*found.values()], format, listener))
            with listener.about(image_id=image.id):
                done[image.id] = replace(done[image.id], depth_constraint=_pairs(record, found))
    categories = tuple(Category(identity, name) for name, identity in names.items())
    ordered = [done.pop(identity, image) for identity, image in images.items()]
    dataset = AmodalDataset(images=(*ordered, *done.values()), categories=categories)
    keys = {"images": format.image_keys, "annotations": _ANNOTATION_KEYS, "annotations[].regions": format.keys}
    return Reading(dataset, format, unread_keys(root, keys))


def write_cocoa(path: str | Path, dataset: AmodalDataset) -> None:
    """Write ``dataset`` to ``path`` atomically in the format of COCOA, one annotation for every image.

    The orders of clusters become one order of the whole image. Categories are written by name alone. Ids of categories
    and objects, and whether an object is ignored, are lost.

    Raises:
        DataError: an object without amodal mask, or the file cannot be written.
    """
    annotations = [_annotation(image, dataset.category_names, path) for image in dataset.images]
    write_json_atomic(path, {"images": list(map(image_entry, dataset.images)), "annotations": annotations})


def _as_document(annotation: Record) -> Record:
    """A lone annotation, as amodalAPI hands out samples, as a document of one image.

    The image's size is that of the masks, and its name the end of ``url``.
    """
    regions = [value for value in annotation.get("regions", list) if isinstance(value, dict)]
    coded = [region.get("visible_mask") or region.get("invisible_mask") for region in regions]
    sizes = [mask.get("size") for mask in coded if isinstance(mask, dict)]
    if not sizes or type(sizes[0]) is not list or len(sizes[0]) != 2:
        problem = "expected a visible_mask that tells the image's size; put the annotation into a file with images"
        raise annotation.error("regions", problem)
    height, width = sizes[0]
    name = str(annotation.values.get("url", "image")).rpartition("/")[2]
    image = {"id": annotation.values.get("image_id"), "file_name": name, "height": height, "width": width}
    return Record({"images": [image], "annotations": [annotation.values]}, annotation.file, "")


def _find_regions(
    annotation: Record,
    format: Format,
    image: AmodalImage,
    ids: Iterator[int],
    names: dict[str, int],
    listener: Listener,
) -> dict[int, Found]:
    """The objects of one annotation by their places in it, counted from 1; new categories are added to ``names``."""
    found = {}
    for index, value in enumerate(annotation.get("regions", list)):
        with listener.about(image_id=image.id):
            record = Record(value, annotation.file, f"{annotation.field}.regions[{index}]")
            name = record.get("name", str).strip()
            category = names.get(name, len(names) + 1)
            found[index + 1] = find_object(record, format, image, identity=next(ids), category=category)
            names[name] = category
    return found


def _pairs(annotation: Record, found: dict[int, Found]) -> tuple[tuple[int, int], ...]:
    """``depth_constraint`` as pairs of instance ids, without those of regions that were left out."""
    text = annotation.optional("depth_constraint", str) or ""
    instances = {place: one.instance for place, one in found.items()}
    numbers = _numbers({place: one.depth_order for place, one in instances.items()})
    ids = {number: instances[place].id for place, number in numbers.items()}
    all_found = len(found) == len(annotation.get("regions", list))
    find: Callable[[int], int | None] = ids.__getitem__ if all_found else ids.get
    try:
        pairs = [tuple(find(int(number)) for number in pair.split("-")) for pair in text.split(",") if pair]
        return tuple((front, behind) for front, behind in pairs if front is not None and behind is not None)
    except (ValueError, KeyError):
        problem = f"expected pairs such as 1-2,1-5, got {told(text)}; correct or remove it"
        raise annotation.error("depth_constraint", problem) from None


def _numbers(orders: dict[int, int | None]) -> dict[int, int]:
    """Numbers of regions in ``depth_constraint``, by place: their orders, or their places if orders are not unique."""
    known = {place: order + 1 for place, order in orders.items() if order is not None}
    return known if len(set(known.values())) == len(orders) else {place: place for place in orders}


def _annotation(image: AmodalImage, names: dict[int, str], path: str | Path) -> dict[str, Any]:
    orders = image_orders(image)
    regions = [
        _region(one, order, names[one.category_id], path) for one, order in zip(image.instances, orders, strict=True)
    ]
    annotation: dict[str, Any] = {"id": image.id, "image_id": image.id, "size": len(regions), "regions": regions}
    if image.depth_constraint:
        numbers = _numbers(dict(enumerate(orders, start=1)))
        called = {one.id: numbers[place] for place, one in enumerate(image.instances, start=1)}
        pairs = (f"{called[front]}-{called[behind]}" for front, behind in image.depth_constraint)
        annotation["depth_constraint"] = ",".join(pairs)
    return annotation


def _region(instance: AmodalInstance, order: int | None, name: str, path: str | Path) -> dict[str, Any]:
    amodal, visible = require_amodal(instance, path), instance.visible
    region: dict[str, Any] = {
        "segmentation": polygon_of(amodal, path),
        "name": name,
        "area": masks.area(amodal),
        "isStuff": int(instance.is_stuff),
        "occlude_rate": masks.occlude_rate(visible, amodal),
    }
    if order is not None:
        region["order"] = order + 1
    if visible != amodal:
        region["visible_mask"] = visible.to_coco()
        region["invisible_mask"] = masks.subtract(amodal, visible).to_coco()
    return region


COCOA = Format(
    name="cocoa",
    read=read_cocoa,
    write=write_cocoa,
    signs=("regions",),
    amodal="segmentation",
    visible="visible_mask",
    invisible="invisible_mask",
    amodal_area="area",
    rate="occlude_rate",
    order="order",
    first_order=1,
    whole_unless_visible=True,
    more=("name", "isStuff"),
    notes={
        "depth_order": "counted anew in the whole image",
        "id": "counted anew",
        "category": "without blanks at the ends",
        "categories": "the format has names alone",
    },
)
