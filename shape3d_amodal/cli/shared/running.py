"""What commands that work image by image share: what their results depend on, and what they say of what they skip."""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias

import tyro

from shape3d_amodal.cli.shared.stopping import tell_kept
from shape3d_amodal.errors import DataError, counted, printable, without_values

if TYPE_CHECKING:
    from shape3d_amodal.cli.shared.options import PipelineOptions
    from shape3d_amodal.methods.resuming import ImageOutcome, ImageWork, Skipped
    from shape3d_amodal.pipeline import ShapePriorPipeline
    from shape3d_amodal.structures import AmodalImage

    WorkOnGroups: TypeAlias = Callable[[Iterable[Sequence[AmodalImage]]], Iterator[Sequence[ImageOutcome]]]
    """From groups of images to the outcomes of each group, in order."""

_RESUME = """go on where the same command with the same inputs was stopped; --no-resume begins anew."""
Resume: TypeAlias = Annotated[bool, tyro.conf.arg(help=_RESUME)]
_STRICT = """exit with status 3 where something was skipped; all else is done and written in any case."""
Strict: TypeAlias = Annotated[bool, tyro.conf.arg(help=_STRICT)]
_TOLD = 5  # kinds of reasons that are printed


def fingerprint(options: PipelineOptions, opened: ShapePriorPipeline, *files: Path, **more: Any) -> dict[str, Any]:
    """Everything that the results of a command depend on but the images, as JSON values.

    Args:
        options, opened: the pipeline.
        files: other files that are read, such as the annotations.
        more: other options.
    """
    from shape3d_amodal.benchmarking import provenance
    from shape3d_amodal.benchmarking.methods import weights_hash
    from shape3d_amodal.device import torch_device
    from shape3d_amodal.files.safe_io import sha256
    from shape3d_amodal.meshes.sources import mesh_source

    inputs = [sha256(file) for file in files]
    chosen = options.chosen()
    if chosen.weights is not None:
        inputs.append(weights_hash(chosen.weights))
    meshes = chosen.meshes or (None if opened.model is None else opened.model.config.meshes)
    if "bank" in opened.priors and meshes is not None:
        inputs.append(mesh_source(meshes).fingerprint())
    named = {**asdict(options), "device": torch_device(options.device), **more}
    given = {key: value if value is None else str(value) for key, value in named.items()}
    return {**given, "inputs": inputs, "code": provenance.methods_hash(), "versions": provenance.versions()}


@contextmanager
def one_thread(device: str) -> Iterator[None]:
    """Let torch work with one thread on the CPU, unless OMP_NUM_THREADS says how many.

    Crops are small: a second thread makes their completion no faster, and on a busy machine the two wait for each
    other at every step.
    """
    import torch

    from shape3d_amodal.device import torch_device

    before = torch.get_num_threads()
    if torch_device(device).type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Outcomes(NamedTuple):
    """What the work on all images gave, in their order, and all that was skipped."""

    images: Sequence[ImageOutcome]
    skipped: list[Skipped]


@contextmanager
def outcomes_of(
    groups: Sequence[Sequence[AmodalImage]],
    work: ImageWork,
    description: str,
    *,
    run: WorkOnGroups | None = None,
    journal: Path | None,
    listing: Path | None,
    key: Mapping[str, Any],
    resume: bool,
    before: Sequence[Skipped] = (),
    passed_over: Sequence[Skipped] = (),
    writes: Sequence[Path] = (),
    folders: Sequence[Path] = (),
    folder: Path = Path(),
) -> Iterator[Outcomes]:
    """Do the work on all images, and tell what was skipped; the block writes the rest, and the journal is removed.

    Args:
        groups, folder: as for ``ResumableWork``.
        work: what is done with each group.
        description: of the progress.
        run: does it in other processes; by default this one does.
        journal: file that outcomes are kept in until the block ends; None keeps none.
        listing: file of the list of what was skipped (JSON); None only prints.
        key: the fingerprint of the work.
        resume: go on with an earlier run.
        before: what was skipped before the work.
        passed_over: what nobody asked for by name; it is in the list, but is not counted.
        writes: the files that the block writes.
        folders: where the work writes files of single images.

    Raises:
        DataError: nothing is left, for everything was skipped; or ``listing`` is another file.
    """
    from shape3d_amodal.files.atomic import make_folder, remove_leftovers, remove_leftovers_in
    from shape3d_amodal.methods.resuming import ResumableWork, open_journal

    if listing is not None and listing.exists() and not _is_listing(listing):
        raise DataError("expected a list of what was skipped, got another file; move it away", file=listing)
    if journal is not None:
        make_folder(journal.parent)
    with open_journal(journal, key, resume=resume) as kept:
        images = [image for group in groups for image in group]
        ids = {str(image.id) for image in images}
        for file in (*writes, *([] if listing is None else [listing])):
            remove_leftovers(file)
        for place in folders:  # names in them begin with the id of an image
            remove_leftovers_in(place, lambda name: name.partition("_")[0] in ids)
        resumable = ResumableWork(groups, work.picture, kept, folder=folder)
        if kept is not None and kept.aside is not None:
            print(f"{journal} was of other inputs or options, and is kept as {kept.aside.name}", file=sys.stderr)
        if resumable.outcomes:
            every = counted(len(images), "image was", "images were")
            print(f"{len(resumable.outcomes)} of {every} done before", file=sys.stderr)
        try:
            outcomes = resumable.run(run or partial(map, work), description)
        except KeyboardInterrupt as stop:
            if kept is not None:
                every = counted(len(images), "image is", "images are")
                tell_kept(stop, f"{len(resumable.outcomes)} of {every} kept in {journal}", resume=resume)
            raise
        skipped = [reason for one in outcomes for reason in one.skipped]
        if all(one.skipped and not one.results and not one.files for one in outcomes):
            if kept is not None:
                kept.remove()
            refuse_empty(skipped)
        skipped = [*before, *skipped]
        _tell_skipped(skipped, listing, passed_over)
        yield Outcomes(outcomes, skipped)
        if kept is not None:
            kept.remove()


def _is_listing(file: Path) -> bool:
    from shape3d_amodal.files.safe_io import read_json

    try:
        content = read_json(file)
    except DataError:
        return False
    return isinstance(content, list) and all(isinstance(one, dict) and "reason" in one for one in content)


def _tell_skipped(skipped: Sequence[Skipped], listing: Path | None, passed_over: Sequence[Skipped]) -> None:
    """Write the list of what was skipped and passed over, or remove an earlier run's, and print how much was skipped,
    and why."""
    from shape3d_amodal.files.atomic import write_json_atomic

    if listing is not None:
        if skipped or passed_over:
            every = [{**asdict(one), "reason": printable(one.reason)} for one in (*skipped, *passed_over)]
            write_json_atomic(listing, every)
        else:
            listing.unlink(missing_ok=True)
    if not skipped:
        return
    print(f"{len(skipped)} skipped{'' if listing is None else f', listed in {listing}'}:", file=sys.stderr)
    kinds: dict[str, list[str]] = defaultdict(list)
    for one in skipped:
        kinds[without_values(one.reason)].append(one.reason)
    frequent = sorted(kinds.values(), key=lambda reasons: -len(reasons))
    for first, *others in frequent[:_TOLD]:
        print(f"  {first}{f' (and {len(others)} more like it)' if others else ''}", file=sys.stderr)
    if len(frequent) > _TOLD:
        print(f"  and {sum(map(len, frequent[_TOLD:]))} for other reasons", file=sys.stderr)


def refuse_empty(skipped: Sequence[Skipped]) -> None:
    """Raise a DataError with the first reason where something was skipped, since nothing else is left."""
    if skipped:
        more = f" ({len(skipped)} were skipped, and nothing is left)" if len(skipped) > 1 else ""
        raise DataError(f"{skipped[0].reason}{more}")


def refuse_skipped(skipped: Sequence[Skipped], listing: Path | None) -> None:
    """Raise a DataError where something was skipped, for --strict."""
    if skipped:
        raise DataError(f"{len(skipped)} skipped; correct them, or leave out --strict", file=listing)
