"""A running mean of the weights, which scores better than the last weights (Polyak & Juditsky 1992)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average of a module's trained parameters; everything else in its state is copied.

    torch's ``AveragedModel`` gives the same bits only with an update of our own and a counter that starts at 1, for its
    first update replaces the mean. It also evaluates a copy of the module, where tasks evaluate their own, so that most
    of this class would stay.

    Args:
        module: where the weights come from; its state dict names the averages.
        decay: share of the old mean that stays at each step, in 0..1; 0 turns the average off.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.module = module
        self.trained = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
        state = module.state_dict() if decay > 0 else {}
        self.state: dict[str, Tensor] = {name: tensor.detach().clone() for name, tensor in state.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Average in the weights after the 0-based ``step`` t, with the decay min(decay, (1 + t) / (10 + t))."""
        decay = min(self.decay, (1 + step) / (10 + step))
        current = self.module.state_dict()
        for name, mean in self.state.items():
            if name in self.trained:
                mean.lerp_(current[name], 1 - decay)
            else:
                mean.copy_(current[name])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block the module has the averaged weights, for validation; afterwards its own again."""
        if not self.state:
            yield
            return
        own = {name: tensor.detach().clone() for name, tensor in self.module.state_dict().items()}
        self.module.load_state_dict(self.state)
        try:
            yield
        finally:
            self.module.load_state_dict(own)
