"""What is found in pictures, as files: results, overlays, meshes and a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.data.atomic import make_folder, write_atomic
from shape3d_amodal.data.formats.coco_amodal import write_coco_amodal
from shape3d_amodal.data.formats.results import AmodalResult, write_results
from shape3d_amodal.data.scene_sets import png_bytes
from shape3d_amodal.prediction import PredictedObject, predicted_result
from shape3d_amodal.structures import AmodalDataset, AmodalImage, Category
from shape3d_amodal.visualization.cases import bounded
from shape3d_amodal.visualization.export import write_glb
from shape3d_amodal.visualization.overlays import PALETTE, crop_around, draw_amodal, draw_mask, outline
from shape3d_amodal.visualization.projections import mesh_over_image
from shape3d_amodal.visualization.report import CaseGroup, Figure, Panel, ReportCase, Section, write_report

Image = NDArray[np.uint8]
_SIDE = 480


class PredictionFolder:
    """Writes ``overlays/*.png`` and ``meshes/*.glb`` picture by picture, then the rest.

    Args:
        folder: exists.
        categories: names; their ids in the results are their places, counted from 1.
    """

    def __init__(self, folder: Path, categories: Sequence[str]) -> None:
        self.folder = folder
        self.categories = tuple(categories)
        self.count = 0
        self._images: list[AmodalImage] = []
        self._results: list[AmodalResult] = []
        self._groups: list[CaseGroup] = []
        for name in ("overlays", "meshes"):
            make_folder(folder / name)

    def add(self, file: Path, image: Image, objects: Sequence[PredictedObject]) -> None:
        """One picture [H,W,3] uint8, and what is in it."""
        number = len(self._images) + 1
        stem = f"{number}_{file.stem}"
        height, width = image.shape[:2]
        self._images.append(AmodalImage(id=number, file_name=file.name, width=width, height=height, instances=()))
        overlay = draw_objects(image, objects)
        write_atomic(self.folder / "overlays" / f"{stem}.png", png_bytes(overlay))
        panels = (
            Panel(label="picture", image=bounded(image, _SIDE)),
            Panel(label="objects", image=bounded(overlay, _SIDE)),
        )
        cases = [ReportCase(title=file.name, caption=f"{len(objects)} objects", panels=panels)]
        for index, one in enumerate(objects, start=1):
            mesh = None
            if one.completed is not None:
                mesh = f"meshes/{stem}_{index}.glb"
                write_glb(self.folder / mesh, one.completed.verts, one.completed.faces, name=one.category)
            category_id = self.categories.index(one.category) + 1
            self._results.append(predicted_result(number, category_id, one, mesh))
            cases.append(object_case(image, one, index))
        self.count += len(objects)
        self._groups.append(CaseGroup(title=file.name, cases=tuple(cases)))

    def finish(self, **facts: str) -> None:
        """Write ``images.json``, ``report.html`` and, last, ``results.json``; ``facts`` stand in the report."""
        categories = tuple(Category(i + 1, name) for i, name in enumerate(self.categories))
        dataset = AmodalDataset(images=tuple(self._images), categories=categories)
        write_coco_amodal(self.folder / "images.json", dataset)
        write_report(
            self.folder / "report.html",
            title="Objects found and completed",
            intro="Blue is the visible part of an object, orange its hidden part; the mesh stands where it was fitted.",
            figures=(
                Figure(label="pictures", value=str(len(self._images))),
                Figure(label="objects", value=str(self.count)),
            ),
            sections=(Section(title="Pictures", blocks=tuple(self._groups)),),
            facts=tuple(facts.items()),
        )
        write_results(self.folder / "results.json", self._results)


def draw_objects(image: Image, objects: Sequence[PredictedObject]) -> Image:
    """All objects over their picture, each in its colour: visible parts tinted, whole masks outlined."""
    for number, one in enumerate(objects):
        color = PALETTE[number % len(PALETTE)]
        image = outline(draw_mask(image, one.visible, color), one.amodal, color, thickness=2)
    return image


def object_case(image: Image, one: PredictedObject, number: int) -> ReportCase:
    """The object's surroundings: as they are, with its masks, and with its mesh."""
    part = crop_around(one.amodal, 0.25)
    panels = [
        Panel(label="picture", image=bounded(image[part], _SIDE)),
        Panel(label="visible and hidden part", image=bounded(draw_amodal(image, one.visible, one.amodal)[part], _SIDE)),
    ]
    if one.completed is not None:
        whole = one.completed
        mesh = mesh_over_image(image, whole.verts, whole.faces, whole.viewpoint, whole.window)
        panels.append(Panel(label="mesh", image=bounded(mesh[part], _SIDE)))
    hidden = 1 - one.visible.sum() / max(1, one.amodal.sum())
    caption = f"score {one.score:.2f}, {hidden:.0%} hidden"
    return ReportCase(title=f"{number}: {one.category}", caption=caption, panels=tuple(panels), score=one.score)
