"""``shape3d-amodal complete``: visible masks in, whole masks out."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from shape3d_amodal.cli.shared.input_options import ImageOptions, ImageReading, VisibleMaskOptions, VisibleMasks
from shape3d_amodal.cli.shared.inputs import refuse_mesh, refuse_within_meshes
from shape3d_amodal.cli.shared.options import DepthOrder, ImageFolder, Pipeline, check_positive
from shape3d_amodal.cli.shared.running import Resume, Strict, refuse_skipped
from shape3d_amodal.cli.shared.visible_input import VisibleInput
from shape3d_amodal.launcher import share_of

if TYPE_CHECKING:
    from shape3d_amodal.annotations.results import AmodalResult
    from shape3d_amodal.methods.completion import Objects
    from shape3d_amodal.methods.resuming import ImageOutcome, LoadedImage
    from shape3d_amodal.pipeline import ShapePriorPipeline
    from shape3d_amodal.structures import AmodalImage

_READING, _VISIBLE = ImageOptions(), VisibleMaskOptions()


def complete(
    *,
    images: ImageFolder,
    annotations: Path,
    out: Path,
    reading: ImageReading = _READING,
    visible: VisibleMasks = _VISIBLE,
    pipeline: Pipeline,
    depth_order: DepthOrder = True,
    hypotheses: int = 0,
    save_meshes: Path | None = None,
    batch: int | None = None,
    workers: int = 1,
    shard: str | None = None,
    resume: Resume = True,
    strict: Strict = False,
) -> None:
    """Complete the visible masks of an annotation file; objects without a visible pixel are left out.

    Results are kept image by image in OUT.part.jsonl: the same command goes on where it was stopped. What cannot be
    used is skipped: it is counted, and listed with reasons in <name of OUT>.skipped.json. With --meshes and a camera,
    from the annotations (cam_K) or --intrinsics, results hold the pose of the CAD file: cam_R_m2c and cam_t_m2c.

    Args:
        annotations: KINS, COCOA, COCOA-cls, D2SA, or any COCO JSON whose annotations have image_id, category_id and
            visible_mask (RLE or polygons); plain COCO with --segmentation visible; a list of a detector's results with
            --image-info. Give all objects of an image, for they hide each other; the category
            "occluder" marks what only hides others and is not completed, and so do categories that are not known.
        hypotheses: write up to this many likely answers of --meshes for each object as well, as results of the same
            annotation_id with their chance; evaluate --track multimodal scores them, other tracks leave them out.
        out: results file to write (JSON); a line for each result where it ends in .jsonl; - is standard output, which,
            like a pipe, keeps nothing of a stopped run.
        save_meshes: folder to write the reconstructed meshes to, <image_id>_<annotation_id>.glb each.
        batch: how many images the networks see together; by default 1 on the CPU, where more is no faster, and 16 on a
            GPU. Numbers may differ in their last digits by it.
        workers: processes, each with networks of its own; the results do not depend on it.
        shard: i/n, i from 0: complete the i-th of n shares of the images, and write it to <name of OUT>-0000i-of-0000n,
            which evaluate takes all together; by default as set by torchrun, srun or a SLURM array.
    """
    share = share_of(shard, os.environ)
    check_positive(workers=workers)
    given = VisibleInput(images, annotations, reading, visible, pipeline, depth_order, hypotheses, batch, share)
    given.check(needs_meshes=None if save_meshes is None else "--save-meshes")
    from shape3d_amodal.annotations.results import shard_file, write_results
    from shape3d_amodal.evaluation.tables import counted
    from shape3d_amodal.files.atomic import is_stdout, is_stream
    from shape3d_amodal.files.journal import journal_of
    from shape3d_amodal.files.outputs import output_file, output_folder, refuse_inputs

    out = out if is_stream(out) else shard_file(out, share)
    output_file(out, inputs=given.files_read, stdout=True)
    refuse_mesh(out, pipeline.meshes)
    streamed = is_stream(out)
    journal = None if streamed else journal_of(out)
    listing = None if streamed else out.with_name(f"{out.stem}.skipped.json")
    if save_meshes is not None:
        refuse_within_meshes(save_meshes, pipeline.meshes, option="--save-meshes")
        output_folder(save_meshes, option="--save-meshes")
    opened = given.open()
    found = opened.found
    refuse_inputs([one for one in (out, journal, listing) if one], opened.inputs)
    with opened.outcomes(
        "complete",
        partial(_complete, save_meshes),
        workers=workers,
        key={"save_meshes": save_meshes},
        journal=journal,
        listing=listing,
        resume=resume,
        writes=[] if streamed else [out],
        folders=[] if save_meshes is None else [save_meshes],
        folder=save_meshes or Path(),
    ) as outcomes:
        written: Counter[str] = Counter()
        write_results(out, _counting((result for one in outcomes.images for result in one.results), written))
    hidden = f", {counted(found.hidden, 'fully hidden object')} left out" if found.hidden else ""
    hidden += f", {found.low_scores} below --min-score {visible.min_score:g}" if found.low_scores else ""
    more = f", with {counted(written['answer'], 'answer')} beside" if written["answer"] else ""
    more += f", {counted(written['pose'], 'pose')} of CAD files (cam_R_m2c, cam_t_m2c)" if written["pose"] else ""
    done = f"{counted(written['object'], 'object')} in {counted(len(found.dataset.images), 'image')}{hidden}"
    print(f"{done}; results in {out}{more}", file=sys.stderr if is_stdout(out) else sys.stdout)
    if strict:
        refuse_skipped(outcomes.skipped, listing)


def _counting(results: Iterable[AmodalResult], written: Counter[str]) -> Iterator[AmodalResult]:
    """The same results; ``written`` counts objects, poses of these, and answers beside them."""
    for result in results:
        written["object" if result.chance is None else "answer"] += 1
        written["pose"] += result.chance is None and result.pose is not None
        yield result


def _complete(
    meshes: Path | None,
    pipeline: ShapePriorPipeline,
    names: Mapping[int, str],
    images: Iterator[LoadedImage],
) -> list[ImageOutcome]:
    """The results of a group of images; meshes are written to the folder ``meshes``."""
    from shape3d_amodal.methods.completion import complete_images

    records: list[AmodalImage] = []

    def noted() -> Iterator[LoadedImage]:
        for image, pixels in images:
            records.append(image)
            yield image, pixels

    found = complete_images(pipeline, noted(), names)
    return [_outcome(meshes, image, objects) for image, objects in zip(records, found, strict=True)]


def _outcome(meshes: Path | None, image: AmodalImage, objects: Objects) -> ImageOutcome:
    from shape3d_amodal.drawing.projections import write_glb
    from shape3d_amodal.files.atomic import make_folder
    from shape3d_amodal.methods.completion import completed_results
    from shape3d_amodal.methods.resuming import ImageOutcome

    results, files = [], []
    for instance, one in objects:
        name = None
        if meshes is not None and len(one.faces):
            name = f"{image.id}_{instance.id}.glb"
            make_folder(meshes)
            write_glb(meshes / name, one.verts, one.faces)
            files.append(name)
        results += completed_results(image, instance, one, name)
    return ImageOutcome(results=tuple(results), files=tuple(files))
