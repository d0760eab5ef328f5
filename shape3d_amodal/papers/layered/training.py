"""The training of layered embeddings on shapes that are drawn on the fly."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from shape3d_amodal.config import Count, configuration, dump_config
from shape3d_amodal.errors import UsageError
from shape3d_amodal.evaluation.instance.evaluator import InstanceEvaluator
from shape3d_amodal.evaluation.workers import score
from shape3d_amodal.papers.layered.drawing import draw_layers
from shape3d_amodal.papers.layered.losses import LayeredLossConfig, LayeredTarget, layered_losses
from shape3d_amodal.papers.layered.method import LayeredEmbeddings
from shape3d_amodal.papers.layered.network import STRIDE, LayeredConfig, LayeredNetwork
from shape3d_amodal.papers.layered.sets import CATEGORIES, Shapes2dSetConfig, annotated_scenes, rgb
from shape3d_amodal.papers.layered.shapes2d import CLASSES, Shapes2dConfig, ShapeScene, depth_layers, make_shapes
from shape3d_amodal.structures import AmodalDataset
from shape3d_amodal.training.loop.interface import BatchMaker, LoopConfig, Task, TrainingConfig

_SHOWN = 4
_FIRST_SCENE = 2**40
"""Number of a training's first scene; sets start at 0, so that none is in both, whatever their seeds."""
Batch = dict[str, Tensor]


@configuration
class LayeredTraining(TrainingConfig):
    """The training of layered embeddings."""

    stage: Literal["layered_embeddings"]
    """layered_embeddings."""
    model: LayeredConfig = LayeredConfig()
    """The network; its classes are those of the shapes."""
    shapes: Shapes2dConfig = Shapes2dConfig()
    """What is in a training scene; each is drawn once, with the loop's seed."""
    loss: LayeredLossConfig = LayeredLossConfig()
    """Weights and margins."""
    validation_seed: Annotated[int, Field(ge=0)] = 1_000_000
    """Seed of the validation's scenes."""
    validation_count: Count = 200
    """Number of the validation's scenes."""
    loop: LoopConfig = LoopConfig()
    """The training loop."""

    def task(self, cache: Path, *, workers: int) -> LayeredTask:  # noqa: ARG002
        """
        Raises:
            UsageError: classes or sizes that do not fit each other.
        """
        known = self.model.classes
        if not set(self.shapes.classes) <= set(known) <= set(CLASSES):
            raise UsageError(f"model.classes: expected names of {', '.join(CLASSES)}, all of shapes.classes among them")
        if self.model.image_size != self.shapes.size:
            problem = f"expected shapes.size ({self.shapes.size}), got {self.model.image_size}"
            raise UsageError(f"model.image_size: {problem}")
        torch.manual_seed(self.loop.seed)
        return LayeredTask(self, LayeredNetwork(self.model))

    def smaller(self) -> LayeredTraining:
        return replace(self, validation_count=2)

    def for_its_steps(self) -> LayeredTraining:
        return self

    def weights_config(self) -> str:
        return dump_config(self.model)

    def validation(self) -> Shapes2dSetConfig:
        """The validation's scenes."""
        return Shapes2dSetConfig(shapes=self.shapes, seed=self.validation_seed, count=self.validation_count)


class ShapesMaker(BatchMaker):
    """Batches of scenes, each of its own number."""

    def __init__(self, config: LayeredTraining) -> None:
        self.config = config

    def plan(self, step: int, generator: np.random.Generator, size: int) -> range:  # noqa: ARG002
        """The numbers of the step's scenes; they follow those of the steps before."""
        return range(_FIRST_SCENE + step * size, _FIRST_SCENE + (step + 1) * size)

    def make(self, plan: range) -> Batch:
        scenes = [make_shapes(self.config.shapes, self.config.loop.seed, number) for number in plan]
        return collate(scenes, self.config.model)

    def ids(self, plan: range) -> list[str]:
        return [f"scene {number - _FIRST_SCENE}" for number in plan]


class LayeredTask(Task):
    """Learn classes and embeddings of the pixels of shapes; no scene is repeated."""

    def __init__(self, config: LayeredTraining, network: LayeredNetwork) -> None:
        self.name = config.stage
        self.config, self.maker = config, ShapesMaker(config)
        self.network = network

    def modules(self) -> LayeredNetwork:
        return self.network

    def losses(self, batch: Batch, step: int, progress: float) -> dict[str, Tensor]:  # noqa: ARG002
        images = batch["images"][:, None].expand(-1, 3, -1, -1).float() / 255
        target = LayeredTarget(batch["instances"].long(), batch["classes"])
        return layered_losses(self.network(images), target, self.config.loss)

    def validate(self, step: int) -> dict[str, float]:  # noqa: ARG002
        """AP, AP50 and AR100 in percent, with all shapes as one category, as in the paper's tables."""
        known = self.config.model.classes
        method = LayeredEmbeddings(self.network, {one.id: one.name for one in CATEGORIES if one.name in known})
        scenes = list(annotated_scenes(self.config.validation()))
        found = self.over_ranks(lambda one: method.find(rgb(one[0]), one[1]), scenes)
        if not self.first_rank:
            return {}
        results = [result for one in found for result in one]
        dataset = AmodalDataset(images=tuple(image for _, image in scenes), categories=CATEGORIES)
        table = score(InstanceEvaluator(dataset, class_agnostic=True), results)
        wanted = ("amodal_ap", "amodal_ap50", "amodal_ar100", "occluded_ap")
        return {name: 100 * table.score[name] for name in wanted if not math.isnan(table.score[name])}

    def sample_images(self, step: int) -> dict[str, NDArray[np.uint8]]:  # noqa: ARG002
        config = replace(self.config.validation(), count=_SHOWN)
        images = [rgb(scene) for scene, _ in annotated_scenes(config)]
        return {"samples": draw_layers(self.network, images)}


def collate(scenes: list[ShapeScene], model: LayeredConfig) -> Batch:
    """Images [B,S,S] uint8, instances [B,L,S/4,S/4] int16 and classes [B,M] int64, as in ``LayeredTarget``."""
    most = max(len(scene.masks) for scene in scenes)
    classes = np.zeros((len(scenes), most), np.int64)
    instances = []
    for row, scene in enumerate(scenes):
        whole, kinds = scene.on_grid(STRIDE)
        instances.append(depth_layers(whole, model.layers).astype(np.int16))
        classes[row, : len(kinds)] = [model.classes.index(CLASSES[kind]) for kind in kinds]
    return {
        "images": torch.from_numpy(np.stack([scene.image for scene in scenes])),
        "instances": torch.from_numpy(np.stack(instances)),
        "classes": torch.from_numpy(classes),
    }
