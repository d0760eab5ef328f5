"""One measurement of ``silhouettes.py``: a method at a size, on one device, in a process of its own.

Standard output is a JSON object: seconds of ``forward`` and ``backward``, ``peak`` bytes with the inputs, the bytes of
the input and output ``tensors``, and whether three runs gave the ``same_bits``.
"""

from __future__ import annotations

import ctypes
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

SIGMA = 1e-4  # PyTorch3D's default
LEVELS = {80: 1, 320: 2, 1280: 3, 5120: 4, 20480: 5}  # faces of an icosphere
LONG = 10.0  # seconds; what takes longer is measured once


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to measure."""

    method: str
    """product, edge or pytorch3d"""
    size: str
    """IMAGESxPIXELSxFACES"""
    threads: int = 1
    with_backward: bool = True
    clock: str = "wall"
    """wall, cpu (the processor's time alone), or cuda (events on the device)"""
    outputs: str | None = None
    """.npz file for the image and the gradient"""


def views(images: int, faces: int) -> tuple[Tensor, Tensor]:
    """Bumpy spheres of several sizes, together about a third of the image: [B,V,3] in NDC and [F,3]."""
    from pytorch3d.utils import ico_sphere

    mesh = ico_sphere(LEVELS[faces])
    generator = torch.Generator().manual_seed(0)
    radius = 0.6 + 0.2 * torch.rand(images, 1, 3, generator=generator)
    bumps = 0.002 * torch.randn(images, mesh.verts_packed().shape[0], 3, generator=generator)
    verts = mesh.verts_packed() * radius + bumps + torch.tensor([0.0, 0.0, 3.0])
    return verts.contiguous(), mesh.faces_packed()


class Processor:
    """Seconds and bytes on the CPU: the best of several runs, and the rise of the resident memory (Linux)."""

    device = "cpu"

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock

    def seconds(self, prepare: Callable[[], None], work: Callable[[], object], repeats: int) -> float:
        least = np.inf
        for _ in range(repeats):
            prepare()
            start = self.clock()
            work()
            least = min(least, self.clock() - start)
            if least > LONG:
                break
        return least

    def peak(self, given: int, work: Callable[[], None]) -> int:
        def status(field: str) -> int:
            lines = Path("/proc/self/status").read_text().splitlines()
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))

        ctypes.CDLL(None).malloc_trim(0)  # give back what was freed
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
        before = status("VmRSS:")
        work()
        return given + status("VmHWM:") - before


class Cuda:
    """Seconds by events on the device, the median of several runs, and bytes of its allocator."""

    device = "cuda"

    def seconds(self, prepare: Callable[[], None], work: Callable[[], object], repeats: int) -> float:
        times = []
        for _ in range(repeats):
            prepare()
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            torch.cuda.synchronize()
            start.record()
            work()
            end.record()
            torch.cuda.synchronize()
            times.append(start.elapsed_time(end) / 1000)
        return statistics.median(times)

    def peak(self, given: int, work: Callable[[], None]) -> int:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        torch.cuda.synchronize()
        return given + torch.cuda.max_memory_allocated() - before


def meter(clock: str) -> Processor | Cuda:
    if clock == "cuda":
        return Cuda()
    return Processor({"wall": time.perf_counter, "cpu": time.process_time}[clock])


def renderer(method: str, pixels: int, device: str) -> Callable[[Tensor, Tensor], Tensor]:
    from shape3d_amodal.rendering import render_silhouettes

    if method != "pytorch3d":
        return lambda verts, faces: render_silhouettes(verts, faces, pixels, SIGMA, method)
    from shape3d_amodal.rendering.pytorch3d import product_silhouettes

    bin_size = None if device == "cuda" else 0
    return lambda verts, faces: product_silhouettes(verts, faces, pixels, SIGMA, bin_size=bin_size)


class Run:
    """Forward and backward passes of one method on fixed input; what they leave is kept until the next."""

    def __init__(self, request: Request, device: str) -> None:
        images, pixels, count = (int(part) for part in request.size.split("x"))
        self.render = renderer(request.method, pixels, device)
        verts, faces = views(images, count)
        weights = torch.randn(images, pixels, pixels, generator=torch.Generator().manual_seed(1))
        self.verts, self.faces, self.weights = (tensor.to(device) for tensor in (verts, faces, weights))
        self.verts.requires_grad_(request.with_backward)
        self.alpha: Tensor | None = None
        self.grad: Tensor | None = None

    def clear(self) -> None:
        self.alpha = self.grad = None

    def forward(self) -> None:
        self.alpha = self.render(self.verts, self.faces)

    def prepare_backward(self) -> None:
        self.clear()
        self.forward()

    def backward(self) -> None:
        assert self.alpha is not None
        (self.grad,) = torch.autograd.grad(self.alpha, self.verts, self.weights)
        self.alpha = self.alpha.detach()

    def both(self) -> None:
        self.prepare_backward()
        if self.verts.requires_grad:
            self.backward()

    def made(self) -> list[Tensor]:
        return [tensor.detach() for tensor in (self.alpha, self.grad) if tensor is not None]


def measure(request: Request) -> dict[str, float]:
    """Seconds and bytes of one method, in this process."""
    torch.set_num_threads(request.threads)
    gauge = meter(request.clock)
    run = Run(request, gauge.device)
    ours = request.method != "pytorch3d"
    repeats = (100 if gauge.device == "cuda" else 30) if ours else (20 if gauge.device == "cuda" else 3)
    if ours or gauge.device == "cuda":
        run.both()  # compiles, and finds the edges
    result: dict[str, float] = {"forward": gauge.seconds(run.clear, run.forward, repeats)}
    if request.with_backward:
        result["backward"] = gauge.seconds(run.prepare_backward, run.backward, repeats)
    made = run.made()
    if request.outputs:
        names = ("alpha", "grad")[: len(made)]
        np.savez(request.outputs, **{name: tensor.cpu().numpy() for name, tensor in zip(names, made, strict=True)})
    if sum(result.values()) < LONG:
        given = sum(t.nbytes for t in (run.verts, run.faces, *([run.weights] if request.with_backward else [])))
        result["tensors"] = given + sum(tensor.nbytes for tensor in made)
        first = [tensor.clone() for tensor in made]
        del made
        run.clear()
        result["same_bits"] = _repeats(run, first)
        del first
        run.clear()
        result["peak"] = gauge.peak(given, run.both)
    return result


def _repeats(run: Run, first: list[Tensor]) -> bool:
    for _ in range(2):
        run.both()
        if not all(torch.equal(a, b) for a, b in zip(run.made(), first, strict=True)):
            return False
    return True


def request_text(request: Request) -> str:
    return json.dumps(asdict(request))


if __name__ == "__main__":
    print(json.dumps(measure(Request(**json.loads(sys.argv[1])))))
