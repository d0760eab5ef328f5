"""What is found in images, as files: results, overlays, meshes and a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from shape3d_amodal.annotations.formats.coco_amodal import write_coco_amodal
from shape3d_amodal.annotations.results import AmodalResult, write_results
from shape3d_amodal.drawing.overlays import Image
from shape3d_amodal.drawing.projections import write_glb
from shape3d_amodal.evaluation.tables import counted
from shape3d_amodal.files.atomic import make_folder, write_atomic
from shape3d_amodal.methods.prediction import PredictedObject, predicted_result
from shape3d_amodal.reports.html import CaseGroup, Figure, Section, write_report
from shape3d_amodal.reports.prediction_cases import INTRO, KEYS, draw_objects, image_group
from shape3d_amodal.scenes.sets import png_bytes
from shape3d_amodal.structures import AmodalDataset, AmodalImage, Category

_NAMED = 20  # categories that a line of advice still names


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


class PredictionFolder:
    """Writes overlays and meshes image by image, then the report and the results.

    Args:
        folder: is made if it is missing.
        categories: those of the results; what is found of others is left out.
        drawings: write overlays, meshes and report, too.

    Attributes:
        count: objects so far; alternatives, which stand in the results alone, are none.
        empty: images so far without any object.
    """

    def __init__(self, folder: Path, categories: Sequence[Category], *, drawings: bool = True) -> None:
        self.folder, self.drawings, self.count, self.empty = folder, drawings, 0, 0
        self._categories = tuple(categories)
        self._ids = {category.name: category.id for category in categories}
        self._images: list[AmodalImage] = []
        self._results: list[AmodalResult] = []
        self._groups: list[CaseGroup] = []
        for name in ("overlays", "meshes") if drawings else (".",):
            make_folder(folder / name)

    def add(self, record: AmodalImage, image: Image, objects: Sequence[PredictedObject]) -> None:
        """One image [H,W,3] uint8, and what is in it."""
        self._images.append(record)
        stem = f"{record.id}_{Path(record.file_name).stem}"
        objects = [one for one in objects if one.category in self._ids]
        known = [one for one in objects if not one.alternative]
        self.count += len(known)
        self.empty += not known
        meshes: dict[int, str | None] = {}
        if self.drawings:
            meshes = {id(one): self._mesh(f"{stem}_{i}", one) for i, one in enumerate(known, start=1)}
            write_atomic(self.folder / "overlays" / f"{stem}.png", png_bytes(draw_objects(image, known)))
            self._groups.append(image_group(record.file_name, image, known))
        self._results += [
            predicted_result(record.id, self._ids[one.category], one, meshes.get(id(one))) for one in objects
        ]

    def finish(self, *, hint: str | None = None, **facts: str) -> None:
        """Write ``images.json``, ``report.html`` and, last, ``results.json``.

        Args:
            hint: stands above the images, e.g. what ``advice`` says.
            facts: stand at the end of the report.
        """
        dataset = AmodalDataset(images=tuple(self._images), categories=self._categories)
        write_coco_amodal(self.folder / "images.json", dataset)
        if self.drawings:
            write_report(
                self.folder / "report.html",
                title="Objects found and completed",
                intro=INTRO,
                figures=(
                    Figure(label="images", value=str(len(self._images))),
                    Figure(label="objects", value=str(self.count)),
                ),
                sections=(Section(title="Images", blocks=tuple(self._groups), hint=hint or "", keys=KEYS),),
                facts=tuple(facts.items()),
            )
        write_results(self.folder / "results.json", self._results)

    def _mesh(self, stem: str, one: PredictedObject) -> str | None:
        """Write the object's mesh; its name relative to the folder, or None where there is none."""
        if one.completed is None or not len(one.completed.faces):
            return None
        write_glb(self.folder / "meshes" / f"{stem}.glb", one.completed.verts, one.completed.faces, name=one.category)
        return f"meshes/{stem}.glb"
