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
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shape3d_amodal.config import dump_config
from shape3d_amodal.data.crops import instance_crops, occluders
from shape3d_amodal.data.meshes import mesh_source
from shape3d_amodal.errors import MissingBackendError, UsageError
from shape3d_amodal.geometry.crops import paste
from shape3d_amodal.pretrained import load_network
from shape3d_amodal.reconstruction.bank import ShapeBank
from shape3d_amodal.refinement.fit import FitConfig
from shape3d_amodal.refinement.network import PriorName
from shape3d_amodal.refinement.priors import BankPrior, LearnedPrior, Prior
from shape3d_amodal.refinement.regions import close_gaps, compose
from shape3d_amodal.refinement.stage import AmodalModel, AmodalModelConfig, CoarseEstimate, best_of, no_estimate
from shape3d_amodal.structures import OCCLUDER, AmodalPrediction, InstanceCrops, Viewpoint
from shape3d_amodal.weights import save_weights

Mask = NDArray[np.bool_]
Refine = Literal["none", "visible-union", "2d", "full"]

_BATCH = 32
_CROP = 64
"""Side of the crops in pixels where no networks ask for another."""


@dataclass(frozen=True)
class CompletedObject:
    """One object, whole.

    Attributes:
        category: its name.
        amodal: [H,W] bool, the whole mask; it contains ``visible``.
        visible: [H,W] bool, as given.
        silhouette: [H,W] bool, the rendered mesh before refinement.
        verts: [V,3] float32 and faces: [F,3] int64, the reconstructed mesh in the object frame; empty without a prior.
        viewpoint: azimuth_deg, elevation_deg, roll_deg, scale and offset (crop NDC) of the camera in ``window``; empty
            without a prior.
        window: [4] float32, the crop in image pixels.
        score: 0..1, how well the silhouette explains the certain pixels.
    """

    category: str
    amodal: Mask
    visible: Mask
    silhouette: Mask
    verts: NDArray[np.float32]
    faces: NDArray[np.int64]
    viewpoint: dict[str, float | list[float]]
    window: NDArray[np.float32]
    score: float

    @property
    def occluded(self) -> Mask:
        """[H,W] bool, the hidden part."""
        return self.amodal & ~self.visible


class ShapePriorPipeline:
    """Stages 2 to 5.

    Args:
        model: the networks, on the device where they shall run; None for a bank of shapes without networks.
        priors: where silhouettes come from, by name; by default those that the model's refinement has learned to use.
        fit: the fit of the model's own prior; its ``steps`` is the default that ``complete`` may override, for every
            prior; by default the bank is fitted as when the model learned from it, the networks' shapes are not.
        refine: ``full``; or ``2d``, the refinement without silhouettes (for weights of the stage completion2d), which
            makes no meshes; or ``visible-union``, the silhouette joined with the visible mask and cut to the possible
            pixels; or ``none``, the bare silhouette.
        gap_px: width in image pixels of gaps between predicted masks that are closed; 0 for exact masks.

    Raises:
        UsageError: neither model nor prior, a refinement without a model, or a negative gap.
    """

    def __init__(
        self,
        model: AmodalModel | None,
        *,
        priors: Mapping[PriorName, Prior] | None = None,
        fit: FitConfig | None = None,
        refine: Refine = "full",
        gap_px: int = 0,
    ) -> None:
        if gap_px < 0:
            raise UsageError(f"gap_px: expected a number of pixels, 0 or more, got {gap_px}")
        if model is None and refine in ("full", "2d"):
            raise UsageError(f"refine: {refine} needs the networks of trained weights; use visible-union or none")
        self.model = None if model is None else model.eval()
        self.fit = fit
        self.priors = dict(_own_priors(model, fit) if priors is None else priors)
        self.refine: Refine = refine
        self.gap_px = gap_px

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | Path = "open13",
        *,
        device: str = "cpu",
        priors: Sequence[PriorName] | None = None,
        fit: FitConfig | None = None,
        refine: Refine = "full",
        gap_px: int = 0,
    ) -> ShapePriorPipeline:
        """Load shipped weights by name, or a folder that ``save_pretrained`` or a training wrote.

        Args:
            name_or_folder: such as open13.
            device: cpu, cuda or cuda:N.
            priors: which priors to ask; by default those that the weights' refinement has learned to use.
            fit, refine, gap_px: as for the class.

        Raises:
            WeightsError: they are missing, damaged, or do not fit their own configuration.
            DataError: the meshes of the bank that they were trained with are not there.
            UsageError, MissingBackendError: there is no device of that name, or not on this machine.
        """
        model = _load_model(name_or_folder, device)
        return cls(model, priors=_own_priors(model, fit, priors), fit=fit, refine=refine, gap_px=gap_px)

    @classmethod
    def from_meshes(
        cls,
        meshes: str | Path,
        *,
        weights: str | Path | None = None,
        device: str = "cpu",
        fit_steps: int | None = None,
        refine: Refine = "visible-union",
        gap_px: int = 0,
    ) -> ShapePriorPipeline:
        """Take known shapes as the prior: no training, and any category that there are meshes of.

        Args:
            meshes: a folder of meshes by category, or another mesh source (``data.meshes.mesh_source``).
            weights: as for ``from_pretrained``; for ``refine`` full, which then sees these shapes' silhouettes in place
                of those of its own bank, and 2d.
            fit_steps: steps of the fit at test time, where ``complete`` is not told another number; by default as many
                as the refinement has learned to use, 0 where there is none.

        Raises:
            DataError: there are no meshes.
            UsageError: weights that are not asked for, or whose refinement has not learned to use a bank; and the
                errors of ``from_pretrained``.
        """
        if weights is not None and refine not in ("full", "2d"):
            raise UsageError(f"weights: {refine} of a bank needs none; leave them out, or take refine full")
        place = torch_device(device)
        model = None if weights is None else _load_model(weights, device)
        known: tuple[PriorName, ...] = () if model is None else model.config.refinement.priors
        if model is not None and refine == "full" and "bank" not in known:
            raise UsageError(
                f"weights: the refinement of {weights} has not learned to use a bank; take others, or refine "
                "visible-union"
            )
        names = None if model is None else model.config.categories
        fit = None if fit_steps is None else FitConfig(steps=fit_steps)
        priors: dict[PriorName, Prior] = {}
        if model is not None and refine == "full" and "learned" in known:
            priors["learned"] = LearnedPrior(model, fit)
        priors["bank"] = BankPrior(ShapeBank(mesh_source(str(meshes))), names, device=place)
        return cls(model, priors=priors, fit=fit, refine=refine, gap_px=gap_px)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``config.yaml``, ``model.safetensors`` and ``sha256``.

        Raises:
            UsageError: there are no networks to save.
        """
        if self.model is None:
            raise UsageError("a bank of shapes has no weights to save; keep its meshes")
        save_weights(folder, dump_config(self.model.config), self.model.state_dict())

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of what can be completed."""
        first, *others = self.priors.values()
        return tuple(name for name in first.known if all(name in other.known for other in others))

    @property
    def parameters(self) -> int:
        """How many trained numbers a completion depends on."""
        modules: list[torch.nn.Module] = []
        if self.model is not None and self.refine in ("full", "2d"):
            modules.append(self.model.refinement)
        if self.refine != "2d":
            modules += [prior.model.prior for prior in self.priors.values() if isinstance(prior, LearnedPrior)]
        return sum(parameter.numel() for module in modules for parameter in module.parameters())

    @property
    def _prior(self) -> Prior:
        """One of the priors: they all count the same categories, on the same device."""
        return next(iter(self.priors.values()))

    def crops(
        self,
        image: NDArray[np.uint8],
        visible: Sequence[Mask],
        categories: Sequence[str],
        depth_order: Sequence[int | None] | None = None,
        cluster: Sequence[int | None] | None = None,
    ) -> tuple[InstanceCrops, list[Mask], list[int]]:
        """Cut out what is to be completed, at least one object; arguments as for ``complete``.

        Returns:
            The crops, the occluder mask [H,W] bool of each, and the objects' places in the arguments.
        """
        hiding = occluders(visible, depth_order or [None] * len(visible), cluster)
        places = [i for i, category in enumerate(categories) if category != OCCLUDER]
        indices = [self._prior.categories.index(categories[i]) for i in places]
        masks, hiding = [visible[i] for i in places], [hiding[i] for i in places]
        if self.gap_px > 0:
            hiding = [_closed(seen, mask, self.gap_px) for seen, mask in zip(masks, hiding, strict=True)]
        size = _CROP if self.model is None else self.model.config.crop_size
        return instance_crops(image, masks, hiding, indices, size), hiding, places

    @torch.no_grad()
    def predict(self, crops: InstanceCrops, fit_steps: int | None = None) -> AmodalPrediction:
        """Stages 2 to 5 on N crops, in batches."""
        crops = crops.to(self._prior.device)
        parts = [self._predict(crops[i : i + _BATCH], fit_steps) for i in range(0, len(crops), _BATCH)]
        return AmodalPrediction.join(parts)

    def _predict(self, crops: InstanceCrops, fit_steps: int | None) -> AmodalPrediction:
        estimates: dict[PriorName, CoarseEstimate] = {}
        if self.refine != "2d":
            for name, prior in self.priors.items():
                estimates[name] = prior.estimate(crops, self._steps(name) if fit_steps is None else fit_steps)
        coarse = best_of(list(estimates.values())) if estimates else no_estimate(crops)
        probability = coarse.silhouette
        if self.refine in ("full", "2d") and self.model is not None:
            shown = {name: estimate.evidence for name, estimate in estimates.items()}
            probability = self.model.refine_both_ways(crops, shown).sigmoid()
        if self.refine != "none":
            probability = compose(probability, crops.visible, crops.occluder)
        return AmodalPrediction(
            probability, coarse.silhouette, coarse.verts, coarse.faces, coarse.viewpoint, coarse.fit
        )

    def _steps(self, name: PriorName) -> int:
        """Steps of that prior's fit where ``complete`` is told no number."""
        if self.fit is not None:
            return self.fit.steps
        return self.model.config.fit_steps if self.model is not None and name == "bank" else 0

    def complete(
        self,
        image: NDArray[np.uint8],
        visible: Sequence[Mask],
        categories: Sequence[str],
        *,
        depth_order: Sequence[int | None] | None = None,
        cluster: Sequence[int | None] | None = None,
        fit_steps: int | None = None,
    ) -> list[CompletedObject]:
        """Complete all objects of one image.

        Args:
            image: [H,W,3] uint8, RGB.
            visible: masks [H,W] bool, one an object, none empty; give all objects, for they hide each other.
            categories: a category name for each; ``occluder`` marks what only hides others.
            depth_order: rank of each, 0 nearest, where known: what is behind an object cannot hide it.
            cluster: the group of each whose ranks can be compared, such as KINS' clusters; None where all can.
            fit_steps: steps of the fit at test time.

        Returns:
            An object for each mask whose category is not ``occluder``, in order.

        Raises:
            UsageError: masks, sizes or categories do not fit together; the message says which.
        """
        _check(image, visible, categories, depth_order, cluster, self.categories)
        if fit_steps is not None and fit_steps < 0:
            raise UsageError(f"fit_steps: expected a number of steps, 0 or more, got {fit_steps}")
        if all(category == OCCLUDER for category in categories):
            return []
        crops, hiding, places = self.crops(image, visible, categories, depth_order, cluster)
        prediction = self.predict(crops, fit_steps)
        masks = [visible[i] for i in places]
        names = [categories[i] for i in places]
        return self.objects(prediction, crops, masks, hiding, names)

    def objects(
        self,
        prediction: AmodalPrediction,
        crops: InstanceCrops,
        visible: Sequence[Mask],
        hiding: Sequence[Mask],
        names: Sequence[str],
    ) -> list[CompletedObject]:
        """Paste predictions back into their images; the visible mask is kept exactly, known background is left out."""
        prediction, crops = prediction.to("cpu"), crops.to("cpu")
        result = []
        for i, (seen, may_hide) in enumerate(zip(visible, hiding, strict=True)):
            window, shape = crops.window[i], seen.shape
            silhouette = paste(prediction.silhouette[i], window, *shape).numpy() > 0.5
            amodal = silhouette
            if self.refine != "none":
                amodal = _composed(prediction.probability[i], crops[i : i + 1], seen, may_hide)
            verts, faces = _unpadded(prediction.verts[i], prediction.faces[i])
            result.append(
                CompletedObject(
                    category=names[i],
                    amodal=amodal,
                    visible=seen,
                    silhouette=silhouette,
                    verts=verts,
                    faces=faces,
                    viewpoint=_viewpoint_dict(prediction.viewpoint, i) if len(verts) else {},
                    window=window.numpy(),
                    score=float(prediction.score[i]),
                )
            )
        return result


def _own_priors(
    model: AmodalModel | None, fit: FitConfig | None, names: Sequence[PriorName] | None = None
) -> dict[PriorName, Prior]:
    """The priors ``names`` of ``model``; by default those that its refinement has learned to use, or the networks."""
    if model is None:
        raise UsageError("expected networks or a prior, got neither")
    config = model.config
    priors: dict[PriorName, Prior] = {}
    for name in names or config.refinement.priors or ("learned",):
        if name == "learned":
            priors[name] = LearnedPrior(model, fit)
        elif config.meshes is None:
            raise UsageError("priors: these weights know no bank; give the meshes of one, or ask for learned")
        else:
            bank = ShapeBank(mesh_source(config.meshes))
            priors[name] = BankPrior(bank, config.categories, device=next(model.parameters()).device)
    return priors


def _load_model(name_or_folder: str | Path, device: str) -> AmodalModel:
    """The networks of weights, on ``device``; arguments and errors as for ``ShapePriorPipeline.from_pretrained``."""
    model, _ = load_network(name_or_folder, AmodalModelConfig, AmodalModel)
    return model.to(torch_device(device))


def torch_device(name: str) -> torch.device:
    """The device of that name.

    Raises:
        UsageError, MissingBackendError: there is no such device, or not on this machine.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"device: expected cpu, cuda or cuda:N, got {name!r}") from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"device: expected cpu, cuda or cuda:N, got {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise MissingBackendError(
            f"device: this machine has {torch.cuda.device_count()} CUDA devices, not {name}; use cpu"
        )
    return device


def _closed(visible: Mask, hiding: Mask, gap_px: int) -> Mask:
    seen, others = (torch.from_numpy(mask)[None].float() for mask in (visible, hiding))
    result: Mask = close_gaps(seen, others, gap_px)[0].numpy() > 0.5
    return result


def _unpadded(verts: Tensor, faces: Tensor) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """A mesh without the rows that fill it up to the largest mesh of its batch."""
    kept = faces[faces[:, 0] != faces[:, 1]]
    if not len(kept):
        return verts[:0].numpy(), kept.numpy()
    return verts[: int(kept.max()) + 1].numpy(), kept.numpy()


def _composed(probability: Tensor, crop: InstanceCrops, visible: Mask, hiding: Mask) -> Mask:
    """The amodal mask [H,W] from a composed crop probability [S,S].

    A crop pixel holds the share that the mask covers of it. Divided by the share that is possible (visible or
    occluder), both resampled, it says of the possible image pixels, which are known exactly, whether they belong to
    the object.
    """
    possible = (crop.visible[0] + crop.occluder[0]).clamp(max=1)
    share = paste(probability, crop.window[0], *visible.shape) > 0.5 * paste(possible, crop.window[0], *visible.shape)
    result: Mask = visible | (share.numpy() & hiding)
    return result


def _viewpoint_dict(viewpoint: Viewpoint, row: int) -> dict[str, float | list[float]]:
    return {
        "azimuth_deg": float(viewpoint.azimuth[row].rad2deg()) % 360,
        "elevation_deg": float(viewpoint.elevation[row].rad2deg()),
        "roll_deg": float(viewpoint.roll[row].rad2deg()),
        "scale": float(viewpoint.scale[row]),
        "offset": [float(value) for value in viewpoint.offset[row]],
    }


def _check(
    image: NDArray[np.uint8],
    visible: Sequence[Mask],
    categories: Sequence[str],
    depth_order: Sequence[int | None] | None,
    cluster: Sequence[int | None] | None,
    known: Sequence[str],
) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise UsageError(f"image: expected [H,W,3] uint8, got {list(image.shape)} {image.dtype}")
    for name, given in (("categories", categories), ("depth_order", depth_order), ("cluster", cluster)):
        if given is not None and len(given) != len(visible):
            raise UsageError(f"{name}: expected one for each of the {len(visible)} masks, got {len(given)}")
    for i, (mask, category) in enumerate(zip(visible, categories, strict=True)):
        if mask.dtype != np.bool_ or mask.shape != image.shape[:2]:
            problem = f"expected {list(image.shape[:2])} bool like the image, got {list(mask.shape)} {mask.dtype}"
            raise UsageError(f"visible[{i}]: {problem}")
        if not mask.any():
            raise UsageError(f"visible[{i}]: the mask is empty; an object that is not seen cannot be completed")
        if category != OCCLUDER and category not in known:
            raise UsageError(f"categories[{i}]: unknown category {category!r}; known are {', '.join(known)}")
