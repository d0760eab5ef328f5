"""``shape3d-amodal predict``: images in, whole objects out."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from shape3d_amodal.cli.shared.input_options import ImageOptions, ImageReading
from shape3d_amodal.cli.shared.inputs import mesh_list, refuse_within_meshes
from shape3d_amodal.cli.shared.options import Pipeline, PipelineOptions, check_share, check_there
from shape3d_amodal.cli.shared.running import Resume, Strict, fingerprint, outcomes_of, refuse_skipped
from shape3d_amodal.errors import DataError, UsageError, counted, listed, printable
from shape3d_amodal.structures import AmodalImage, Category, Intrinsics

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from shape3d_amodal.methods.prediction import ImagePredictor
    from shape3d_amodal.methods.resuming import ImageOutcome, Skipped
    from shape3d_amodal.reports.predictions import PredictionFolder

    Pixels = NDArray[np.uint8]

_KINDS = (".png", ".jpg", ".jpeg")
_PIPELINE = PipelineOptions(gap_px=1)
_READING = ImageOptions()


def predict(
    images: tyro.conf.Positional[tuple[Path, ...]],
    /,
    *,
    detector: str = "open13_detector",
    annotations: Path | None = None,
    reading: ImageReading = _READING,
    out: Path = Path("outputs/predict"),
    pipeline: Pipeline = _PIPELINE,
    min_score: float = 0.5,
    alternatives: bool = False,
    drawings: bool = True,
    resume: Resume = True,
    strict: Strict = False,
) -> None:
    """Find the objects in images and complete them: masks, meshes and viewpoints.

    The detector's own amodal mask is joined with the completed one, whatever --refine says. What is done is kept image
    by image in predict.part.jsonl: the same command goes on where it was stopped. Images that cannot be used are
    skipped, counted, and listed with reasons in skipped.json, as is what in a folder is no PNG or JPEG.

    Args:
        images: image files (PNG, JPEG), or folders of them.
        detector: name of a shipped detector, or a folder of a detector's weights, such as
            outputs/kins/mask_rcnn/weights; it must predict visible masks.
        annotations: annotation file that gives names, sizes and ids of images and categories, so that
            `evaluate --track instance` can score the results; its masks are not used. Give the folder of its images.
        out: folder for results.json (COCO results), images.json (what the ids mean), overlays, meshes and report.html;
            those of an earlier run in it are replaced, and what it has drawn besides is removed.
        min_score: lowest score of an object, from 0 to 1. Use 0.05 for evaluation, since average precision also counts
            objects with low scores.
        alternatives: also output lower-scoring overlapping detections, in the results only, not in the drawings; use
            this when computing average precision.
        drawings: write overlays, meshes and the report; --no-drawings writes the results only.
    """
    if not images:
        raise UsageError("expected the path of an image file or of a folder of images, got none; name one or more")
    pipeline.check()
    check_share(min_score=min_score)
    check_there(*images, annotations)
    from shape3d_amodal.files.pretrained import weights_folder

    weights_folder(detector)
    from shape3d_amodal.benchmarking.methods import weights_hash
    from shape3d_amodal.files.journal import journal_of
    from shape3d_amodal.files.outputs import output_folder
    from shape3d_amodal.methods.prediction import ImagePredictor
    from shape3d_amodal.methods.rcnn import check_shared
    from shape3d_amodal.methods.resuming import ImageWork, Skipped, groups_of, one_by_one
    from shape3d_amodal.reports.predictions import PredictionFolder, advice, unmatched
    from shape3d_amodal.segmentation.detector import Detector

    pictures = _named(images, annotations, reading) if annotations else _numbered(images, reading)
    read = [pictures.file(one) for one in pictures.records]
    inputs = [annotations, *mesh_list(pipeline.meshes), *read]
    output_folder(out, writes=(*PredictionFolder.FILES, *PredictionFolder.FOLDERS), inputs=inputs)
    for name in PredictionFolder.FOLDERS:
        refuse_within_meshes(out / name, pipeline.meshes)
    completer = pipeline.open()
    stage1 = Detector.from_pretrained(detector, device=pipeline.device)
    predictor = ImagePredictor(stage1, completer, min_score=min_score)
    categories = pictures.categories or tuple(Category(i + 1, name) for i, name in enumerate(stage1.categories))
    check_shared(stage1.categories, [one.name for one in categories])
    differing = unmatched(stage1.categories, completer.categories, [one.name for one in categories])
    for line in differing:
        print(line, file=sys.stderr)
    folder = PredictionFolder(out, categories, drawings=drawings)
    camera = pipeline.camera()
    work = ImageWork(
        picture=pictures.file,
        load=pictures.load,
        do=partial(one_by_one, partial(_predict, predictor, folder, alternatives, camera)),
        skip=lambda image, reason: (Skipped(reason=reason, image_id=image.id),),
    )
    key = fingerprint(
        pipeline,
        completer,
        *([annotations] if annotations else []),
        detector=weights_hash(detector),
        pictures=[(one.id, str(file)) for one, file in zip(pictures.records, read, strict=True)],
        orientation=reading.orientation,
        min_score=min_score,
        alternatives=alternatives,
        drawings=drawings,
    )
    journal, listing = journal_of(out / "predict"), out / "skipped.json"
    with outcomes_of(
        groups_of(pictures.records, 1),
        work,
        "predict",
        journal=journal,
        listing=listing,
        passed_over=pictures.passed_over,
        key=key,
        resume=resume,
        writes=[out / name for name in PredictionFolder.FILES],
        folders=[out / name for name in PredictionFolder.FOLDERS],
        folder=out,
    ) as outcomes:
        done = [(image, one) for image, one in zip(pictures.records, outcomes.images, strict=True) if not one.skipped]
        given = [one for _, one in done]
        found = sum(one.more["found"] for one in given)
        empty = sum(not one.more["found"] for one in given)
        hint = advice(found, len(given), min_score, empty=empty, known=stage1.categories)
        facts = {"detector": detector, "prior": pipeline.meshes or pipeline.weights or "open13"}
        folder.finish(
            [image for image, _ in done],
            given,
            hint=" ".join([*([hint] if hint else []), *differing]),
            skipped=outcomes.skipped,
            passed_over=pictures.passed_over,
            facts=facts,
        )
    each = f"{sum(one.more['seconds'] for one in given) / len(given):.2f} s an image"
    print(f"{counted(found, 'object')} in {counted(len(given), 'image')}, {each}; results in {out / 'results.json'}")
    if hint:
        print(hint)
    for one in pictures.passed_over:
        print(one.reason, file=sys.stderr)
    if strict:
        refuse_skipped(outcomes.skipped, listing)


def _predict(
    predictor: ImagePredictor,
    folder: PredictionFolder,
    alternatives: bool,
    camera: Intrinsics | None,
    image: AmodalImage,
    pixels: Pixels,
) -> ImageOutcome:
    """Find and complete what is in one image, and write it; ``camera`` is that of images without one of their own."""
    begin = time.perf_counter()
    objects = predictor.predict(pixels, alternatives=alternatives, intrinsics=image.intrinsics or camera)
    seconds = time.perf_counter() - begin
    outcome = folder.add(replace(image, width=pixels.shape[1], height=pixels.shape[0]), pixels, objects)
    return replace(outcome, more={**outcome.more, "seconds": seconds})


@dataclass(frozen=True)
class _Pictures:
    """The images, whose instances are not looked at.

    Attributes:
        records: of images without an annotation file, width and height are 0.
        categories: those of the annotation file, or none.
        file: the file of an image.
        load: its pixels.
        passed_over: what was not looked at in folders, one line for each.
    """

    records: tuple[AmodalImage, ...]
    categories: tuple[Category, ...]
    file: Callable[[AmodalImage], Path]
    load: Callable[[AmodalImage], Pixels]
    passed_over: tuple[Skipped, ...] = ()


def _named(images: tuple[Path, ...], annotations: Path, reading: ImageOptions) -> _Pictures:
    """The images of an annotation file."""
    from shape3d_amodal.annotations.formats.interface import ImagesAlone
    from shape3d_amodal.annotations.formats.registry import read_annotations
    from shape3d_amodal.methods.ground_truth import shown

    if len(images) != 1 or not images[0].is_dir():
        raise UsageError("images: with annotations, expected the one folder that their file names are relative to")
    dataset = read_annotations(annotations, ImagesAlone()).dataset
    if not dataset.images:
        raise DataError("expected images, found none", file=annotations, field="images")
    return _Pictures(
        records=tuple(shown(image, "image") for image in dataset.images),
        categories=dataset.categories,
        file=lambda image: images[0] / image.file_name,
        load=reading.files(images[0], annotations).read,
    )


def _numbered(paths: tuple[Path, ...], reading: ImageOptions) -> _Pictures:
    """The named images and those in the named folders, links or not, numbered from 1."""
    from shape3d_amodal.files.safe_io import read_image
    from shape3d_amodal.methods.resuming import Skipped

    files: list[Path] = []
    passed_over: list[Skipped] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        inside = sorted(path.iterdir())
        chosen = [one for one in inside if one.suffix.lower() in _KINDS]
        others = _counted_others([one for one in inside if one.suffix.lower() not in _KINDS])
        if not chosen:
            problem = f"expected images ({', '.join(_KINDS)}) in the folder, found {others or 'none'}"
            raise DataError(f"{problem}; convert them, or name another folder" if others else problem, file=path)
        if others:
            passed_over.append(Skipped(reason=f"{path}: {others} passed over"))
        files += chosen
    by_number = dict(enumerate(files, start=1))
    return _Pictures(
        records=tuple(
            AmodalImage(id=number, file_name=printable(file.name), width=0, height=0, instances=())
            for number, file in by_number.items()
        ),
        categories=(),
        file=lambda image: by_number[image.id],
        load=lambda image: read_image(by_number[image.id], orientation=reading.orientation),
        passed_over=tuple(passed_over),
    )


def _counted_others(entries: Sequence[Path]) -> str:
    """What else is in a folder: "2 files of other kinds (.tif, .webp) and 1 subfolder"; empty where nothing is.

    Hidden files are not spoken of: systems make them.
    """
    seen = [one for one in entries if not one.name.startswith(".")]
    folders = sum(one.is_dir() for one in seen)
    kinds = sorted({one.suffix.lower() or "no ending" for one in seen if not one.is_dir()})
    parts = [f"{counted(len(seen) - folders, 'file of another kind', 'files of other kinds')} ({listed(kinds, 5)})"]
    parts = (parts if kinds else []) + ([counted(folders, "subfolder")] if folders else [])
    return " and ".join(parts)
