"""``shape3d-amodal complete``: visible masks in, whole masks out."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from shape3d_amodal.cli.shared.input_options import ImageOptions, ImageReading, VisibleMaskOptions, VisibleMasks
from shape3d_amodal.cli.shared.inputs import refuse_mesh, refuse_within_meshes
from shape3d_amodal.cli.shared.options import DepthOrder, ImageFolder, Pipeline
from shape3d_amodal.cli.shared.running import Resume, Strict, refuse_skipped
from shape3d_amodal.cli.shared.visible_input import VisibleInput

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
    hypotheses: int = 0,
    save_meshes: Path | None = None,
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
        out: results file to write (JSON); - is standard output, which, like a pipe, keeps nothing of a stopped run.
        save_meshes: folder to write the reconstructed meshes to, <image_id>_<annotation_id>.glb each.
    """
    given = VisibleInput(images, annotations, reading, visible, pipeline, depth_order, hypotheses)
    given.check(needs_meshes=None if save_meshes is None else "--save-meshes")
    from shape3d_amodal.annotations.results import write_results
    from shape3d_amodal.evaluation.tables import counted
    from shape3d_amodal.files.atomic import is_stdout, is_stream
    from shape3d_amodal.files.journal import journal_of
    from shape3d_amodal.files.outputs import output_file, output_folder, refuse_inputs

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
        key={"save_meshes": save_meshes},
        journal=journal,
        listing=listing,
        resume=resume,
        writes=[] if streamed else [out],
        folders=[] if save_meshes is None else [save_meshes],
        folder=save_meshes or Path(),
    ) as outcomes:
        results = [result for one in outcomes.images for result in one.results]
        write_results(out, results)
    hidden = f", {counted(found.hidden, 'fully hidden object')} left out" if found.hidden else ""
    hidden += f", {found.low_scores} below --min-score {visible.min_score:g}" if found.low_scores else ""
    objects = [result for result in results if result.chance is None]
    more = f", with {counted(len(results) - len(objects), 'answer')} beside" if len(results) > len(objects) else ""
    posed = sum(result.pose is not None for result in objects)
    more += f", {counted(posed, 'pose')} of CAD files (cam_R_m2c, cam_t_m2c)" if posed else ""
    done = f"{counted(len(objects), 'object')} in {counted(len(found.dataset.images), 'image')}{hidden}"
    print(f"{done}; results in {out}{more}", file=sys.stderr if is_stdout(out) else sys.stdout)
    if strict:
        refuse_skipped(outcomes.skipped, listing)


def _complete(
    meshes: Path | None,
    pipeline: ShapePriorPipeline,
    names: Mapping[int, str],
    image: AmodalImage,
    pixels: NDArray[np.uint8],
) -> ImageOutcome:
    """The results of one image; its meshes are written to the folder ``meshes``."""
    from shape3d_amodal.drawing.projections import write_glb
    from shape3d_amodal.files.atomic import make_folder
    from shape3d_amodal.methods.completion import complete_image, completed_results
    from shape3d_amodal.methods.resuming import ImageOutcome

    results, files = [], []
    for instance, one in complete_image(pipeline, pixels, image, names):
        name = None
        if meshes is not None and len(one.faces):
            name = f"{image.id}_{instance.id}.glb"
            make_folder(meshes)
            write_glb(meshes / name, one.verts, one.faces)
            files.append(name)
        results += completed_results(image, instance, one, name)
    return ImageOutcome(results=tuple(results), files=tuple(files))
