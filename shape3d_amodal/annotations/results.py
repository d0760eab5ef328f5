"""The results file: a JSON list with one record for each predicted instance, like COCO's results.

    [{"image_id", "category_id", "score", "segmentation", "annotation_id"?, "visible_mask"?, "occluded_mask"?,
      "viewpoint"?: {"azimuth_deg", "elevation_deg", "roll_deg", "scale", "offset"}, "mesh"?, "depth_order"?,
      "cam_R_m2c"?, "cam_t_m2c"?, "model"?, "chance"?}]

``segmentation`` is the amodal mask; ``cam_R_m2c`` and ``cam_t_m2c`` are the pose of a known CAD model
(``formats.poses``), whose name in its mesh source is ``model``. Results with a ``chance`` are several answers to one
annotation, beside the one result without it: the multimodal track scores them, the others leave them out. Masks are
written as compressed run-length codes; those of either kind are read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.fields import Record, is_number, told
from shape3d_amodal.annotations.formats.poses import pose_fields, read_pose
from shape3d_amodal.errors import DataError
from shape3d_amodal.files import safe_io
from shape3d_amodal.files.atomic import atomic_file
from shape3d_amodal.files.journal import SUFFIX, read_journal
from shape3d_amodal.structures import Pose, Rle

_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})(\.jsonl?)")


@dataclass(frozen=True, kw_only=True)
class AmodalResult:
    """One predicted instance.

    Attributes:
        image_id, category_id: ids of the annotation file.
        score: finite; higher means more certain.
        segmentation: amodal mask.
        annotation_id: id of the annotation that was completed; None where only the image was given.
        visible, occluded: visible mask, and amodal minus visible.
        viewpoint: numbers, or lists of numbers, by name (degrees for names in ``_deg``).
        mesh: file name of the reconstructed mesh.
        depth_order: rank of the object in its image, 0 nearest.
        pose: of the object's CAD model.
        model: name of the known shape in its mesh source.
        chance: 0..1, how likely it is, of a result that is one of several answers to the same annotation; None for the
            one that counts elsewhere.
    """

    image_id: int
    category_id: int
    score: float
    segmentation: Rle
    annotation_id: int | None = None
    visible: Rle | None = None
    occluded: Rle | None = None
    viewpoint: dict[str, float | list[float]] | None = None
    mesh: str | None = None
    depth_order: int | None = None
    pose: Pose | None = None
    model: str | None = None
    chance: float | None = None


def write_results(path: str | Path, results: Iterable[AmodalResult]) -> None:
    """Write ``results`` to ``path`` atomically, one after another: none is kept in memory.

    Args:
        path: a name that ends in ``.jsonl`` gets a line for each result, every other one a list.

    Raises:
        DataError: the file cannot be written.
        ValueError: a score or a viewpoint is NaN or infinite.
    """
    begin, between, end = ("", "\n", "\n") if _has_lines(path) else ("[", ", ", "]\n")
    with atomic_file(path) as file:
        file.write(begin.encode())
        number = -1
        for number, result in enumerate(results):
            file.write(f"{between if number else ''}{json.dumps(to_json(result), allow_nan=False)}".encode())
        file.write((end if number >= 0 or begin else "").encode())


def read_results(path: str | Path) -> list[AmodalResult]:
    """Read the results file ``path``, a list or, where its name ends in ``.jsonl``, lines.

    Raises:
        DataError: naming the file and the field, e.g. ``[3].segmentation.counts``.
    """
    if _has_lines(path):
        with safe_io.open_regular(path) as file:
            lines = (safe_io.parse_json(line, file=path) for line in file if line.strip())
            return [from_json(value, path, f"[{index}]") for index, value in enumerate(lines)]
    root = Record({"results": safe_io.read_json(path)}, path, "")
    return [from_json(value, path, f"[{index}]") for index, value in enumerate(root.get("results", list))]


def _has_lines(path: str | Path) -> bool:
    return str(path).endswith(".jsonl")


def shard_file(path: Path, share: tuple[int, int]) -> Path:
    """The file of the shard (i, n) of the results ``path``, such as results-00003-of-00008.jsonl."""
    return path if share[1] == 1 else path.with_name(f"{path.stem}-{share[0]:05d}-of-{share[1]:05d}{path.suffix}")


def results_files(paths: Sequence[Path]) -> dict[Path, list[Path]]:
    """The files of each set of results, by the name that its shards have in common; a file without shards is alone.

    Raises:
        DataError: shards are missing, or of different numbers.
    """
    found: dict[Path, list[Path]] = {}
    counts: dict[Path, int] = {}
    for path in paths:
        name = _SHARD.fullmatch(path.name)
        whole = path if name is None else path.with_name(f"{name[1]}{name[4]}")
        if name is not None and counts.setdefault(whole, int(name[3])) != int(name[3]):
            raise DataError(f"expected shards of one number, got of {counts[whole]} and {int(name[3])}", file=path)
        found.setdefault(whole, []).append(path)
    for whole, number in counts.items():
        names = {path.name for path in found[whole]}
        missing = [shard_file(whole, (i, number)).name for i in range(number)]
        missing = [name for name in missing if name not in names]
        if missing:
            problem = f"expected all {number} shards, {len(missing)} are missing ({missing[0]}); make or name them, too"
            raise DataError(problem, file=whole)
    return {whole: sorted(files) for whole, files in found.items()}


def answers(results: Sequence[AmodalResult]) -> Sequence[AmodalResult]:
    """The several answers among all results of one annotation: those with a chance, or all where none has one."""
    return [result for result in results if result.chance is not None] or results


def is_partial(path: str | Path) -> bool:
    """Whether ``path`` is the journal of results that are still being made."""
    return str(path).endswith(SUFFIX)


def read_partial_results(path: str | Path) -> dict[int, list[AmodalResult]]:
    """The results in the journal ``path`` of ``complete``, ``predict`` or a benchmark, by image id.

    Every image that has been done is a key, also where nothing came of it.

    Raises:
        DataError: naming the file and the field.
    """
    done: dict[int, list[AmodalResult]] = {}
    for number, values in enumerate(read_journal(path)):
        record = Record(values, path, f"[{number}]")
        found = [
            from_json(value, path, f"[{number}].results[{index}]")
            for index, value in enumerate(record.get("results", list))
        ]
        done[record.get("image_id", int)] = found  # an image that was done again counts as it is now
    return done


def to_json(result: AmodalResult) -> dict[str, Any]:
    """One record of a results file."""
    values = {
        "image_id": result.image_id,
        "annotation_id": result.annotation_id,
        "category_id": result.category_id,
        "score": result.score,
        "segmentation": result.segmentation.to_coco(),
        "visible_mask": None if result.visible is None else result.visible.to_coco(),
        "occluded_mask": None if result.occluded is None else result.occluded.to_coco(),
        "viewpoint": result.viewpoint,
        "mesh": result.mesh,
        "depth_order": result.depth_order,
        **({} if result.pose is None else pose_fields(result.pose)),
        "model": result.model,
        "chance": result.chance,
    }
    return {key: value for key, value in values.items() if value is not None}


def from_json(value: Any, file: str | Path, field: str) -> AmodalResult:
    """The result in one record ``value`` of ``file``; ``field`` names it in errors.

    Raises:
        DataError: naming the file and the field.
    """
    record = Record(value, file, field)
    mask = record.get("segmentation", dict)
    segmentation = masks.from_rle(mask, file=file, field=record.place("segmentation"))
    viewpoint = record.optional("viewpoint", dict)
    if viewpoint is not None and not all(_is_measure(value) for value in viewpoint.values()):
        wrong = next(told(value) for value in viewpoint.values() if not _is_measure(value))
        raise record.error("viewpoint", f"expected an object of finite numbers, or of lists of them, got {wrong} in it")
    return AmodalResult(
        image_id=record.get("image_id", int),
        category_id=record.get("category_id", int),
        score=record.number("score"),
        segmentation=segmentation,
        annotation_id=record.optional("annotation_id", int),
        visible=_read_mask(record, "visible_mask", segmentation),
        occluded=_read_mask(record, "occluded_mask", segmentation),
        viewpoint=viewpoint,
        mesh=record.optional("mesh", str),
        depth_order=record.optional("depth_order", int),
        pose=read_pose(record),
        model=record.optional("model", str),
        chance=_chance(record),
    )


def _chance(record: Record) -> float | None:
    if record.values.get("chance") is None:
        return None
    chance = record.number("chance")
    if not 0 <= chance <= 1:
        raise record.error("chance", f"expected a number from 0 to 1, got {chance:g}")
    return chance


def _read_mask(record: Record, key: str, like: Rle) -> Rle | None:
    value = record.optional(key, dict)
    if value is None:
        return None
    return masks.from_annotation(value, like.height, like.width, file=record.file, field=record.place(key))


def _is_measure(value: Any) -> bool:
    return all(map(is_number, value)) if isinstance(value, list) else is_number(value)
