"""From the name of a device to a ``torch.device``."""

from __future__ import annotations

import ctypes
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from shape3d_amodal.errors import MissingBackendError, UsageError

if TYPE_CHECKING:
    import torch

_NAME = r"auto|cpu(:0)?|cuda(:(0|[1-9][0-9]*))?"


def check_device_name(name: object) -> None:
    """Refuse what is no name of a device, without a look at the machine: that takes torch, which is slow to import.

    Raises:
        UsageError: it is not auto, cpu, cuda or cuda:N.
    """
    if not (isinstance(name, str) and re.fullmatch(_NAME, name)):
        raise UsageError(f"device: expected auto, cpu, cuda or cuda:N, got {name!r}")


def check_device_early(name: object) -> None:
    """Refuse what is no name of a device, and a GPU where there can be none: also without torch.

    Raises:
        UsageError: it is not auto, cpu, cuda or cuda:N.
        MissingBackendError: a GPU is asked for, and none is visible, or there is no driver for any.
    """
    check_device_name(name)
    if str(name).startswith("cuda") and (os.environ.get("CUDA_VISIBLE_DEVICES") == "" or not has_driver()):
        raise MissingBackendError(f"device: this machine has 0 CUDA devices, not {name}; use cpu")


def has_driver() -> bool:
    """Whether there is a driver of GPUs that torch calls cuda: NVIDIA's, or AMD's."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return Path("/dev/kfd").exists()
    return True


def torch_device(name: str | torch.device) -> torch.device:
    """The device of that name; auto is a GPU where there is one, and else the CPU.

    Raises:
        UsageError, MissingBackendError: there is no such device, or not on this machine.
    """
    import torch

    name = str(name) if isinstance(name, torch.device) else name
    check_device_name(name)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = name.partition(":")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise MissingBackendError(
            f"device: this machine has {torch.cuda.device_count()} CUDA devices, not {name}; use cpu"
        )
    return torch.device(name)
