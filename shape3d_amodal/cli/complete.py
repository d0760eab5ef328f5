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
    """Complete the visible masks of an annotation file; objects without a visible pixel are left out.

    Args:
        images: folder that the file names in the annotations are relative to.
        annotations: KINS, COCOA, COCOA-cls, D2SA, or any COCO JSON whose annotations have image_id, category_id and
            visible_mask (RLE or polygons). Give all objects of an image, for they hide each other; the category
            "occluder" marks what only hides others and is not completed.
        out: results file to write (JSON).
        prior: learned (the networks of the weights), or bank (the shapes of --meshes, of any category; no training).
        weights: name of shipped weights, or a folder of weights; the default is open13. A bank needs weights only with
            --refine full or 2d.
        meshes: for the bank, a folder <category>/.../<mesh>.obj (.ply, .off, .glb, .npz), y up, or open13:train.
        fit_steps: gradient steps that fit shape and viewpoint to each object at test time. By default as in training:
            none for the learned prior. 30 improve a bank without weights, and bare silhouettes.
        refine: full (default of the learned prior), 2d (without the rendered silhouette, for weights of the stage
            completion2d), visible-union (silhouette joined with the visible mask; default of the bank), or none (bare
            silhouette).
        gap_px: close gaps of up to this many pixels between masks; use 1 for predicted masks, 0 for exact ones.
        depth_order: use the annotations' depth order where they have one; with --no-depth-order every object may hide
            every other.
        save_meshes: folder to write the reconstructed meshes to, <image_id>_<annotation_id>.glb each.
        device: cpu or cuda.
    """
    import tempfile

    from rich.progress import track

    from shape3d_amodal.annotations.formats.registry import read_dataset
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
    # Meshes are collected elsewhere and moved at the end, so a failed run leaves nothing behind.
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
