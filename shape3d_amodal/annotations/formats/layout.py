"""What the readers of all formats share: where a format keeps what, and who hears of errors."""

from __future__ import annotations

from dataclasses import dataclass

from shape3d_amodal.annotations.formats.fields import Record
from shape3d_amodal.errors import DataError
from shape3d_amodal.structures import AmodalDataset, AmodalInstance


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The keys of a format's records; None where it has no such field.

    Attributes:
        name: the format, as options and reports name it.
        amodal, visible, invisible: masks.
        amodal_box, visible_box: x, y, width, height in pixels.
        amodal_area, visible_area: pixels.
        rate: hidden area / amodal area.
        order, first_order: rank from near to far, and what it counts from.
        cluster: the group of objects that ``order`` ranks.
        needs_amodal: whether a record without amodal mask is wrong.
        whole_unless_visible: whether a record without visible mask is of an object that nothing hides.
        more: further keys of its records and of its images that are read, or that follow from those that are.
    """

    name: str
    amodal: str
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
    more: tuple[str, ...] = ("id", "image_id", "category_id", "iscrowd")
    image_more: tuple[str, ...] = ()

    @property
    def keys(self) -> frozenset[str]:
        """All keys of its annotation records that are read, or that follow from those that are."""
        masks = (self.amodal, self.visible, self.invisible)
        measures = (self.amodal_box, self.visible_box, self.amodal_area, self.visible_area, self.rate)
        return frozenset(key for key in (*masks, *measures, self.order, self.cluster, *self.more) if key)

    @property
    def image_keys(self) -> frozenset[str]:
        return frozenset(("id", "file_name", "width", "height", *self.image_more))


class Listener:
    """Hears of each error and each object that a reader meets. This one lets no error pass.

    A reader treats each record in a ``with listener:`` block; the record of an error that may pass is left out.
    """

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        return isinstance(error, DataError) and self.passes(error)

    def passes(self, error: DataError) -> bool:
        """Whether reading goes on after ``error``, without the record at fault."""
        del error
        return False

    def images_alone(self, error: DataError) -> None:
        """Take a file without annotations, such as D2SA's ``test_info``, or raise ``error``."""
        raise error

    def instance(self, record: Record, instance: AmodalInstance, layout: Layout) -> None:
        """Look at an object and the record that it was read from."""


@dataclass(frozen=True)
class Reading:
    """What was read of an annotation file.

    Attributes:
        dataset: the images and objects that are free of errors.
        layout: the format that its keys have shown.
        unread: keys that this library has no use for, such as ``images[].license``.
    """

    dataset: AmodalDataset
    layout: Layout
    unread: tuple[str, ...]
