"""From predictions for ``InstanceCrops`` back to the image: the inverse of ``cutting``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shape3d_amodal.array_fields import ArrayFields
from shape3d_amodal.crops.cutting import masks_through
from shape3d_amodal.geometry.windows import patches, place_of
from shape3d_amodal.masks.occlusion import Mask, VisibleObjects
from shape3d_amodal.structures import AmodalPrediction, Estimate, InstanceCrops, Pose, Viewpoint

if TYPE_CHECKING:
    from shape3d_amodal.meshes.mesh import KnownModel


@dataclass(frozen=True, eq=False, repr=False)
class CompletedObject(ArrayFields):
    """One completed object: its masks, its mesh and the viewpoint it is seen from.

    Attributes:
        category: its name.
        amodal: [H,W] bool, the whole mask; it contains ``visible``.
        visible: [H,W] bool, as given.
        silhouette: [H,W] bool, the rendered mesh before refinement.
        verts: [V,3] float32 and faces: [F,3] int64, the reconstructed mesh in the object frame; empty without a prior.
        viewpoint: azimuth_deg, elevation_deg, roll_deg, scale and offset (crop NDC) of the camera in ``window``; empty
            without a prior.
        window: [4] float32, the crop in image pixels, or a larger square where a known shape reaches beyond it.
        score: 0..1: of known shapes the IoU of ``amodal`` with the true mask that is to be expected; else how well the
            silhouette explains the certain pixels.
        model: name of the known shape in its mesh source.
        pose: of its file in the camera frame, where the camera is known.
        to_camera: [4,4] float64, from ``verts`` to the camera frame, in the unit of that file; None without a pose, and
            where ``verts`` may be another prior's.
        hypotheses: whole masks [H,W] bool of several answers of known shapes, the likeliest first, with their chances,
            as many as were asked for.
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
    model: str | None = None
    pose: Pose | None = None
    to_camera: NDArray[np.float64] | None = None
    hypotheses: tuple[tuple[Mask, float], ...] = ()

    def __repr__(self) -> str:
        height, width = self.amodal.shape
        pixels = f"{int(self.visible.sum())} visible and {int(self.occluded.sum())} hidden pixels of {height} x {width}"
        mesh = f"mesh of {len(self.verts)} vertices" if len(self.verts) else "no mesh"
        return f"CompletedObject({self.category!r}, score {self.score:.2f}, {pixels}, {mesh})"

    @property
    def occluded(self) -> Mask:
        """[H,W] bool, the hidden part."""
        return self.amodal & ~self.visible


def completed_objects(
    prediction: AmodalPrediction,
    crops: InstanceCrops,
    given: VisibleObjects,
    *,
    bare: bool = False,
    models: Sequence[KnownModel] | None = None,
    are_drawn: bool = True,
) -> list[CompletedObject]:
    """Paste the predictions for N crops of one image back into it.

    Args:
        given: the N objects; their visible masks are kept exactly, and known background is left out.
        bare: take the silhouettes as they are instead.
        models: the known shapes of the N objects; None without a bank.
        are_drawn: whether the predictions' meshes are those of ``models``.
    """
    prediction, crops = prediction.to("cpu"), crops.to("cpu")
    estimate = prediction.estimate
    if estimate.window is not None:
        crops = masks_through(crops, estimate.window, list(zip(given.masks, given.occluders, strict=True)))
    result = []
    for i, (visible, hiding) in enumerate(zip(given.masks, given.occluders, strict=True)):
        window = crops.window[i]
        silhouette = _pasted(estimate.silhouette[i], window, like=visible)
        amodal = silhouette if bare else _composed(prediction.probability[i], crops[i : i + 1], visible, hiding)
        verts, faces = _unpadded(estimate.verts[i], estimate.faces[i])
        model, pose = None if models is None else models[i], _pose(estimate, i)
        result.append(
            CompletedObject(
                category=given.names[i],
                amodal=amodal,
                visible=visible,
                silhouette=silhouette,
                verts=verts,
                faces=faces,
                viewpoint=_viewpoint_dict(estimate.viewpoint, i) if len(verts) else {},
                window=window.numpy(),
                score=float(estimate.fit[i] if estimate.expected is None else estimate.expected[i]),
                model=None if model is None else model.name,
                pose=pose,
                to_camera=model.place.to_camera(pose) if are_drawn and model is not None and pose is not None else None,
                hypotheses=tuple(_hypotheses(estimate, i, crops, visible, hiding)),
            )
        )
    return result


def _pose(estimate: Estimate, row: int) -> Pose | None:
    if estimate.pose is None or not bool(estimate.pose[row].isfinite().all()):
        return None
    numbers = estimate.pose[row].tolist()
    return Pose(tuple(numbers[:9]), tuple(numbers[9:]))


def _hypotheses(
    estimate: Estimate, row: int, crops: InstanceCrops, visible: Mask, hiding: Mask
) -> Iterator[tuple[Mask, float]]:
    """The whole mask and the chance of each answer."""
    if estimate.hypotheses is None or estimate.chance is None:
        return
    crop = crops[row : row + 1]
    for whole, chance in zip(estimate.hypotheses[row], estimate.chance[row].tolist(), strict=True):
        if chance > 0:
            yield _composed(whole, crop, visible, hiding), chance


def _unpadded(verts: Tensor, faces: Tensor) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """A mesh without the rows that fill it up to the largest mesh of its batch."""
    kept = faces[faces[:, 0] != faces[:, 1]]
    count = int(kept.max()) + 1 if len(kept) else 0
    return verts[:count].numpy(), kept.numpy()


def _pasted(share: Tensor, window: Tensor, *, like: Mask) -> Mask:
    """The image pixels [H,W], of which more than half is covered by the mask whose share of each crop pixel is given.

    Args:
        like: [H,W], of the same size and order in memory.
    """
    place, result = place_of(window, *like.shape), np.zeros_like(like)
    result[place] = patches(share[None], window, place)[0].numpy() > 0.5
    return result


def _composed(probability: Tensor, crop: InstanceCrops, visible: Mask, hiding: Mask) -> Mask:
    """The amodal mask [H,W] from a composed crop probability [S,S].

    A crop pixel holds the share that the mask covers of it. Divided by the share that is possible (visible or
    occluder), both resampled, it says of the possible image pixels, which are known exactly, whether they belong to
    the object.
    """
    place = place_of(crop.window[0], *visible.shape)
    possible, near, doubt = (crop.visible[0] + crop.occluder[0]).clamp(max=1), hiding[place], crop.doubt
    if doubt is not None:  # the mask has been composed for all of these pixels, wherever the doubt was outweighed
        possible = possible.where(doubt[0] == 0, 1)
        near = near | (patches((doubt > 0).to(possible), crop.window[0], place)[0] > 0.5).numpy()
    result = visible.copy(order="K")
    if near.any():
        whole, most = patches(torch.stack([probability, possible]), crop.window[0], place)
        result[place] |= (whole > 0.5 * most).numpy() & near
    return result


def _viewpoint_dict(viewpoint: Viewpoint, row: int) -> dict[str, float | list[float]]:
    return {
        "azimuth_deg": float(viewpoint.azimuth[row].rad2deg()) % 360,
        "elevation_deg": float(viewpoint.elevation[row].rad2deg()),
        "roll_deg": float(viewpoint.roll[row].rad2deg()),
        "scale": float(viewpoint.scale[row]),
        "offset": [float(value) for value in viewpoint.offset[row]],
    }
