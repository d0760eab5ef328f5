"""``shape3d-amodal render``: the reconstructed meshes as images and GLB files."""

from __future__ import annotations

from pathlib import Path

from shape3d_amodal.cli.options import DepthOrder, ImageFolder, Pipeline, check_positive


def render(
    *,
    images: ImageFolder,
    annotations: Path,
    out: Path,
    pipeline: Pipeline,
    views: int = 8,
    limit: int = 0,
    depth_order: DepthOrder = True,
) -> None:
    """Write the reconstructed mesh of each object over its image, a turntable strip and a GLB file.

    For object A of image I these are I_A_projection.png, I_A_turntable.png and I_A.glb; I_amodal.png shows all amodal
    masks of the image.

    Args:
        annotations: annotation file as for complete.
        out: folder to write to.
        views: number of viewpoints in a turntable strip.
        limit: stop after this many images; 0 is all.
    """
    import tempfile
    from dataclasses import replace

    from shape3d_amodal.annotations.formats.registry import read_dataset
    from shape3d_amodal.annotations.images import load_image
    from shape3d_amodal.drawing.overlays import draw_instances
    from shape3d_amodal.drawing.projections import mesh_over_image, turntable, write_glb
    from shape3d_amodal.files.atomic import move_all
    from shape3d_amodal.masks.occlusion import without_invisible
    from shape3d_amodal.methods.completion import complete_dataset, without_depth_order
    from shape3d_amodal.scenes.sets import png_bytes

    check_positive(views=views)
    completer = pipeline.open()
    dataset = without_invisible(read_dataset(annotations))
    if limit > 0:
        dataset = replace(dataset, images=dataset.images[:limit])
    if not depth_order:
        dataset = without_depth_order(dataset)
    count = 0
    # Files are written elsewhere and moved at the end, so a failed run leaves nothing behind.
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for record, objects in complete_dataset(completer, dataset, images, annotations=annotations):
            image = load_image(images, record, file=annotations)
            whole = draw_instances(image, [one.amodal for _, one in objects])
            (folder / f"{record.id}_amodal.png").write_bytes(png_bytes(whole))
            for instance, one in objects:
                stem = f"{record.id}_{instance.id}"
                over = mesh_over_image(image, one.verts, one.faces, one.viewpoint, one.window)
                strip = turntable(one.verts, one.faces, views=views)
                (folder / f"{stem}_projection.png").write_bytes(png_bytes(over))
                (folder / f"{stem}_turntable.png").write_bytes(png_bytes(strip))
                write_glb(folder / f"{stem}.glb", one.verts, one.faces, name=one.category)
                count += 1
        move_all(folder, out)
    print(f"{count} objects of {len(dataset.images)} images in {out}")
