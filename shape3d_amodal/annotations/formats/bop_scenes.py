"""One scene folder of a BOP split: its pictures, the objects in them, and mask files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.fields import Record
from shape3d_amodal.annotations.formats.poses import read_intrinsics, read_pose
from shape3d_amodal.errors import DataError
from shape3d_amodal.files import safe_io
from shape3d_amodal.structures import Intrinsics, Pose, Rle

PICTURE_FOLDERS = ("rgb", "gray")
WHOLE, VISIBLE = MASK_FOLDERS = ("mask", "mask_visib")
PICTURES_A_SCENE = 1_000_000
"""Numbers of pictures are below this."""

_READABLE = (".png", ".jpg", ".jpeg")
_PICTURE_NUMBER = re.compile(r"[0-9]{1,6}")
_SCENE_NUMBER = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, kw_only=True)
class SceneObject:
    """One object of a picture.

    Attributes:
        number: BOP's number of its model.
        pose: of the model in the camera frame.
        pixels, visible_pixels: ``px_count_all`` (also beyond the picture's border) and ``px_count_visib`` of
            ``scene_gt_info.json``; None without that file.
        box: ``bbox_obj``, x, y of the first pixel, and how far the last one is to the right and down.
    """

    number: int
    pose: Pose
    pixels: int | None = None
    visible_pixels: int | None = None
    box: tuple[int, ...] | None = None

    def is_inside(self, height: int, width: int) -> bool:
        """Whether all of it is known to lie within a picture of that size."""
        if self.box is None:
            return False
        x, y, right, down = self.box
        return min(x, y) >= 0 and x + right < width and y + down < height


class Scene:
    """The scene ``folder``; its name is its number.

    Attributes:
        number: of the scene.
        pictures: numbers of its pictures, rising.

    Raises:
        DataError: a file of the folder cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.number = folder, int(folder.name)
        self._truth, self._cameras = (_read(folder / f"scene_{name}.json") for name in ("gt", "camera"))
        info = folder / "scene_gt_info.json"
        self._info = _read(info) if info.is_file() else None
        if wrong := [key for key in self._truth.values if not _PICTURE_NUMBER.fullmatch(key)]:
            problem = f"expected numbers of pictures (at most 6 digits) as keys, got {wrong[0][:20]!r}"
            raise DataError(problem, file=self._truth.file)
        self._keys = {int(key): key for key in self._truth.values}
        self.pictures = tuple(sorted(self._keys))

    def objects(self, picture: int) -> list[SceneObject]:
        """The objects of a picture, in the order of ``scene_gt.json``, which numbers their masks."""
        key = self._keys[picture]
        truth = _records(self._truth, key)
        info = [None] * len(truth) if self._info is None else _records(self._info, key)
        if len(info) != len(truth):
            assert self._info is not None
            raise self._info.error(key, f"expected {len(truth)} entries, as scene_gt.json has objects, got {len(info)}")
        return [_object(*pair) for pair in zip(truth, info, strict=True)]

    def intrinsics(self, picture: int) -> Intrinsics:
        """fx, fy, cx and cy of a picture's camera, in the image frame."""
        key = self._keys[picture]
        camera = Record(self._cameras.get(key, dict), self._cameras.file, key)
        intrinsics = read_intrinsics(camera)
        if intrinsics is None:
            raise camera.error("cam_K", "missing; expected a camera matrix of 9 numbers")
        return intrinsics

    def file_name(self, picture: int) -> str:
        """The file of a picture, from the folder of the split."""
        path = self._files.get(picture)
        if path is None:
            problem = f"expected the picture {picture} in {' or '.join(PICTURE_FOLDERS)}, found none"
            raise DataError(f"{problem}; add it, or leave it out by --drop-invalid", file=self.folder)
        return f"{self.folder.name}/{path.parent.name}/{path.name}"

    def size(self, picture: int) -> tuple[int, int]:
        """Height and width of a picture: of its file, or of ``camera.json`` where that is no PNG or JPEG."""
        path = self._files.get(picture)
        if path is not None and path.suffix.lower() in _READABLE:
            height, width = safe_io.read_image(path).shape[:2]
            return height, width
        camera = _read(self.folder.parent.parent / "camera.json")
        height, width = camera.get("height", int), camera.get("width", int)
        masks.check_size(height, width, file=camera.file, field=None)
        return height, width

    def mask(self, kind: str, picture: int, index: int, size: tuple[int, int]) -> Rle | None:
        """The mask of one of ``MASK_FOLDERS`` of the picture's object ``index``; None where there is no file."""
        path = self._masks.get((kind, f"{picture:06d}_{index:06d}"))
        if path is None:
            return None
        mask = safe_io.read_image(path).any(axis=2)
        if mask.shape != size:
            (height, width), (got_height, got_width) = size, mask.shape
            raise DataError(
                f"expected {height} x {width} pixels, as the picture has, got {got_height} x {got_width}", file=path
            )
        return masks.encode(mask)

    @cached_property
    def _files(self) -> dict[int, Path]:
        listed = _listed(self.folder, PICTURE_FOLDERS)
        return {int(path.stem): path for path in listed if _PICTURE_NUMBER.fullmatch(path.stem)}

    @cached_property
    def _masks(self) -> dict[tuple[str, str], Path]:
        return {(path.parent.name, path.stem): path for path in _listed(self.folder, MASK_FOLDERS)}


def find_scenes(split: Path) -> list[Path]:
    """The folders of the scenes in the folder ``split``, by rising numbers.

    Raises:
        DataError: there are none.
    """
    if not split.is_dir():
        raise DataError("expected the folder of a BOP split, such as lmo/test, there is none", file=split)
    folders = {int(path.name): path for path in split.iterdir() if _SCENE_NUMBER.fullmatch(path.name)}
    found = [folders[number] for number in sorted(folders) if (folders[number] / "scene_gt.json").is_file()]
    if not found:
        problem = "expected the folder of a BOP split, such as lmo/test, with folders of scenes that have scene_gt.json"
        nearer = "; name the folder above it" if (split / "scene_gt.json").is_file() else ", found none"
        raise DataError(problem + nearer, file=split)
    return found


def _object(truth: Record, info: Record | None) -> SceneObject:
    pose = read_pose(truth)
    if pose is None:
        raise truth.error("cam_R_m2c", "missing; expected 9 numbers")
    number = truth.get("obj_id", int)
    if info is None:
        return SceneObject(number=number, pose=pose)
    box = info.get("bbox_obj", list)
    if len(box) != 4 or not all(type(value) is int for value in box):
        raise info.error("bbox_obj", "expected 4 integers, got another list")
    pixels, visible = info.get("px_count_all", int), info.get("px_count_visib", int)
    return SceneObject(number=number, pose=pose, pixels=pixels, visible_pixels=visible, box=tuple(box))


def _read(path: Path) -> Record:
    return Record(safe_io.read_json(path), path, "")


def _records(root: Record, key: str) -> list[Record]:
    values: list[Any] = root.get(key, list)
    return [Record(value, root.file, f"{key}[{index}]") for index, value in enumerate(values)]


def _listed(folder: Path, names: Iterable[str]) -> list[Path]:
    """The files in the folders of these ``names``; of several folders the first ones' files come last."""
    folders = (folder / name for name in reversed(tuple(names)))
    return [path for place in folders if place.is_dir() for path in sorted(place.iterdir())]
