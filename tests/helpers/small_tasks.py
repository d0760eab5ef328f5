"""Every kind of training, so small that tests can take steps of it: ``SMALL_TASKS`` has what makes each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from c2f_seg_small import BOOK, TINY
from rcnn_small import small_config, write_drawn
from tiny import tiny_config, tiny_model

from shape3d_amodal.baselines.c2f_seg.codebook import MaskCodebook
from shape3d_amodal.baselines.c2f_seg.features import FeaturesConfig
from shape3d_amodal.baselines.pcnet_m.network import PcnetMConfig
from shape3d_amodal.baselines.rcnn.vrsp_shapes import ShapeMemoryConfig
from shape3d_amodal.crops.config import CropsConfig
from shape3d_amodal.crops.pool import open_pool
from shape3d_amodal.crops.scenes import CropArrays
from shape3d_amodal.papers.layered.network import LayeredConfig
from shape3d_amodal.papers.layered.shapes2d import Shapes2dConfig
from shape3d_amodal.papers.layered.training import LayeredTraining
from shape3d_amodal.papers.nmr.rendering import write_nmr
from shape3d_amodal.papers.nmr.training import NmrConfig
from shape3d_amodal.priors.learned.criterion import PriorLossConfig
from shape3d_amodal.segmentation.images import ImagesConfig
from shape3d_amodal.training.loop.interface import LoopConfig, Task
from shape3d_amodal.training.tasks.c2f_seg import C2FSegTask, C2FSegTraining, CodebookTask, CodebookTraining
from shape3d_amodal.training.tasks.evidence import Evidence
from shape3d_amodal.training.tasks.pcnet_m import PcnetMTask, PcnetMTraining, cropped_masks
from shape3d_amodal.training.tasks.rcnn import RcnnTraining
from shape3d_amodal.training.tasks.stages import StageConfig, build_task
from shape3d_amodal.training.tasks.trust import TrustTask, TrustTraining
from shape3d_amodal.training.tasks.vrsp_shapes import VrspShapesTraining

LOOP = LoopConfig(
    steps=20, batch_size=4, warmup_steps=0, precision="float32", learning_rate=1e-5, threads=1, device="cpu"
)
_POOL = CropsConfig(size=32, meshes="open13:train", count=6)


@dataclass
class Materials:
    """What tasks learn from; made once, in ``folder``.

    Args:
        meshes: a folder of meshes.
    """

    folder: Path
    meshes: Path

    @cached_property
    def pool(self) -> CropArrays:
        return open_pool(_POOL, self.folder, workers=0)

    @cached_property
    def images(self) -> ImagesConfig:
        (self.folder / "drawn").mkdir()
        drawn = write_drawn(self.folder / "drawn", (3, 0, 5, 2))
        return ImagesConfig(annotations=str(drawn / "annotations.json"), images=str(drawn))

    @cached_property
    def renders(self) -> Path:
        for split in ("train", "val"):
            write_nmr(str(self.meshes), self.folder / "nmr", split)
        return self.folder / "nmr"

    @cached_property
    def evidence(self) -> Evidence:
        random, size = np.random.default_rng(0), (12, 16, 16)
        masks = {name: random.integers(256, size=size, dtype=np.uint8) for name in ("silhouette", "visible", "amodal")}
        return Evidence(
            logits=random.normal(size=size).astype(np.float32),
            occluder=255 - masks["visible"],
            signs=random.normal(size=(12, 7)).astype(np.float32),
            hidden=np.full(12, 0.5, np.float32),
            **masks,
        )


def _stage(name: str) -> Callable[[Materials], Task]:
    config = StageConfig(
        stage=name,  # type: ignore[arg-type]
        model=tiny_config(),
        train=_POOL,
        validation=_POOL,
        prior_loss=PriorLossConfig(choose_px=16),
        loop=LOOP,
    )

    def made(given: Materials) -> Task:
        model = tiny_model()
        model.requires_grad_(True)
        return build_task(config, model, given.pool, given.pool)

    return made


def _from_visible_masks(given: Materials) -> Task:
    """No amodal mask is known: validation hides crops once more."""
    unknown = replace(given.pool, hidden=np.full_like(given.pool.hidden, np.nan))
    config = StageConfig(
        stage="refinement", supervision="visible", model=tiny_config(), train=_POOL, validation=_POOL, loop=LOOP
    )
    return build_task(config, tiny_model(), unknown, unknown)


def _pcnet_m(given: Materials) -> Task:
    source = cropped_masks(np.asarray(given.pool.visible))
    config = PcnetMTraining(stage="pcnet_m", model=PcnetMConfig(size=32), loop=LOOP)
    return PcnetMTask(config, source, source)


def _codebook(given: Materials) -> Task:
    return CodebookTask(CodebookTraining(stage="c2f_codebook", model=BOOK, loop=LOOP), given.pool, given.pool)


def _c2f_seg(given: Materials) -> Task:
    config = C2FSegTraining(
        stage="c2f_seg", features=FeaturesConfig(blocks=(1, 1, 1, 1)), transformer=TINY.transformer, loop=LOOP
    )
    return C2FSegTask(config, MaskCodebook(BOOK), given.pool, given.pool)


def _rcnn(given: Materials) -> Task:
    loop = replace(LOOP, batch_size=2)
    config = RcnnTraining(
        stage="rcnn",
        options={"masks": "both"},
        detector=small_config().detector,
        train=given.images,
        validation=given.images,
        loop=loop,
    )
    return config.task(given.folder, workers=0)


def _vrsp_shapes(given: Materials) -> Task:
    memory = ShapeMemoryConfig(convs=3, channels=2, codes=2)
    config = VrspShapesTraining(
        stage="vrsp_shapes", memory=memory, train=given.images, validation=given.images, loop=LOOP
    )
    return config.task(given.folder, workers=0)


def _layered(given: Materials) -> Task:
    shapes = Shapes2dConfig(size=64)
    config = LayeredTraining(
        stage="layered_embeddings",
        shapes=shapes,
        model=LayeredConfig(classes=shapes.classes, image_size=64, backbone="resnet18", features=16, heads=(8,)),
        validation_count=5,
        loop=LOOP,
    )
    return config.task(given.folder, workers=0)


def _known_cameras(given: Materials) -> Task:
    config = NmrConfig(
        stage="known_cameras",
        data=str(given.renders),
        reconstruction=tiny_config().prior.reconstruction,
        validation_objects=1,
        loop=LOOP,
    )
    return config.task(given.folder, workers=0)


def _trust(given: Materials) -> Task:
    return TrustTask(TrustTraining(stage="trust", loop=LOOP), tiny_model(), given.evidence, given.evidence)


SMALL_TASKS: dict[str, Callable[[Materials], Task]] = {
    **{
        name: _stage(name)
        for name in ("prior", "reconstruction", "viewpoint", "completion2d", "refinement", "end_to_end")
    },
    "refinement of visible masks": _from_visible_masks,
    "pcnet_m": _pcnet_m,
    "c2f_codebook": _codebook,
    "c2f_seg": _c2f_seg,
    "rcnn": _rcnn,
    "vrsp_shapes": _vrsp_shapes,
    "layered_embeddings": _layered,
    "known_cameras": _known_cameras,
    "trust": _trust,
}
