"""``shape3d-amodal evaluate``: score results files against annotations."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from shape3d_amodal.cli.shared.inputs import mesh_list
from shape3d_amodal.cli.shared.options import check_folders, check_positive, check_there
from shape3d_amodal.errors import DataError, UsageError, counted

if TYPE_CHECKING:
    from shape3d_amodal.annotations.results import AmodalResult
    from shape3d_amodal.evaluation.interface import ScoreTable
    from shape3d_amodal.evaluation.tables import Table
    from shape3d_amodal.evaluation.tracks import Track
    from shape3d_amodal.structures import AmodalDataset

_SPECIAL = {
    "boundary": ("completion",),
    "class-agnostic": ("instance",),
    "meshes": ("shape", "pose"),
    "mesh-folder": ("shape",),
    "by-level": ("completion", "instance", "pose"),
}
"""Options of single tracks."""


def evaluate(
    results: tyro.conf.Positional[tuple[Path, ...]],
    /,
    *,
    annotations: Path,
    track: Literal["completion", "instance", "multimodal", "order", "shape", "pose"] = "completion",
    out: Path | None = None,
    boundary: bool = False,
    class_agnostic: bool = False,
    without: tuple[str, ...] = (),
    by_level: bool = False,
    allow_missing: bool = False,
    meshes: str | None = None,
    mesh_folder: Path | None = None,
    workers: int = 1,
) -> None:
    """Score results files; docs/metrics.md defines all numbers.

    Args:
        results: one or more results files; each becomes a column of the tables, named after the file. The shards of
            one set (NAME-00000-of-00004.jsonl, ...) are one column, and must all be there. Of a file that is still
            being made (.part.jsonl) only the images that are done are scored, with all other files, too.
        annotations: annotation file with visible and amodal masks; crowds, instances marked ignore and those without
            an amodal mask are not scored, and a line above the tables counts them.
        track: completion (visible masks given: mIoU), instance (image alone: AP and AR of amodal, visible and occluded
            masks), multimodal (several masks for each annotation id), order (which object hides which), shape
            (viewpoint and mesh), pose (poses of CAD models, beside the masks).
        out: folder to write <track>.md and <track>.json to; without it, the tables are only printed.
        boundary: completion: also boundary IoU.
        class_agnostic: instance: give all objects the same category.
        without: categories that a second mean leaves out.
        by_level: completion, instance: also by occlusion level; pose: also by visible fraction.
        allow_missing: count instances without a result as 0 instead of refusing them; objects of which nothing is
            visible always count as 0.
        meshes: shape: also compare meshes; the meshes that the scenes were made from, such as open13:test or a folder.
            pose: the models that the poses belong to, such as lmo/models_eval; must be given.
        mesh_folder: shape: folder of the results' meshes; without it, the folder of the results file.
        workers: number of processes; the scores do not depend on it.
    """
    import json

    from shape3d_amodal.annotations.results import results_files
    from shape3d_amodal.files.outputs import output_folder

    _refuse_same_names(results)
    if out is not None:
        output_folder(out, writes=[f"{track}.json", f"{track}.md"], inputs=[annotations, *mesh_list(meshes), *results])
    check_positive(workers=workers)
    given = {
        "boundary": boundary,
        "class-agnostic": class_agnostic,
        "meshes": meshes,
        "mesh-folder": mesh_folder,
        "by-level": by_level,
    }
    for option, homes in _SPECIAL.items():
        if given[option] and track not in homes:
            raise UsageError(f"--{option}: is of the track {' or '.join(homes)}, got {track}; leave it out")
    if track == "pose" and meshes is None:
        raise UsageError("--meshes: expected the models that the poses belong to, such as lmo/models_eval; name them")
    check_there(annotations, *results)
    check_folders(mesh_folder=mesh_folder)
    sets = results_files(results)
    _refuse_same_names(sets)

    from shape3d_amodal.annotations.formats.registry import read_dataset
    from shape3d_amodal.annotations.usable import not_scored
    from shape3d_amodal.evaluation.tracks import TRACKS, TrackOptions
    from shape3d_amodal.evaluation.workers import score
    from shape3d_amodal.files.atomic import make_folder, write_text_atomic
    from shape3d_amodal.meshes.sources import mesh_source

    chosen = TRACKS[track]
    source = None if meshes is None else mesh_source(meshes)
    dataset, read, left_out = _results(sets, read_dataset(annotations))
    scores: dict[str, ScoreTable] = {}
    for path, found in read.items():
        options = TrackOptions(
            boundary=boundary, class_agnostic=class_agnostic, meshes=source, folder=mesh_folder or path.parent
        )
        try:
            scores[path.stem] = score(chosen.make(dataset, options), found, file=path, workers=workers)
        except DataError as error:  # an error in the annotations does not name their file
            raise DataError(error.problem, file=error.file or annotations, field=error.field) from None
        if chosen.given_masks and not allow_missing:
            _refuse_missing(dataset, found, scores[path.stem], path)
    tables = _tables(scores, chosen, without, by_level, boundary)
    unscored = not_scored((one for image in dataset.images for one in image.instances), visible=not chosen.given_masks)
    left_out += f"{unscored}\n\n" if unscored else ""
    text = left_out + "\n".join(f"{table.title}\n\n{table.to_markdown()}" for table in tables)
    print(text)
    if out is not None:
        make_folder(out)
        content = {name: table.to_dict() for name, table in scores.items()}
        if without:
            for name, table in scores.items():
                content[name]["without"] = {"categories": list(without), **table.without(*without).to_dict()}
        write_text_atomic(out / f"{track}.json", json.dumps(content, indent=1, allow_nan=False))
        write_text_atomic(out / f"{track}.md", text)


def _refuse_same_names(files: Collection[Path]) -> None:
    """Columns of the tables are named after files, or after sets of shards."""
    names = [path.stem for path in files]
    if not names or len(set(names)) < len(names):
        raise UsageError(f"expected one or more results files of different names, got {', '.join(names) or 'none'}")


def _results(
    sets: Mapping[Path, Sequence[Path]], dataset: AmodalDataset
) -> tuple[AmodalDataset, dict[Path, Sequence[AmodalResult]], str]:
    """The results of each set of files, the data set, and a line on what is left out.

    Where files are unfinished, only the images that all have done are kept.
    """
    from dataclasses import replace

    from shape3d_amodal.annotations.results import is_partial, read_partial_results, read_results

    partial = {path: read_partial_results(path) for path in sets if is_partial(path)}
    read = {
        path: [one for file in files for one in read_results(file)]
        for path, files in sets.items()
        if path not in partial
    }
    if not partial:
        return dataset, {path: read[path] for path in sets}, ""
    done = set.intersection(*({*answers} for answers in partial.values()))
    images = tuple(image for image in dataset.images if image.id in done)
    those = counted(len(images), "that is done is", "that are done are")
    line = f"Of {counted(len(dataset.images), 'image')}, the {those} scored.\n\n"
    kept = {path: [one for one in found if one.image_id in done] for path, found in read.items()}
    kept |= {path: [one for key in answers if key in done for one in answers[key]] for path, answers in partial.items()}
    return replace(dataset, images=images), {path: kept[path] for path in sets}, line


def _refuse_missing(dataset: AmodalDataset, results: Sequence[AmodalResult], table: ScoreTable, file: Path) -> None:
    from shape3d_amodal.evaluation.given_masks.evaluator import refuse_missing
    from shape3d_amodal.evaluation.given_masks.order import ORDER

    refuse_missing(dataset, results, file=file, option="--allow-missing")
    pairs = table.score.counts
    if table.protocol == ORDER and pairs["missing"]:
        every = counted(pairs["instances"], "pair is", "pairs are")
        problem = f"{pairs['missing']} of {every} with an ignored object that has no result"
        raise DataError(f"{problem}; add them, or count them as 0 with --allow-missing", file=file)


def _tables(
    scores: Mapping[str, ScoreTable], track: Track, without: tuple[str, ...], by_level: bool, boundary: bool
) -> list[Table]:
    from dataclasses import replace

    from shape3d_amodal.evaluation.tables import category_table, level_table, summary_table

    def title(name: str) -> str:
        metric = track.metrics[name]
        return f"{metric.title}, %" if metric.unit == "share" else metric.title

    shown = (*track.by_category, "boundary_miou") if boundary else track.by_category
    known = {metric.name for table in scores.values() for metric in table.metrics}
    shown = tuple(name for name in shown if name in known)  # only benchmarks know turns from other scenes
    tables = [category_table(scores, name, title=title(name), without=without).transposed() for name in shown]
    tables = [table for table in tables if table.has_numbers]  # without --meshes, say, no mesh was compared
    for name in track.by_level if by_level else ():
        tables.append(level_table(scores, name, title=f"{title(name)}, by occlusion level (instances)"))
    summary = summary_table(scores, title="over everything; shares in %").transposed()
    return [*tables, replace(summary, corner="metric")]
