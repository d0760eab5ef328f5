"""``shape3d-amodal complete``: visible masks in, whole masks out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from shape3d_amodal.pipeline import Refine, ShapePriorPipeline


def complete(
    *,
    images: Path,
    annotations: Path,
    out: Path,
    prior: Literal["learned", "bank"] = "learned",
    weights: str | None = None,
    meshes: str | None = None,
    fit_steps: int | None = None,
    refine: Literal["full", "2d", "visible-union", "none"] | None = None,
    gap_px: int = 0,
    depth_order: bool = True,
    save_meshes: Path | None = None,
    device: str = "cpu",
) -> None:
    """Complete the visible masks of an annotation file; objects of which nothing is visible are left out.

    Args:
        images: folder that the file names in the annotations are relative to.
        annotations: KINS, COCOA, COCOA-cls, D2SA, or any COCO JSON whose annotations have image_id, category_id and
            visible_mask (RLE or polygons). Give all objects of an image, for they hide each other; category "occluder"
            marks what only hides others.
        out: results file to write (JSON).
        prior: learned, the networks of the weights; or bank, the shapes of --meshes, which need no training and may be
            of any category.
        weights: name of shipped weights, or a folder of weights; open13 where networks are needed, as they are for a
            bank with --refine full.
        meshes: for the bank, a folder <category>/.../<mesh>.obj (.ply, .off, .glb, .npz), y up, or open13:train.
        fit_steps: gradient steps that fit shapes and viewpoints to each object; 30 help a bank without networks and
            bare silhouettes, not refined masks; by default as many as the refinement has learned to use, 0 for a bank
            without it.
        refine: full (the learned prior's default), or 2d (without the rendered silhouette, best for weights of the
            stage completion2d), or visible-union (silhouette joined with the visible mask, the bank's default), or none
            (bare silhouette).
        gap_px: close gaps of up to this many pixels between masks; use 1 for predicted masks, 0 for exact ones.
        depth_order: use the annotations' depth_order where they have it; --no-depth-order treats every object as a
            possible occluder of every other.
        save_meshes: folder to write the reconstructed meshes to, <image_id>_<annotation_id>.glb each.
        device: cpu or cuda.
    """
    import tempfile

    from rich.progress import track

    from shape3d_amodal.annotations.formats.detect import read_dataset
    from shape3d_amodal.annotations.results import write_results
    from shape3d_amodal.drawing.projections import write_glb
    from shape3d_amodal.files.atomic import move_all
    from shape3d_amodal.masks.occlusion import without_invisible
    from shape3d_amodal.methods.completion import complete_dataset, completed_result, without_depth_order

    pipeline = open_pipeline(prior, weights, meshes, device=device, refine=refine, gap_px=gap_px, fit_steps=fit_steps)
    dataset = without_invisible(read_dataset(annotations))
    if not depth_order:
        dataset = without_depth_order(dataset)
    results = []
    # Meshes are collected elsewhere and moved in the end: nothing stays of a run that fails.
    with tempfile.TemporaryDirectory() as temporary:
        completed = complete_dataset(pipeline, dataset, images, annotations=annotations)
        for image, objects in track(completed, description="complete", total=len(dataset.images), transient=True):
            for instance, one in objects:
                name = None
                if save_meshes is not None:
                    name = f"{image.id}_{instance.id}.glb"
                    write_glb(Path(temporary) / name, one.verts, one.faces)
                results.append(completed_result(image, instance, one, name))
        out.parent.mkdir(parents=True, exist_ok=True)
        write_results(out, results)
        if save_meshes is not None:
            move_all(Path(temporary), save_meshes)
    print(f"{len(results)} objects in {len(dataset.images)} images; results in {out}")


def open_pipeline(
    prior: str,
    weights: str | None,
    meshes: str | None,
    *,
    device: str,
    refine: Refine | None,
    gap_px: int,
    fit_steps: int | None,
) -> ShapePriorPipeline:
    """The pipeline that the options of a command ask for; the options are explained in ``complete``."""
    from shape3d_amodal.errors import UsageError
    from shape3d_amodal.pipeline import ShapePriorPipeline

    if (prior == "bank") != (meshes is not None):
        raise UsageError(
            "--prior bank and --meshes go together: the bank is made of these meshes; give both or neither"
        )
    if meshes is None:
        return ShapePriorPipeline.from_pretrained(
            weights or "open13", device=device, fit_steps=fit_steps, refine=refine or "full", gap_px=gap_px
        )
    refine = refine or "visible-union"
    if refine in ("full", "2d"):
        weights = weights or "open13"
    return ShapePriorPipeline.from_meshes(
        meshes, weights=weights, device=device, fit_steps=fit_steps, refine=refine, gap_px=gap_px
    )
