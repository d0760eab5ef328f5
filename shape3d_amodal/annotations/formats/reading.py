"""Functions that the readers of all formats share; ``read_records`` reads formats with one record for each instance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.fields import Record, told
from shape3d_amodal.annotations.formats.interface import Format, Listener, Reading
from shape3d_amodal.annotations.formats.objects import Found, find_object, numbers
from shape3d_amodal.annotations.formats.poses import read_intrinsics
from shape3d_amodal.masks.occlusion import visible_by_order
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance, Category

MAX_ID = 2**53
"""Larger numbers may be rounded by programs that keep JSON's numbers as float64."""
_CATEGORY_KEYS = frozenset(("id", "name", "supercategory"))


def read_records(root: Record, format: Format, listener: Listener) -> Reading:
    """Read the document ``root``; masks stay run-length codes.

    A missing visible mask follows from the invisible mask, from an occlusion rate of 0, or from the order
    (``occlusion.visible_by_order``).

    Raises:
        DataError: an error that ``listener`` does not let pass, naming the field, e.g. ``annotations[3].visible_mask``.
    """
    categories = read_categories(root, listener)
    images = read_images(root, listener)
    found: dict[int, list[Found]] = defaultdict(list)
    for record in unique_records(root, "annotations", listener):
        with about(record.values, "annotations", listener):
            image, category = image_of(record, images), category_of(record, categories)
            identity = record.get("id", int)
            found[image.id].append(find_object(record, format, image, identity=identity, category=category))
    done = tuple(_with_objects(image, found.pop(image.id, []), root, format, listener) for image in images.values())
    known_keys = {"images": format.image_keys, "categories": _CATEGORY_KEYS, "annotations": format.keys}
    dataset = AmodalDataset(images=done, categories=tuple(categories.values()))
    return Reading(dataset, format, unread_keys(root, known_keys))


def _with_objects(
    image: AmodalImage, found: list[Found], root: Record, format: Format, listener: Listener
) -> AmodalImage:
    instances = settle(found, format, listener)
    known = {one.id for one in instances}
    pairs = tuple(pair for pair in image.depth_constraint if known.issuperset(pair))
    with listener.about(image_id=image.id):
        if len(pairs) < len(image.depth_constraint):
            problem = "expected pairs of ids of the image's annotations; correct or remove the others"
            raise root.error(f"images[id={image.id}].depth_constraint", problem)
    return replace(image, instances=instances, depth_constraint=pairs)


def about(value: Any, key: str, listener: Listener, *, one_object: bool = True) -> AbstractContextManager[None]:
    """The listener's block about ``value``, an entry of the list ``key``, whatever it is.

    Args:
        one_object: whether an annotation is one object, and its id that of the object.
    """
    told = value if isinstance(value, dict) else {}
    if key == "images":
        return listener.about(image_id=told.get("id"))
    if key == "annotations":
        return listener.about(image_id=told.get("image_id"), annotation_id=told.get("id") if one_object else None)
    return listener.about()


def unique_records(root: Record, key: str, listener: Listener, *, one_object: bool = True) -> list[Record]:
    """The objects of the list ``key``, each with an ``id`` of its own; ``one_object`` as for ``about``."""
    values: list[Any] = []
    with listener.about():
        if key == "annotations" and key not in root.values:
            listener.images_alone(root.error(key, "missing; expected a list; add it, or use the annotated part"))
        else:
            values = root.get(key, list)
    records = []
    ids: set[int] = set()
    for index, value in enumerate(values):
        with about(value, key, listener, one_object=one_object):
            record = Record(value, root.file, f"{key}[{index}]")
            identity = record.get("id", int)
            if abs(identity) > MAX_ID:
                raise record.error("id", f"expected an id from -{MAX_ID} to {MAX_ID}; number the {key} anew")
            if identity in ids:
                raise record.error("id", f"duplicate id {identity}; give every entry of {key} its own")
            ids.add(identity)
            records.append(record)
    return records


def read_categories(root: Record, listener: Listener) -> dict[int, Category]:
    """The categories by their ids."""
    categories = {}
    for record in unique_records(root, "categories", listener):
        with listener.about():
            identity, name = record.get("id", int), record.get("name", str)
            categories[identity] = Category(identity, name, record.optional("supercategory", str))
    return categories


def read_images(root: Record, listener: Listener) -> dict[int, AmodalImage]:
    """The images by their ids, without instances."""
    images = {}
    for record in unique_records(root, "images", listener):
        with about(record.values, "images", listener):
            height, width = record.get("height", int), record.get("width", int)
            masks.check_size(height, width, file=record.file, field=record.field)
            identity = record.get("id", int)
            images[identity] = AmodalImage(
                id=identity,
                file_name=record.get("file_name", str),
                width=width,
                height=height,
                instances=(),
                depth_constraint=_pairs(record),
                camera=numbers(record, "camera"),
                intrinsics=read_intrinsics(record),
            )
    return images


def image_of(record: Record, images: dict[int, AmodalImage]) -> AmodalImage:
    """The image of the annotation ``record``."""
    image_id = record.get("image_id", int)
    if image_id not in images:
        raise record.error("image_id", f"no image has the id {image_id}; add the image or drop the annotation")
    return images[image_id]


def category_of(record: Record, categories: Mapping[int, Category]) -> int:
    """The id of the category of the annotation ``record``."""
    category = record.get("category_id", int)
    if category not in categories:
        raise record.error("category_id", f"unknown category {category}; add it to categories")
    return category


def settle(found: Sequence[Found], format: Format, listener: Listener) -> tuple[AmodalInstance, ...]:
    """The objects of one image, with the visible masks that follow from their order."""
    all_found = [one.instance for one in found]
    instances = []
    for index, (record, instance, visible_known) in enumerate(found):
        if not visible_known:
            visible = visible_by_order(all_found, index)
            assert instance.amodal is not None
            instance = replace(instance, visible=visible, occlude_rate=masks.occlude_rate(visible, instance.amodal))
        listener.instance(record, instance, format)
        instances.append(instance)
    return tuple(instances)


def unread_keys(root: Record, known: Mapping[str, frozenset[str]]) -> tuple[str, ...]:
    """The keys that the readers have no use for; ``known`` are those read by list, e.g. ``annotations[].regions``."""
    unread = [key for key in root.values if key not in known]
    for place, keys in known.items():
        records: list[Any] = [root.values]
        for key in place.split("[]."):
            lists = (record.get(key) for record in records if isinstance(record, dict))
            records = [one for listed in lists if isinstance(listed, list) for one in listed]
        found: set[str] = set().union(*(record.keys() for record in records if isinstance(record, dict)))
        unread += [f"{place}[].{key}" for key in sorted(found - keys)]
    return tuple(unread)


def _pairs(record: Record) -> tuple[tuple[int, int], ...]:
    pairs = record.optional("depth_constraint", list) or []
    for pair in pairs:
        if type(pair) is not list or [type(one) for one in pair] != [int, int]:
            raise record.error(
                "depth_constraint", f"expected pairs of annotation ids, [in front, behind], got {told(pair)}"
            )
    return tuple((front, behind) for front, behind in pairs)
