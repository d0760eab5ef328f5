"""``shape3d-amodal complete``: visible masks in, whole masks out."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from shape3d_amodal.cli.shared.input_options import ImageOptions, ImageReading, VisibleMaskOptions, VisibleMasks
from shape3d_amodal.cli.shared.options import DepthOrder, ImageFolder, Pipeline, check_there
from shape3d_amodal.cli.shared.running import (
    Resume,
    Strict,
    fingerprint,
    one_thread,
    outcomes_of,
    refuse_empty,
    refuse_skipped,
    tell_skipped,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from shape3d_amodal.methods.resuming import ImageOutcome
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
    save_meshes: Path | None = None,
    resume: Resume = True,
    strict: Strict = False,
) -> None:
    """Complete the visible masks of an annotation file; objects without a visible pixel are left out.

    Results are kept image by image in OUT.part.jsonl: the same command goes on where it was stopped. What cannot be
    used is skipped: it is counted, and listed with reasons in <name of OUT>.skipped.json.

    Args:
        annotations: KINS, COCOA, COCOA-cls, D2SA, or any COCO JSON whose annotations have image_id, category_id and
            visible_mask (RLE or polygons); plain COCO with --segmentation visible; a list of a detector's results with
            --image-info. Give all objects of an image, for they hide each other; the category
            "occluder" marks what only hides others and is not completed, and so do categories that are not known.
        out: results file to write (JSON); - is standard output, which, like a pipe, keeps nothing of a stopped run.
        save_meshes: folder to write the reconstructed meshes to, <image_id>_<annotation_id>.glb each.
    """
    pipeline.check(needs_meshes=None if save_meshes is None else "--save-meshes")
    check_there(images, annotations, visible.image_info)
    from shape3d_amodal.annotations.results import write_results
    from shape3d_amodal.evaluation.tables import counted
    from shape3d_amodal.files.atomic import is_stdout, is_stream
    from shape3d_amodal.files.journal import journal_of
    from shape3d_amodal.files.outputs import output_file, output_folder, refuse_inputs, refuse_within
    from shape3d_amodal.methods.resuming import ImageWork
    from shape3d_amodal.methods.visible_sets import read_visible_set

    visible.check()
    files = reading.files(images, annotations)
    read = [annotations] if visible.image_info is None else [annotations, visible.image_info]
    output_file(out, inputs=read)
    streamed = is_stream(out)
    journal = None if streamed else journal_of(out)
    listing = None if streamed else out.with_name(f"{out.stem}.skipped.json")
    if save_meshes is not None:
        refuse_within(save_meshes, pipeline.meshes, option="--save-meshes")
        output_folder(save_meshes, option="--save-meshes")
    completer = pipeline.open()
    found = read_visible_set(annotations, completer.categories, depth_order=depth_order, read=visible.read)
    wanted = [image for image in found.dataset.images if found.wanted(image)]
    if not wanted:
        refuse_empty(found.skipped)
    refuse_inputs([one for one in (out, journal, listing) if one], [*read, *files.allowed(wanted)])
    work = ImageWork(
        picture=files.path,
        load=files.read,
        do=partial(_complete, completer, found.dataset.category_names, save_meshes),
        skip=found.skip,
    )
    chosen = {"depth_order": depth_order, "orientation": reading.orientation, "visible": visible}
    key = fingerprint(pipeline, completer, *read, save_meshes=save_meshes, **chosen)
    with (
        one_thread(pipeline.device),
        outcomes_of(
            wanted,
            work,
            "complete",
            journal=journal,
            key=key,
            resume=resume,
            writes=[] if listing is None else [out, listing],
            folders=[] if save_meshes is None else [save_meshes],
            folder=save_meshes or Path(),
        ) as outcomes,
    ):
        skipped = [*found.skipped, *(reason for one in outcomes for reason in one.skipped)]
        tell_skipped(skipped, listing)
        results = [result for one in outcomes for result in one.results]
        write_results(out, results)
    hidden = f", {counted(found.hidden, 'fully hidden object')} left out" if found.hidden else ""
    hidden += f", {found.low_scores} below --min-score {visible.min_score:g}" if found.low_scores else ""
    done = f"{counted(len(results), 'object')} in {counted(len(found.dataset.images), 'image')}{hidden}"
    print(f"{done}; results in {out}", file=sys.stderr if is_stdout(out) else sys.stdout)
    if strict:
        refuse_skipped(skipped, listing)


def _complete(
    pipeline: ShapePriorPipeline,
    names: Mapping[int, str],
    meshes: Path | None,
    image: AmodalImage,
    pixels: NDArray[np.uint8],
) -> ImageOutcome:
    """The results of one image; its meshes are written to the folder ``meshes``."""
    from shape3d_amodal.drawing.projections import write_glb
    from shape3d_amodal.files.atomic import make_folder
    from shape3d_amodal.methods.completion import complete_image, completed_result
    from shape3d_amodal.methods.resuming import ImageOutcome

    results, files = [], []
    for instance, one in complete_image(pipeline, pixels, image, names):
        name = None
        if meshes is not None and len(one.faces):
            name = f"{image.id}_{instance.id}.glb"
            make_folder(meshes)
            write_glb(meshes / name, one.verts, one.faces)
            files.append(name)
        results.append(completed_result(image, instance, one, name))
    return ImageOutcome(results=tuple(results), files=tuple(files))
