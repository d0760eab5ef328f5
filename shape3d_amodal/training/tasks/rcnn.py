"""Training of a system of the R-CNN family: the whole detector, or the mask head on a fixed detector."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shape3d_amodal import masks
from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.config import configuration, dump_config, options_of
from shape3d_amodal.drawing.crop_grids import found_grid
from shape3d_amodal.errors import UsageError, WeightsError, listed
from shape3d_amodal.evaluation.instance.evaluator import InstanceEvaluator
from shape3d_amodal.evaluation.workers import score
from shape3d_amodal.files.pretrained import read_config, weights_folder
from shape3d_amodal.files.weights import load_weights
from shape3d_amodal.methods.rcnn import check_shared
from shape3d_amodal.methods.results import to_result
from shape3d_amodal.segmentation.detector import Detector
from shape3d_amodal.segmentation.images import (
    AnnotatedImages,
    annotated_categories,
    open_images,
)
from shape3d_amodal.segmentation.mapper import Drawn, Mapper
from shape3d_amodal.segmentation.model import Rcnn
from shape3d_amodal.segmentation.pretrained import load_detector
from shape3d_amodal.segmentation.samples import ImageTargets, Samples
from shape3d_amodal.segmentation.systems import RcnnConfig, system_config
from shape3d_amodal.structures import AmodalImage
from shape3d_amodal.training.loop.interface import BatchMaker, Task, TrainingConfig
from shape3d_amodal.training.tasks.rcnn_options import RcnnOptions
from shape3d_amodal.training.tasks.trials import try_out

logger = logging.getLogger(__name__)

_INPUTS: dict[str, tuple[str, ...]] = {
    "backbone": (),
    "neck": ("backbone",),
    "rpn": ("neck",),
    "box_head": ("neck",),
    "box_predictor": ("box_head",),
}
"""The parts of a detector, and for each the part whose output it takes."""
_SHOWN = 4
"""Number of validation images that are drawn."""


@configuration
class RcnnTraining(RcnnOptions, TrainingConfig):
    """The training of an R-CNN system: its data, its network and its loop."""

    def task(self, cache: Path, *, workers: int) -> RcnnTask:
        if self.freeze == "detector" and self.init is None:
            raise UsageError("freeze: a detector that stays as it is needs trained weights; give them as init")
        if self.detector.backbone.norm == "GN" and self.detector.backbone.weights is not None:
            raise UsageError("detector.backbone.weights: such weights need the norm FrozenBN or BN, got GN")
        try_out(self, lambda training: _pass_through(Rcnn(training.network())), ("detector", "options"))
        torch.manual_seed(self.loop.seed)
        network = self.network()
        model = Rcnn(network)
        if self.detector.backbone.weights is not None:
            load_detector(model, Path(self.detector.backbone.weights), bgr=self.detector.backbone.bgr)
        taken = set() if self.init is None else take_weights(model, self.init)
        if self.freeze == "detector":
            freeze_taken(model, taken)
        system_config(self.system, self.options).start(model.mask_head, network.detector.categories)
        known = network.detector.categories
        with options_of("train", self.train):
            train = open_images(self.train, cache, workers=workers, categories=known)
        with options_of("validation", self.validation):
            validation = open_images(self.validation, cache, workers=workers, categories=known, scored=True)
        if not train.dataset.images:
            raise UsageError("train: expected images, got none")
        names = set(train.dataset.category_names.values())
        absent = [category for category in network.detector.categories if category not in names]
        if absent:
            problem = f"the training images have no category {absent[0]!r}, they have {listed(sorted(names))}"
            remedy = "give names that the annotations have, or map theirs by data convert --classes"
            raise UsageError(f"detector.categories: {problem}; {remedy}")
        check_shared(network.detector.categories, validation.dataset.category_names.values())
        return RcnnTask(self, model, train, validation)

    def network(self) -> RcnnConfig:
        """The configuration to save beside the weights, without the files that the training starts from."""
        backbone = replace(self.detector.backbone, weights=None)
        files = system_config(self.system, self.options).files
        options = {name: value for name, value in self.options.items() if name not in files}
        detector = replace(self.named().detector, backbone=backbone)
        return RcnnConfig(detector=detector, system=self.system, options=options)

    def named(self) -> RcnnTraining:
        categories = self.detector.categories or annotated_categories(self.train.annotations)
        return replace(self, detector=replace(self.detector, categories=categories))

    def smaller(self) -> RcnnTraining:
        proposals = replace(self.detector.proposals, before_nms=(100, 100), after_nms=(50, 50))
        regions = replace(self.detector.regions, sampled=min(16, self.detector.regions.sampled))
        detector = replace(self.detector, proposals=proposals, regions=regions)
        return replace(super().smaller(), detector=detector)

    def for_its_steps(self) -> RcnnTraining:
        """Systems share the scenes of one set. Only a short trial makes a set of its own, of a tenth or less."""
        seen = self.loop.steps * self.loop.batch_size
        return super().for_its_steps() if seen * 10 <= self.train.scenes.count else self

    def weights_config(self) -> str:
        return dump_config(self.network())


class ImagesMaker(BatchMaker):
    """Batches of images with their objects."""

    def __init__(self, mapper: Mapper) -> None:
        self.mapper = mapper

    def plan(self, step: int, generator: np.random.Generator, size: int) -> Drawn:
        return self.mapper.draw(generator, size)

    def make(self, plan: Drawn) -> Samples:
        return self.mapper.samples(plan)

    def ids(self, plan: Drawn) -> list[str]:
        return [self.mapper.images.dataset.images[row].file_name for row in plan.rows]


class RcnnTask(Task):
    """A system on annotated images."""

    unused_parameters = True
    """Heads may have no part in a step whose images show no object, as BCNet's."""

    def __init__(self, config: RcnnTraining, model: Rcnn, train: AnnotatedImages, validation: AnnotatedImages) -> None:
        self.name = config.system
        self.config, self.model, self.validation = config, model, validation
        detector = model.config.detector
        self.maker = ImagesMaker(Mapper(train, detector.categories, detector.input, config.augment))

    def modules(self) -> nn.Module:
        return self.model

    def losses(self, batch: Samples, step: int, progress: float) -> dict[str, Tensor]:
        if self.config.freeze == "detector":
            self.model.backbone.eval()  # so that its batch statistics stay fixed, too
        return {name: loss for name, loss in self.model.losses(batch).items() if loss.requires_grad}

    def validate(self, step: int) -> dict[str, float]:
        """Average precision in percent of amodal and, where the system predicts them, of visible masks."""
        detector = Detector(self.model)
        dataset = self.validation.dataset
        ids = {name: key for key, name in dataset.category_names.items()}

        def detected(image: AmodalImage) -> list[AmodalResult]:
            return [
                to_result(image.id, ids[found.category], found.amodal, found.visible, score=found.score)
                for found in detector.detect(self.validation.image(image))
                if found.category in ids
            ]

        results = [found for image in self.over_ranks(detected, dataset.images) for found in image]
        if not self.first_rank:
            return {}
        numbers = score(InstanceEvaluator(dataset), results).score
        values = {name: 100 * numbers[name] for name in ("amodal_ap", "amodal_ap50", "visible_ap", "visible_ap50")}
        return {name: value for name, value in values.items() if not math.isnan(value)}

    def sample_images(self, step: int) -> dict[str, NDArray[np.uint8]]:
        """Validation images: as they are, with their annotations, and with the detections."""
        detector = Detector(self.model)
        rows = []
        for record in self.validation.dataset.images[:_SHOWN]:
            image = self.validation.image(record)
            truth = [(masks.decode(one.amodal or one.visible), masks.decode(one.visible)) for one in record.instances]
            found = [
                (one.amodal, one.amodal if one.visible is None else one.visible)
                for one in detector.detect(image, min_score=0.5)
            ]
            rows.append((image, truth, found))
        return {"samples": found_grid(rows)} if rows else {}


def _pass_through(model: Rcnn) -> None:
    """Send an image with one object of each size through all parts of the network, in training and at inference."""
    corner, side = torch.tensor([[8.0, 8.0], [40.0, 20.0]]), torch.tensor([[24.0, 32.0], [80.0, 70.0]])
    amodal = torch.zeros(2, 96, 128, dtype=torch.bool)
    amodal[0, 8:40, 8:32] = amodal[1, 20:90, 40:120] = True
    objects = ImageTargets(
        boxes=torch.cat([corner, corner + side], dim=1),
        category=torch.zeros(2, dtype=torch.int64),
        amodal=amodal,
        visible=amodal,
        occluder=torch.zeros_like(amodal),
        hidden=torch.zeros(2),
        annotation=torch.arange(2),
    )
    with torch.no_grad():
        image = torch.randint(256, (3, 96, 128), dtype=torch.uint8)
        model.train().losses(Samples((image,), (objects,)))
        images = model.eval().normalized([image])
        levels = model.features(images)
        model.masks(levels, model.detect(levels, images.image_sizes))


def take_weights(model: Rcnn, name_or_folder: str | Path) -> set[str]:
    """Copy into ``model`` the tensors of trained weights that have the same name and shape, at least the features.

    Returns:
        The names of the copied tensors.

    Raises:
        WeightsError: the weights are missing or damaged, or their detector has another backbone or other categories.
    """
    folder = weights_folder(name_or_folder)
    text, state = load_weights(folder)
    theirs = read_config(folder, text, RcnnConfig).detector.categories
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
    """Freeze each part of the detector that was taken completely, with all parts before it.

    A system's own neck or box head must be learned, and so must the parts after it.
    """
    frozen: set[str] = set()
    for part, before in _INPUTS.items():
        names = {f"{part}.{name}" for name in getattr(model, part).state_dict()}
        if frozen.issuperset(before) and taken.issuperset(names):
            getattr(model, part).requires_grad_(False)
            frozen.add(part)
