"""Work on a set, image by image, that goes on where it was stopped and does not fail for one bad object."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.annotations.results import AmodalResult, from_json, to_json
from shape3d_amodal.errors import DataError
from shape3d_amodal.files.journal import Journal
from shape3d_amodal.files.progress import progress
from shape3d_amodal.structures import AmodalImage


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
    """What is done with each image.

    Attributes:
        picture: the image's file; raises a DataError where its name is not allowed.
        load: its pixels [H,W,3] uint8, RGB; raises a DataError where the file cannot be used.
        do: the work.
        skip: what is left out where there are no pixels, for a reason in one line.
    """

    picture: Callable[[AmodalImage], Path]
    load: Callable[[AmodalImage], NDArray[np.uint8]]
    do: Callable[[AmodalImage, NDArray[np.uint8]], ImageOutcome]
    skip: Callable[[AmodalImage, str], tuple[Skipped, ...]]


class ResumableWork:
    """Work on the images of a set, each outcome stored in a journal as it comes.

    Args:
        images: in the order of the outcomes.
        work: what is done with each. An outcome is done again where the image's file has changed since.
        journal: an open journal; None stores nothing.
        folder: what ``ImageOutcome.files`` are relative to. Where one is gone or was changed, the image is done again.

    Attributes:
        outcomes: those so far, by image id; at first those that an earlier run has stored.
    """

    def __init__(
        self, images: Sequence[AmodalImage], work: ImageWork, journal: Journal | None, *, folder: Path = Path()
    ) -> None:
        self._images, self._work, self._journal, self._folder = images, work, journal, folder
        self.outcomes: dict[int, ImageOutcome] = {}
        stored = {} if journal is None else {record.get("image_id"): record for record in journal.records}
        for image in images:
            record = stored.get(image.id)
            outcome = None if record is None else _restored(record, self._picture(image), folder)
            if outcome is not None:
                self.outcomes[image.id] = outcome

    def run(self, description: str) -> list[ImageOutcome]:
        """Do what is missing, with a word on how far it is; all outcomes in the order of the images."""
        missing = [image for image in self._images if image.id not in self.outcomes]
        for image in progress(missing, description, len(self._images), done=len(self.outcomes)):
            state = self._picture(image)
            outcome = self._outcome(image)
            if self._journal is not None:
                written = [_state(self._folder / name) for name in outcome.files]
                self._journal.append({"image_id": image.id, "picture": state, "written": written, **_to_json(outcome)})
            self.outcomes[image.id] = outcome
        return [self.outcomes[image.id] for image in self._images]

    def _outcome(self, image: AmodalImage) -> ImageOutcome:
        try:
            pixels = self._work.load(image)
        except DataError as error:
            return ImageOutcome(skipped=self._work.skip(image, str(error)))
        return self._work.do(image, pixels)

    def _picture(self, image: AmodalImage) -> list[int] | None:
        """The state of the image's file; None where its name is not allowed."""
        try:
            return _state(self._work.picture(image))
        except DataError:
            return None


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


def _restored(record: Mapping[str, Any], picture: list[int] | None, folder: Path) -> ImageOutcome | None:
    """The outcome of a stored ``record``; None where the image must be done again."""
    if picture is None or record.get("picture") != picture:
        return None
    try:
        outcome = ImageOutcome(
            results=tuple(from_json(value, "journal", "results") for value in record["results"]),
            skipped=tuple(Skipped(**value) for value in record["skipped"]),
            files=tuple(record["files"]),
            more=record["more"],
        )
        unchanged = record["written"] == [_state(folder / name) for name in outcome.files]
    except (KeyError, TypeError, DataError):  # of an older version
        return None
    return outcome if unchanged else None
