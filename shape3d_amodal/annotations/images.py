"""The pixels of annotated images: where their files are, and which way up they are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shape3d_amodal.config import configuration
from shape3d_amodal.errors import DataError, UsageError
from shape3d_amodal.files import safe_io
from shape3d_amodal.files.exif import SIDEWAYS, Orientation, check_orientation
from shape3d_amodal.structures import AmodalImage


@dataclass(frozen=True)
class ImageFiles:
    """The image files of an annotated set; the one way to their pixels.

    Args:
        folder: folder that the file names in the annotations are relative to.
        annotations: the annotation file; errors name it where one of its names or sizes is wrong.
        orientation: ``exif`` turns images upright as their EXIF orientation says, as annotation tools and detectron2
            show them; ``stored`` is for sets that were annotated on the pixels in the order of the file.
        allow_links: a second folder into which symbolic links in ``folder`` may lead.

    Raises:
        UsageError: ``orientation`` is neither word, or ``allow_links`` is no folder.
    """

    folder: Path
    annotations: Path
    orientation: Orientation = "exif"
    allow_links: Path | None = None

    def __post_init__(self) -> None:
        check_orientation(self.orientation)
        if self.allow_links is not None and not self.allow_links.is_dir():
            raise UsageError(f"allow_links: expected a folder that links may lead into, got {self.allow_links}")

    def path(self, image: AmodalImage) -> Path:
        """The file of ``image``; it need not exist.

        Raises:
            DataError: its name leads out of the folder.
        """
        return safe_io.resolve_inside(
            self.folder,
            image.file_name,
            links=self.allow_links,
            file=self.annotations,
            field=f"images[id={image.id}].file_name",
            remedy="copy the file, or allow the links by --allow-links DIR (in a configuration: allow_links)",
        )

    def allowed(self, images: Iterable[AmodalImage]) -> Iterator[Path]:
        """The files of those of ``images`` whose names do not lead out of the folder."""
        for image in images:
            with suppress(DataError):  # it is told of where the image is read
                yield self.path(image)

    def read(self, image: AmodalImage) -> np.ndarray:
        """The pixels of ``image``, RGB, [H,W,3] uint8.

        Raises:
            DataError: its name leads out of the folder, it cannot be read, or its size is not the annotated one.
        """
        return self.decode(image).pixels

    def decode(self, image: AmodalImage) -> safe_io.DecodedImage:
        """The pixels of ``image`` with what its file says of their orientation; errors as for ``read``."""
        path = self.path(image)
        data = safe_io.read_bytes(path, safe_io.MAX_IMAGE_BYTES)
        decoded = safe_io.decode_image(data, file=path, orientation=self.orientation)
        height, width = decoded.pixels.shape[:2]
        if (height, width) != (image.height, image.width):
            problem = f"expected {image.width} x {image.height} pixels (width x height) as annotated"
            got = f"{width} x {height} in {path}"
            remedy = "use the images that were annotated"
            if (width, height) == (image.height, image.width):
                remedy = self._turned(decoded.exif_orientation)
            field = f"images[id={image.id}]"
            raise DataError(f"{problem}, got {got}; {remedy}", file=self.annotations, field=field)
        return decoded

    def _turned(self, tag: int) -> str:
        """What to do about an image whose sides are exchanged."""
        if tag not in SIDEWAYS:
            return "it lies on its side, and no EXIF orientation says so; use the images that were annotated"
        applied, other = ("applied", "stored") if self.orientation == "exif" else ("not applied", "exif")
        return f"its EXIF orientation {tag} is {applied}; {switch(other)} fits the annotations"


def switch(orientation: str) -> str:
    """How a user asks for an orientation, for messages."""
    return f"--orientation {orientation} (in a configuration: orientation: {orientation})"


@configuration
class ImageReading:
    """How image files of annotations are read; for configurations that name a folder of images."""

    orientation: Orientation = "exif"
    """exif turns images upright as their EXIF orientation says, as annotation tools and detectron2 do; stored is for
    annotations that were made on the pixels as the files store them."""
    allow_links: str | None = None
    """Folder that symbolic links among the images may lead into; without it, links out of ``images`` are refused."""

    def files(self, images: str | Path, annotations: str | Path) -> ImageFiles:
        """The files in the folder ``images`` of an annotation file."""
        links = None if self.allow_links is None else Path(self.allow_links)
        return ImageFiles(Path(images), Path(annotations), self.orientation, links)
