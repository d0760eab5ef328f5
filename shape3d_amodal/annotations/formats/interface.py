"""The interface of formats: the keys of their records, reader and writer; and the listener to a reader's errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from shape3d_amodal.annotations.formats.fields import Record
from shape3d_amodal.errors import DataError
from shape3d_amodal.structures import AmodalDataset, AmodalInstance

CROWDS = {"crowd": "ignored objects are written as crowds"}
"""A note of every format whose only mark for ignored objects is COCO's ``iscrowd``."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """An annotation format. A key is None where its records have no such field.

    Attributes:
        name: the format, as options and reports name it.
        read: reads a parsed file; ``reading.read_records`` does for all with one record an instance.
        write: writes a data set to a path, atomically.
        write_polygons: the same with masks as polygons, where the format allows either kind.
        signs: keys of annotation records by which files of this format are recognised.
        amodal, visible, invisible: keys of the masks.
        amodal_box, visible_box: of x, y, width, height in pixels.
        amodal_area, visible_area: of numbers of pixels.
        rate: of hidden area / amodal area.
        order, first_order: of the rank from near to far, and the rank of the nearest.
        cluster: of the group of objects that ``order`` ranks.
        needs_amodal: whether a record without amodal mask is an error.
        whole_unless_visible: whether an object without visible mask is fully visible.
        more, image_more: further keys of annotations and of images that are read, or that follow from those.
        notes: why a field differs when a written file is read again, by the field's name.
        published: counts of images and categories in published sets of this format, by the name of the set.
    """

    name: str
    read: Callable[[Record, Format, Listener], Reading]
    write: Callable[[str | Path, AmodalDataset], None]
    write_polygons: Callable[[str | Path, AmodalDataset], None] | None = None
    signs: tuple[str, ...] = ()
    amodal: str | None
    visible: str
    invisible: str | None = None
    amodal_box: str | None = None
    visible_box: str | None = None
    amodal_area: str | None = None
    visible_area: str | None = None
    rate: str | None = None
    order: str | None = None
    first_order: int = 0
    cluster: str | None = None
    needs_amodal: bool = True
    whole_unless_visible: bool = False
    more: tuple[str, ...] = ("id", "image_id", "category_id", "iscrowd", "track_id")
    image_more: tuple[str, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)
    published: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def mask_keys(self) -> tuple[str, ...]:
        return tuple(key for key in (self.amodal, self.visible, self.invisible) if key)

    @property
    def keys(self) -> frozenset[str]:
        """All keys of its annotation records that are read, or that follow from those that are."""
        measures = (self.amodal_box, self.visible_box, self.amodal_area, self.visible_area, self.rate)
        return frozenset(key for key in (*self.mask_keys, *measures, self.order, self.cluster, *self.more) if key)

    @property
    def image_keys(self) -> frozenset[str]:
        return frozenset(("id", "file_name", "width", "height", *self.image_more))


@dataclass(frozen=True)
class Unread:
    """A record with an error; its ids, or those that it names, are None where it does not tell."""

    error: DataError
    image_id: int | None = None
    annotation_id: int | None = None


class Listener:
    """Is told of each error and each object that a reader meets.

    A reader treats each record in a ``with listener.about(...):`` block; where the listener lets an error pass, the
    record is left out and reading goes on.

    Args:
        drop_invalid: let every error pass, instead of raising the first one.

    Attributes:
        unread: the records with errors so far.
    """

    def __init__(self, *, drop_invalid: bool = False) -> None:
        self.unread: list[Unread] = []
        self._drop_invalid = drop_invalid

    @property
    def errors(self) -> list[DataError]:
        """The errors so far."""
        return [one.error for one in self.unread]

    @contextmanager
    def about(self, *, image_id: object = None, annotation_id: object = None) -> Iterator[None]:
        """A block that reads a record of this image and annotation, as far as these are ids at all."""
        try:
            yield
        except DataError as error:
            image, annotation = (one if type(one) is int else None for one in (image_id, annotation_id))
            self.unread.append(Unread(error, image, annotation))
            if not self.passes(error):
                raise

    def passes(self, error: DataError) -> bool:  # noqa: ARG002 - others look at it
        """Whether reading goes on after ``error``, without the record that has it."""
        return self._drop_invalid

    def images_alone(self, error: DataError) -> None:
        """Accept a file without annotations, such as D2SA's ``test_info``, or raise ``error``."""
        raise error

    def instance(self, record: Record, instance: AmodalInstance, format: Format) -> None:
        """Look at an object and the record that it was read from."""


class ImagesAlone(Listener):
    """For who wants images and categories alone: annotations with errors are left out, and there need be none."""

    def passes(self, error: DataError) -> bool:
        return (error.field or "").startswith("annotations")

    def images_alone(self, error: DataError) -> None:
        pass


@dataclass(frozen=True)
class Reading:
    """The content of an annotation file.

    Attributes:
        dataset: the images and objects that are free of errors.
        format: the format, recognised by the file's keys.
        unread: keys that this library has no use for, such as ``images[].license``.
        low_scores: detections that were left out because of their scores.
    """

    dataset: AmodalDataset
    format: Format
    unread: tuple[str, ...]
    low_scores: int = 0
