"""What ``complete`` and ``render`` are given, visible masks in images, and how they work on it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from shape3d_amodal.cli.shared.input_options import ImageOptions, VisibleMaskOptions
from shape3d_amodal.cli.shared.inputs import mesh_list, weights_files
from shape3d_amodal.cli.shared.options import PipelineOptions, check_folders, check_there
from shape3d_amodal.cli.shared.running import Outcomes, fingerprint, one_thread, outcomes_of, refuse_empty
from shape3d_amodal.errors import counted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from shape3d_amodal.annotations.images import ImageFiles
    from shape3d_amodal.methods.resuming import ImageOutcome
    from shape3d_amodal.methods.visible_sets import VisibleSet
    from shape3d_amodal.pipeline import ShapePriorPipeline
    from shape3d_amodal.structures import AmodalImage

    CompleteOne: TypeAlias = Callable[
        [ShapePriorPipeline, Mapping[int, str], AmodalImage, NDArray[np.uint8]], ImageOutcome
    ]
    """The work on one image: the pipeline, category names by id, the annotation, and its pixels [H,W,3], RGB."""


@dataclass(frozen=True)
class VisibleInput:
    """The options that say what is completed and how; each as the option of the same name."""

    images: Path
    annotations: Path
    reading: ImageOptions
    visible: VisibleMaskOptions
    pipeline: PipelineOptions
    depth_order: bool
    hypotheses: int = 0

    def check(self, *, needs_meshes: str | None) -> None:
        """Refuse what cannot be done, within a moment; see ``PipelineOptions.check``."""
        self.pipeline.check(needs_meshes=needs_meshes, hypotheses=self.hypotheses)
        check_folders(images=self.images)
        check_there(self.annotations, self.visible.image_info)
        self.visible.check()
        self.files()

    @property
    def read(self) -> list[Path]:
        """The files that are read, but for the images."""
        info = self.visible.image_info
        return [self.annotations] if info is None else [self.annotations, info]

    @property
    def files_read(self) -> list[Path]:
        """The same, and lists of meshes and weights."""
        return [*self.read, *mesh_list(self.pipeline.meshes), *weights_files(self.pipeline.weights)]

    def files(self) -> ImageFiles:
        """The image files.

        Raises:
            UsageError: links may lead into a folder that is none.
        """
        return self.reading.files(self.images, self.annotations)

    def open(self, *, limit: int = 0) -> OpenedInput:
        """Load the pipeline, and read the first ``limit`` images' annotations; 0 is all.

        Raises:
            DataError: nothing is left to complete.
        """
        from shape3d_amodal.methods.visible_sets import read_visible_set

        completer = self.pipeline.open(hypotheses=self.hypotheses)
        found = read_visible_set(
            self.annotations, completer.categories, depth_order=self.depth_order, read=self.visible.read
        )
        found = found.first(limit) if limit else found
        found = found.seen_by(self.pipeline.camera())
        wanted = [image for image in found.dataset.images if found.wanted(image)]
        if not wanted:
            refuse_empty(found.skipped)
        return OpenedInput(self, completer, found, wanted)


@dataclass(frozen=True)
class OpenedInput:
    """The same, opened.

    Attributes:
        given: the options.
        completer: the pipeline.
        found: the annotations.
        wanted: the images with something to complete.
    """

    given: VisibleInput
    completer: ShapePriorPipeline
    found: VisibleSet
    wanted: Sequence[AmodalImage]

    @property
    def inputs(self) -> Iterator[Path]:
        """All files that are read; images whose names are not allowed are none."""
        return chain(self.given.files_read, self.given.files().allowed(self.wanted))

    @contextmanager
    def outcomes(
        self, description: str, do: CompleteOne, *, key: Mapping[str, Any], **where: Any
    ) -> Iterator[Outcomes]:
        """Complete all images; see ``outcomes_of``, which takes ``where`` outcomes are kept.

        Args:
            do: the work on one image.
            key: the command's own options that the results depend on.
        """
        from shape3d_amodal.methods.resuming import ImageWork

        given, files = self.given, self.given.files()
        work = ImageWork(
            picture=files.path,
            load=files.read,
            do=partial(do, self.completer, self.found.dataset.category_names),
            skip=self.found.skip,
        )
        chosen = {
            "depth_order": given.depth_order,
            "orientation": given.reading.orientation,
            "visible": given.visible,
            "hypotheses": given.hypotheses,
            **key,
        }
        whole = fingerprint(given.pipeline, self.completer, *given.read, **chosen)
        before = self.found.skipped
        with (
            one_thread(given.pipeline.device),
            outcomes_of(self.wanted, work, description, key=whole, before=before, **where) as outcomes,
        ):
            yield outcomes
        if crowds := self.found.crowds:
            every = counted(sum(len(self.found.wanted(image)) for image in self.wanted), "object")
            those = (
                "is a crowd (iscrowd 1), completed as if it"
                if crowds == 1
                else "are crowds (iscrowd 1), completed as if each"
            )
            print(f"{crowds} of {every} {those} were one object", file=sys.stderr)
