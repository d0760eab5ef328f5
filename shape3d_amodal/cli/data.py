"""``shape3d-amodal data``: annotation files checked, converted and counted; poses written for BOP."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import tyro

from shape3d_amodal.cli.shared.input_options import ImageOptions, ImageReading, Segmentation
from shape3d_amodal.cli.shared.options import check_folders
from shape3d_amodal.errors import counted, printable

if TYPE_CHECKING:
    from shape3d_amodal.annotations.validation import ValidationReport

T = TypeVar("T")
_READING = ImageOptions()


def validate(
    annotations: tyro.conf.Positional[Path],
    /,
    *,
    images: Path | None = None,
    reading: ImageReading = _READING,
    segmentation: Segmentation = "amodal",
    published: tuple[str, ...] = (),
    out: Path | None = None,
    examples: int = 3,
) -> None:
    """List all problems of an annotation file and of its images; exit status 3 if there are errors.

    Args:
        annotations: file of KINS 2019 or 2020, COCOA, COCOA-cls, D2SA or in our own format, recognised by its keys.
        images: folder that file names are relative to; every image is then decoded and its size compared.
        published: published sets whose counts of images and classes the file must have: kins-train, kins-test,
            kins2019, kins2020, cocoa-cls-train, cocoa-cls-val or d2sa.
        out: JSON file to write all problems to; - prints it in place of the table.
        examples: number of places shown for each kind of problem.
    """
    from shape3d_amodal.annotations.validation import check_published, validate
    from shape3d_amodal.errors import DataError
    from shape3d_amodal.files.atomic import is_stdout, make_folder, write_json_atomic
    from shape3d_amodal.files.outputs import output_file, refuse_inputs

    check_published(published)  # all of it before minutes of work
    check_folders(images=images)
    files = None if images is None else reading.files(images, annotations)
    if out is not None:
        output_file(out, inputs=[annotations], stdout=True)
    report, dataset = validate(
        annotations, images=files, segmentation=segmentation, published=published, progress=_progress
    )
    if out is not None and files is not None:
        refuse_inputs([out], files.allowed(dataset.images))
    if out is None or not is_stdout(out):
        _print_report(report, examples)
    if out is not None:
        if not is_stdout(out):
            make_folder(out.parent)
        write_json_atomic(out, report.to_dict())
    if report.errors:
        leave_out = ", or leave records that cannot be read out by data convert --drop-invalid"
        remedy = "correct them" + (leave_out if report.unreadable else "")
        raise DataError(f"{counted(report.errors, 'error')}; {remedy}", file=annotations)


def convert(
    annotations: tyro.conf.Positional[Path],
    /,
    *,
    to: str,
    out: Path,
    masks: Literal["rle", "polygons"] = "rle",
    drop_invalid: bool = False,
    classes: Path | None = None,
    segmentation: Segmentation = "amodal",
    source: Annotated[Literal["file", "bop"], tyro.conf.arg(name="from")] = "file",
    calibration: Path | None = None,
    models: Path | None = None,
    targets: Path | None = None,
    visible_tolerance: float | None = None,
) -> None:
    """Write an annotation file, or a BOP split, in another format and list what that format cannot hold.

    Args:
        annotations: file in any format that validate reads; with --from bop the folder of a split, such as lmo/test.
        to: format to write: coco_amodal (our own), kins2020, kins2019, cocoa or d2sa (also that of COCOA-cls).
        out: file to write.
        masks: how KINS 2020 holds its masks; polygons give the same pixels back, and more bytes.
        drop_invalid: leave out records with errors, and tell which.
        classes: YAML file that maps names to classes, such as COCOA's free text (docs/data.md shows one).
        source: bop makes masks from CAD models and poses (docs/bop.md).
        calibration: folder of KITTI's calibration files (calib), from which images get their cameras; coco_amodal holds
            them.
        models: bop: folder of the models; by default models_eval, models or models_cad beside the split.
        targets: bop: file such as test_targets_bop19.json; only its pictures are written, and objects that are not in
            it are marked ignore.
        visible_tolerance: bop: mark objects ignore whose rendered visible mask differs from px_count_visib by more than
            this share, for things without a model hide them, too; 0.12, say.
    """
    from shape3d_amodal.annotations.class_map import ClassMap
    from shape3d_amodal.annotations.conversion import check_target, convert
    from shape3d_amodal.annotations.formats.bop import BopOptions
    from shape3d_amodal.config import load_config
    from shape3d_amodal.errors import UsageError
    from shape3d_amodal.files.atomic import is_stdout
    from shape3d_amodal.files.outputs import output_file, refuse_within

    check_target(to, masks)
    check_folders(models=models, calibration=calibration)
    mapping = None if classes is None else load_config(classes, ClassMap)
    if is_stdout(out):
        raise UsageError("--out: expected a file, for the new annotations are read again and compared; name one")
    cameras = () if calibration is None else calibration.glob("*.txt")
    output_file(out, inputs=[annotations, classes, targets, *cameras])
    own = {"models": models, "targets": targets, "visible_tolerance": visible_tolerance}
    if source == "bop":
        if segmentation != "amodal":
            raise UsageError("--segmentation: is of annotation files, got --from bop; leave it out")
        for folder in (annotations, models):
            refuse_within(out, folder)
    elif wrong := [name for name, value in own.items() if value is not None]:
        raise UsageError(f"--{wrong[0].replace('_', '-')}: is of BOP splits; give --from bop, or leave it out")
    if visible_tolerance is not None and not 0 <= visible_tolerance < math.inf:
        raise UsageError(f"--visible-tolerance: expected a share, 0 or more, got {visible_tolerance}")
    done = convert(
        annotations,
        out,
        to,
        form=masks,
        drop_invalid=drop_invalid,
        classes=mapping,
        segmentation=segmentation,
        bop=BopOptions(models=models, targets=targets, visible_tolerance=visible_tolerance)
        if source == "bop"
        else None,
        calibration=calibration,
        progress=_progress,
    )
    for note in done.notes:
        print(note)
    for error in done.left_out:
        told = error if source == "bop" else f"{error.field}: {error.problem}"  # a split has several files
        print(f"left out: {told}")
    for name, number in done.unclassed.most_common():
        print(f"no class: {name}, {counted(number, 'object')}")
    for loss in done.losses:
        print(f"not held: {loss}")
    objects = counted(sum(len(image.instances) for image in done.dataset.images), "object")
    print(f"{counted(len(done.dataset.images), 'image')} with {objects} from {done.source} to {to} in {out}")


def poses(results: tyro.conf.Positional[Path], /, *, annotations: Path, out: Path) -> None:
    """Write the poses of a results file as the BOP challenge takes them: scene_id,im_id,obj_id,score,R,t,time.

    Args:
        results: results file of a method that estimates poses.
        annotations: file that the results were made for, written by convert --from bop.
        out: CSV file to write.
    """
    from shape3d_amodal.annotations.bop_results import write_bop_csv
    from shape3d_amodal.annotations.formats.registry import read_dataset
    from shape3d_amodal.annotations.results import read_results
    from shape3d_amodal.files.atomic import is_stdout, make_folder
    from shape3d_amodal.files.outputs import output_file

    output_file(out, inputs=[results, annotations], stdout=True)
    dataset, found = read_dataset(annotations), read_results(results)
    if not is_stdout(out):
        make_folder(out.parent)
    number = write_bop_csv(out, dataset, found)
    if not is_stdout(out):
        print(f"{counted(number, 'pose')} of {counted(len(found), 'result')} in {out}")


def kins(
    results: tyro.conf.Positional[Path],
    /,
    *,
    annotations: Path,
    out: Path,
    form: Literal["2019", "2020"] = "2020",
    masks: Literal["amodal", "visible"] = "amodal",
) -> None:
    """Write a results file for KINS' own evaluation, or any that calls COCO.loadRes: its category ids, its keys.

    Results of categories that are no classes of KINS are left out.

    Args:
        results: results file of complete, predict, a benchmark or render.
        annotations: file that the results were made for, or images.json of predict: what their category ids mean.
        out: JSON file to write.
        form: keys of the masks: 2019 (inmodal_seg) or 2020 (a_segm, i_segm).
        masks: what segmentation, which is scored, holds.
    """
    from shape3d_amodal.annotations.formats.registry import read_dataset
    from shape3d_amodal.annotations.kins_results import write_kins_results
    from shape3d_amodal.annotations.results import read_results
    from shape3d_amodal.files.atomic import is_stdout, make_folder
    from shape3d_amodal.files.outputs import output_file

    output_file(out, inputs=[results, annotations], stdout=True)
    dataset, found = read_dataset(annotations), read_results(results)
    if not is_stdout(out):
        make_folder(out.parent)
    number = write_kins_results(out, dataset, found, form=form, scored=masks)
    if not is_stdout(out):
        print(f"{number} of {counted(len(found), 'result')} in the form of KINS {form} in {out}")


def stats(annotations: tyro.conf.Positional[Path], /, *, out: Path | None = None) -> None:
    """Count and measure as the KINS paper does: classes, occlusion levels, shapes, occlusion orders.

    Args:
        annotations: file in any format that validate reads.
        out: folder to write statistics.md, statistics.json and statistics.png to.
    """
    from shape3d_amodal.annotations.formats.registry import read_dataset
    from shape3d_amodal.annotations.statistics import statistics
    from shape3d_amodal.files.atomic import make_folder, write_atomic, write_json_atomic, write_text_atomic
    from shape3d_amodal.files.outputs import output_folder
    from shape3d_amodal.reports.statistics import draw_statistics, to_markdown

    if out is not None:
        output_folder(out, writes=[f"statistics.{kind}" for kind in ("md", "json", "png")], inputs=[annotations])
    found = statistics(read_dataset(annotations), progress=_progress)
    title = printable(annotations.name)
    text = to_markdown(found, title=title)
    print(text, end="")
    if out is not None:
        make_folder(out)
        write_json_atomic(out / "statistics.json", found.to_dict())
        write_atomic(out / "statistics.png", draw_statistics(found, title=title))
        write_text_atomic(out / "statistics.md", text)


Command = (
    Annotated[Any, tyro.conf.subcommand("validate", constructor=validate)]
    | Annotated[Any, tyro.conf.subcommand("convert", constructor=convert)]
    | Annotated[Any, tyro.conf.subcommand("stats", constructor=stats)]
    | Annotated[Any, tyro.conf.subcommand("poses", constructor=poses)]
    | Annotated[Any, tyro.conf.subcommand("kins", constructor=kins)]
)


@tyro.conf.configure(tyro.conf.OmitSubcommandPrefixes, tyro.conf.OmitArgPrefixes)
def data(command: Command) -> None:
    """Check, convert or count annotation files: validate, convert, stats; results for others: poses, kins."""


def _progress(images: Iterable[T]) -> Iterable[T]:
    from rich.progress import track

    return track(images, description="images", transient=True)


def _print_report(report: ValidationReport, examples: int) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    one = {"images": "image", "categories": "category", "objects": "object"}
    counts = ", ".join(counted(number, one[name], name) for name, number in report.counts.items())
    print(f"{report.file}: {report.format}, {counts or 'nothing could be read'}")
    table = Table("severity", "check", "number", "problem", "places", box=SIMPLE)
    for group in report.groups():
        first, rest = group[0], len(group) - examples
        places = [one.field for one in group[:examples]] + ([f"and {rest} more"] if rest > 0 else [])
        cells = (first.severity, first.check, str(len(group)), first.problem, "\n".join(places))
        table.add_row(*map(Text, cells))
    console = Console()
    if report.problems:
        Console(width=max(console.width, 120)).print(table)
    print(f"{counted(report.errors, 'error')}, {counted(len(report.problems) - report.errors, 'warning')}")
