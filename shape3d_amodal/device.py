"""From the name of a device to a ``torch.device``."""

from __future__ import annotations

import torch

from shape3d_amodal.errors import MissingBackendError, UsageError


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
