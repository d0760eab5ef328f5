"""What a prior is: crops in, meshes, viewpoints and silhouettes out (stages 2 to 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from shape3d_amodal.structures import Estimate, InstanceCrops, Viewpoint

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from shape3d_amodal.crops.pixels import PixelWindow
    from shape3d_amodal.meshes.mesh import KnownModel

PriorName = Literal["learned", "bank"]
"""Where silhouettes come from: the networks of stages 2 and 3, or a bank of known shapes (``registry``)."""

ViewsName = Literal["upright", "tabletop", "all"]
"""How known shapes may stand before the camera. upright: on the ground, seen from the side or from above by a camera
that is level; tabletop: seen from anywhere above; all: any rotation."""


class Prior(Protocol):
    """Stages 2 to 4. A prior owns its fit to the image at test time, and how many steps that takes."""

    categories: tuple[str, ...]
    """Names of the categories that ``InstanceCrops.category`` counts."""
    known: tuple[str, ...]
    """Those of them that ``estimate`` can take."""
    parameters: int
    """How many trained numbers an estimate depends on."""

    @property
    def device(self) -> torch.device:
        """Where crops have to be."""

    def estimate(self, crops: InstanceCrops, *, windows: Sequence[PixelWindow] | None = None) -> Estimate:
        """What the prior says of N crops; ``windows`` shows the same N objects at the image's own resolution."""

    def with_fit_steps(self, steps: int) -> Prior:
        """The same prior with another number of steps of its fit; 0 fits nothing."""


@runtime_checkable
class KnowsModels(Protocol):
    """A prior whose estimates name meshes of a source."""

    def model(self, category: str, index: int) -> KnownModel:
        """The mesh of a category with the index ``Estimate.model``."""


def best_of(estimates: Sequence[Estimate]) -> Estimate:
    """Of several priors' estimates (at least one) of the same N crops, for each crop the one with the best fit."""
    import torch

    chosen = torch.stack([estimate.fit for estimate in estimates], dim=1).argmax(dim=1)  # [N], which estimate
    count = len(chosen)
    return Estimate.join(estimates)[chosen * count + torch.arange(count, device=chosen.device)]


def seen_through(estimate: Estimate, window: Tensor) -> Estimate:
    """An estimate whose ``window`` is known through other windows [N,4]: beyond the old ones silhouettes are empty."""
    from shape3d_amodal.geometry.windows import through

    old = estimate.window
    assert old is not None
    if bool((old == window).all()):
        return estimate
    shown = estimate.hypotheses
    half, new_half = (box[:, 2] - box[:, 0] for box in (old, window))
    middle, new_middle = (box[:, :2] + box[:, 2:] for box in (old, window))
    view = estimate.viewpoint
    # Crop NDC is x left, y up: the shift from the middle, in halves of a side.
    offset = (view.offset * half[:, None] + new_middle - middle) / new_half[:, None]
    return replace(
        estimate,
        silhouette=through(estimate.silhouette[:, None], old, window)[:, 0],
        hypotheses=None if shown is None else through(shown, old, window),
        viewpoint=replace(view, scale=view.scale * half / new_half, offset=offset),
        window=window,
    )


def no_estimate(crops: InstanceCrops) -> Estimate:
    """What is known of N crops where no prior is asked: empty meshes and silhouettes."""
    import torch

    zero = torch.zeros_like(crops.visible[:, 0, 0])
    verts = zero[:, None, None].expand(-1, 1, 3)
    viewpoint = Viewpoint(zero, zero, zero, zero + 1, torch.stack([zero, zero], dim=1))
    return Estimate(verts, torch.zeros_like(verts, dtype=torch.int64), viewpoint, crops.visible * 0, zero)
