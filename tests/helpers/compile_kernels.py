"""Launch all Triton kernels as on a CUDA device, up to the point where a device would be needed; run by
``test_gpu_compile``.

    python compile_kernels.py 90

Triton takes the arguments, chooses a variant and compiles it for the compute capability, as it would before the launch
itself. Standard output: for each launch the kernel and the bytes of its machine code.
"""

from __future__ import annotations

import sys

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from shape3d_amodal.rendering import gpu, render_silhouettes
from shape3d_amodal.rendering.gpu import zbuffer


class NoDevice:
    """What Triton asks of its driver before a launch, on a machine without any."""

    def __init__(self, capability: int) -> None:
        self.capability = capability

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, _: int) -> int:
        return 0


_run = triton.JITFunction.run


def compile_instead(self, *arguments, grid, warmup, **options):  # noqa: ARG001
    compiled = _run(self, *arguments, grid=grid, warmup=True, **options)
    print(self.fn.__module__, self.fn.__name__, len(compiled.asm["cubin"]))  # noqa: T201


triton.JITFunction.run = compile_instead
gpu.DEVICE = zbuffer.DEVICE = "cpu"
verts = torch.tensor([[[-0.6, -0.4, 1.0], [0.7, -0.3, 1.0], [0.1, 0.6, 1.0]]])
faces = torch.tensor([[0, 1, 2]])
driver.set_active(NoDevice(int(sys.argv[1])))
for batch in (1, 2):
    for mode in ("product", "edge"):
        points = verts.repeat(batch, 1, 1).requires_grad_()
        render_silhouettes(points, faces, 16, 1e-2, mode, "gpu").sum().backward()
    zbuffer.rasterize(verts[0], faces.int() if batch == 1 else faces, 8, 9)
