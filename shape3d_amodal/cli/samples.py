"""``shape3d-amodal samples``: several plausible masks of objects, drawn as one image."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from shape3d_amodal.cli.shared.input_options import ImageOptions, ImageReading
from shape3d_amodal.cli.shared.options import ImageFolder, check_folders, check_positive, check_there
from shape3d_amodal.errors import DataError

if TYPE_CHECKING:
    from shape3d_amodal.annotations.images import ImageFiles
    from shape3d_amodal.reports.html import ReportCase
    from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance, Rle

_READING = ImageOptions()


def samples(
    results: tyro.conf.Positional[Path],
    /,
    *,
    images: ImageFolder,
    annotations: Path,
    reading: ImageReading = _READING,
    out: Path = Path("outputs/samples.png"),
    count: int = 8,
    shown: int = 6,
) -> None:
    """Draw the plausible masks of some objects, one object per row, least hidden first.

    A row shows the image, the visible mask (blue), samples (hidden part orange), the share of the samples that contain
    each pixel, and the ground truth.

    Args:
        results: results file with several masks for an annotation id, as `evaluate --track multimodal` scores it.
        annotations: annotation file with visible and amodal masks.
        out: the drawn image (PNG).
        count: number of rows.
        shown: number of samples in a row.
    """
    from shape3d_amodal.files.outputs import output_file, refuse_inputs

    check_positive(count=count, shown=shown)
    check_folders(images=images)
    check_there(annotations, results)
    output_file(out, inputs=[results, annotations])

    from shape3d_amodal.annotations.formats.registry import read_dataset
    from shape3d_amodal.annotations.results import AmodalResult, answers, read_results
    from shape3d_amodal.files.atomic import make_folder, write_atomic
    from shape3d_amodal.reports.cases import gallery
    from shape3d_amodal.scenes.sets import png_bytes

    files = reading.files(images, annotations)
    dataset = read_dataset(annotations)
    refuse_inputs([out], files.allowed(dataset.images))
    found: dict[int, list[AmodalResult]] = {}
    for result in read_results(results):
        if result.annotation_id is not None:
            found.setdefault(result.annotation_id, []).append(result)
    masks = {key: [one.segmentation for one in answers(own)] for key, own in found.items()}
    several = {key: own for key, own in masks.items() if len(own) > 1}
    cases = _cases(dataset, several, count, shown, files)
    if not cases:
        problem = "expected several results for an annotation id of a partly hidden object, found none"
        raise DataError(f"{problem}; is it of a method with samples?", file=results, field="annotation_id")
    make_folder(out.parent)
    write_atomic(out, png_bytes(gallery(cases, titles=True)))
    for case in cases:
        print(f"{case.title}: {case.caption}")
    print(f"written: {out}")


def _cases(
    dataset: AmodalDataset, found: Mapping[int, list[Rle]], count: int, shown: int, files: ImageFiles
) -> list[ReportCase]:
    """The rows, all with the same number of panels."""
    from shape3d_amodal import masks
    from shape3d_amodal.reports.cases import sample_case

    chosen = _spread(dataset, found.keys(), count)
    most = min([shown, *(len(found[one.id]) for _, one in chosen)])
    return [
        sample_case(
            dataset.category_names[one.category_id],
            files.read(record),
            visible=masks.decode(one.visible),
            samples=[masks.decode(mask) for mask in found[one.id]],
            truth=masks.decode(one.amodal),
            shown=most,
        )
        for record, one in chosen
        if one.amodal is not None
    ]


def _spread(dataset: AmodalDataset, ids: Collection[int], count: int) -> list[tuple[AmodalImage, AmodalInstance]]:
    """Up to ``count`` partly hidden objects of ``ids`` with their images, spread evenly by rising hidden share."""
    import numpy as np

    from shape3d_amodal import masks

    objects = [
        (masks.occlude_rate(one.visible, one.amodal), image, one)
        for image in dataset.images
        for one in image.instances
        if one.id in ids and one.amodal is not None and masks.area(one.amodal)
    ]
    hidden = sorted((row for row in objects if 0 < row[0] < 1), key=lambda row: (row[0], row[2].id))
    rows = np.linspace(0, len(hidden) - 1, min(count, len(hidden))).round().astype(int)
    return [hidden[row][1:] for row in rows]
