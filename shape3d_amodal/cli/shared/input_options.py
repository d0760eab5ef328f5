"""Options of the commands that read annotations and their images: how both are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import tyro

from shape3d_amodal.cli.shared.options import check_share
from shape3d_amodal.errors import UsageError

if TYPE_CHECKING:
    from shape3d_amodal.annotations.formats.interface import Listener, Reading
    from shape3d_amodal.annotations.images import ImageFiles


@dataclass(frozen=True)
class ImageOptions:
    """How image files are read.

    Attributes:
        orientation: exif turns images upright as their EXIF orientation says, as viewers, annotation tools and
            detectron2 do; stored is for annotations that were made on the pixels as the files store them.
        allow_links: folder that symbolic links among the images may lead into; file names in annotations that lead
            elsewhere are refused.
    """

    orientation: Literal["exif", "stored"] = "exif"
    allow_links: Path | None = None

    def files(self, images: Path, annotations: Path) -> ImageFiles:
        """The files in the folder ``images`` of an annotation file."""
        from shape3d_amodal.annotations.images import ImageFiles

        return ImageFiles(images, annotations, self.orientation, self.allow_links)


ImageReading: TypeAlias = Annotated[ImageOptions, tyro.conf.arg(name="")]
"""The fields of ``ImageOptions`` as options of a command."""

_SEGMENTATION = """what the key segmentation shows: amodal, the whole object, as in all formats here; or visible, the
visible pixels, as in plain COCO and in what most annotation tools export."""
Segmentation: TypeAlias = Annotated[Literal["amodal", "visible"], tyro.conf.arg(help=_SEGMENTATION)]


@dataclass(frozen=True)
class VisibleMaskOptions:
    """Where visible masks come from.

    Attributes:
        image_info: JSON file with the images and categories of --annotations, where that is a list of detections in the
            form of COCO's results (image_id, category_id, segmentation, score); an annotation file will do.
        min_score: detections with a lower score are left out.
    """

    segmentation: Segmentation = "amodal"
    image_info: Path | None = None
    min_score: float = 0.5

    def check(self) -> None:
        """Refuse options that do not fit each other with a ``UsageError``."""
        if self.segmentation == "visible" and self.image_info is not None:
            raise UsageError("--segmentation: visible is for annotation files, --image-info for lists of detections")
        check_share(min_score=self.min_score)

    def read(self, annotations: str | Path, listener: Listener) -> Reading:
        """The annotations or the detections of a file."""
        from shape3d_amodal.annotations.formats.registry import read_annotations

        return read_annotations(
            annotations,
            listener,
            segmentation=self.segmentation,
            image_info=self.image_info,
            min_score=self.min_score,
        )


VisibleMasks: TypeAlias = Annotated[VisibleMaskOptions, tyro.conf.arg(name="")]
"""The fields of ``VisibleMaskOptions`` as options of a command."""
