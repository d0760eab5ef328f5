"""Scenes read back from shards: annotations as one data set, and images one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.coco_amodal import COCO_AMODAL
from shape3d_amodal.annotations.formats.fields import Record
from shape3d_amodal.annotations.formats.interface import Listener
from shape3d_amodal.annotations.formats.reading import read_records
from shape3d_amodal.errors import DataError
from shape3d_amodal.files import safe_io
from shape3d_amodal.files.archives import TarMember, tar_members
from shape3d_amodal.scenes import shards
from shape3d_amodal.scenes.compose import Scene, SceneInstance
from shape3d_amodal.structures import OCCLUDER, AmodalDataset, AmodalImage

MAX_SAMPLE_JSON_BYTES = 64 * 1024**2


class SceneShards:
    """The shards of a folder.

    Args:
        folder: holds tar files with their manifests. Each tar file read is checked against the SHA-256 in its manifest.
        count: read only as many shards as hold so many scenes; all by default. Annotations stay in memory, a few KB a
            scene.

    Attributes:
        dataset: all scenes in order; file names of its images are those inside the shards.

    Raises:
        DataError: there are no shards, one is unfinished or damaged, or they are of different sets.
    """

    def __init__(self, folder: str | Path, *, count: int | None = None) -> None:
        folder = Path(folder)
        tars = sorted(folder.glob("scenes-*.tar"))  # an unfinished one has no manifest
        if not tars:
            raise DataError("expected shards, such as scenes-000000.tar, found none", file=folder)
        self._members: dict[int, tuple[Path, TarMember]] = {}
        identity = None
        images: list[AmodalImage] = []
        for path in (tar.with_suffix(".json") for tar in tars):
            if count is not None and len(images) >= count:
                break
            if not path.exists():
                raise DataError("no such finished shard; run `scenes` again to finish it", file=path)
            manifest = shards.read_manifest(path)
            if identity not in (None, manifest["identity"]):
                raise DataError("is of another set than the shards before it; keep one set a folder", file=path)
            identity = manifest["identity"]
            tar = safe_io.resolve_inside(folder, manifest["tar"], file=path, field="tar")
            if safe_io.sha256(tar) != manifest["sha256"]:
                problem = f"does not have the SHA-256 that {path.name} states"
                raise DataError(f"{problem}; copy it anew, or make it anew with `scenes`", file=tar)
            part = self._read(tar, manifest)
            images += part.images
        self.dataset = AmodalDataset(images=tuple(images), categories=part.categories)

    def image(self, image: AmodalImage) -> np.ndarray:
        """The pixels [H,W,3] uint8 of one of the data set's images.

        Raises:
            DataError: it is damaged, or not of the annotated size.
        """
        tar, member = self._members[image.id]
        with safe_io.open_regular(tar) as file:
            pixels = safe_io.decode_image(member.read(file), file=f"{tar}/{member.name}").pixels
        if pixels.shape[:2] != (image.height, image.width):
            expected, got = f"{image.width} x {image.height}", f"{pixels.shape[1]} x {pixels.shape[0]}"
            raise DataError(f"expected {expected} pixels, got {got}; make it anew", file=f"{tar}/{member.name}")
        return pixels

    def scene(self, image: AmodalImage) -> Scene:
        """One of the data set's images with its masks, as the scene that was made.

        Raises:
            DataError: the image is damaged, or an amodal mask or the depth order is missing.
        """
        names = self.dataset.category_names
        erased = [one for one in image.instances if names[one.category_id] == OCCLUDER]
        instances = []
        for one in image.instances:
            if one in erased:
                continue
            if one.amodal is None or one.depth_order is None:
                problem = "expected amodal masks and a depth order; make the scenes anew"
                raise DataError(problem, file=self._members[image.id][0], field=image.file_name)
            instances.append(
                SceneInstance(
                    mesh=one.mesh or "",
                    category=names[one.category_id],
                    amodal=masks.decode(one.amodal),
                    visible=masks.decode(one.visible),
                    depth_order=one.depth_order - len(erased),
                    viewpoint=one.viewpoint or {},
                )
            )
        region = masks.decode(erased[0].visible) if erased else None
        return Scene(self.image(image), tuple(instances), image.camera or {}, region)

    def _read(self, tar: Path, manifest: dict[str, Any]) -> AmodalDataset:
        document: dict[str, list[Any]] = {"images": [], "annotations": []}
        pngs: dict[str, TarMember] = {}
        with safe_io.open_regular(tar) as file:
            for member in tar_members(file, tar):
                if not member.name.endswith(".json"):
                    pngs[member.name] = member
                    continue
                if member.size > MAX_SAMPLE_JSON_BYTES:
                    raise DataError(f"expected at most {MAX_SAMPLE_JSON_BYTES} bytes", file=tar, field=member.name)
                sample = Record(safe_io.parse_json(member.read(file), file=f"{tar}/{member.name}"), tar, member.name)
                for key, values in document.items():
                    values += sample.get(key, list)
        entries = [{"id": i + 1, "name": name} for i, name in enumerate(manifest["categories"])]
        dataset = read_records(Record({**document, "categories": entries}, tar, ""), COCO_AMODAL, Listener()).dataset
        if len(dataset.images) != manifest["count"]:
            raise DataError(f"expected {manifest['count']} scenes, got {len(dataset.images)}; make it anew", file=tar)
        for image in dataset.images:
            if image.file_name not in pngs:
                raise DataError(f"has no image {image.file_name!r}; make it anew", file=tar)
            self._members[image.id] = tar, pngs[image.file_name]
        return dataset
