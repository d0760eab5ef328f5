"""The training of VRSP's shape prior from amodal masks: the auto-encoder, then the codebook of each category."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from shape3d_amodal import masks
from shape3d_amodal.baselines.rcnn.vrsp_shapes import ShapeMemory, ShapeMemoryConfig, ShapesConfig
from shape3d_amodal.config import Count, configuration, dump_config, options_of
from shape3d_amodal.drawing.crop_grids import mask_grid
from shape3d_amodal.errors import UsageError
from shape3d_amodal.segmentation.images import VALIDATION_IMAGES, ImagesConfig, annotated_categories, open_images
from shape3d_amodal.segmentation.roi_heads import MASK_SIZE
from shape3d_amodal.segmentation.samples import cut_masks
from shape3d_amodal.structures import AmodalDataset, Rle, TensorBatch
from shape3d_amodal.training.loop.interface import BatchMaker, LoopConfig, Task, TrainingConfig
from shape3d_amodal.training.tasks.scores import mask_iou

logger = logging.getLogger(__name__)

_VALIDATED = 1000
_SHOWN = 12


@configuration
class VrspShapesTraining(TrainingConfig):
    """The training of VRSP's shape prior."""

    stage: Literal["vrsp_shapes"]
    """The kind of training: vrsp_shapes."""
    categories: tuple[str, ...] = ()
    """Names of the categories in the detector's order; an empty list takes those of the annotations, as the detector
    does."""
    memory: ShapeMemoryConfig = ShapeMemoryConfig()
    """Sizes of the autoencoder and of the codebook."""
    train: ImagesConfig = ImagesConfig()
    """Training images; only their amodal masks are used."""
    validation: ImagesConfig = VALIDATION_IMAGES
    """Validation images."""
    jitter: Annotated[float, Field(ge=0, lt=0.5)] = 0.05
    """How far each side of a mask's box is moved at random, as a share of the box's size, since predicted boxes are not
    exact either."""
    turned: bool = True
    """Also turn masks by multiples of 90 degrees; otherwise they are only mirrored."""
    remembered: Count = 10_000
    """Largest number of masks of a category from which its codes are clustered."""
    loop: LoopConfig = LoopConfig()
    """The training loop."""

    def task(self, cache: Path, *, workers: int) -> VrspShapesTask:
        torch.manual_seed(self.loop.seed)
        shapes, sources = self.shapes(), []
        for name in ("train", "validation"):
            with options_of(name, getattr(self, name)):
                images = open_images(getattr(self, name), cache, workers=workers)
            sources.append(amodal_masks(images.dataset, shapes.categories))
            if not sources[-1]:
                raise UsageError(f"{name}: expected amodal masks of {', '.join(shapes.categories)}, found none")
        return VrspShapesTask(self, *sources)

    def shapes(self) -> ShapesConfig:
        """The configuration to save beside the weights."""
        return ShapesConfig(categories=self.named().categories, memory=self.memory)

    def named(self) -> VrspShapesTraining:
        return replace(self, categories=self.categories or annotated_categories(self.train.annotations))

    def for_its_steps(self) -> VrspShapesTraining:
        return self  # its codes are of all training masks

    def weights_config(self) -> str:
        return dump_config(self.shapes())


class AmodalMask(NamedTuple):
    """A mask, its category (place in the detector's list) and the id of its annotation."""

    mask: Rle
    category: int
    annotation: int


@dataclass(frozen=True, eq=False, repr=False)
class Variation(TensorBatch):
    """How N masks are changed: which are mirrored, [N] bool, and by how many quarters they are turned, [N] int64."""

    flips: NDArray[np.bool_]
    turns: NDArray[np.int64]

    @classmethod
    def draw(cls, generator: np.random.Generator, count: int, *, turned: bool) -> Variation:
        return cls(generator.random(count) < 0.5, generator.integers(4, size=count) * turned)

    def of(self, cut: Tensor) -> Tensor:
        """The masks [N,28,28] so changed."""
        varied = [
            one.flip(1).rot90(int(turn)) if flip else one.rot90(int(turn))
            for one, flip, turn in zip(cut, self.flips, self.turns, strict=True)
        ]
        return torch.stack(varied)


@dataclass(frozen=True, eq=False, repr=False)
class ShapesPlan(TensorBatch):
    """N training masks: rows [N] int64, how far the sides of their boxes move, [N,4], and how they are changed."""

    rows: NDArray[np.int64]
    jitter: NDArray[np.float64]
    variation: Variation


class ShapesMaker(BatchMaker):
    """Batches of masks [N,28,28] in their boxes."""

    def __init__(self, config: VrspShapesTraining, train: list[AmodalMask]) -> None:
        self.config, self.train = config, train

    def plan(self, step: int, generator: np.random.Generator, size: int) -> ShapesPlan:  # noqa: ARG002
        rows = generator.integers(len(self.train), size=size)
        jitter = generator.uniform(-self.config.jitter, self.config.jitter, (size, 4))
        return ShapesPlan(rows, jitter, Variation.draw(generator, size, turned=self.config.turned))

    def make(self, plan: ShapesPlan) -> Tensor:
        cut = [cut_mask(self.train[row].mask, moved) for row, moved in zip(plan.rows, plan.jitter, strict=True)]
        return plan.variation.of(torch.stack(cut))

    def ids(self, plan: ShapesPlan) -> list[str]:
        return [f"annotation {self.train[row].annotation}" for row in plan.rows]


class VrspShapesTask(Task):
    """The auto-encoder."""

    name = "vrsp_shapes"

    def __init__(self, config: VrspShapesTraining, train: list[AmodalMask], validation: list[AmodalMask]) -> None:
        self.config, self.train, self.validation = config, train, validation
        self.maker = ShapesMaker(config, train)
        self.classes = len(config.shapes().categories)
        self.memory = ShapeMemory(self.classes, config.memory)

    def modules(self) -> nn.Module:
        return self.memory

    def losses(self, batch: Tensor, step: int, progress: float) -> dict[str, Tensor]:  # noqa: ARG002
        return {"squared": mse_loss(self.memory.decode(self.memory.encode(batch)), batch)}

    def validate(self, step: int) -> dict[str, float]:  # noqa: ARG002
        """Mean IoU in percent of validation masks with their reconstructions."""
        true, _ = self._validated()
        return {"iou": _iou(true, self.memory.decode(self.memory.encode(true)))}

    def sample_images(self, step: int) -> dict[str, NDArray[np.uint8]]:  # noqa: ARG002
        """Validation masks, and beside them their reconstructions."""
        shown = self._validated()[0][:_SHOWN]
        return {"samples": mask_grid({"truth": shown, "decoded": self.memory.decode(self.memory.encode(shown))})}

    @torch.no_grad()
    def finish(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The weights with the codebook: k-means centres of the codes of the training masks."""
        memory = ShapeMemory(self.classes, self.config.memory)
        memory.load_state_dict(weights)
        generator = np.random.default_rng(self.config.loop.seed)
        category = np.array([one.category for one in self.train])
        chosen = [generator.permutation(np.flatnonzero(category == one)) for one in range(self.classes)]
        rows = [int(row) for own in chosen for row in own[: self.config.remembered]]
        cut = torch.stack([cut_mask(self.train[row].mask) for row in rows])
        varied = Variation.draw(generator, len(cut), turned=self.config.turned).of(cut)
        codes = torch.cat([memory.encode(part) for part in varied.split(1000)])
        memory.remember(codes, torch.from_numpy(category[rows]), self.config.loop.seed)
        true, of = self._validated()
        nearest = memory.decode(memory.nearest(memory.encode(true.cpu()), of, 1)[:, 0])
        count, score = memory.known.sum(), _iou(true.cpu(), nearest)
        logger.info("%d codes of %d masks; the nearest has %.1f %% IoU with validation masks", count, len(rows), score)
        return memory.state_dict()

    def _validated(self) -> tuple[Tensor, Tensor]:
        """Masks [N,28,28] on the module's device, and their categories [N]."""
        count = len(self.validation)
        rows = np.linspace(0, count - 1, min(_VALIDATED, count)).round().astype(int)
        chosen = [self.validation[row] for row in rows]
        cut = torch.stack([cut_mask(one.mask) for one in chosen])
        return cut.to(self.memory.codebook.device), torch.tensor([one.category for one in chosen])


def _iou(true: Tensor, predicted: Tensor) -> float:
    return float(100 * mask_iou(true > 0.5, predicted > 0.5).mean())


def amodal_masks(dataset: AmodalDataset, categories: tuple[str, ...]) -> list[AmodalMask]:
    """The amodal masks of ``categories``, without crowds."""
    index = {key: categories.index(name) for key, name in dataset.category_names.items() if name in categories}
    return [
        AmodalMask(one.amodal, index[one.category_id], one.id)
        for image in dataset.images
        for one in image.instances
        if one.amodal is not None and one.category_id in index and not one.crowd and masks.area(one.amodal) > 0
    ]


def cut_mask(amodal: Rle, moved: NDArray[np.float64] | None = None) -> Tensor:
    """A mask inside its box: [28,28] float32, 0 or 1.

    Args:
        amodal: the whole mask, not empty.
        moved: [4], shifts of the box's sides (x0, y0, x1, y1) as shares of its size.
    """
    inside, _, _ = masks.crop(amodal)
    height, width = inside.shape
    box = np.array([0, 0, width, height], np.float64)
    if moved is not None:
        box += moved * [width, height, width, height]
    framed = torch.from_numpy(np.pad(inside, 1))[None]  # a border of 0, which a moved box may reach into
    return cut_masks(framed, torch.zeros(1, dtype=torch.int64), torch.from_numpy(box + 1).float()[None], MASK_SIZE)[0]
