"""``shape3d-amodal render``: the reconstructed meshes as images and GLB files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from shape3d_amodal.cli.shared.input_options import ImageOptions, ImageReading, VisibleMaskOptions, VisibleMasks
from shape3d_amodal.cli.shared.inputs import refuse_within_meshes
from shape3d_amodal.cli.shared.options import DepthOrder, ImageFolder, Pipeline, check_positive
from shape3d_amodal.cli.shared.running import Resume, Strict, refuse_skipped
from shape3d_amodal.cli.shared.visible_input import VisibleInput
from shape3d_amodal.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from shape3d_amodal.methods.resuming import ImageOutcome, LoadedImage
    from shape3d_amodal.methods.visible_sets import VisibleSet
    from shape3d_amodal.pipeline import ShapePriorPipeline
    from shape3d_amodal.structures import AmodalImage

_READING, _VISIBLE = ImageOptions(), VisibleMaskOptions()


def render(
    *,
    images: ImageFolder,
    annotations: Path,
    out: Path,
    reading: ImageReading = _READING,
    visible: VisibleMasks = _VISIBLE,
    pipeline: Pipeline,
    turntable: int = 8,
    limit: int = 0,
    depth_order: DepthOrder = True,
    resume: Resume = True,
    strict: Strict = False,
) -> None:
    """Write the reconstructed mesh of each object over its image, a turntable strip and a GLB file.

    For object A of image I these are I_A_projection.png, I_A_turntable.png and I_A.glb; I_amodal.png shows all amodal
    masks of the image. Where poses are known (--meshes and a camera), I_scene.glb has all shapes before the camera.
    What cannot be used is skipped, counted, and listed with reasons in skipped.json.

    Args:
        annotations: annotation file as for complete.
        out: folder to write to; render.part.jsonl in it tells, until all is done, which images are done.
        turntable: number of viewpoints in a turntable strip.
        limit: stop after this many images; 0 is all.
    """
    check_positive(turntable=turntable)
    if limit < 0:
        raise UsageError(f"--limit: expected a number of images, 0 for all, got {limit}")
    given = VisibleInput(images, annotations, reading, visible, pipeline, depth_order)
    given.check(needs_meshes="render")
    from shape3d_amodal.evaluation.tables import counted
    from shape3d_amodal.files.journal import journal_of
    from shape3d_amodal.files.outputs import output_folder

    refuse_within_meshes(out, pipeline.meshes)
    output_folder(out)
    opened = given.open(limit=limit)
    found, journal, listing = opened.found, journal_of(out / "render"), out / "skipped.json"
    output_folder(out, writes=[journal.name, listing.name, *_names(found)], inputs=opened.inputs)
    with opened.outcomes(
        "render",
        partial(_render_each, out, turntable),
        key={"turntable": turntable},
        journal=journal,
        listing=listing,
        resume=resume,
        folders=[out],
        folder=out,
    ) as outcomes:
        count = sum(name.endswith("_turntable.png") for one in outcomes.images for name in one.files)
    print(f"{counted(count, 'object')} of {counted(len(found.dataset.images), 'image')} in {out}")
    if strict:
        refuse_skipped(outcomes.skipped, listing)


def _names(found: VisibleSet) -> list[str]:
    """The names of all pictures and meshes that are written."""
    of_images = [f"{image.id}_amodal.png" for image in found.dataset.images]
    of_images += [f"{image.id}_scene.glb" for image in found.dataset.images]
    stems = [f"{image.id}_{one.id}" for image in found.dataset.images for one in image.instances]
    of_images += [f"{stem}.glb" for stem in stems]
    return of_images + [f"{stem}_{kind}" for stem in stems for kind in ("projection.png", "turntable.png")]


def _render_each(
    out: Path,
    views: int,
    pipeline: ShapePriorPipeline,
    names: Mapping[int, str],
    images: Iterator[LoadedImage],
) -> list[ImageOutcome]:
    return [_render(out, views, pipeline, names, image, pixels) for image, pixels in images]


def _render(
    out: Path,
    views: int,
    pipeline: ShapePriorPipeline,
    names: Mapping[int, str],
    image: AmodalImage,
    pixels: NDArray[np.uint8],
) -> ImageOutcome:
    """The files of one image."""
    from shape3d_amodal.drawing.overlays import draw_instances
    from shape3d_amodal.drawing.projections import mesh_over_image, turntable, write_glb, write_scene_glb
    from shape3d_amodal.files.atomic import make_folder, write_atomic
    from shape3d_amodal.methods.completion import complete_image
    from shape3d_amodal.methods.resuming import ImageOutcome
    from shape3d_amodal.scenes.sets import png_bytes

    objects = complete_image(pipeline, pixels, image, names)
    drawn = {f"{image.id}_amodal.png": draw_instances(pixels, [one.amodal for _, one in objects])}
    files = []
    make_folder(out)
    for instance, one in objects:
        if not len(one.faces):
            continue
        stem = f"{image.id}_{instance.id}"
        over = mesh_over_image(pixels, one.verts, one.faces, one.viewpoint, one.window)
        drawn |= {f"{stem}_projection.png": over, f"{stem}_turntable.png": turntable(one.verts, one.faces, views=views)}
        files.append(f"{stem}.glb")
        write_glb(out / files[-1], one.verts, one.faces, name=one.category)
    posed = [one for _, one in objects if one.to_camera is not None]
    if posed:
        files.append(f"{image.id}_scene.glb")
        write_scene_glb(out / files[-1], posed)
    for name, picture in drawn.items():
        write_atomic(out / name, png_bytes(picture))
    return ImageOutcome(files=(*drawn, *files))
