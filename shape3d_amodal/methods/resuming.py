"""Work on a set that goes on where it was stopped and does not fail for one bad object.

Images are worked on in groups, whose objects the networks may see together. An image is always in the same group of
the whole set, so that its numbers depend neither on shards nor on where a run was stopped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.annotations.results import AmodalResult, from_json, to_json
from shape3d_amodal.errors import DataError
from shape3d_amodal.files.journal import Journal
from shape3d_amodal.files.progress import progress
from shape3d_amodal.structures import AmodalImage

LoadedImage: TypeAlias = tuple[AmodalImage, NDArray[np.uint8]]
"""An image's record and its pixels [H,W,3], RGB."""


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """Something that was left out, and why.

    Attributes:
        reason: one line.
        image_id, annotation_id: of what; None where the file does not tell.
    """

    reason: str
    image_id: int | None = None
    annotation_id: int | None = None


@dataclass(frozen=True, kw_only=True)
class ImageOutcome:
    """What the work on one image gave.

    Attributes:
        results: a record of the results file for each object.
        skipped: what was left out.
        files: names of the files that were written, relative to their folder.
        more: JSON values that the command itself needs at the end.
    """

    results: tuple[AmodalResult, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    files: tuple[str, ...] = ()
    more: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ImageWork:
    """What is done with a group of images.

    Attributes:
        picture: the image's file; raises a DataError where its name is not allowed.
        load: its pixels [H,W,3] uint8, RGB; raises a DataError where the file cannot be used.
        do: the work on images and their pixels, which are read one after another; an outcome for each.
        skip: what is left out where there are no pixels, for a reason in one line.
    """

    picture: Callable[[AmodalImage], Path]
    load: Callable[[AmodalImage], NDArray[np.uint8]]
    do: Callable[[Iterator[LoadedImage]], Sequence[ImageOutcome]]
    skip: Callable[[AmodalImage, str], tuple[Skipped, ...]]

    def __call__(self, group: Sequence[AmodalImage]) -> list[ImageOutcome]:
        """The outcome of each image; without those that cannot be read, whose outcome is what is skipped."""
        outcomes: dict[int, ImageOutcome] = {}

        def loaded() -> Iterator[LoadedImage]:
            for place, image in enumerate(group):
                try:
                    pixels = self.load(image)
                except DataError as error:
                    outcomes[place] = ImageOutcome(skipped=self.skip(image, str(error)))
                    continue
                yield image, pixels

        done = iter(self.do(loaded()))
        return [outcomes[place] if place in outcomes else next(done) for place in range(len(group))]


def one_by_one(
    do: Callable[[AmodalImage, NDArray[np.uint8]], ImageOutcome], images: Iterator[LoadedImage]
) -> list[ImageOutcome]:
    """``ImageWork.do`` of work that looks at each image alone."""
    return [do(image, pixels) for image, pixels in images]


def groups_of(images: Sequence[AmodalImage], size: int, share: tuple[int, int] = (0, 1)) -> list[Sequence[AmodalImage]]:
    """The share (i, n) of the groups of ``size`` images: the groups i, i + n, i + 2 n, ..."""
    return [images[start : start + size] for start in range(share[0] * size, len(images), share[1] * size)]


class ResumableWork:
    """Work on the images of a set, each outcome stored in a journal as it comes.

    Args:
        groups: of images, in the order of the outcomes. What is missing of a group is done with all of it.
        picture: as of ``ImageWork``. An outcome is done again where the image's file has changed since.
        journal: an open journal; None stores nothing.
        folder: what ``ImageOutcome.files`` are relative to. Where one is gone or was changed, the image is done again.

    Attributes:
        outcomes: those so far, by image id; at first those that an earlier run has stored. Of what the journal holds
            only the place in it is kept in memory.
    """

    def __init__(
        self,
        groups: Sequence[Sequence[AmodalImage]],
        picture: Callable[[AmodalImage], Path],
        journal: Journal | None,
        *,
        folder: Path = Path(),
    ) -> None:
        self._groups, self._picture_of, self._journal, self._folder = groups, picture, journal, folder
        self._images = [image for group in groups for image in group]
        self.outcomes: dict[int, ImageOutcome | int] = {}
        known: dict[Any, AmodalImage] = {image.id: image for image in self._images}
        for place, record in enumerate([] if journal is None else journal.records):
            image = known.get(record.get("image_id"))
            if image is not None:  # an image that was done again counts as it is now
                self.outcomes.pop(image.id, None)
                if _restored(record, self._picture(image), folder) is not None:
                    self.outcomes[image.id] = place

    def run(
        self, work: Callable[[Iterable[Sequence[AmodalImage]]], Iterator[Sequence[ImageOutcome]]], description: str
    ) -> Sequence[ImageOutcome]:
        """Do what is missing, with a word on how far it is; all outcomes in the order of the images.

        Args:
            work: from groups to the outcomes of each, in order.
        """
        missing = [group for group in self._groups if any(image.id not in self.outcomes for image in group)]
        for group in missing:
            for image in group:
                self.outcomes.pop(image.id, None)
        states: deque[list[list[int] | None]] = deque()

        def begun() -> Iterator[Sequence[AmodalImage]]:
            for group in missing:
                states.append([self._picture(image) for image in group])
                yield group

        def each() -> Iterator[tuple[AmodalImage, list[int] | None, ImageOutcome]]:
            for group, outcomes in zip(missing, work(begun()), strict=True):
                yield from zip(group, states.popleft(), outcomes, strict=True)

        for image, state, outcome in progress(each(), description, len(self._images), done=len(self.outcomes)):
            if self._journal is None:
                self.outcomes[image.id] = outcome
            else:
                written = [_state(self._folder / name) for name in outcome.files]
                self._journal.append({"image_id": image.id, "picture": state, "written": written, **_to_json(outcome)})
                self.outcomes[image.id] = len(self._journal.records) - 1
        return _Outcomes([self.outcomes[image.id] for image in self._images], self._journal)

    def _picture(self, image: AmodalImage) -> list[int] | None:
        """The state of the image's file; None where its name is not allowed."""
        try:
            return _state(self._picture_of(image))
        except DataError:
            return None


class _Outcomes(Sequence[ImageOutcome]):
    """Outcomes, or their places in a journal, where each is read when it is asked for."""

    def __init__(self, outcomes: Sequence[ImageOutcome | int], journal: Journal | None) -> None:
        self._outcomes, self._journal = outcomes, journal

    def __len__(self) -> int:
        return len(self._outcomes)

    @overload
    def __getitem__(self, index: int) -> ImageOutcome: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ImageOutcome]: ...
    def __getitem__(self, index: int | slice) -> ImageOutcome | Sequence[ImageOutcome]:
        if isinstance(index, slice):
            return _Outcomes(self._outcomes[index], self._journal)
        found = self._outcomes[index]
        if isinstance(found, ImageOutcome):
            return found
        assert self._journal is not None, "places are those of a journal"
        return _from_json(self._journal.records[found])


def _state(path: Path) -> list[int] | None:
    """Size and time of a file, which tell whether it was changed; None where it cannot be looked at."""
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def open_journal(
    path: Path | None, fingerprint: Mapping[str, Any], *, resume: bool
) -> AbstractContextManager[Journal | None]:
    """A journal to go on with or, with ``resume`` False, to begin anew; without a path there is none."""
    return nullcontext() if path is None else Journal(path, fingerprint, resume=resume)


def _to_json(outcome: ImageOutcome) -> dict[str, Any]:
    return {
        "results": [to_json(result) for result in outcome.results],
        "skipped": [asdict(one) for one in outcome.skipped],
        "files": list(outcome.files),
        "more": outcome.more,
    }


def _from_json(record: Mapping[str, Any]) -> ImageOutcome:
    return ImageOutcome(
        results=tuple(from_json(value, "journal", "results") for value in record["results"]),
        skipped=tuple(Skipped(**value) for value in record["skipped"]),
        files=tuple(record["files"]),
        more=record["more"],
    )


def _restored(record: Mapping[str, Any], picture: list[int] | None, folder: Path) -> ImageOutcome | None:
    """The outcome of a stored ``record``; None where the image must be done again."""
    if picture is None or record.get("picture") != picture:
        return None
    try:
        outcome = _from_json(record)
        unchanged = record["written"] == [_state(folder / name) for name in outcome.files]
    except (KeyError, TypeError, DataError):  # of an older version
        return None
    return outcome if unchanged else None
