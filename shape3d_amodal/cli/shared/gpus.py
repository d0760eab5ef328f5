"""What ``doctor`` finds out about GPUs: driver, compute capability, NCCL, and whether the kernels run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from shape3d_amodal.cli.shared.findings import Finding
from shape3d_amodal.device import has_driver

LEAST = (7, 5)
"""The compute capability that the kernels need: Turing's, of 2018."""
_DRIVER = Path("/sys/module/nvidia/version")


def gpu_findings() -> Iterator[Finding]:
    """Of a machine without a GPU one line, in a moment; with one the kernels are compiled, which takes some seconds."""
    import torch

    if not torch.cuda.is_available():
        yield _no_gpu()
        return
    version = _DRIVER.read_text().strip() if _DRIVER.is_file() else "version unknown"
    yield Finding("ok", "driver", f"{version}; torch is built for CUDA {torch.version.cuda}")
    fit = True
    for number in range(torch.cuda.device_count()):
        finding = _gpu(number)
        fit = fit and finding.state == "ok"
        yield finding
    yield _nccl()
    if fit:
        yield from _kernels()


def _no_gpu() -> Finding:
    import torch

    if not has_driver():
        return Finding("optional", "cuda", "none, running on the CPU")
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return Finding("optional", "cuda", "hidden by CUDA_VISIBLE_DEVICES, running on the CPU", "unset it")
    if torch.version.cuda is None and torch.version.hip is None:
        detail = f"a driver, but torch {torch.__version__} is built for the CPU"
        return Finding("optional", "cuda", detail, "install a torch that is built for CUDA")
    try:
        torch.cuda.init()
        problem = "torch finds no GPU"
    except Exception as error:  # whatever the driver says
        problem = " ".join(str(error).split())[:200]
    return Finding("missing", "cuda", problem, "install the driver that this torch needs, or use --device cpu")


def _gpu(number: int) -> Finding:
    import torch

    gpu = torch.cuda.get_device_properties(number)
    detail = f"{gpu.name}, compute capability {gpu.major}.{gpu.minor}, {gpu.total_memory / 2**30:.1f} GB"
    if (gpu.major, gpu.minor) < LEAST:
        remedy = f"the kernels need {LEAST[0]}.{LEAST[1]}; use --device cpu, or hide it by CUDA_VISIBLE_DEVICES"
        return Finding("low", f"cuda:{number}", detail, remedy)
    return Finding("ok", f"cuda:{number}", detail)


def _nccl() -> Finding:
    import torch

    if not torch.distributed.is_nccl_available():
        detail = f"not in torch {torch.__version__}; only training on several GPUs needs it"
        return Finding("optional", "nccl", detail, "install a torch that is built for CUDA")
    return Finding("ok", "nccl", ".".join(str(part) for part in torch.cuda.nccl.version()))


def _kernels() -> Iterator[Finding]:
    from shape3d_amodal.rendering.silhouettes import triton_version

    if triton_version() is None:
        return  # told with the silhouettes
    from shape3d_amodal.rendering.gpu.trial import trials

    for name, problem in trials():
        if problem:
            yield Finding("missing", f"kernel {name}", problem, "use --device cpu, or the Triton that torch brings")
        else:
            yield Finding("ok", f"kernel {name}", "runs, and gives what the CPU does")
