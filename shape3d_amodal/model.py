"""The networks of stages 2 to 5."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from shape3d_amodal.config import CropSize, configuration, dump_config
from shape3d_amodal.crops.cutting import Border
from shape3d_amodal.crops.doubt import DoubtConfig
from shape3d_amodal.errors import UsageError
from shape3d_amodal.files.weights import save_weights
from shape3d_amodal.priors.interface import PriorName
from shape3d_amodal.priors.learned.network import ShapePrior, ShapePriorConfig
from shape3d_amodal.priors.learned.traits import CategoryTraits
from shape3d_amodal.refinement.network import RefinementConfig, RefinementNetwork
from shape3d_amodal.refinement.trust import Trust, TrustConfig
from shape3d_amodal.structures import InstanceCrops


@configuration
class AmodalModelConfig:
    """Stages 2 to 5."""

    categories: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names of the categories, in the order of the model's indices. The name anything takes every object of another
    category, in training and later."""
    parents: dict[str, str] = field(default_factory=dict)
    """Parent classes of some categories, such as {pedestrian: person, cyclist: person}. Categories of one class share
    a template and an embedding of the prior, so that rare ones learn from the others."""
    asymmetric: tuple[str, ...] = ()
    """Categories whose shapes are not mirror-symmetric, such as those of living beings."""
    azimuth_range_deg: dict[str, Annotated[float, Field(gt=0, le=360)]] = field(default_factory=dict)
    """Of some categories, the range of the azimuth, about their front, in degrees; 360 for others. The prior's
    hypotheses divide it: those of thin things, which look alike from both sides, can do with 180."""
    crop_size: CropSize = 64
    """Side of the crops in pixels."""
    prior: ShapePriorConfig = ShapePriorConfig()
    """Stages 2 to 4."""
    refinement: RefinementConfig = RefinementConfig()
    """Stage 5."""
    border: Border = "unknown"
    """What lies beyond the border of an image: unknown (an object may go on there) or background."""
    doubt: DoubtConfig | None = None
    """A band of background beside the visible part whose certainty is in doubt, since things that nobody annotated may
    hide the object there: the losses of the prior weigh its pixels by their certainty, and stage 5 may extend masks
    into it. Null for none. Known shapes (a bank) do not know of it."""
    trust: TrustConfig | None = None
    """Stage 5's trust in a bank that its refinement has not learned to use; null for none."""
    meshes: str | None = None
    """Mesh source of the bank whose silhouettes the refinement has learned to use, such as open13:train."""
    fit_steps: Annotated[int, Field(ge=0)] = 0
    """Default number of fit steps of the bank: as many as when the refinement learned from it. The learned prior is
    fitted only when asked for, as the refinement learned from its unfitted silhouettes."""

    def __post_init__(self) -> None:
        twice = [name for name, number in Counter(self.categories).items() if number > 1]
        if twice:
            raise UsageError(f"model.categories: expected different names, got {twice[0]!r} twice; remove one")

    @property
    def traits(self) -> CategoryTraits:
        """What the prior is told of the categories.

        Raises:
            UsageError: options tell of categories that the model does not have.
        """
        for option in ("parents", "asymmetric", "azimuth_range_deg"):
            for name in getattr(self, option):
                if name not in self.categories:
                    known = ", ".join(self.categories)
                    raise UsageError(
                        f"model.{option}: expected names among the model's categories ({known}), got {name}"
                    )
        return CategoryTraits.of(self.categories, self.parents, self.asymmetric, self.azimuth_range_deg)

    @property
    def knows(self) -> tuple[PriorName, ...]:
        """The priors that stage 5 has learned to use."""
        priors = self.refinement.priors
        return priors if self.trust is None or "bank" in priors else (*priors, "bank")


class AmodalModel(nn.Module):
    """Stages 2 to 5 as one module."""

    def __init__(self, config: AmodalModelConfig) -> None:
        super().__init__()
        self.config = config
        self.prior = ShapePrior(config.prior, len(config.categories), config.traits)
        self.refinement = RefinementNetwork(config.refinement, len(config.categories))
        self.trust = None if config.trust is None else Trust(config.trust)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs

    def save(self, folder: str | Path) -> None:
        """Write ``config.yaml``, ``model.safetensors`` and ``sha256``."""
        save_weights(folder, dump_config(self.config), self.state_dict())

    def refine(self, crops: InstanceCrops, shown: Mapping[PriorName, tuple[Tensor, Tensor]]) -> Tensor:
        """Logits [N,S,S] of the amodal masks.

        Args:
            crops: N crops.
            shown: silhouettes [N,S,S] and their certain-pixel IoU [N], by the name of their prior. Priors that the
                refinement has not learned to use are ignored; missing ones count as no silhouette.
        """
        nothing = (torch.zeros_like(crops.visible), torch.zeros_like(crops.visible[:, 0, 0]))
        pairs = [shown.get(name, nothing) for name in self.refinement.priors]
        logits: Tensor = self.refinement(crops, [silhouette for silhouette, _ in pairs], [fit for _, fit in pairs])
        return logits

    def refine_both_ways(self, crops: InstanceCrops, shown: Mapping[PriorName, tuple[Tensor, Tensor]]) -> Tensor:
        """The mean of the logits of the crops as they are and of the crops mirrored; arguments as for ``refine``."""
        mirrored = {name: (silhouette.flip(-1), fit) for name, (silhouette, fit) in shown.items()}
        return (self.refine(crops, shown) + self.refine(crops.mirrored(), mirrored).flip(-1)) / 2
