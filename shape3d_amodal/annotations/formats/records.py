"""Reading COCO files of one record an instance, whatever the format calls its fields."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.fields import Record, is_number
from shape3d_amodal.annotations.formats.layout import Layout, Listener, Reading
from shape3d_amodal.errors import DataError
from shape3d_amodal.masks.occlusion import visible_by_order
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance, Category, Rle

MAX_ID = 2**53
"""Beyond it, what reads JSON or keeps numbers as float64 takes neighbours for one."""
_CATEGORY_KEYS = frozenset(("id", "name", "supercategory"))


def read_records(root: Record, layout: Layout, listener: Listener) -> Reading:
    """Read the document ``root``; masks stay run-length codes.

    A visible mask that is missing follows from the invisible mask, from an occlusion rate of 0, or from the order
    (``occlusion.visible_by_order``).

    Raises:
        DataError: what ``listener`` does not let pass, naming the field, e.g. ``annotations[3].visible_mask``.
    """
    categories = read_categories(root, listener)
    known = {category.id for category in categories}
    images = read_images(root, listener)
    found: dict[int, list[Found]] = defaultdict(list)
    for record in unique_records(root, "annotations", listener):
        with listener:
            image = image_of(record, images)
            category = record.get("category_id", int)
            if category not in known:
                raise record.error("category_id", f"unknown category {category}; add it to categories")
            identity = record.get("id", int)
            found[image.id].append(find_object(record, layout, image, identity=identity, category=category))
    done = tuple(_with_objects(image, found.pop(image.id, []), root, layout, listener) for image in images.values())
    known_keys = {"images": layout.image_keys, "categories": _CATEGORY_KEYS, "annotations": layout.keys}
    unread = unread_keys(root, {name: (root.values.get(name), keys) for name, keys in known_keys.items()})
    return Reading(AmodalDataset(images=done, categories=categories), layout, unread)


def _with_objects(
    image: AmodalImage, found: list[Found], root: Record, layout: Layout, listener: Listener
) -> AmodalImage:
    instances = settle(found, layout, listener)
    known = {one.id for one in instances}
    pairs = tuple(pair for pair in image.depth_constraint if known.issuperset(pair))
    with listener:
        if len(pairs) < len(image.depth_constraint):
            problem = "expected pairs of ids of the image's annotations; correct or remove the others"
            raise root.error(f"images[id={image.id}].depth_constraint", problem)
    return replace(image, instances=instances, depth_constraint=pairs)


def unique_records(root: Record, key: str, listener: Listener) -> list[Record]:
    """The objects of the list ``key``, each with an ``id`` of its own."""
    values: list[Any] = []
    with listener:
        if key == "annotations" and key not in root.values:
            listener.images_alone(root.error(key, "missing; expected a list; add it, or use the annotated part"))
        else:
            values = root.get(key, list)
    records = []
    seen: set[int] = set()
    for index, value in enumerate(values):
        with listener:
            record = Record(value, root.file, f"{key}[{index}]")
            identity = record.get("id", int)
            if abs(identity) > MAX_ID:
                raise record.error("id", f"expected an id from -{MAX_ID} to {MAX_ID}; number the {key} anew")
            if identity in seen:
                raise record.error("id", f"duplicate id {identity}; give every entry of {key} its own")
            seen.add(identity)
            records.append(record)
    return records


def read_categories(root: Record, listener: Listener) -> tuple[Category, ...]:
    categories = []
    for record in unique_records(root, "categories", listener):
        with listener:
            name = record.get("name", str)
            categories.append(Category(record.get("id", int), name, record.optional("supercategory", str)))
    return tuple(categories)


def read_images(root: Record, listener: Listener) -> dict[int, AmodalImage]:
    """The images by their ids, without instances."""
    images = {}
    for record in unique_records(root, "images", listener):
        with listener:
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
                camera=_camera(record),
            )
    return images


@dataclass(slots=True)
class Found:
    """An object as its record shows it; unless ``seen``, its visible mask waits for the other objects of the image."""

    record: Record
    instance: AmodalInstance
    seen: bool


def find_object(record: Record, layout: Layout, image: AmodalImage, *, identity: int, category: int) -> Found:
    """Read one object of ``image``.

    Raises:
        DataError: naming the field.
    """
    amodal = _amodal(record, layout, image)
    visible = _visible(record, layout, image, amodal)
    order = record.optional(layout.order, int) if layout.order else None
    if layout.order and order is not None and order < layout.first_order:
        raise record.error(layout.order, f"expected {layout.first_order} (nearest) or more, got {order}")
    shown = amodal if visible is None else visible
    if shown is None or (visible is None and order is None):
        remedy = f"missing; expected a mask of the visible pixels, or {layout.amodal} and an order of the objects"
        raise record.error(layout.visible, remedy)
    instance = AmodalInstance(
        id=identity,
        category_id=category,
        visible=shown,
        amodal=amodal,
        occlude_rate=None if amodal is None else masks.occlude_rate(shown, amodal),
        depth_order=None if order is None else order - layout.first_order,
        cluster=record.optional(layout.cluster, int) if layout.cluster else None,
        # A crowd is no single object, so it is never scored.
        ignore=record.flag("ignore") or record.flag("iscrowd"),
        crowd=record.flag("iscrowd"),
        is_stuff=record.flag("isStuff"),
        mesh=record.optional("mesh", str),
        viewpoint=_viewpoint(record),
    )
    return Found(record, instance, visible is not None)


def _viewpoint(record: Record) -> dict[str, float] | None:
    viewpoint = record.optional("viewpoint", dict)
    if viewpoint is not None and not all(map(is_number, viewpoint.values())):
        raise record.error("viewpoint", "expected an object of finite numbers")
    return viewpoint


def settle(found: list[Found], layout: Layout, listener: Listener) -> tuple[AmodalInstance, ...]:
    """The objects of one image, with the visible masks that follow from their order."""
    instances = [one.instance for one in found]
    for index, one in enumerate(found):
        if not one.seen:
            visible = visible_by_order(instances, index)
            assert one.instance.amodal is not None
            rate = masks.occlude_rate(visible, one.instance.amodal)
            one.instance = replace(one.instance, visible=visible, occlude_rate=rate)
        listener.instance(one.record, one.instance, layout)
    return tuple(one.instance for one in found)


def unread_keys(root: Record, groups: dict[str, tuple[Any, frozenset[str]]]) -> tuple[str, ...]:
    """The keys that the readers have no use for.

    Args:
        groups: of each list of records its name, the list (or what stands in its place) and its known keys.
    """
    unread = [key for key in root.values if key not in groups]
    for name, (records, known) in groups.items():
        plain = records if isinstance(records, list) else []
        keys: set[str] = set().union(*(record.keys() for record in plain if isinstance(record, dict)))
        unread += [f"{name}[].{key}" for key in sorted(keys - known)]
    return tuple(unread)


def image_of(record: Record, images: dict[int, AmodalImage]) -> AmodalImage:
    """The image of the annotation ``record``."""
    image_id = record.get("image_id", int)
    if image_id not in images:
        raise record.error("image_id", f"no image has the id {image_id}; add the image or drop the annotation")
    return images[image_id]


def _amodal(record: Record, layout: Layout, image: AmodalImage) -> Rle | None:
    if record.values.get(layout.amodal) is None and not layout.needs_amodal:
        return None
    amodal = _mask(record, layout.amodal, image)
    if masks.area(amodal) == 0:
        raise _empty(record, layout.amodal)
    return amodal


def _visible(record: Record, layout: Layout, image: AmodalImage, amodal: Rle | None) -> Rle | None:
    """The visible mask as the record gives it or shows it; None where other objects are needed."""
    values = record.values
    invisible = None
    if layout.invisible and values.get(layout.invisible) is not None:
        invisible = _mask(record, layout.invisible, image, may_be_empty=True)
    if values.get(layout.visible) is not None:
        if amodal is not None and _same_polygons(values[layout.visible], values[layout.amodal]):
            return amodal  # drawn once
        visible = _mask(record, layout.visible, image, may_be_empty=True)
        if amodal is None and masks.area(visible) == 0:
            raise _empty(record, layout.visible)
        return visible
    if amodal is None:
        return None
    if invisible is not None:
        return masks.subtract(amodal, invisible)
    unhidden = layout.whole_unless_visible or (layout.rate is not None and values.get(layout.rate) == 0)
    return amodal if unhidden else None


def _same_polygons(first: Any, second: Any) -> bool:
    """Whether both are lists of the same polygons, as most objects that nothing hides have them."""
    if type(first) is not list or type(second) is not list or len(first) != len(second):
        return False
    arrays = all(isinstance(one, np.ndarray) for one in (*first, *second))
    return arrays and all(map(np.array_equal, first, second))


def _mask(record: Record, key: str, image: AmodalImage, *, may_be_empty: bool = False) -> Rle:
    value = record.values.get(key)
    if value is None:
        raise record.error(key, "missing; expected a mask")
    if may_be_empty and isinstance(value, list) and not value:  # no polygons
        return masks.empty(image.height, image.width)
    return masks.from_annotation(value, image.height, image.width, file=record.file, field=record.place(key))


def _empty(record: Record, key: str) -> DataError:
    return record.error(key, "expected a mask with at least one pixel, got an empty one; drop or redo the annotation")


def _pairs(record: Record) -> tuple[tuple[int, int], ...]:
    pairs = record.optional("depth_constraint", list) or []
    for pair in pairs:
        if type(pair) is not list or [type(one) for one in pair] != [int, int]:
            raise record.error("depth_constraint", "expected pairs of annotation ids, [in front, behind]")
    return tuple((front, behind) for front, behind in pairs)


def _camera(record: Record) -> dict[str, float] | None:
    camera = record.optional("camera", dict)
    if camera is not None and not all(map(is_number, camera.values())):
        raise record.error("camera", "expected an object of finite numbers")
    return camera
