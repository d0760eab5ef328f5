"""Training crops of scenes, made on the fly or read from shards: item k of ``SceneCrops`` is scene k's instances."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from shape3d_amodal.array_fields import ArrayFields
from shape3d_amodal.crops.config import CropsConfig
from shape3d_amodal.crops.cutting import instance_crops, instance_windows, mask_crops
from shape3d_amodal.crops.parts import joined
from shape3d_amodal.errors import DataError
from shape3d_amodal.masks.occlusion import occluders, order_of_ranks
from shape3d_amodal.meshes.sources import CATEGORIES, mesh_source
from shape3d_amodal.scenes.compose import Scene, make_scene
from shape3d_amodal.scenes.shard_reading import SceneShards
from shape3d_amodal.structures import OCCLUDER, InstanceCrops, SupervisedCrops, category_number

_PURPOSE = 1_002


@dataclass(frozen=True, eq=False, repr=False)
class CropArrays(ArrayFields):
    """Crops as bytes, to be stored (``sources.CropSource``).

    Attributes:
        rgb: [N,3,S,S] uint8.
        visible, occluder, amodal: [N,S,S] uint8, the covered share of each crop pixel times 255.
        category: [N] int64, index into the names that the crops were made with.
        window: [N,4] float32, in image pixels.
        hidden: [N] float32, hidden share of the amodal area; NaN where no amodal mask is known, and ``amodal`` is
            ``visible``.
        scene: [N] int64, index of the scene, or of the image among the annotated ones.
        mesh: [N] str, name of the mesh in its source, empty where there is none; never given to a model; used to leave
            the mesh out of a bank.
        image_size: [N,2] int64, width and height of the image; None for scenes, whose size their configuration says.
        intrinsics: [N,4] float64, the camera (``AmodalImage.intrinsics``), NaN where it is not known; None for scenes.
        track: [N] int64, equal for what is the same object in several images, -1 where nothing is known of it; None
            for scenes.
    """

    rgb: NDArray[np.uint8]
    visible: NDArray[np.uint8]
    occluder: NDArray[np.uint8]
    amodal: NDArray[np.uint8]
    category: NDArray[np.int64]
    window: NDArray[np.float32]
    hidden: NDArray[np.float32]
    scene: NDArray[np.int64]
    mesh: NDArray[np.str_]
    image_size: NDArray[np.int64] | None = None
    intrinsics: NDArray[np.float64] | None = None
    track: NDArray[np.int64] | None = None

    def ids(self, rows: NDArray[np.int64]) -> list[str]:
        """What to call some rows in messages."""
        return [f"scene {self.scene[row]} crop {row}" for row in rows]

    def supervised(self, rows: NDArray[np.int64]) -> SupervisedCrops:
        """Some rows as tensors."""

        def unit(array: NDArray[np.uint8]) -> torch.Tensor:
            return torch.from_numpy(array[rows]).float() / 255

        crops = InstanceCrops(
            rgb=unit(self.rgb),
            visible=unit(self.visible),
            occluder=unit(self.occluder),
            category=torch.from_numpy(self.category[rows]),
            window=torch.from_numpy(self.window[rows]),
        )
        return SupervisedCrops(crops, unit(self.amodal))

    @classmethod
    def join(cls, parts: Sequence[CropArrays]) -> CropArrays:
        """The crops of all parts (at least one) one after another."""
        return joined(parts)


class SceneCrops:
    """Item k: the instances of scene k. It depends on (configuration, k) alone, and on the shards.

    Args:
        config: how scenes are made, or where their shards lie, and how they are cut.
        categories: names that the crops' categories count.

    Raises:
        DataError: the mesh source or the shards cannot be used, or have a category that is none of ``categories``.
    """

    def __init__(self, config: CropsConfig, categories: Sequence[str] = CATEGORIES) -> None:
        self.config, self.categories = config, categories
        self._scene: Callable[[int], Scene]
        if config.shards is None:
            meshes = mesh_source(config.meshes)
            found = {meshes.category(name) for name in meshes.names}
            self._scene = partial(make_scene, meshes, config.scenes, config.seed)
        else:
            shards = SceneShards(config.shards, count=config.count)
            images = shards.dataset.images
            if len(images) < config.count:
                problem = f"expected {config.count} scenes, the shards hold {len(images)}; ask for no more"
                raise DataError(problem, file=config.shards)
            found = set(shards.dataset.category_names.values()) - {OCCLUDER}
            self._scene = lambda index: shards.scene(images[index])
        if unknown := {name for name in found if category_number(name, categories) is None}:
            raise DataError(
                f"expected categories among {', '.join(categories)}, got {', '.join(sorted(unknown))}; rename them, "
                "add them to the model's categories, or take ShapeNet as shapenet13:FOLDER",
                file=config.shards or config.meshes,
            )

    def __len__(self) -> int:
        return self.config.count

    def __getitem__(self, index: int) -> CropArrays:
        config = self.config
        rng = np.random.default_rng((config.seed, _PURPOSE, index))
        scene = self._scene(index)
        ordered = rng.random() < config.order_known
        masks = [one.visible for one in scene.instances]
        order = order_of_ranks([one.depth_order for one in scene.instances]) if ordered else ()
        hiding = occluders(masks, order)
        if scene.erased is not None:
            hiding = [mask | scene.erased for mask in hiding]
        kept = [i for i, mask in enumerate(masks) if config.is_large(mask)]
        instances = [scene.instances[i] for i in kept]
        masks, hiding = [masks[i] for i in kept], [hiding[i] for i in kept]
        windows = _jittered(instance_windows(masks, hiding), config.jitter, rng)
        category = [category_number(one.category, self.categories) or 0 for one in instances]
        crops = instance_crops(scene.image, masks, hiding, category, config.size, windows, border=config.border)
        amodal = mask_crops([one.amodal for one in instances], crops.window, config.size)
        hidden = [1 - one.visible.sum() / one.amodal.sum() for one in instances]
        return CropArrays(
            rgb=as_bytes(crops.rgb),
            visible=as_bytes(crops.visible),
            occluder=as_bytes(crops.occluder),
            amodal=as_bytes(amodal),
            category=crops.category.numpy(),
            window=windows,
            hidden=np.array(hidden, np.float32),
            scene=np.full(len(instances), index, np.int64),
            mesh=np.array([one.mesh for one in instances], np.str_),
        )

    def __call__(self, indices: range) -> CropArrays:
        """The instances of some scenes, one after another."""
        return CropArrays.join([self[index] for index in indices])


def as_bytes(tensor: torch.Tensor) -> NDArray[np.uint8]:
    """Numbers in 0..1 as bytes, rounded."""
    return (tensor * 255 + 0.5).to(torch.uint8).numpy()


def _jittered(windows: NDArray[np.float32], strength: float, rng: np.random.Generator) -> NDArray[np.float32]:
    side = windows[:, 2] - windows[:, 0]
    centre = (windows[:, :2] + windows[:, 2:]) / 2 + rng.uniform(-strength, strength, (len(side), 2)) * side[:, None]
    half = side[:, None] / 2 * (1 + rng.uniform(-strength, strength, (len(side), 1)))
    return np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)
