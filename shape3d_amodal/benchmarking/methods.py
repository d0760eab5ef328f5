"""The kinds of methods that a benchmark knows.

A method of a benchmark is a name, a kind and that kind's options. A new kind is a class of options with ``build``,
entered into ``KINDS``; nothing else knows it by name::

    @configuration
    class UNetOptions(BuiltOptions):
        weights: str
        \"\"\"Folder of weights.\"\"\"

        def build(self, names, device):
            return UNet.from_pretrained(self.weights, device, names)

        def inputs(self):
            return (weights_hash(self.weights),)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from shape3d_amodal.baselines.convex_hull import ConvexHull
from shape3d_amodal.baselines.mean_mask import MeanMasks
from shape3d_amodal.baselines.mean_shape import MeanShapes
from shape3d_amodal.baselines.pcnet_m.method import PcnetM
from shape3d_amodal.baselines.visible_only import VisibleOnly
from shape3d_amodal.benchmarking.provenance import file_hash
from shape3d_amodal.config import Count, Share, configuration, from_mapping, parse_config
from shape3d_amodal.errors import UsageError
from shape3d_amodal.files.pretrained import weights_folder
from shape3d_amodal.files.weights import CONFIG_FILE, MANIFEST, read_sealed
from shape3d_amodal.meshes.sources import mesh_source
from shape3d_amodal.methods.completion import PipelineMethod
from shape3d_amodal.methods.ground_truth import Given
from shape3d_amodal.methods.interface import CompletionMethod, FindsObjects
from shape3d_amodal.model import AmodalModelConfig
from shape3d_amodal.pipeline import Refine, ShapePriorPipeline
from shape3d_amodal.priors.bank.prior import BankPrior
from shape3d_amodal.priors.bank.shapes import ShapeBank
from shape3d_amodal.priors.interface import PriorName
from shape3d_amodal.priors.learned.fit import FitConfig


@configuration
class MethodOptions:
    """What every kind has."""

    takes: ClassVar[tuple[Given, ...]] = ("masks",)
    """What methods of this kind can start from: visible masks and categories, or the image alone."""

    depth_order: bool = False
    """Whether the method is told which object is in front of which, where that is known."""
    note: str = ""
    """What a reader of the tables should know of it, such as what it was trained with."""
    trained: str = ""
    """How long it was trained, for readers, such as "4,000 steps of 64"."""

    TOLD: ClassVar[tuple[str, ...]] = ("note", "trained")
    """Options that only tell: no result depends on them."""


@configuration
class BuiltOptions(MethodOptions, ABC):
    """A method that is run here."""

    @abstractmethod
    def build(self, names: Mapping[int, str], device: str) -> CompletionMethod | FindsObjects:
        """The method, ready to run, for data with these category names by id."""

    def inputs(self) -> tuple[str, ...]:
        """Hashes of what the results depend on beside these options: where one changes, the method is run again.

        Raises:
            DataError: something of it is missing.
        """
        return ()


@configuration
class TrainedOptions(BuiltOptions):
    """A method that is all in its weights."""

    weights: str
    """Name of shipped weights, or a folder that the method's training wrote."""

    def inputs(self) -> tuple[str, ...]:
        return (weights_hash(self.weights),)


@configuration
class VisibleOnlyOptions(BuiltOptions):
    """The visible mask as it is."""

    def build(self, names: Mapping[int, str], device: str) -> CompletionMethod:  # noqa: ARG002
        return VisibleOnly()


@configuration
class ConvexHullOptions(BuiltOptions):
    """The convex hull of the visible mask."""

    background: bool = True
    """Leave out known background."""

    def build(self, names: Mapping[int, str], device: str) -> CompletionMethod:  # noqa: ARG002
        return ConvexHull(background=self.background)


@configuration
class MeanMaskOptions(BuiltOptions):
    """The mean mask of the category, placed by the certain pixels."""

    meshes: str = "open13:train"
    """Mesh source of the silhouettes."""

    def build(self, names: Mapping[int, str], device: str) -> CompletionMethod:  # noqa: ARG002
        return MeanMasks(ShapeBank(mesh_source(self.meshes)), names)

    def inputs(self) -> tuple[str, ...]:
        return (mesh_source(self.meshes).fingerprint(),)


@configuration
class MeanShapeOptions(BuiltOptions):
    """The mean shape of the category, posed by the certain pixels: a bank of one mesh a category."""

    meshes: str = "open13:train"
    """Mesh source of which the means are taken."""

    def build(self, names: Mapping[int, str], device: str) -> CompletionMethod:
        prior = BankPrior(ShapeBank(MeanShapes(mesh_source(self.meshes))), device=device)
        return PipelineMethod(ShapePriorPipeline({"bank": prior}, refine="visible-union"), names)

    def inputs(self) -> tuple[str, ...]:
        return (mesh_source(self.meshes).fingerprint(),)


@configuration
class PipelineOptions(BuiltOptions):
    """Stages 2 to 5."""

    weights: str = "open13"
    """Name of shipped weights, or a folder of weights."""
    refine: Refine = "full"
    """full, 2d, visible-union or none (the bare silhouette)."""
    priors: tuple[PriorName, ...] | None = None
    """Which priors to ask; null asks those that the weights' refinement has learned to use."""
    fit: FitConfig | None = None
    """The fit at test time; null fits with the weights' own number of steps."""
    gap_px: Annotated[int, Field(ge=0)] = 0
    """Gaps between masks that are closed; 0 for exact masks."""

    def build(self, names: Mapping[int, str], device: str) -> CompletionMethod:
        pipeline = ShapePriorPipeline.from_pretrained(
            self.weights, device=device, priors=self.priors, fit=self.fit, refine=self.refine, gap_px=self.gap_px
        )
        return PipelineMethod(pipeline, names)

    def inputs(self) -> tuple[str, ...]:
        return model_hashes(self.weights)


@configuration
class BankOptions(BuiltOptions):
    """The pipeline with known shapes as its prior."""

    meshes: str = "open13:train"
    """Mesh source: open13:SPLIT, or a folder of meshes by category."""
    weights: str | None = None
    """Weights of the refinement, for refine full and 2d."""
    refine: Refine = "visible-union"
    """full, 2d, visible-union or none (the bare silhouette)."""
    fit_steps: Annotated[int | None, Field(ge=0)] = None
    """Steps of the fit at test time; null is as many as the refinement has learned to use, 0 where there is none."""
    gap_px: Annotated[int, Field(ge=0)] = 0
    """Gaps between masks that are closed; 0 for exact masks."""

    def build(self, names: Mapping[int, str], device: str) -> CompletionMethod:
        pipeline = ShapePriorPipeline.from_meshes(
            self.meshes,
            weights=self.weights,
            device=device,
            fit_steps=self.fit_steps,
            refine=self.refine,
            gap_px=self.gap_px,
        )
        return PipelineMethod(pipeline, names)

    def inputs(self) -> tuple[str, ...]:
        weights = () if self.weights is None else (weights_hash(self.weights),)
        return (mesh_source(self.meshes).fingerprint(), *weights)


@configuration
class PcnetMOptions(TrainedOptions):
    """PCNet-M."""

    occluders: bool = True
    """Whether regions of category occluder are erasers in front of all objects; otherwise they are left aside."""
    gap_px: Annotated[int, Field(ge=0)] = 0
    """Pixels by which erasers are grown; 0 for exact masks."""

    def build(self, names: Mapping[int, str], device: str) -> CompletionMethod:
        return PcnetM.from_pretrained(self.weights, names, device=device, occluders=self.occluders, gap_px=self.gap_px)


@configuration
class RcnnOptions(TrainedOptions):
    """A system of the R-CNN family."""

    takes: ClassVar[tuple[Given, ...]] = ("masks", "image")

    background: bool = True
    """Leave out known background where visible masks are given."""
    samples: bool = False
    """Give all plausible masks of a system that has several, for the multimodal track."""
    nms: Annotated[float | None, Field(ge=0, le=1)] = None
    """Overlap (IoU) above which the lesser of two boxes of a category is dropped; null is what the weights say."""
    stride: Count = 1
    """Found masks hold every stride-th pixel and are enlarged again, as the truth of a set of shapes (``shapes2d``)."""

    def build(self, names: Mapping[int, str], device: str) -> CompletionMethod:
        from shape3d_amodal.methods.rcnn import RcnnMethod
        from shape3d_amodal.segmentation.detector import Detector

        detector = Detector.from_pretrained(self.weights, device=device, nms=self.nms)
        return RcnnMethod(detector, names, background=self.background, samples=self.samples, stride=self.stride)


@configuration
class C2FSegOptions(TrainedOptions):
    """C2F-Seg."""

    background: bool = True
    """Leave out known background."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the rounds in which tokens are drawn."""

    def build(self, names: Mapping[int, str], device: str) -> CompletionMethod:
        from shape3d_amodal.baselines.c2f_seg.method import C2FSegMethod

        return C2FSegMethod.from_pretrained(
            self.weights, names, device=device, background=self.background, seed=self.seed
        )


@configuration
class PredictOptions(BuiltOptions):
    """All stages, from the image alone."""

    takes: ClassVar[tuple[Given, ...]] = ("image",)

    detector: str
    """Folder of the weights of stage 1, a system of the R-CNN family that predicts visible masks."""
    weights: str = "open13"
    """Name of shipped weights of stages 2 to 5, or a folder of weights."""
    refine: Refine = "full"
    """full, 2d, visible-union or none (the bare silhouette)."""
    priors: tuple[PriorName, ...] | None = None
    """Which priors to ask; null asks those that the weights' refinement has learned to use."""
    fit: FitConfig | None = None
    """The fit at test time; null fits with the weights' own number of steps."""
    gap_px: Annotated[int, Field(ge=0)] = 1
    """Gaps between predicted visible masks that are closed."""
    min_score: Share = 0.05
    """Least score of an object; low, since average precision counts the less sure ones, too."""

    def build(self, names: Mapping[int, str], device: str) -> FindsObjects:
        from shape3d_amodal.methods.prediction import ImagePredictor, PredictorMethod
        from shape3d_amodal.segmentation.detector import Detector

        detector = Detector.from_pretrained(self.detector, device=device)
        pipeline = ShapePriorPipeline.from_pretrained(
            self.weights, device=device, priors=self.priors, fit=self.fit, refine=self.refine, gap_px=self.gap_px
        )
        return PredictorMethod(ImagePredictor(detector, pipeline, min_score=self.min_score), names)

    def inputs(self) -> tuple[str, ...]:
        return (weights_hash(self.detector), *model_hashes(self.weights))


@configuration
class ResultsOptions(MethodOptions):
    """Results that were made elsewhere."""

    takes: ClassVar[tuple[Given, ...]] = ("masks", "image")

    file: dict[str, Path]
    """Results file by name of the data."""
    seconds: float | None = None
    """Seconds an instance, as told by who made them."""
    parameters: int | None = None
    """Learned parameters, as told by who made them."""
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
"""Classes of options by kind; one that only a paper's experiment needs is named, and imported when it is asked for."""


def options_class(kind: str) -> type[MethodOptions]:
    """The class of options of one of ``KINDS``."""
    known = KINDS[kind]
    if not isinstance(known, str):
        return known
    module, name = known.split(":")
    found: type[MethodOptions] = getattr(import_module(module), name)
    return found


def method_options(raw: Mapping[str, Any], *, source: str) -> MethodOptions:
    """The options of one method, as YAML gives them; ``source`` names it in errors.

    Raises:
        UsageError: an unknown kind or key, or a wrong value.
    """
    kind = raw.get("kind")
    if kind not in KINDS:
        raise UsageError(f"{source}: kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    return from_mapping({key: value for key, value in raw.items() if key != "kind"}, options_class(kind), source=source)


def weights_hash(name_or_folder: str) -> str:
    """SHA-256 of the manifest of weights, which seals all of their files.

    Raises:
        WeightsError, DataError: there are no such weights, or they have no manifest.
    """
    return file_hash(weights_folder(name_or_folder) / MANIFEST)


def model_hashes(name_or_folder: str) -> tuple[str, ...]:
    """What weights of stages 2 to 5 do depends on: their own hash and, where they bring a bank, that of its meshes.

    Raises:
        WeightsError, DataError: there are no such weights or meshes, or they are damaged.
    """
    folder = weights_folder(name_or_folder)
    text = read_sealed(folder, (CONFIG_FILE,))[CONFIG_FILE].decode()
    meshes = parse_config(text, AmodalModelConfig, source=str(folder / CONFIG_FILE)).meshes
    return (weights_hash(name_or_folder), *(() if meshes is None else (mesh_source(meshes).fingerprint(),)))
