"""Systems of the R-CNN family as trainings: the detector with a system's head, or a head on a detector that stays."""

from __future__ import annotations

import logging
import math
from dataclasses import field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shape3d_amodal import masks
from shape3d_amodal.config import configuration, dump_config, parse_config
from shape3d_amodal.drawing.crop_grids import found_grid
from shape3d_amodal.errors import UsageError, WeightsError
from shape3d_amodal.evaluation.instance.evaluator import InstanceEvaluator
from shape3d_amodal.evaluation.workers import score
from shape3d_amodal.files.pretrained import weights_folder
from shape3d_amodal.files.weights import CONFIG_FILE, load_weights
from shape3d_amodal.methods.rcnn import check_shared, found_result
from shape3d_amodal.scenes.compose import SceneConfig
from shape3d_amodal.scenes.shard_making import ShardsConfig
from shape3d_amodal.segmentation.backbones import load_detector
from shape3d_amodal.segmentation.config import DetectorConfig
from shape3d_amodal.segmentation.detector import few_regions
from shape3d_amodal.segmentation.finder import ObjectFinder
from shape3d_amodal.segmentation.images import Pictures, PicturesConfig, annotated_categories, open_pictures
from shape3d_amodal.segmentation.mapper import AugmentConfig, Drawn, Mapper
from shape3d_amodal.segmentation.model import Rcnn
from shape3d_amodal.segmentation.samples import Samples
from shape3d_amodal.segmentation.systems import RcnnConfig, system_config
from shape3d_amodal.training.loop.interface import LoopConfig, Task, TrainingConfig

logger = logging.getLogger(__name__)

_STANDS_ON: dict[str, tuple[str, ...]] = {
    "backbone": (),
    "neck": ("backbone",),
    "rpn": ("neck",),
    "box_head": ("neck",),
    "box_predictor": ("box_head",),
}
"""The parts of a detector, and which others each is trained for."""
_SHOWN = 4
"""Pictures that a training shows of itself."""


@configuration
class RcnnTraining(TrainingConfig):
    """The training of an R-CNN system: its data, its network and its loop."""

    stage: Literal["rcnn"]
    """The kind of training: rcnn."""
    system: str = "mask_rcnn"
    """Name of the system, such as mask_rcnn or orcnn; docs/rcnn.md lists them."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the system's own class, such as masks of mask_rcnn."""
    detector: DetectorConfig = DetectorConfig()
    """The network without its mask head."""
    pictures: PicturesConfig = PicturesConfig()
    """Training images."""
    validation: PicturesConfig = PicturesConfig(
        scenes=ShardsConfig(meshes="open13:val", scenes=SceneConfig(), seed=2, count=100)
    )
    """Validation images."""
    augment: AugmentConfig = AugmentConfig()
    """Random changes of the training images."""
    init: str | None = None
    """Folder of weights of any system to start from: each part with the same name and shapes is taken over."""
    freeze: Literal["nothing", "detector"] = "nothing"
    """detector: whatever of the features, proposals, classes and boxes comes from ``init`` is not trained."""
    loop: LoopConfig = LoopConfig()
    """The training loop."""

    def task(self, cache: Path, *, workers: int) -> RcnnTask:
        """
        Raises:
            UsageError: an unknown system or option, pictures without the detector's categories, or a detector that is
                to stay as it is without weights to start from.
            WeightsError: the weights to start from cannot be used.
            DataError: the pictures cannot be used.
        """
        if self.freeze == "detector" and self.init is None:
            raise UsageError("freeze: a detector that stays as it is needs trained weights; give them as init")
        if self.detector.backbone.norm == "GN" and self.detector.backbone.weights is not None:
            raise UsageError("detector.backbone.weights: such weights need the norm FrozenBN or BN, got GN")
        torch.manual_seed(self.loop.seed)
        network = self.network()
        model = Rcnn(network)
        if self.detector.backbone.weights is not None:
            load_detector(model, Path(self.detector.backbone.weights), bgr=self.detector.backbone.bgr)
        taken = set() if self.init is None else take_weights(model, self.init)
        if self.freeze == "detector":
            freeze_taken(model, taken)
        system_config(self.system, self.options).start(model.mask_head, network.detector.categories)
        pictures = open_pictures(self.pictures, cache, workers=workers)
        validation = open_pictures(self.validation, cache, workers=workers)
        _check("pictures", pictures, network.detector.categories)
        check_shared(network.detector.categories, validation.dataset.category_names.values())
        return RcnnTask(self, model, pictures, validation)

    def network(self) -> RcnnConfig:
        """What stands beside the weights; files that the training started from are no part of it."""
        backbone = replace(self.detector.backbone, weights=None)
        files = system_config(self.system, self.options).files
        options = {name: value for name, value in self.options.items() if name not in files}
        categories = self.detector.categories or annotated_categories(self.pictures.annotations)
        detector = replace(self.detector, backbone=backbone, categories=categories)
        return RcnnConfig(detector=detector, system=self.system, options=options)

    def smaller(self) -> RcnnTraining:
        return replace(
            self,
            pictures=self.pictures.smaller(),
            validation=self.validation.smaller(),
            detector=few_regions(self.detector),
        )

    def weights_config(self) -> str:
        return dump_config(self.network())


class RcnnTask(Task):
    """A system on annotated pictures."""

    def __init__(self, config: RcnnTraining, model: Rcnn, pictures: Pictures, validation: Pictures) -> None:
        self.name = config.system
        self.config, self.model, self.validation = config, model, validation
        detector = model.config.detector
        self.mapper = Mapper(pictures, detector.categories, detector.input, config.augment)

    def modules(self) -> nn.Module:
        return self.model

    def batch(self, step: int, generator: np.random.Generator, size: int) -> tuple[Drawn, list[str]]:
        drawn = self.mapper.draw(generator, size)
        images = self.mapper.pictures.dataset.images
        return drawn, [images[row].file_name for row in drawn.rows]

    def losses(self, batch: Samples, step: int, progress: float) -> dict[str, Tensor]:
        if self.config.freeze == "detector":
            self.model.backbone.eval()  # what is fixed keeps its batch statistics, too
        return {name: loss for name, loss in self.model.losses(batch).items() if loss.requires_grad}

    def validate(self, step: int) -> dict[str, float]:
        """Average precision in percent, of amodal and, where there are some, of visible masks."""
        finder = ObjectFinder(self.model)
        dataset = self.validation.dataset
        ids = {name: key for key, name in dataset.category_names.items()}
        results = [
            found_result(image.id, ids[found.category], found)
            for image in dataset.images
            for found in finder.find(self.validation.image(image))
            if found.category in ids
        ]
        numbers = score(InstanceEvaluator(dataset), results).score
        values = {name: 100 * numbers[name] for name in ("amodal_ap", "amodal_ap50", "visible_ap", "visible_ap50")}
        return {name: value for name, value in values.items() if not math.isnan(value)}

    def sample_images(self, step: int) -> dict[str, NDArray[np.uint8]]:
        """Validation pictures: as they are, with their objects, and with what is found."""
        finder = ObjectFinder(self.model)
        rows = []
        for record in self.validation.dataset.images[:_SHOWN]:
            image = self.validation.image(record)
            truth = [(masks.decode(one.amodal or one.visible), masks.decode(one.visible)) for one in record.instances]
            found = [
                (one.amodal, one.amodal if one.visible is None else one.visible)
                for one in finder.find(image, min_score=0.5)
            ]
            rows.append((image, truth, found))
        return {"samples": found_grid(rows)} if rows else {}


def take_weights(model: Rcnn, name_or_folder: str | Path) -> set[str]:
    """Copy into ``model`` the tensors of trained weights that have the same name and shape, at least the features.

    Returns:
        The names of the copied tensors.

    Raises:
        WeightsError: the weights are missing or damaged, or their detector is another one or has other categories.
    """
    folder = weights_folder(name_or_folder)
    text, state = load_weights(folder)
    theirs = parse_config(text, RcnnConfig, source=str(folder / CONFIG_FILE)).detector.categories
    if theirs != model.config.detector.categories:
        problem = f"expected a detector of the categories {', '.join(model.config.detector.categories)} in this order"
        raise WeightsError(
            f"{problem}, got {', '.join(theirs)}; name those, or train a detector of your own", file=folder
        )
    own = model.state_dict()
    taken = {name: state[name] for name, tensor in own.items() if name in state and state[name].shape == tensor.shape}
    missing = [name for name in own if name.startswith("backbone.") and name not in taken]
    if missing:
        problem = f"{missing[0]} is missing or has another shape; use the detector that these weights were made with"
        raise WeightsError(problem, file=folder)
    model.load_state_dict(taken, strict=False)
    rest = sorted({name.partition(".")[0] for name in own.keys() - taken.keys()})
    logger.info("%d of %d tensors from %s; random are parts of: %s", len(taken), len(own), folder, ", ".join(rest))
    return set(taken)


def freeze_taken(model: Rcnn, taken: set[str]) -> None:
    """Keep the parts of the detector that were taken whole, as was all that they stand on.

    A system's own neck or box head has to be learned, and with it what follows.
    """
    frozen: set[str] = set()
    for part, stands_on in _STANDS_ON.items():
        names = {f"{part}.{name}" for name in getattr(model, part).state_dict()}
        if frozen.issuperset(stands_on) and taken.issuperset(names):
            getattr(model, part).requires_grad_(False)
            frozen.add(part)


def _check(name: str, pictures: Pictures, categories: tuple[str, ...]) -> None:
    if not pictures.dataset.images:
        raise UsageError(f"{name}: expected pictures, got none")
    there = set(pictures.dataset.category_names.values())
    absent = [category for category in categories if category not in there]
    if absent:
        problem = f"the {name} have no category {absent[0]!r}, they have {', '.join(sorted(there))}"
        raise UsageError(f"detector.categories: {problem}; name those to be detected as the annotations do")
