"""The stages in a row, for people: numpy in, numpy out.

pipeline = ShapePriorPipeline.from_pretrained("open13")
objects = pipeline.complete(image, visible_masks, ["chair", "table"])
objects[0].amodal  # [H,W] bool
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shape3d_amodal.config import dump_config, parse_config
from shape3d_amodal.data.crops import instance_crops, occluders
from shape3d_amodal.errors import MissingBackendError, UsageError, WeightsError
from shape3d_amodal.geometry.crops import paste
from shape3d_amodal.refinement.fit import FitConfig, fit
from shape3d_amodal.refinement.regions import close_gaps, compose
from shape3d_amodal.refinement.stage import AmodalModel, AmodalModelConfig, CoarseEstimate
from shape3d_amodal.structures import OCCLUDER, AmodalPrediction, InstanceCrops, Viewpoint
from shape3d_amodal.weights import MANIFEST, load_weights, save_weights

Mask = NDArray[np.bool_]
Refine = Literal["none", "visible-union", "2d", "full"]

CHECKPOINTS = Path(__file__).resolve().parents[1] / "assets" / "checkpoints"
_BATCH = 32


@dataclass(frozen=True)
class CompletedObject:
    """One object, whole.

    Attributes:
        category: its name.
        amodal: [H,W] bool, the whole mask; it contains ``visible``.
        visible: [H,W] bool, as given.
        silhouette: [H,W] bool, the rendered mesh before refinement.
        verts: [V,3] float32 and faces: [F,3] int64, the reconstructed mesh in the object frame.
        viewpoint: azimuth_deg, elevation_deg, roll_deg, scale and offset (crop NDC) of the camera in ``window``.
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
    """Stages 2 to 5 with their weights.

    Args:
        model: the networks, on the device where they shall run.
        fit: the fit at test time; its ``steps`` is a default that ``complete`` may override.
        refine: ``full``; or ``2d``, the refinement without the silhouette (for weights of the stage completion2d); or
            ``visible-union``, the silhouette joined with the visible mask and cut to the possible pixels; or ``none``,
            the bare silhouette.
        gap_px: width in image pixels of gaps between predicted masks that are closed; 0 for exact masks.
    """

    def __init__(
        self, model: AmodalModel, *, fit: FitConfig | None = None, refine: Refine = "full", gap_px: int = 0
    ) -> None:
        self.model = model.eval()
        if gap_px < 0:
            raise UsageError(f"gap_px: expected a number of pixels, 0 or more, got {gap_px}")
        self.fit = fit or FitConfig(steps=0)
        self.refine: Refine = refine
        self.gap_px = gap_px

    @classmethod
    def from_pretrained(
        cls, name_or_folder: str | Path = "open13", *, device: str = "cpu", refine: Refine = "full", gap_px: int = 0
    ) -> ShapePriorPipeline:
        """Load shipped weights by name, or a folder that ``save_pretrained`` or a training wrote.

        Raises:
            WeightsError: they are missing, damaged, or do not fit their own configuration.
            UsageError, MissingBackendError: there is no device of that name, or not on this machine.
        """
        folder, shipped = Path(name_or_folder), CHECKPOINTS / str(name_or_folder)
        if not (folder / MANIFEST).is_file() and shipped.is_dir():
            folder = shipped  # a folder of scenes that bears the name of weights does not hide them
        if not folder.is_dir():
            known = ", ".join(sorted(path.name for path in CHECKPOINTS.glob("*") if path.is_dir())) or "none"
            raise WeightsError(
                f"no such folder of weights, and no shipped weights of that name (shipped: {known})",
                file=name_or_folder,
            )
        text, state = load_weights(folder)
        config = parse_config(text, AmodalModelConfig, source=str(folder / "config.yaml"))
        model = AmodalModel(config)
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            first = str(error).splitlines()[-1].strip()
            raise WeightsError(f"the tensors do not fit the configuration beside them: {first}", file=folder) from error
        return cls(model.to(_device(device)), refine=refine, gap_px=gap_px)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``config.yaml``, ``model.safetensors`` and ``sha256``."""
        save_weights(folder, dump_config(self.model.config), self.model.state_dict())

    @property
    def categories(self) -> tuple[str, ...]:
        return self.model.config.categories

    def crops(
        self,
        image: NDArray[np.uint8],
        visible: Sequence[Mask],
        categories: Sequence[str],
        depth_order: Sequence[int | None] | None = None,
    ) -> tuple[InstanceCrops, list[Mask], list[int]]:
        """Cut out what is to be completed, at least one object; arguments as for ``complete``.

        Returns:
            The crops, the occluder mask [H,W] bool of each, and the objects' places in the arguments.
        """
        hiding = occluders(visible, depth_order or [None] * len(visible))
        places = [i for i, category in enumerate(categories) if category != OCCLUDER]
        indices = [self.categories.index(categories[i]) for i in places]
        masks, hiding = [visible[i] for i in places], [hiding[i] for i in places]
        if self.gap_px > 0:
            hiding = [_closed(seen, mask, self.gap_px) for seen, mask in zip(masks, hiding, strict=True)]
        return instance_crops(image, masks, hiding, indices, self.model.config.crop_size), hiding, places

    @torch.no_grad()
    def predict(self, crops: InstanceCrops, fit_steps: int | None = None) -> AmodalPrediction:
        """Stages 2 to 5 on N crops, in batches."""
        crops = crops.to(next(self.model.parameters()).device)
        parts = [self._predict(crops[i : i + _BATCH], fit_steps) for i in range(0, len(crops), _BATCH)]
        return AmodalPrediction.join(parts)

    def _predict(self, crops: InstanceCrops, fit_steps: int | None) -> AmodalPrediction:
        steps = self.fit.steps if fit_steps is None else fit_steps
        if steps > 0:
            output = self.model.prior(crops)
            verts, viewpoint = fit(self.model.prior, output, crops, replace(self.fit, steps=steps))
            coarse = self.model.render(verts, viewpoint, crops)
        else:
            coarse = self.model.coarse(crops)
        return self._refine(crops, coarse)

    def _refine(self, crops: InstanceCrops, coarse: CoarseEstimate) -> AmodalPrediction:
        probability = coarse.silhouette
        if self.refine == "full":
            probability = self.model.refinement(crops, coarse.silhouette, coarse.fit).sigmoid()
        elif self.refine == "2d":
            probability = self.model.refinement(crops, None, None).sigmoid()
        if self.refine != "none":
            probability = compose(probability, crops.visible, crops.occluder)
        return AmodalPrediction(probability, coarse.silhouette, coarse.verts, coarse.viewpoint, coarse.fit)

    def complete(
        self,
        image: NDArray[np.uint8],
        visible: Sequence[Mask],
        categories: Sequence[str],
        *,
        depth_order: Sequence[int | None] | None = None,
        fit_steps: int | None = None,
    ) -> list[CompletedObject]:
        """Complete all objects of one image.

        Args:
            image: [H,W,3] uint8, RGB.
            visible: masks [H,W] bool, one an object, none empty; give all objects, for they hide each other.
            categories: a category name for each; ``occluder`` marks what only hides others.
            depth_order: rank of each, 0 nearest, where known: what is behind an object cannot hide it.
            fit_steps: steps of the fit at test time.

        Returns:
            An object for each mask whose category is not ``occluder``, in order.

        Raises:
            UsageError: masks, sizes or categories do not fit together; the message says which.
        """
        _check(image, visible, categories, depth_order, self.categories)
        if fit_steps is not None and fit_steps < 0:
            raise UsageError(f"fit_steps: expected a number of steps, 0 or more, got {fit_steps}")
        if all(category == OCCLUDER for category in categories):
            return []
        crops, hiding, places = self.crops(image, visible, categories, depth_order)
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
        faces = self.model.prior.decoder.faces.cpu().numpy()
        for i, (seen, may_hide) in enumerate(zip(visible, hiding, strict=True)):
            window, shape = crops.window[i], seen.shape
            silhouette = paste(prediction.silhouette[i], window, *shape).numpy() > 0.5
            amodal = silhouette
            if self.refine != "none":
                amodal = _composed(prediction.probability[i], crops[i : i + 1], seen, may_hide)
            result.append(
                CompletedObject(
                    category=names[i],
                    amodal=amodal,
                    visible=seen,
                    silhouette=silhouette,
                    verts=prediction.verts[i].numpy(),
                    faces=faces,
                    viewpoint=_viewpoint_dict(prediction.viewpoint, i),
                    window=window.numpy(),
                    score=float(prediction.score[i]),
                )
            )
        return result


def _device(name: str) -> torch.device:
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
    known: Sequence[str],
) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise UsageError(f"image: expected [H,W,3] uint8, got {list(image.shape)} {image.dtype}")
    if len(categories) != len(visible):
        raise UsageError(f"categories: expected one for each of the {len(visible)} masks, got {len(categories)}")
    if depth_order is not None and len(depth_order) != len(visible):
        raise UsageError(f"depth_order: expected one for each of the {len(visible)} masks, got {len(depth_order)}")
    for i, (mask, category) in enumerate(zip(visible, categories, strict=True)):
        if mask.dtype != np.bool_ or mask.shape != image.shape[:2]:
            problem = f"expected {list(image.shape[:2])} bool like the image, got {list(mask.shape)} {mask.dtype}"
            raise UsageError(f"visible[{i}]: {problem}")
        if not mask.any():
            raise UsageError(f"visible[{i}]: the mask is empty; an object that is not seen cannot be completed")
        if category != OCCLUDER and category not in known:
            raise UsageError(f"categories[{i}]: unknown category {category!r}; these weights know {', '.join(known)}")
