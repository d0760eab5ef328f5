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
from shape3d_amodal.cli.shared.options import PipelineOptions, check_folders, check_positive, check_there
from shape3d_amodal.cli.shared.running import Outcomes, fingerprint, one_thread, outcomes_of, refuse_empty
from shape3d_amodal.errors import counted

if TYPE_CHECKING:
    from shape3d_amodal.annotations.images import ImageFiles
    from shape3d_amodal.methods.resuming import ImageOutcome, ImageWork, LoadedImage
    from shape3d_amodal.methods.visible_sets import VisibleSet
    from shape3d_amodal.pipeline import ShapePriorPipeline
    from shape3d_amodal.structures import AmodalImage

    CompleteImages: TypeAlias = Callable[
        [ShapePriorPipeline, Mapping[int, str], Iterator[LoadedImage]], Sequence[ImageOutcome]
    ]
    """The work on a group of images: the pipeline, category names by id, and the images; an outcome for each."""


_GPU_BATCH = 16
"""Images whose objects a GPU sees together."""


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
    batch: int | None = None
    share: tuple[int, int] = (0, 1)

    @property
    def group_size(self) -> int:
        """How many images the networks see together."""
        if self.batch is not None:
            return self.batch
        from shape3d_amodal.device import torch_device

        return 1 if torch_device(self.pipeline.device).type == "cpu" else _GPU_BATCH

    def check(self, *, needs_meshes: str | None) -> None:
        """Refuse what cannot be done, within a moment; see ``PipelineOptions.check``."""
        self.pipeline.check(needs_meshes=needs_meshes, hypotheses=self.hypotheses)
        check_folders(images=self.images)
        check_there(self.annotations, self.visible.image_info)
        self.visible.check()
        check_positive(batch=1 if self.batch is None else self.batch)
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
        from shape3d_amodal.methods.resuming import groups_of
        from shape3d_amodal.methods.visible_sets import read_visible_set

        completer = self.pipeline.open(hypotheses=self.hypotheses)
        found = read_visible_set(
            self.annotations, completer.categories, depth_order=self.depth_order, read=self.visible.read
        )
        found = found.first(limit) if limit else found
        found = found.seen_by(self.pipeline.camera())
        groups = groups_of(found.dataset.images, self.group_size, self.share)
        if self.share[1] > 1:
            found = found.only([image for group in groups for image in group], rest=self.share[0] == 0)
        wanted = [[image for image in group if found.wanted(image)] for group in groups]
        wanted = [group for group in wanted if group]
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
        groups: the images with something to complete, as the networks see them together.
    """

    given: VisibleInput
    completer: ShapePriorPipeline
    found: VisibleSet
    groups: Sequence[Sequence[AmodalImage]]

    @property
    def wanted(self) -> list[AmodalImage]:
        """The images with something to complete."""
        return [image for group in self.groups for image in group]

    @property
    def inputs(self) -> Iterator[Path]:
        """All files that are read; images whose names are not allowed are none."""
        return chain(self.given.files_read, self.given.files().allowed(self.wanted))

    @contextmanager
    def outcomes(
        self, description: str, do: CompleteImages, *, key: Mapping[str, Any], workers: int = 1, **where: Any
    ) -> Iterator[Outcomes]:
        """Complete all images; see ``outcomes_of``, which takes ``where`` outcomes are kept.

        Args:
            do: the work on a group of images.
            key: the command's own options that the results depend on.
            workers: processes, each with networks of its own.
        """
        from shape3d_amodal.files.processes import spread

        given = self.given
        work = image_work(given, self.found.occluders, self.found.dataset.category_names, do, self.completer)
        chosen = {
            "depth_order": given.depth_order,
            "orientation": given.reading.orientation,
            "visible": given.visible,
            "hypotheses": given.hypotheses,
            "batch": given.group_size,
            "share": given.share,
            **key,
        }
        whole = fingerprint(given.pipeline, self.completer, *given.read, **chosen)
        before = self.found.skipped
        sent = given, self.found.occluders, self.found.dataset.category_names, do
        with (
            one_thread(given.pipeline.device),
            spread(image_work, (*sent, self.completer if workers == 1 else None), workers) as run,
            outcomes_of(self.groups, work, description, run=run, key=whole, before=before, **where) as outcomes,
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


def image_work(
    given: VisibleInput,
    occluders: frozenset[int],
    names: Mapping[int, str],
    do: CompleteImages,
    completer: ShapePriorPipeline | None,
) -> ImageWork:
    """The work on groups of images, in this process or in a worker.

    Args:
        occluders, names: ids of the categories that only hide others, and the names of all.
        completer: the pipeline; None opens one.
    """
    from shape3d_amodal.methods.resuming import ImageWork
    from shape3d_amodal.methods.visible_sets import left_out

    files = given.files()
    opened = completer or given.pipeline.open(hypotheses=given.hypotheses)
    do_group, skip = partial(do, opened, names), partial(left_out, occluders)
    return ImageWork(picture=files.path, load=files.read, do=do_group, skip=skip)
