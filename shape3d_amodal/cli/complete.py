"""``shape3d-amodal complete``: visible masks in, whole masks out."""

from __future__ import annotations

from pathlib import Path

from shape3d_amodal.cli.options import DepthOrder, ImageFolder, Pipeline


def complete(
    *,
    images: ImageFolder,
    annotations: Path,
    out: Path,
    pipeline: Pipeline,
    depth_order: DepthOrder = True,
    save_meshes: Path | None = None,
) -> None:
    """Complete the visible masks of an annotation file; objects without a visible pixel are left out.

    Args:
        annotations: KINS, COCOA, COCOA-cls, D2SA, or any COCO JSON whose annotations have image_id, category_id and
            visible_mask (RLE or polygons). Give all objects of an image, for they hide each other; the category
            "occluder" marks what only hides others and is not completed.
        out: results file to write (JSON).
        save_meshes: folder to write the reconstructed meshes to, <image_id>_<annotation_id>.glb each.
    """
    pipeline.check(needs_meshes=None if save_meshes is None else "--save-meshes")
    import tempfile

    from rich.progress import track

    from shape3d_amodal.annotations.formats.registry import read_dataset
    from shape3d_amodal.annotations.results import write_results
    from shape3d_amodal.drawing.projections import write_glb
    from shape3d_amodal.files.atomic import move_all
    from shape3d_amodal.masks.occlusion import without_invisible
    from shape3d_amodal.methods.completion import complete_dataset, completed_result, without_depth_order

    completer = pipeline.open()
    dataset = without_invisible(read_dataset(annotations))
    if not depth_order:
        dataset = without_depth_order(dataset)
    results = []
    # Meshes are collected elsewhere and moved at the end, so a failed run leaves nothing behind.
    with tempfile.TemporaryDirectory() as temporary:
        completed = complete_dataset(completer, dataset, images, annotations=annotations)
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
