"""What is found in images, as files: results, overlays, meshes and a report."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from shape3d_amodal.annotations.formats.coco_amodal import write_coco_amodal
from shape3d_amodal.annotations.results import write_results
from shape3d_amodal.crops.pasting import CompletedObject
from shape3d_amodal.drawing.overlays import Image
from shape3d_amodal.drawing.projections import write_glb
from shape3d_amodal.errors import DataError, listed, printable
from shape3d_amodal.evaluation.tables import counted
from shape3d_amodal.files.atomic import make_folder, write_atomic
from shape3d_amodal.files.safe_io import open_regular, read_json
from shape3d_amodal.methods.prediction import PredictedObject, predicted_result
from shape3d_amodal.methods.resuming import ImageOutcome, Skipped
from shape3d_amodal.reports.html import Figure, Section, write_report
from shape3d_amodal.reports.prediction_cases import INTRO, KEYS, draw_objects, image_group
from shape3d_amodal.reports.stored_cases import from_values, to_values
from shape3d_amodal.scenes.sets import png_bytes
from shape3d_amodal.structures import AmodalDataset, AmodalImage, Category, category_number

_TITLE = "Objects found and completed"
_NAMED = 20  # categories, or things left out, that are still named


def advice(found: int, images: int, min_score: float, *, empty: int = 0, known: Sequence[str] = ()) -> str | None:
    """What to say where little was found: less than an object an image on average, or images without any.

    Args:
        found: objects in all images.
        images: how many these are.
        min_score: lowest score of an object, 0..1.
        empty: images without any object.
        known: categories that the detector knows.

    Returns:
        One line of plain text: how little it is, a likely reason, and what to do next. None where enough was found.
    """
    if not images or (found >= images and not empty):
        return None
    if not found:
        told = f"No object was found in {counted(images, 'image')}."
    elif found < images:
        told = f"Only {counted(found, 'object')} found in {counted(images, 'image')}."
    else:
        told = f"No object was found in {empty:,} of {counted(images, 'image')}."
    if known:
        more = f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
        names = ", ".join(known[:_NAMED]) + more
        told += f" The detector knows {counted(len(known), 'category', 'categories')} and no others: {names}."
    steps = [f"lower --min-score (it is {min_score:g})"] if min_score > 0 else []
    steps += ["name another --detector", "give masks of your own to 'shape3d-amodal complete'"]
    return f"{told} To find more, {', '.join(steps[:-1])}, or {steps[-1]}."


def unmatched(found: Sequence[str], completed: Sequence[str], written: Sequence[str]) -> list[str]:
    """What to say where the parts of a prediction do not know the same categories.

    Args:
        found: categories of the detector.
        completed: those of stages 2 to 5.
        written: those that results may have.

    Returns:
        Up to two lines of plain text: which objects are found and not completed, and which are not even written.
    """
    lines = []
    if kept := [name for name in found if name in written and category_number(name, completed) is None]:
        problem = f"Stages 2 to 5 do not know {listed(kept, _NAMED)}: such objects keep the detector's own whole masks."
        lines.append(f"{problem} To complete them, name weights (--weights) or meshes (--meshes) of these categories.")
    if lost := [name for name in found if name not in written]:
        problem = f"The annotations have no category {listed(lost, _NAMED)}: what is found of it is left out."
        lines.append(f"{problem} If they call it otherwise, map their names by data convert --classes.")
    return lines


class PredictionFolder:
    """Writes overlays and meshes image by image, then the report and the results.

    Args:
        folder: where to; its parent exists.
        categories: those of the results; what is found of others is left out.
        drawings: write overlays, meshes and report, too.
    """

    FILES = ("results.json", "images.json", "skipped.json", "report.html", "predict.part.jsonl")
    FOLDERS = ("overlays", "meshes")
    """Names of all that is written; what is in the folders begins with the id of an image."""

    def __init__(self, folder: Path, categories: Sequence[Category], *, drawings: bool = True) -> None:
        self.folder, self.drawings = folder, drawings
        self._categories = tuple(categories)
        self._ids = {category.name: category.id for category in categories}

    def add(self, record: AmodalImage, image: Image, objects: Sequence[PredictedObject]) -> ImageOutcome:
        """Write what is in one image [H,W,3] uint8; ``finish`` wants the outcome."""
        stem = _stem(record.id, record.file_name)
        objects = [one for one in objects if one.category in self._ids]
        known = [one for one in objects if not one.alternative]
        more: dict[str, Any] = {"found": len(known), "size": [record.width, record.height]}
        meshes: dict[int, str] = {}
        files = []
        if self.drawings:
            for number, one in enumerate(known, start=1):
                if one.completed is not None and len(one.completed.faces):
                    meshes[id(one)] = self._mesh(f"{stem}_{number}", one.category, one.completed)
            files = [*meshes.values(), f"overlays/{stem}.png"]
            make_folder(self.folder / "overlays")
            write_atomic(self.folder / files[-1], png_bytes(draw_objects(image, known)))
            more["group"] = to_values(image_group(record.file_name, image, known))
        results = [predicted_result(record.id, self._ids[one.category], one, meshes.get(id(one))) for one in objects]
        return ImageOutcome(results=tuple(results), files=tuple(files), more=more)

    def finish(
        self,
        images: Sequence[AmodalImage],
        outcomes: Sequence[ImageOutcome],
        *,
        hint: str | None = None,
        skipped: Sequence[Skipped] = (),
        passed_over: Sequence[Skipped] = (),
        facts: Mapping[str, str],
    ) -> None:
        """Write ``images.json``, ``report.html`` and, last, ``results.json``.

        Overlays, meshes and the report of an earlier run in the folder, as its own files list them, go first: they
        would look like those of these results.

        Args:
            images: the images that could be read.
            outcomes: what ``add`` gave of each.
            hint: stands above the images, e.g. what ``advice`` says.
            skipped: images that could not be used.
            passed_over: what else was not looked at; it is not counted.
            facts: stand at the end of the report.
        """
        make_folder(self.folder)
        self._remove_stale(outcomes)
        sized = [
            replace(image, width=one.more["size"][0], height=one.more["size"][1])
            for image, one in zip(images, outcomes, strict=True)
        ]
        write_coco_amodal(self.folder / "images.json", AmodalDataset(images=tuple(sized), categories=self._categories))
        if self.drawings:
            count = sum(one.more["found"] for one in outcomes)
            groups = tuple(from_values(one.more["group"]) for one in outcomes)
            lacking = (Figure(label=_images(len(skipped), "skipped"), value=str(len(skipped))),) if skipped else ()
            write_report(
                self.folder / "report.html",
                title=_TITLE,
                intro=INTRO,
                figures=(
                    Figure(label=_images(len(images)), value=str(len(images))),
                    Figure(label="object" if count == 1 else "objects", value=str(count)),
                    *lacking,
                ),
                sections=(
                    Section(title="Images", blocks=groups, hint=hint or "", keys=KEYS),
                    Section(title="Left out", blocks=(), hint=_left_out([*skipped, *passed_over])),
                ),
                facts=tuple(facts.items()),
            )
        write_results(self.folder / "results.json", [result for one in outcomes for result in one.results])

    def _remove_stale(self, outcomes: Sequence[ImageOutcome]) -> None:
        """Remove what an earlier run has drawn, by its own lists, and these outcomes have not."""
        there = [path for name in self.FOLDERS for path in (self.folder / name).glob("*") if not path.is_dir()]
        drawn = {f"{path.parent.name}/{path.name}" for path in there}.intersection(_listed(self.folder))
        stale = drawn.difference(*(one.files for one in outcomes))
        for name in stale:
            (self.folder / name).unlink()
        for folder in {(self.folder / name).parent for name in stale}:
            if not any(folder.iterdir()) and not folder.is_symlink():
                folder.rmdir()
        if not self.drawings and _is_report(self.folder / "report.html"):
            (self.folder / "report.html").unlink()

    def _mesh(self, stem: str, category: str, whole: CompletedObject) -> str:
        """Write the object's mesh; its name relative to the folder."""
        name = f"meshes/{stem}.glb"
        make_folder(self.folder / "meshes")
        write_glb(self.folder / name, whole.verts, whole.faces, name=category)
        return name


def _images(number: int, what: str = "") -> str:
    return " ".join(["image" if number == 1 else "images", what]).strip()


def _left_out(every: Sequence[Skipped]) -> str:
    """What was left out, and why, in one paragraph; empty where nothing was."""
    if not every:
        return ""
    told = "; ".join(printable(one.reason) for one in every[:_NAMED])
    more = f"; and {len(every) - _NAMED} more" if len(every) > _NAMED else ""
    return f"{told}{more}. The list is in skipped.json."


def _stem(image_id: object, file_name: str) -> str:
    """What the names of an image's files begin with; signs that this system cannot write in names are left out."""
    encoding = sys.getfilesystemencoding()
    stem = Path(printable(file_name)).stem.replace("\ufffd", "")
    return f"{image_id}_{stem.encode(encoding, 'ignore').decode(encoding)}"


def _listed(folder: Path) -> Iterator[str]:
    """The overlays and meshes that ``results.json`` and ``images.json`` of an earlier run list."""
    for result in _entries(folder / "results.json"):
        yield str(result.get("mesh"))
    for image in _entries(folder / "images.json", "images"):
        yield f"overlays/{_stem(image.get('id'), str(image.get('file_name')))}.png"


def _entries(file: Path, key: str = "") -> list[dict[str, Any]]:
    """The objects of a JSON file that is a list, or of its list ``key``; none where it is something else."""
    try:
        content = read_json(file) if file.is_file() else []
    except DataError:
        return []
    listed = content.get(key) if isinstance(content, dict) else content
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def _is_report(file: Path) -> bool:
    if not file.is_file():
        return False
    with open_regular(file) as stream:
        return f"<title>{_TITLE}</title>".encode() in stream.read(4096)
