"""BOP data sets (Hodan et al., ECCV 2018): a split's objects, with masks from CAD models in known poses.

    <set>/camera.json, test_targets_bop19.json
    <set>/models_eval/obj_000001.ply, ...   (or models, models_cad)
    <set>/<split>/<scene>/scene_gt.json, scene_camera.json, scene_gt_info.json
    <set>/<split>/<scene>/rgb|gray/000000.png, mask/000000_000000.png, mask_visib/000000_000000.png

A mask is read where there is a file, and rendered where there is none: the whole mask from the model in its pose, the
visible one by the order in depth of all models of the picture. What has no model hides nothing in a rendered mask.
``scene_gt_info.json`` shows where that matters: its numbers of visible pixels come from depth pictures.

Pixel centres lie at whole numbers in BOP's camera matrices, as in OpenCV (``formats.poses``). BOP's own renderer, which
made its mask files, takes the same matrices as if centres lay at halves. So its masks lie half a pixel further up and
to the left than masks rendered here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import count
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.bop_scenes import (
    PICTURES_A_SCENE,
    VISIBLE,
    WHOLE,
    Scene,
    SceneObject,
    find_scenes,
)
from shape3d_amodal.annotations.formats.coco_amodal import COCO_AMODAL
from shape3d_amodal.annotations.formats.fields import Record
from shape3d_amodal.annotations.formats.interface import Listener, Reading
from shape3d_amodal.errors import counted
from shape3d_amodal.files import safe_io
from shape3d_amodal.meshes.bop_models import find_models, model_name, read_model
from shape3d_amodal.rendering.posed import Intrinsics, PosedModel, silhouettes
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance, Category, Rle

BOP = replace(COCO_AMODAL, name="bop")

_DIFFERENT = 0.12
"""Share of visible pixels beyond which rendered masks are counted as different from BOP's."""

Places = Iterable[tuple[Scene, int]]
"""Pictures, by their scene and number."""
Targets = Mapping[tuple[int, int], Mapping[int, int]]
"""By numbers of scene and picture: how many objects of each number are meant."""
Models = Callable[[int], tuple[NDArray[np.float64], NDArray[np.int32]]]
"""Vertices and faces of a model, by its number."""


@dataclass(frozen=True, kw_only=True)
class BopOptions:
    """How a split is read.

    Attributes:
        models: folder of the models; None for the one beside the split.
        targets: file such as test_targets_bop19.json: only its pictures are read, and objects that are not in it are
            marked ``ignore``; of several objects of one number the most visible are meant. None for all.
        visible_tolerance: marks ``ignore`` where a rendered visible mask differs from ``px_count_visib`` by more than
            this share of it, for then things without a model hide the object, too. None marks nothing.
    """

    models: Path | None = None
    targets: Path | None = None
    visible_tolerance: float | None = None


@dataclass(frozen=True, kw_only=True)
class PixelCounts:
    """The pixels of an object's masks, and what ``scene_gt_info.json`` says.

    Attributes:
        annotation_id: of the object.
        whole, visible: pixels of the rendered masks; None of a mask that was read from a file.
        bop_whole, bop_visible: ``px_count_all`` and ``px_count_visib``.
        inside: whether all of the object lies within the picture, so that ``whole`` and ``bop_whole`` mean the same.
    """

    annotation_id: int
    whole: int | None
    visible: int | None
    bop_whole: int
    bop_visible: int
    inside: bool

    def visible_differs(self, share: float) -> bool:
        """Whether a rendered visible mask differs from BOP's count by more than ``share`` of it."""
        return self.visible is not None and abs(self.visible - self.bop_visible) > share * self.bop_visible


@dataclass(frozen=True)
class BopReading(Reading):
    """The objects of a split.

    Attributes:
        counts: of the objects that ``scene_gt_info.json`` lists, without those out of sight.
        out_of_sight: number of objects of which no pixel lies in their picture; they are left out.
    """

    counts: tuple[PixelCounts, ...] = ()
    out_of_sight: int = 0

    def notes(self) -> list[str]:
        """Lines on what was left out, and on how rendered masks agree with BOP's counts."""
        lines = [f"{counted(self.out_of_sight, 'object')} out of sight left out"] if self.out_of_sight else []
        ratios = [one.whole / one.bop_whole for one in self.counts if one.whole and one.inside and one.bop_whole]
        if ratios:
            worst = max(ratios, key=lambda ratio: abs(ratio - 1))
            what = f"{counted(len(ratios), 'whole mask')} rendered: pixels / px_count_all"
            lines.append(f"{what} {median(ratios):.4f} in the median, {worst:.4f} at worst")
        shown = [one for one in self.counts if one.visible is not None]
        if shown:
            other = sum(one.visible_differs(_DIFFERENT) for one in shown)
            what = f"{counted(len(shown), 'visible mask')} rendered: {counted(other, 'differs', 'differ')}"
            lines.append(f"{what} by more than {_DIFFERENT:.0%} from px_count_visib, for what has no model hides, too")
        return lines


def read_bop(
    split: str | Path,
    options: BopOptions | None = None,
    listener: Listener | None = None,
    *,
    progress: Callable[[Places], Places] = iter,
) -> BopReading:
    """Read the folder ``split``, such as ``lmo/test``; file names are relative to it.

    Ids of categories are the numbers of BOP's objects; their names are ``obj_000001`` and so on. ``mesh`` names the
    file of the model. Objects have their poses, images their intrinsics.

    Args:
        listener: is told of each picture with an error, which may be left out; without one the first error is raised.
        progress: wraps the pictures while they are read.

    Raises:
        DataError: naming the file and the field, e.g. ``scene_gt.json: 8[2].cam_t_m2c``.
    """
    split, options, listener = Path(split), options or BopOptions(), listener or Listener()
    targets = None if options.targets is None else read_targets(options.targets)
    models = lru_cache(maxsize=None)(lambda number: read_model(options.models or find_models(split.parent), number))
    ids = count(1)
    read: list[_Picture] = []
    for scene, picture in progress(_places(find_scenes(split), targets)):
        with listener.about(image_id=_image_id(scene, picture)):
            found = _read_picture(scene, picture, models, ids)
            wanted = None if targets is None else _most_visible(found, targets[scene.number, picture])
            read.append(_marked(found, wanted, options.visible_tolerance))
    images = tuple(one.image for one in read)
    numbers = sorted({one.category_id for image in images for one in image.instances})
    dataset = AmodalDataset(images=images, categories=tuple(Category(one, model_name(one)) for one in numbers))
    counts = tuple(row for one in read for row in one.counts.values())
    return BopReading(dataset, BOP, (), counts=counts, out_of_sight=sum(one.out_of_sight for one in read))


def read_targets(path: str | Path) -> Targets:
    """How many objects of each number are meant in each picture, by scene and picture.

    Raises:
        DataError: naming the file and the field, e.g. ``[3].im_id``.
    """
    targets: dict[tuple[int, int], dict[int, int]] = defaultdict(dict)
    root = Record({"targets": safe_io.read_json(path)}, path, "")
    for index, value in enumerate(root.get("targets", list)):
        record = Record(value, path, f"[{index}]")
        scene, picture, number, count = (record.get(key, int) for key in ("scene_id", "im_id", "obj_id", "inst_count"))
        targets[scene, picture][number] = count
    return targets


class _Picture(NamedTuple):
    """An image with the objects that are in sight, their counts by annotation id, and the number of others."""

    image: AmodalImage
    counts: dict[int, PixelCounts]
    out_of_sight: int


def _places(folders: Iterable[Path], targets: Targets | None) -> Iterator[tuple[Scene, int]]:
    for folder in folders:
        scene = Scene(folder)  # of large sets only one is in memory
        for picture in scene.pictures:
            if targets is None or (scene.number, picture) in targets:
                yield scene, picture


def _read_picture(scene: Scene, picture: int, models: Models, ids: Iterator[int]) -> _Picture:
    name, size, intrinsics = scene.file_name(picture), scene.size(picture), scene.intrinsics(picture)
    objects = [(next(ids), one) for one in scene.objects(picture)]
    read = {kind: [scene.mask(kind, picture, i, size) for i in range(len(objects))] for kind in (WHOLE, VISIBLE)}
    missing = any(None in own for own in read.values())
    drawn = _render([one for _, one in objects], models, intrinsics, size) if missing else {}
    instances, counts = [], {}
    for i, (identity, one) in enumerate(objects):
        amodal, visible = (read[kind][i] or drawn[kind][i] for kind in (WHOLE, VISIBLE))
        if not masks.area(amodal):
            continue
        instances.append(_instance(identity, one, amodal, visible))
        if one.pixels is not None and one.visible_pixels is not None:
            counts[identity] = PixelCounts(
                annotation_id=identity,
                whole=masks.area(amodal) if read[WHOLE][i] is None else None,
                visible=masks.area(visible) if read[VISIBLE][i] is None else None,
                bop_whole=one.pixels,
                bop_visible=one.visible_pixels,
                inside=one.is_inside(*size),
            )
    image = AmodalImage(
        id=_image_id(scene, picture),
        file_name=name,
        width=size[1],
        height=size[0],
        instances=tuple(instances),
        intrinsics=intrinsics,
    )
    return _Picture(image, counts, len(objects) - len(instances))


def _image_id(scene: Scene, picture: int) -> int:
    return scene.number * PICTURES_A_SCENE + picture


def _instance(identity: int, one: SceneObject, amodal: Rle, visible: Rle) -> AmodalInstance:
    return AmodalInstance(
        id=identity,
        category_id=one.number,
        visible=visible,
        amodal=amodal,
        occlude_rate=masks.occlude_rate(visible, amodal),
        mesh=f"{model_name(one.number)}.ply",
        pose=one.pose,
    )


def _render(
    objects: Iterable[SceneObject], models: Models, intrinsics: Intrinsics, size: tuple[int, int]
) -> dict[str, list[Rle]]:
    posed = []
    for one in objects:
        verts, faces = models(one.number)
        posed.append(PosedModel(verts, faces, one.pose))
    drawn = silhouettes(posed, intrinsics, *size)
    return {kind: [masks.encode(mask) for mask in own] for kind, own in zip((WHOLE, VISIBLE), drawn, strict=True)}


def _most_visible(found: _Picture, meant: Mapping[int, int]) -> set[int]:
    """The ids of the objects that are meant: of each number as many as that says, the most visible ones."""

    def visible_share(one: AmodalInstance) -> float:
        own = found.counts.get(one.id)
        return 1 - (one.occlude_rate or 0) if own is None else own.bop_visible / max(own.bop_whole, 1)

    ranked = sorted(found.image.instances, key=visible_share, reverse=True)
    return {
        one.id for number, most in meant.items() for one in [own for own in ranked if own.category_id == number][:most]
    }


def _marked(found: _Picture, wanted: Collection[int] | None, tolerance: float | None) -> _Picture:
    """The picture with ``ignore`` where an object is not ``wanted``, or is hidden by what has no model."""

    def ignored(one: AmodalInstance) -> bool:
        own = found.counts.get(one.id)
        differs = tolerance is not None and own is not None and own.visible_differs(tolerance)
        return differs or (wanted is not None and one.id not in wanted)

    instances = tuple(replace(one, ignore=ignored(one)) for one in found.image.instances)
    return found._replace(image=replace(found.image, instances=instances))
