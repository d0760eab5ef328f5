"""A trained refinement that learns to use one more prior: what it knows stays, what is new starts at zero."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from shape3d_amodal.refinement.network import GIVEN_CHANNELS, RefinementConfig


def grown(state: Mapping[str, Tensor], old: RefinementConfig, new: RefinementConfig) -> dict[str, Tensor]:
    """The tensors of a ``RefinementNetwork`` of ``old`` as those of one of ``new``, which does the same at first.

    Args:
        state: the network's tensors.
        old: its configuration.
        new: the same but for ``priors`` and ``gate``; a prior that ``old`` lacks is not looked at at first, and without
            one that ``new`` lacks the network does as if it were not shown.
    """
    result = dict(state)
    places = [old.priors.index(name) if name in old.priors else None for name in new.priors]

    first, patch = state["down.0.first.weight"], new.patch**2
    channels = first.unflatten(1, (-1, patch))  # [outputs, channels, patch^2, 3, 3]
    kept, shown = channels[:, :GIVEN_CHANNELS], channels[:, GIVEN_CHANNELS:]
    result["down.0.first.weight"] = torch.cat([kept, _picked(shown, places, 1)], dim=1).flatten(1, 2)

    weight = state["condition.0.weight"]
    embedding, fits, known = weight.split([old.embedding, len(old.priors), len(old.priors)], dim=1)
    result["condition.0.weight"] = torch.cat([embedding, _picked(fits, places, 1), _picked(known, places, 1)], dim=1)

    gate = state.get("gate.weight", embedding.new_zeros(len(old.priors), old.embedding))
    bias = state.get("gate.bias", embedding.new_zeros(len(old.priors)))
    result |= {"gate.weight": _picked(gate, places, 0), "gate.bias": _picked(bias, places, 0)}
    if not (new.gate and new.priors):
        del result["gate.weight"], result["gate.bias"]
    return result


def _picked(tensor: Tensor, places: list[int | None], dim: int) -> Tensor:
    """The slices ``places`` of ``tensor`` along ``dim``, zeros for None."""
    shape = list(tensor.shape)
    shape[dim] = len(places)
    result = tensor.new_zeros(shape)
    for target, source in enumerate(places):
        if source is not None:
            result.select(dim, target).copy_(tensor.select(dim, source))
    return result
