"""The options of a stage's training, and what the model starts from."""

from __future__ import annotations

from dataclasses import field, replace
from pathlib import Path
from typing import Literal

import torch
from typing_extensions import Self

from shape3d_amodal.config import Share, configuration, dump_config
from shape3d_amodal.crops.augmentation import AugmentationConfig
from shape3d_amodal.crops.config import VALIDATION, CropsConfig
from shape3d_amodal.crops.pool import scenes_of
from shape3d_amodal.errors import UsageError, WeightsError
from shape3d_amodal.files.pretrained import is_known, read_config, weights_folder
from shape3d_amodal.files.weights import load_weights
from shape3d_amodal.meshes.sources import CATEGORIES
from shape3d_amodal.model import AmodalModel, AmodalModelConfig
from shape3d_amodal.priors.learned.criterion import PriorLossConfig
from shape3d_amodal.refinement.criterion import RefinementLossConfig
from shape3d_amodal.refinement.transfer import grown
from shape3d_amodal.segmentation.images import annotated_categories
from shape3d_amodal.training.loop.interface import LoopConfig, TrainingConfig
from shape3d_amodal.training.tasks.bank_crops import BankCropsConfig
from shape3d_amodal.training.tasks.restarts import RestartsConfig

Part = Literal["prior", "refinement"]
Stage = Literal["prior", "reconstruction", "viewpoint", "completion2d", "refinement", "end_to_end"]
Supervision = Literal["amodal", "visible"]
PRIOR_STAGES = ("prior", "reconstruction", "viewpoint")


@configuration
class StageOptions(TrainingConfig):
    """The training of a stage, or of several together: its data, its model and its loop."""

    stage: Stage
    """The kind of training: prior (stages 2 and 3 together), reconstruction (stage 2), viewpoint (stage 3),
    completion2d (stage 5 without a prior), refinement (stage 5) or end_to_end (stages 2 to 5)."""
    init: dict[Part, str] = field(default_factory=dict)
    """Folders of weights, relative to the working directory, from which the prior and the refinement start; a part
    without one starts at random."""
    model: AmodalModelConfig = AmodalModelConfig(categories=CATEGORIES)
    """The networks of stages 2 to 5."""
    annotated_categories: bool = False
    """Whether the model has all categories of the annotation file that it learns from, in place of
    ``model.categories``."""
    train: CropsConfig = CropsConfig()
    """Training crops."""
    validation: CropsConfig = VALIDATION
    """Validation crops, which show other meshes."""
    prior_loss: PriorLossConfig = PriorLossConfig()
    """Losses of the prior."""
    refinement_loss: RefinementLossConfig = RefinementLossConfig()
    """Losses of the refinement."""
    bank: BankCropsConfig | None = None
    """The shape bank whose silhouettes the refinement gets; needed where model.refinement.priors names the bank."""
    bank_share: Share = 0.5
    """Share (0..1) of the refinement's samples that have a silhouette of the bank."""
    supervision: Supervision | None = None
    """The masks that training uses: amodal, or visible ones alone. By default (null), prior, reconstruction and
    viewpoint use visible masks, the other stages amodal ones. With amodal masks, all pixels of the prior's silhouettes
    are compared with the amodal mask, and the refinement's target is that mask. With visible masks, only the certain
    pixels of the silhouettes are compared, and the refinement's target is the visible mask, of which its input lacks a
    part. In end_to_end, this option concerns the refinement alone: the losses of the prior use the certain pixels."""
    balance: Share = 0.0
    """How far rare categories are drawn more often: a category of n training crops in proportion to n ** (1 - balance);
    0 draws all crops alike, 1 all categories. Crops that a bank was asked about are drawn alike."""
    pair_share: Share = 0.5
    """Share (0..1) of the prior's samples that are drawn in pairs of the same mesh, or track of annotated images, where
    prior_loss.pairs is not 0."""
    restarts: RestartsConfig = RestartsConfig()
    """Several seeds of the prior may be tried before the training."""
    augmentation: AugmentationConfig = AugmentationConfig()
    """Random changes of the refinement's crops."""
    silhouette_dropout: Share = 0.1
    """Share (0..1) of the refinement's samples whose silhouette is left out, so that it also learns to do without."""
    hidden_share: Share = 0.85
    """Share (0..1) of the refinement's samples whose object has a hidden part."""
    loop: LoopConfig = LoopConfig()
    """The training loop."""

    def start(self, seed: int) -> AmodalModel:
        """The model before its first step: random as ``seed`` says, but for the parts that ``init`` names."""
        self._check_init()
        torch.manual_seed(seed)
        model = AmodalModel(self.model)
        for part, folder in self.init.items():
            load_part(model, part, folder)
        return model

    def _check_init(self) -> None:
        """Name all weights that are missing at once.

        Raises:
            WeightsError: some are missing.
        """
        absent = {f"init.{part}={folder}": folder for part, folder in self.init.items() if not is_known(folder)}
        try:
            for folder in absent.values():
                weights_folder(folder)
        except WeightsError as error:
            raise WeightsError(f"{' and '.join(absent)}: {error.problem}") from error

    def named(self) -> Self:
        """The same with the categories of the model by their names.

        Raises:
            UsageError: they are to be those of an annotation file, and there is none.
            DataError: it cannot be read.
        """
        if not self.annotated_categories:
            return self
        if self.train.annotations is None:
            raise UsageError("annotated_categories: needs train.annotations; give them, or model.categories")
        names = annotated_categories(self.train.annotations)
        return replace(self, annotated_categories=False, model=replace(self.model, categories=names))

    def weights_config(self) -> str:
        return dump_config(self.named().model)

    @property
    def labels(self) -> Supervision:
        """``supervision``, or the stage's default."""
        return self.supervision or ("visible" if self.stage in PRIOR_STAGES else "amodal")

    def check_options(self) -> None:
        """
        Raises:
            UsageError: options do not fit each other.
        """
        self._check_prior()
        for name, crops in (("train", self.train), ("validation", self.validation)):
            if crops.border != self.model.border:
                problem = f"expected {self.model.border}, as model.border says, got {crops.border}"
                raise UsageError(f"{name}.border: {problem}; set all three alike")
        if (self.bank is None) == (self.stage == "refinement" and "bank" in self.model.refinement.priors):
            raise UsageError(
                "bank: needed for the stage refinement if model.refinement.priors names the bank, refused otherwise"
            )
        if self.bank is not None and self.labels == "visible":
            raise UsageError("supervision: visible cannot be combined with a bank; remove one of them")
        if self.bank is not None and self.model.meshes != self.bank.meshes:
            raise UsageError(
                f"model.meshes: expected those of the bank that is learned from, {self.bank.meshes}, got "
                f"{self.model.meshes}; the weights take their bank from there"
            )
        if self.bank is not None and self.model.fit_steps != self.bank.prior.fit_steps:
            raise UsageError(
                f"model.fit_steps: expected bank.prior.fit_steps, {self.bank.prior.fit_steps}, got "
                f"{self.model.fit_steps}; the "
                "weights fit their bank as it was when they learned from it"
            )

    def _check_prior(self) -> None:
        stages, loss = ", ".join(PRIOR_STAGES), self.prior_loss
        if self.restarts.seeds > 1 and (self.stage not in PRIOR_STAGES or "prior" in self.init):
            raise UsageError(f"restarts.seeds: more than one goes with the stages {stages}, and without init.prior")
        if not loss.certain and self.stage in PRIOR_STAGES and self.labels == "amodal":
            raise UsageError(
                "prior_loss.certain: false cannot be combined with supervision: amodal; remove one of them"
            )
        if loss.ground > 0 and self.stage not in PRIOR_STAGES:
            raise UsageError(f"prior_loss.ground: goes with the stages {stages}")
        if loss.pairs > 0:
            if self.stage not in PRIOR_STAGES:
                raise UsageError(f"prior_loss.pairs: goes with the stages {stages}")
            if not self.model.prior.reconstruction.symmetric or self.model.asymmetric:
                raise UsageError(
                    "prior_loss.pairs: needs model.prior.reconstruction.symmetric and no model.asymmetric, since crops "
                    "are mirrored"
                )
            if self.train.annotations is None and scenes_of(self.train).deform > 0:
                raise UsageError(
                    "prior_loss.pairs: needs scenes that leave their meshes as they are, since crops of a deformed "
                    "mesh are of different shapes; set train.scenes.deform=0, or make the shards so"
                )

    def smaller(self) -> Self:
        few = super().smaller()
        return few if few.bank is None else replace(few, bank=replace(few.bank, crops=min(few.bank.crops, 8)))


def load_part(model: AmodalModel, part: str, name_or_folder: str | Path) -> None:
    """Load one part of the model (``prior`` or ``refinement``) from weights that a stage left.

    A refinement may come from one that knows other priors (``refinement.transfer``).

    Raises:
        WeightsError: the weights are missing, damaged, or of a model of other sizes or categories.
    """
    folder = weights_folder(name_or_folder)
    text, state = load_weights(folder)
    own = getattr(model, part)
    found = {name.removeprefix(f"{part}."): tensor for name, tensor in state.items() if name.startswith(f"{part}.")}
    config = read_config(folder, text, AmodalModelConfig)
    _check_meaning(part, config, model.config, folder)
    if part == "refinement" and replace(config.refinement, priors=(), gate=False) == replace(
        model.config.refinement, priors=(), gate=False
    ):
        found = grown(found, config.refinement, model.config.refinement)
    wrong = [
        name for name, tensor in own.state_dict().items() if name not in found or found[name].shape != tensor.shape
    ]
    if wrong:
        problem = f"{part}.{wrong[0]} is missing or has another shape; use the model that these weights were made with"
        raise WeightsError(problem, file=folder)
    own.load_state_dict({name: found[name] for name in own.state_dict()})


def _check_meaning(part: str, trained: AmodalModelConfig, own: AmodalModelConfig, folder: Path) -> None:
    """Refuse weights that would fit, but mean something else: other categories, or other ranges of viewpoints.

    A prior must also have seen what lies beyond borders, and doubtful background, as now: later stages do not change
    it. A refinement goes on learning, so it gets used to that.

    Raises:
        WeightsError: naming the option.
    """
    told = ("parents", "asymmetric", "azimuth_range_deg", "border", "doubt")
    shared = ("categories", *told) if part == "prior" else ("categories",)
    options = {f"model.{name}": (getattr(trained, name), getattr(own, name)) for name in shared}
    if part == "prior":
        options["model.prior.viewpoint"] = (trained.prior.viewpoint, own.prior.viewpoint)
    for option, (before, now) in options.items():
        if before != now:
            problem = f"init.{part}: expected weights that were trained with {option} {now!r:.300}, got {before!r:.300}"
            raise WeightsError(f"{problem}; set {option} as it was there", file=folder)
