"""``shape3d-amodal predict``: pictures in, whole objects out."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import tyro

from shape3d_amodal.cli.complete import open_pipeline

_KINDS = (".png", ".jpg", ".jpeg")


def predict(
    images: tyro.conf.Positional[tuple[Path, ...]],
    /,
    *,
    detector: Path,
    out: Path = Path("outputs/predict"),
    weights: str | None = None,
    meshes: str | None = None,
    fit_steps: int = 0,
    refine: Literal["full", "2d", "visible-union", "none"] | None = None,
    gap_px: int = 1,
    min_score: float = 0.5,
    device: str = "cpu",
) -> None:
    """Find the objects in pictures, and complete them: masks, meshes and viewpoints.

    Args:
        images: pictures (PNG, JPEG), or folders of them.
        detector: folder of the weights of a detector, such as outputs/open13/mask_rcnn_small/weights.
        out: folder for results.json (COCO), images.json (what its ids mean), overlays, meshes and report.html.
        weights: name of shipped weights of stages 2 to 5, or a folder of weights; open13 where networks are needed.
        meshes: take these shapes as the prior, a folder <category>/.../<mesh>.obj or open13:train, in place of learned
            ones.
        fit_steps: gradient steps that fit shape and viewpoint to each object; 30 is a good number, 0 is fastest.
        refine: full, 2d (without the rendered silhouette), visible-union (silhouette joined with the visible mask) or
            none (bare silhouette).
        gap_px: close gaps of up to this many pixels between the predicted visible masks.
        min_score: least score of an object, from 0 to 1.
        device: cpu or cuda.
    """
    import time

    from rich.progress import track

    from shape3d_amodal.baselines.rcnn.detecting import ObjectFinder
    from shape3d_amodal.data.atomic import make_folder
    from shape3d_amodal.data.safe_io import read_image
    from shape3d_amodal.prediction import ImagePredictor
    from shape3d_amodal.visualization.predictions import PredictionFolder

    files = picture_files(images)
    prior = "learned" if meshes is None else "bank"
    pipeline = open_pipeline(prior, weights, meshes, device=device, refine=refine, gap_px=gap_px)
    finder = ObjectFinder.from_pretrained(detector, device=device)
    predictor = ImagePredictor(finder, pipeline, min_score=min_score)
    make_folder(out)
    folder = PredictionFolder(out, finder.categories)
    seconds = 0.0
    for file in track(files, description="predict", transient=True):
        image = read_image(file)
        begin = time.perf_counter()
        objects = predictor.predict(image, fit_steps=fit_steps)
        seconds += time.perf_counter() - begin
        folder.add(file, image, objects)
    folder.finish(detector=str(detector), prior=meshes or weights or "open13")
    each = f"{seconds / len(files):.2f} s a picture"
    print(f"{folder.count} objects in {len(files)} pictures, {each}; report: {out / 'report.html'}")


def picture_files(paths: tuple[Path, ...]) -> list[Path]:
    """The pictures that are named, and those in the folders that are named.

    Raises:
        UsageError: none is named.
        DataError: a folder has none, or there is no such file.
    """
    from shape3d_amodal.errors import DataError, UsageError

    files: list[Path] = []
    for path in paths:
        inside = sorted(one for one in path.iterdir() if one.suffix.lower() in _KINDS) if path.is_dir() else [path]
        if not inside:
            raise DataError(f"expected pictures ({', '.join(_KINDS)}) in the folder, found none", file=path)
        files += inside
    if not files:
        raise UsageError("images: expected one or more pictures or folders, got none")
    return files
