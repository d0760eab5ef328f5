"""The kinds of methods that a benchmark knows.

In a benchmark a method has a name, a kind and the options of that kind. A new kind is a class of options with a method
``build``, entered into ``KINDS``; nothing else refers to it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import field
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from typing import Annotated, Any, ClassVar

from pydantic import Field

from shape3d_amodal.baselines.convex_hull import ConvexHull
from shape3d_amodal.baselines.mean_mask import MeanMasks
from shape3d_amodal.baselines.mean_shape import MeanShapes
from shape3d_amodal.baselines.pcnet_m.method import PcnetM
from shape3d_amodal.baselines.visible_only import VisibleOnly
from shape3d_amodal.config import Count, Share, configuration, from_mapping
from shape3d_amodal.errors import MissingBackendError, UsageError
from shape3d_amodal.files.pretrained import read_config, weights_folder
from shape3d_amodal.files.safe_io import sha256
from shape3d_amodal.files.weights import CONFIG_FILE, MANIFEST, read_sealed
from shape3d_amodal.meshes.sources import mesh_source
from shape3d_amodal.methods.completion import PipelineMethod
from shape3d_amodal.methods.ground_truth import Given
from shape3d_amodal.methods.interface import CompletionMethod, FindsObjects
from shape3d_amodal.model import AmodalModelConfig
from shape3d_amodal.pipeline import ShapePriorPipeline
from shape3d_amodal.priors.bank.prior import BankPrior, BankPriorConfig
from shape3d_amodal.priors.bank.shapes import ShapeBank
from shape3d_amodal.priors.interface import PriorName, ViewsName
from shape3d_amodal.priors.learned.fit import FitConfig
from shape3d_amodal.refinement.modes import Refine


@configuration
class MethodOptions:
    """The options of every kind."""

    takes: ClassVar[tuple[Given, ...]] = ("masks",)
    """What methods of this kind can start from: visible masks and categories, or the image alone."""

    depth_order: bool = False
    """Whether the method is given the known order in depth of the objects."""
    note: str = ""
    """A note for the readers of the tables, such as what the method was trained with."""
    trained: str = ""
    """The length of its training for readers, such as "4,000 steps of 64"."""

    TOLD: ClassVar[tuple[str, ...]] = ("note", "trained")
    """Names of the options that are only for readers: no result depends on them."""


@configuration
class BuiltOptions(MethodOptions, ABC):
    """A method that is run here."""

    @abstractmethod
    def build(self, names: Mapping[int, str], device: str) -> CompletionMethod | FindsObjects:
        """The method on the ``device`` (cpu or cuda), ready to run on data with the category ``names`` (by id)."""

    def inputs(self) -> tuple[str, ...]:
        """Hashes of the files that the results depend on: if one of them changes, the method is run again.

        Raises:
            DataError: a file is missing.
        """
        return ()


@configuration
class TrainedOptions(BuiltOptions):
    """A method that is described by its weights."""

    weights: str
    """Name of shipped weights, or a folder that the method's training wrote."""

    def inputs(self) -> tuple[str, ...]:
        return (weights_hash(self.weights),)


@configuration
class MeshesOptions(BuiltOptions):
    """A method that knows the shapes of meshes."""

    meshes: str = "open13:train"
    """Mesh source: open13[:SPLIT], or a folder of meshes by category."""

    def inputs(self) -> tuple[str, ...]:
        return (mesh_source(self.meshes).fingerprint(),)


@configuration
class PipelineOptions(BuiltOptions):
    """Stages 2 to 5."""

    weights: str = "open13"
    """Name of shipped weights of stages 2 to 5, or a folder of weights."""
    refine: Refine = "full"
    """full, 2d, visible-union or none (the silhouette without refinement)."""
    priors: tuple[PriorName, ...] | None = None
    """Names of the priors to use; null uses those with which the refinement was trained."""
    fit: FitConfig | None = None
    """The fit at test time; null fits with the number of steps that is stored with the weights."""
    gap_px: Annotated[int, Field(ge=0)] = 0
    """Width in pixels of gaps between visible masks that are closed; 0 for exact masks."""

    def pipeline(self, device: str) -> ShapePriorPipeline:
        return ShapePriorPipeline.from_pretrained(
            self.weights, device=device, priors=self.priors, fit=self.fit, refine=self.refine, gap_px=self.gap_px
        )

    def build(self, names: Mapping[int, str], device: str) -> CompletionMethod | FindsObjects:
        return PipelineMethod(self.pipeline(device), names)

    def inputs(self) -> tuple[str, ...]:
        """The hash of the weights and, if they come with a bank, the hash of its meshes."""
        folder = weights_folder(self.weights)
        text = read_sealed(folder, (CONFIG_FILE,))[CONFIG_FILE].decode()
        meshes = read_config(folder, text, AmodalModelConfig).meshes
        return (weights_hash(self.weights), *(() if meshes is None else (mesh_source(meshes).fingerprint(),)))


@configuration
class VisibleOnlyOptions(BuiltOptions):
    """The visible mask as it is."""

    def build(self, names: Mapping[int, str], device: str) -> CompletionMethod:  # noqa: ARG002
        return VisibleOnly()


@configuration
class ConvexHullOptions(BuiltOptions):
    """The convex hull of the visible mask."""

    background: bool = True
    """Whether known background is removed from the mask."""

    def build(self, names: Mapping[int, str], device: str) -> CompletionMethod:  # noqa: ARG002
        return ConvexHull(background=self.background)


@configuration
class MeanMaskOptions(MeshesOptions):
    """The mean silhouette of the category's meshes, placed by the certain pixels."""

    def build(self, names: Mapping[int, str], device: str) -> CompletionMethod:  # noqa: ARG002
        return MeanMasks(mesh_source(self.meshes), names)


@configuration
class MeanShapeOptions(MeshesOptions):
    """The mean shape of the category's meshes, posed by the certain pixels: a bank with one mesh for each category."""

    def build(self, names: Mapping[int, str], device: str) -> CompletionMethod:
        if find_spec("pytorch3d") is None:
            problem = "the kind mean_shape needs pytorch3d, which a plain installation lacks"
            remedy = "pip install 'shape3d-amodal[pytorch3d]', or leave the method out"
            raise MissingBackendError(f"{problem}; {remedy}")
        bank = ShapeBank(MeanShapes(mesh_source(self.meshes)))
        prior = BankPrior(bank, config=BankPriorConfig(exact=True), device=device)
        return PipelineMethod(ShapePriorPipeline({"bank": prior}, refine="visible-union"), names)


@configuration
class BankOptions(MeshesOptions):
    """The pipeline with known shapes as its prior."""

    weights: str | None = None
    """Weights of the refinement, for refine full."""
    refine: Refine = "visible-union"
    """full, visible-union or none (the silhouette without refinement)."""
    views: ViewsName = "upright"
    """How objects may stand before the camera: upright, tabletop (seen from anywhere above) or all (any rotation)."""
    exact_shapes: bool = False
    """Whether the meshes are the very shapes of the objects, so that none is deformed."""
    fit_steps: Annotated[int | None, Field(ge=0)] = None
    """Steps of the fit of shapes to objects that none of them explains as it is; null takes the number with which the
    refinement was trained, or 30 without one."""
    gap_px: Annotated[int, Field(ge=0)] = 0
    """Width in pixels of gaps between visible masks that are closed; 0 for exact masks."""
    hypotheses: Annotated[int, Field(ge=0)] = 0
    """Likely answers to each object beside its mask, for the track multimodal."""
    taken_for: dict[str, str] = field(default_factory=dict, hash=False)
    """A control with wrong shapes: categories whose objects the method is told to be of others, as {chair: table}."""

    def build(self, names: Mapping[int, str], device: str) -> CompletionMethod:
        pipeline = ShapePriorPipeline.from_meshes(
            self.meshes,
            weights=self.weights,
            device=device,
            fit_steps=self.fit_steps,
            views=self.views,
            exact_shapes=self.exact_shapes,
            hypotheses=self.hypotheses,
            refine=self.refine,
            gap_px=self.gap_px,
        )
        unknown = self.taken_for.keys() - {*names.values(), *pipeline.categories}
        if unknown:
            known = ", ".join(names.values())
            raise UsageError(f"taken_for: expected categories of the data ({known}), got {min(unknown)!r}")
        return PipelineMethod(pipeline, {key: self.taken_for.get(name, name) for key, name in names.items()})

    def inputs(self) -> tuple[str, ...]:
        return (*super().inputs(), *(() if self.weights is None else (weights_hash(self.weights),)))


@configuration
class PcnetMOptions(TrainedOptions):
    """PCNet-M."""

    occluders: bool = True
    """Whether regions of category occluder erase from all objects behind them; otherwise they are not used."""
    gap_px: Annotated[int, Field(ge=0)] = 0
    """Pixels by which erasers are grown; 0 for exact masks."""

    def build(self, names: Mapping[int, str], device: str) -> CompletionMethod:
        return PcnetM.from_pretrained(self.weights, names, device=device, occluders=self.occluders, gap_px=self.gap_px)


@configuration
class RcnnOptions(TrainedOptions):
    """A system of the R-CNN family."""

    takes: ClassVar[tuple[Given, ...]] = ("masks", "image")

    background: bool = True
    """Whether known background is removed from the masks if visible masks are given."""
    samples: bool = False
    """Whether a system with several plausible masks gives all of them, for the multimodal track."""
    nms: Annotated[float | None, Field(ge=0, le=1)] = None
    """IoU above which, of two boxes of a category, the one with the lower score is dropped; null takes the weights'."""
    stride: Count = 1
    """Found masks keep every stride-th pixel and are enlarged again, like the ground truth of sets of shapes."""

    def build(self, names: Mapping[int, str], device: str) -> CompletionMethod:
        from shape3d_amodal.methods.rcnn import RcnnMethod
        from shape3d_amodal.segmentation.detector import Detector

        detector = Detector.from_pretrained(self.weights, device=device, nms=self.nms)
        return RcnnMethod(detector, names, background=self.background, samples=self.samples, stride=self.stride)


@configuration
class C2FSegOptions(TrainedOptions):
    """C2F-Seg."""

    background: bool = True
    """Whether known background is removed from the mask."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the rounds in which tokens are drawn."""

    def build(self, names: Mapping[int, str], device: str) -> CompletionMethod:
        from shape3d_amodal.baselines.c2f_seg.method import C2FSegMethod

        return C2FSegMethod.from_pretrained(
            self.weights, names, device=device, background=self.background, seed=self.seed
        )


@configuration
class PredictOptions(PipelineOptions):
    """All stages, from the image alone."""

    takes: ClassVar[tuple[Given, ...]] = ("image",)

    detector: str
    """Folder of the weights of stage 1, a system of the R-CNN family that predicts visible masks."""
    gap_px: Annotated[int, Field(ge=0)] = 1
    """Width in pixels of gaps between predicted visible masks that are closed."""
    min_score: Share = 0.05
    """Lowest score of an object; it is low because average precision also counts uncertain objects."""

    def build(self, names: Mapping[int, str], device: str) -> FindsObjects:
        from shape3d_amodal.methods.prediction import ImagePredictor, PredictorMethod
        from shape3d_amodal.segmentation.detector import Detector

        detector = Detector.from_pretrained(self.detector, device=device)
        return PredictorMethod(ImagePredictor(detector, self.pipeline(device), min_score=self.min_score), names)

    def inputs(self) -> tuple[str, ...]:
        return (weights_hash(self.detector), *super().inputs())


@configuration
class ResultsOptions(MethodOptions):
    """Results that were made elsewhere."""

    takes: ClassVar[tuple[Given, ...]] = ("masks", "image")

    file: dict[str, Path]
    """Results file by the name of the data."""
    seconds: float | None = None
    """Seconds per instance, as stated by the makers of the results."""
    parameters: int | None = None
    """Number of learned parameters, as stated by the makers of the results."""
    allow_missing: bool = False
    """Count objects without a result as 0; otherwise they are an error."""


KINDS: dict[str, type[MethodOptions] | str] = {
    "visible_only": VisibleOnlyOptions,
    "convex_hull": ConvexHullOptions,
    "mean_mask": MeanMaskOptions,
    "mean_shape": MeanShapeOptions,
    "pipeline": PipelineOptions,
    "bank": BankOptions,
    "pcnet_m": PcnetMOptions,
    "layered_embeddings": "shape3d_amodal.papers.layered.method:LayeredOptions",
    "rcnn": RcnnOptions,
    "predict": PredictOptions,
    "c2f_seg": C2FSegOptions,
    "results": ResultsOptions,
}
"""The classes of options by kind. Kinds of single papers are given by name, for this room must not import them."""


def options_class(kind: str) -> type[MethodOptions]:
    """The class of options of one of ``KINDS``."""
    known = KINDS[kind]
    return resolve_name(known) if isinstance(known, str) else known


def method_options(raw: Mapping[str, Any], *, source: str) -> MethodOptions:
    """The options of one method from its YAML mapping ``raw``; ``source`` names it in error messages.

    Raises:
        UsageError: an unknown kind or key, or a wrong value.
    """
    kind = raw.get("kind")
    if kind not in KINDS:
        raise UsageError(f"{source}: kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    return from_mapping({key: value for key, value in raw.items() if key != "kind"}, options_class(kind), source=source)


def weights_hash(name_or_folder: str) -> str:
    """SHA-256 of the manifest of weights, which contains the hashes of all of their files.

    Raises:
        WeightsError, DataError: there are no such weights, or they have no manifest.
    """
    return sha256(weights_folder(name_or_folder) / MANIFEST)
