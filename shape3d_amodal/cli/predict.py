"""``shape3d-amodal predict``: images in, whole objects out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from shape3d_amodal.cli.options import Pipeline, PipelineOptions
from shape3d_amodal.errors import DataError, UsageError

if TYPE_CHECKING:
    from shape3d_amodal.structures import AmodalDataset

_KINDS = (".png", ".jpg", ".jpeg")
_PIPELINE = PipelineOptions(gap_px=1)


def predict(
    images: tyro.conf.Positional[tuple[Path, ...]],
    /,
    *,
    detector: str = "open13_detector",
    annotations: Path | None = None,
    out: Path = Path("outputs/predict"),
    pipeline: Pipeline = _PIPELINE,
    min_score: float = 0.5,
    alternatives: bool = False,
    drawings: bool = True,
) -> None:
    """Find the objects in images and complete them: masks, meshes and viewpoints.

    The detector's own amodal mask is joined with the completed one, whatever --refine says.

    Args:
        images: image files (PNG, JPEG), or folders of them.
        detector: name of a shipped detector, or a folder of a detector's weights, such as
            outputs/kins/mask_rcnn/weights; it must predict visible masks.
        annotations: annotation file that gives names, sizes and ids of images and categories, so that
            `evaluate --track instance` can score the results; its masks are not used. Give the folder of its images.
        out: folder for results.json (COCO results), images.json (what the ids mean), overlays, meshes and report.html.
        min_score: lowest score of an object, from 0 to 1. Use 0.05 for evaluation, since average precision also counts
            objects with low scores.
        alternatives: also output lower-scoring overlapping detections, in the results only, not in the drawings; use
            this when computing average precision.
        drawings: write overlays, meshes and the report; --no-drawings writes the results only.
    """
    import time

    from rich.progress import track

    from shape3d_amodal.annotations.images import load_image
    from shape3d_amodal.evaluation.tables import counted
    from shape3d_amodal.methods.prediction import ImagePredictor
    from shape3d_amodal.methods.rcnn import check_shared
    from shape3d_amodal.reports.predictions import PredictionFolder, advice
    from shape3d_amodal.segmentation.detector import Detector

    completer = pipeline.open()
    stage1 = Detector.from_pretrained(detector, device=pipeline.device)
    predictor = ImagePredictor(stage1, completer, min_score=min_score)
    dataset, roots = _named(images, annotations) if annotations else _numbered(images, stage1.categories)
    check_shared(stage1.categories, [one.name for one in dataset.categories])
    folder = PredictionFolder(out, dataset.categories, drawings=drawings)
    seconds = 0.0
    for record, root in track(list(zip(dataset.images, roots, strict=True)), description="predict", transient=True):
        image = load_image(root, record, file=annotations or root / record.file_name)
        begin = time.perf_counter()
        objects = predictor.predict(image, alternatives=alternatives)
        seconds += time.perf_counter() - begin
        folder.add(record, image, objects)
    found, known = folder.count, stage1.categories
    hint = advice(found, len(roots), min_score, empty=folder.empty, known=known)
    folder.finish(hint=hint, detector=detector, prior=pipeline.meshes or pipeline.weights or "open13")
    each = f"{seconds / len(roots):.2f} s an image"
    print(f"{counted(found, 'object')} in {counted(len(roots), 'image')}, {each}; results in {out / 'results.json'}")
    if hint:
        print(hint)


def _named(images: tuple[Path, ...], annotations: Path) -> tuple[AmodalDataset, list[Path]]:
    """The images of an annotation file without their instances, and the folder of each."""
    from dataclasses import replace

    from shape3d_amodal.annotations.formats.registry import read_dataset
    from shape3d_amodal.methods.ground_truth import shown

    if len(images) != 1 or not images[0].is_dir():
        raise UsageError("images: with annotations, expected the one folder that their file names are relative to")
    dataset = read_dataset(annotations)
    if not dataset.images:
        raise DataError("expected images, found none", file=annotations, field="images")
    bare = tuple(shown(image, "image") for image in dataset.images)
    return replace(dataset, images=bare), [images[0]] * len(bare)


def _numbered(paths: tuple[Path, ...], names: tuple[str, ...]) -> tuple[AmodalDataset, list[Path]]:
    """The named images and those in the named folders, numbered from 1, and the folder of each."""
    from shape3d_amodal.files.safe_io import read_image
    from shape3d_amodal.structures import AmodalDataset, AmodalImage, Category

    files: list[Path] = []
    for path in paths:
        inside = sorted(one for one in path.iterdir() if one.suffix.lower() in _KINDS) if path.is_dir() else [path]
        if not inside:
            raise DataError(f"expected images ({', '.join(_KINDS)}) in the folder, found none", file=path)
        files += inside
    if not files:
        raise UsageError("images: expected one or more images or folders, got none")
    records = []
    for number, file in enumerate(files, start=1):
        height, width = read_image(file).shape[:2]  # finds an unreadable image before the work begins
        records.append(AmodalImage(id=number, file_name=file.name, width=width, height=height, instances=()))
    categories = tuple(Category(i + 1, name) for i, name in enumerate(names))
    return AmodalDataset(images=tuple(records), categories=categories), [file.parent for file in files]
