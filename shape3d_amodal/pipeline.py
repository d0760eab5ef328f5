"""The stages in a row, for people: numpy in, numpy out.

pipeline = ShapePriorPipeline.from_pretrained("open13")
objects = pipeline.complete(image, visible_masks, ["chair", "table"])
objects[0].amodal  # [H,W] bool

or, with known shapes in place of learned ones, ``ShapePriorPipeline.from_meshes("folder/of/meshes")``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from shape3d_amodal.array_fields import ArrayFields
from shape3d_amodal.crops.cutting import instance_crops
from shape3d_amodal.crops.doubt import doubtful
from shape3d_amodal.crops.given import (
    GivenImage,
    GivenMask,
    given_image,
    given_intrinsics,
    given_masks,
    given_names,
    given_pairs,
    given_ranks,
    in_order,
)
from shape3d_amodal.crops.pasting import CompletedObject, completed_objects
from shape3d_amodal.crops.pixels import PixelWindow, pixel_windows
from shape3d_amodal.device import torch_device
from shape3d_amodal.errors import UsageError, check_path, check_whole, counted
from shape3d_amodal.files.pretrained import load_network
from shape3d_amodal.geometry.windows import place_of
from shape3d_amodal.masks.occlusion import Order, VisibleObjects, occluders, order_of_ranks
from shape3d_amodal.model import AmodalModel, AmodalModelConfig
from shape3d_amodal.priors.interface import KnowsModels, Prior, PriorName, ViewsName
from shape3d_amodal.priors.learned.fit import FitConfig
from shape3d_amodal.priors.registry import KnownShapes, PriorParts, check_names, open_prior
from shape3d_amodal.refinement.modes import Refine, check_learned, check_refine, default_refine
from shape3d_amodal.refinement.regions import check_gap, close_gaps
from shape3d_amodal.stages import Stages
from shape3d_amodal.structures import OCCLUDER, AmodalPrediction, Estimate, InstanceCrops, Intrinsics

if TYPE_CHECKING:
    from shape3d_amodal.meshes.mesh import KnownModel

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False, repr=False)
class CutObjects(ArrayFields):
    """The objects of one image, ready for the networks.

    Attributes:
        crops: of N objects.
        objects: the same N objects.
        windows: the same at the image's own resolution; None without a bank.
        settled: of which nothing in the image can be hidden, as ``Stages.predict`` takes it.
    """

    crops: InstanceCrops
    objects: VisibleObjects
    windows: Sequence[PixelWindow] | None = None
    settled: Sequence[bool] | None = None


class ShapePriorPipeline:
    """Whole masks from visible ones: a mesh and its viewpoint for each object, and the mask that follows from them.

    It runs the stages 2 (mesh), 3 (viewpoint), 4 (silhouette) and 5 (refinement) on the visible masks of an image.
    Make one by ``from_pretrained`` (trained weights) or ``from_meshes`` (a folder of meshes, no training), then call
    ``complete`` for each image::

        pipeline = ShapePriorPipeline.from_pretrained("open13")
        for one in pipeline.complete("room.png", masks, ["chair", "table", "occluder"]):
            one.amodal, one.occluded, one.verts  # [H,W] bool, [H,W] bool, [V,3]

    Args:
        priors: where silhouettes come from, by name, all of the same categories and on the same device.
        model: the networks, on the device where they run; None for priors without a refinement.
        refine: ``full``; or ``2d``, the refinement without silhouettes (for weights of the stage completion2d), which
            makes no meshes; or ``visible-union``, the silhouette joined with the visible mask and cut to the possible
            pixels; or ``none``, the bare silhouette.
        gap_px: width in image pixels of gaps between predicted masks that are closed; 0 for exact masks.

    Raises:
        UsageError: no prior, a refinement without a model or by networks that have not learned it, or a gap that is
            none.
    """

    def __init__(
        self,
        priors: Mapping[PriorName, Prior],
        model: AmodalModel | None = None,
        *,
        refine: Refine = "full",
        gap_px: int = 0,
    ) -> None:
        check_gap(gap_px)
        check_refine(refine)
        if not isinstance(priors, Mapping) or not priors:
            raise UsageError(f"priors: expected one or more by their names, got {priors!r:.60}")
        check_names(list(priors))
        if model is None and refine in ("full", "2d"):
            raise UsageError(f"refine: {refine} needs the networks of trained weights; use visible-union or none")
        if model is not None and refine == "full":
            check_learned(list(priors), model.config.knows)
        self.model = None if model is None else model.eval()
        self.priors = dict(priors)
        self.refine: Refine = refine
        self.gap_px = gap_px
        self._stages = Stages(self.priors, self.model, refine)

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | Path = "open13",
        *,
        device: str = "auto",
        priors: Sequence[PriorName] | None = None,
        fit: FitConfig | None = None,
        fit_steps: int | None = None,
        refine: Refine | None = None,
        gap_px: int = 0,
    ) -> ShapePriorPipeline:
        """Load shipped weights by name, or a folder that ``save_pretrained`` or a training wrote.

        Args:
            name_or_folder: such as open13.
            device: auto (a GPU where there is one), cpu, cuda or cuda:N.
            priors: which priors to use; by default those that the weights' refinement has learned to use.
            fit: the fit of the learned prior at test time.
            fit_steps: steps of every prior's fit; by default those of ``fit`` or, without it, none for the learned
                prior and as many for the bank as when the refinement learned from it.
            refine: as for the class; by default what the weights were trained for: 2d where their refinement has
                learned to use no prior, else full.
            gap_px: as for the class.

        Raises:
            WeightsError: they are missing, damaged, or do not fit their own configuration.
            DataError: the meshes of the bank that they were trained with are not there.
            UsageError: an argument that is none, or a prior or a refinement that these weights have not learned.
            MissingBackendError: the device is not on this machine.
        """
        _check_options(
            refine=refine,
            priors=priors,
            fit_steps=fit_steps,
            gap_px=gap_px,
            fit=fit,
            name_or_folder=name_or_folder,
        )
        model = _load_model(name_or_folder, device)
        return cls.from_model(model, priors=priors, fit=fit, fit_steps=fit_steps, refine=refine, gap_px=gap_px)

    @classmethod
    def from_model(
        cls,
        model: AmodalModel,
        *,
        priors: Sequence[PriorName] | None = None,
        fit: FitConfig | None = None,
        fit_steps: int | None = None,
        refine: Refine | None = None,
        gap_px: int = 0,
    ) -> ShapePriorPipeline:
        """Networks that are in memory, where they are; arguments and errors as for ``from_pretrained``."""
        _check_options(refine=refine, priors=priors, fit_steps=fit_steps, gap_px=gap_px, fit=fit)
        config, device = model.config, next(model.parameters()).device
        refine = refine or default_refine(config.knows)
        if fit_steps is None and fit is not None:
            fit_steps = fit.steps
        if refine == "2d":
            if priors:
                raise UsageError("priors: refine 2d asks none; leave them out, or give another refine")
            names: Sequence[PriorName] = ("learned",)  # it counts the categories, and is not asked
        else:
            names = priors or config.knows or ("learned",)
            if config.meshes is not None or "bank" not in names:  # else open_prior says what is missing
                check_learned(names, config.knows)
        opened = _open_priors(names, model, config.meshes, device=device, fit=fit, fit_steps=fit_steps)
        return cls(opened, model, refine=refine, gap_px=gap_px)

    @classmethod
    def from_meshes(
        cls,
        meshes: str | Path,
        *,
        weights: str | Path | None = None,
        device: str = "auto",
        fit_steps: int | None = None,
        views: ViewsName = "upright",
        exact_shapes: bool = False,
        hypotheses: int = 0,
        refine: Refine | None = None,
        gap_px: int = 0,
    ) -> ShapePriorPipeline:
        """Take known shapes as the prior: no training, and any category that there are meshes of.

        Args:
            meshes: a folder of meshes by category, or another mesh source (``meshes.sources.mesh_source``).
            weights: as for ``from_pretrained``; for ``refine`` full, which then uses these shapes' silhouettes in place
                of those of its own bank.
            fit_steps: steps of the fit of shapes to objects that none of them explains as it is; by default as many as
                the refinement has learned to use, 30 where there is none.
            views: how objects may stand before the camera: upright (on the ground before a level camera), tabletop
                (seen from anywhere above) or all (any rotation).
            exact_shapes: the meshes are the very shapes: none is deformed.
            hypotheses: likely answers of the bank that each object gets beside the mask
                (``CompletedObject.hypotheses``).
            device, gap_px: as for ``from_pretrained``.
            refine: full, visible-union or none; by default full with weights, else visible-union.

        Raises:
            DataError: there are no meshes.
            UsageError: weights that are not needed, or whose refinement has not learned to use a bank; refine 2d, which
                looks at no shapes; views of another name; and the errors of ``from_pretrained``.
        """
        paths = {"meshes": meshes} if weights is None else {"meshes": meshes, "weights": weights}
        _check_options(refine=refine, priors=None, fit_steps=fit_steps, gap_px=gap_px, **paths)
        if views not in get_args(ViewsName):
            raise UsageError(f"views: expected {', '.join(get_args(ViewsName))}, got {views!r:.60}")
        check_whole("hypotheses", hypotheses, "number of answers")
        refine = refine or ("visible-union" if weights is None else "full")
        if refine == "2d":
            raise UsageError("refine: 2d looks at no shapes; use from_pretrained, or refine full or visible-union")
        if weights is not None and refine != "full":
            raise UsageError(f"weights: {refine} of a bank needs none; leave them out, or take refine full")
        chosen = torch_device(device)  # before anything is read
        model = None if weights is None else _load_model(weights, device)
        known: tuple[PriorName, ...] = () if model is None else model.config.knows
        if model is not None and "bank" not in known:
            raise UsageError(
                f"weights: the refinement of {weights} has not learned to use a bank; take others, such as "
                "open13_bank, or leave them out"
            )
        names: tuple[PriorName, ...] = ("learned", "bank") if refine == "full" and "learned" in known else ("bank",)
        known_shapes = KnownShapes(views=views, exact=exact_shapes, hypotheses=hypotheses)
        opened = _open_priors(names, model, str(meshes), device=chosen, fit_steps=fit_steps, known=known_shapes)
        return cls(opened, model, refine=refine, gap_px=gap_px)

    def with_fit_steps(self, steps: int) -> ShapePriorPipeline:
        """The same pipeline with another number of fit steps for every prior; nothing is loaded again.

        Raises:
            UsageError: it is no whole number, or negative.
        """
        _check_fit_steps(steps)
        priors = {name: prior.with_fit_steps(steps) for name, prior in self.priors.items()}
        return ShapePriorPipeline(priors, self.model, refine=self.refine, gap_px=self.gap_px)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``config.yaml``, ``model.safetensors`` and ``sha256``.

        Raises:
            UsageError: there are no networks to save.
        """
        if self.model is None:
            raise UsageError("a bank of shapes has no weights to save; keep its meshes")
        self.model.save(folder)

    def __repr__(self) -> str:
        priors, categories = " and ".join(self.priors), len(self.categories)
        gap = f", gaps of {counted(self.gap_px, 'pixel')} closed" if self.gap_px else ""
        asked = "no prior" if self.refine == "2d" else f"prior {priors}"
        return (
            f"ShapePriorPipeline({asked}, refine {self.refine}, {categories} categories{gap}, on {self._prior.device})"
        )

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of what can be completed."""
        return self._stages.categories

    @property
    def parameters(self) -> int:
        """How many trained numbers a completion depends on."""
        return self._stages.parameters

    @property
    def _prior(self) -> Prior:
        """One of the priors: they are all on the same device."""
        return next(iter(self.priors.values()))

    def crops(self, image: NDArray[np.uint8], objects: VisibleObjects) -> tuple[InstanceCrops, VisibleObjects]:
        """Cut out what is to be completed, at least one object of an image [H,W,3] uint8.

        Returns:
            The crops of the N objects that are no mere occluders, and these objects, gaps closed.
        """
        rows = [i for i, name in enumerate(objects.names) if name != OCCLUDER]
        visible = [objects.masks[i] for i in rows]
        hiding = [objects.occluders[i] for i in rows]
        names = [objects.names[i] for i in rows]
        if self.gap_px > 0:
            hiding = [close_gaps(mask, other, self.gap_px) for mask, other in zip(visible, hiding, strict=True)]
        indices = [self._stages.number(name) for name in names]
        size, config = self._stages.size, None if self.model is None else self.model.config
        border = "unknown" if config is None else config.border
        cut = instance_crops(image, visible, hiding, indices, size, border=border)
        if config is not None:
            cut = doubtful(cut, config.doubt, size / config.crop_size)
        return cut, VisibleObjects(visible, names, hiding)

    def predict(self, crops: InstanceCrops, windows: Sequence[PixelWindow] | None = None) -> AmodalPrediction:
        """Stages 2 to 5 on N crops, in batches; see ``Stages.predict``."""
        return self._stages.predict(crops, windows)

    def complete(
        self,
        image: GivenImage,
        visible: Sequence[GivenMask] | NDArray[Any],
        categories: Sequence[str],
        *,
        depth_order: Sequence[int | None] | None = None,
        in_front: Order = (),
        intrinsics: Intrinsics | None = None,
    ) -> list[CompletedObject]:
        """Complete all objects of one image.

        Args:
            image: [H,W,3] uint8, RGB; or another form of an image that ``crops.given.given_image`` knows: grey, RGBA,
                floats from 0 to 1, a PIL image, the path of a PNG or JPEG file.
            visible: masks [H,W], one an object, none empty, of bool, of 0 and 1, or of 0 and 255; or COCO's run-length
                codes or polygons. Give all objects, for they hide each other.
            categories: a category name for each; ``occluder`` marks what only hides others. Where ``anything`` is among
                those of the weights, any name will do.
            depth_order: rank of each, 0 nearest, where known, else None: what is behind an object cannot hide it.
            in_front: more that is known of the order: pairs (in front, behind) of places in ``visible``.
            intrinsics: the camera, fx, fy, cx, cy in pixels, where it is known; the middle of the upper left pixel is
                (0.5, 0.5). A bank then finds poses of the meshes' files.

        Returns:
            An object for each mask whose category is not ``occluder``, in order.

        Raises:
            UsageError: masks, sizes or categories do not fit together; the message says which.
            DataError: the file of the image cannot be read.
        """
        cut = self.cut(image, visible, categories, depth_order=depth_order, in_front=in_front, intrinsics=intrinsics)
        return self.complete_cut([cut])[0]

    def cut(
        self,
        image: GivenImage,
        visible: Sequence[GivenMask] | NDArray[Any],
        categories: Sequence[str],
        *,
        depth_order: Sequence[int | None] | None = None,
        in_front: Order = (),
        intrinsics: Intrinsics | None = None,
    ) -> CutObjects | None:
        """The first half of ``complete``, up to the networks, which ``complete_cut`` asks about several images at once;
        arguments and errors are those of ``complete``. None where nothing is to be completed."""
        pixels = given_image(image)
        camera = None if intrinsics is None else given_intrinsics(intrinsics, *pixels.shape[:2])
        masks = given_masks(visible, *pixels.shape[:2], image=image)
        names = given_names(categories, (*self.categories, OCCLUDER))
        ranks = [] if depth_order is None else given_ranks(depth_order)
        for name, given in (("categories", names), ("depth_order", ranks)):
            if len(given) != len(masks) and not (name == "depth_order" and depth_order is None):
                raise UsageError(f"{name}: expected one for each of the {len(masks)} masks, got {len(given)}")
        order = {*order_of_ranks(ranks), *given_pairs(in_front, len(masks))}
        for front, behind in order:
            if (behind, front) in order:
                raise UsageError(f"in_front: objects {front} and {behind} are said to be in front of each other")
        if all(name == OCCLUDER for name in names):
            return None
        crops, objects = self.crops(pixels, VisibleObjects(masks, names, occluders(masks, order)))
        if "bank" in self.priors:
            known = pixel_windows(objects.masks, objects.occluders, crops.window.numpy(), camera)
            return CutObjects(crops, objects, known)
        places = [place_of(window, *pixels.shape[:2]) for window in crops.window]
        free = [not hiding[place].any() for hiding, place in zip(objects.occluders, places, strict=True)]
        return CutObjects(crops, objects, settled=free if crops.doubt is None else None)

    def complete_cut(self, images: Sequence[CutObjects | None]) -> list[list[CompletedObject]]:
        """The second half of ``complete``: the objects of several images, in batches that do not stop at an image.

        Numbers may differ in their last bits from those of other batches, for the libraries beneath add in another
        order there.

        Returns:
            For each image what ``complete`` returns.
        """
        full = [one for one in images if one is not None]
        if not full:
            return [[] for _ in images]
        crops = InstanceCrops.join([one.crops for one in full])
        windows = None if full[0].windows is None else [each for one in full for each in one.windows or ()]
        settled = None if full[0].settled is None else [each for one in full for each in one.settled or ()]
        prediction = self._stages.predict(crops, windows, settled=settled).to("cpu")
        start, done = 0, []
        for one in images:
            end = start + (0 if one is None else len(one.objects))
            done.append([] if one is None else self._pasted(prediction[start:end], one))
            start = end
        return done

    def _pasted(self, prediction: AmodalPrediction, cut: CutObjects) -> list[CompletedObject]:
        return completed_objects(
            prediction,
            cut.crops,
            cut.objects,
            bare=self.refine == "none",
            models=self._models(prediction.estimate, cut.objects.names),
            are_drawn=len(self.priors) == 1,
        )

    def _models(self, estimate: Estimate, names: Sequence[str]) -> list[KnownModel] | None:
        """The known shapes of objects of the categories ``names``; None where no bank was asked."""
        bank = self.priors.get("bank")
        if estimate.model is None or not isinstance(bank, KnowsModels):
            return None
        counted = [self._stages.counted[self._stages.number(name)] for name in names]
        return [bank.model(name, index) for name, index in zip(counted, estimate.model.tolist(), strict=True)]


def _open_priors(
    names: Sequence[PriorName],
    model: AmodalModel | None,
    meshes: str | None,
    *,
    device: torch.device | str,
    fit: FitConfig | None = None,
    fit_steps: int | None = None,
    known: KnownShapes | None = None,
) -> dict[PriorName, Prior]:
    """The priors of those names; ``fit_steps`` is None for the default of each."""
    config = None if model is None else model.config
    parts = PriorParts(
        categories=None if config is None else config.categories,
        device=device,
        network=None if model is None else model.prior,
        fit=fit,
        meshes=meshes,
        bank_fit_steps=None if config is None else config.fit_steps,
        known=known or KnownShapes(),
    )
    if fit_steps is not None:
        _check_fit_steps(fit_steps)
    opened = {name: open_prior(name, parts) for name in names}
    return opened if fit_steps is None else {name: one.with_fit_steps(fit_steps) for name, one in opened.items()}


def _check_options(
    *, refine: object, priors: object, fit_steps: object, gap_px: object, fit: object = None, **paths: object
) -> None:
    """Raise UsageError for an argument that is none, before anything is loaded; ``paths`` are names of files."""
    for name, path in paths.items():
        check_path(name, path)
    if fit is not None and not isinstance(fit, FitConfig):
        raise UsageError(f"fit: expected a FitConfig, got {fit!r:.60}; give a number of steps by fit_steps")
    check_gap(gap_px)
    if refine is not None:
        check_refine(refine)
    if priors is not None:
        named = in_order("priors", priors, "names of priors, such as ['learned']")
        if not named:
            raise UsageError("priors: expected one or more names, got none; leave it out for the default")
        check_names(named)
    if fit_steps is not None:
        _check_fit_steps(fit_steps)


def _check_fit_steps(steps: object) -> None:
    check_whole("fit_steps", steps, "number of steps")


def _load_model(name_or_folder: str | Path, device: str) -> AmodalModel:
    """The networks of weights, on ``device``; arguments and errors as for ``ShapePriorPipeline.from_pretrained``."""
    model, _ = load_network(name_or_folder, AmodalModelConfig, AmodalModel)
    return model.to(torch_device(device))
