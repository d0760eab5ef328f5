"""Silhouettes on the CPU: ours against PyTorch3D's, forward, backward and peak memory, and how ours scales.

    python benchmarks/silhouettes.py [--write] [--sizes 8x64x1280 ...] [--pytorch3d both|forward|none] [--threads 1]

Every measurement runs in a process of its own, on the same meshes and the same number of threads; PyTorch3D's are ended
after ``--limit`` seconds and then stand as "not finished". Times are the best of several runs, of one run for what
takes longer than ten seconds. On a busy machine ``--threads 1 --clock cpu`` is fair to both: it counts the processor's
time alone.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from report import machine, write_section
from torch import Tensor

SIGMA = 1e-4  # PyTorch3D's default
SIZES = ("8x64x1280", "32x128x1280", "8x256x1280", "1x256x20480", "8x256x20480")
LEVELS = {80: 1, 320: 2, 1280: 3, 5120: 4, 20480: 5}  # faces of an icosphere
OPERATIONS = 60  # of the product mode's forward pass at one pixel of one face's box
METHODS = ("product", "edge", "pytorch3d")
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def views(images: int, faces: int) -> tuple[Tensor, Tensor]:
    """Bumpy spheres of several sizes, together about a third of the image: [B,V,3] in NDC and [F,3]."""
    from pytorch3d.utils import ico_sphere

    mesh = ico_sphere(LEVELS[faces])
    generator = torch.Generator().manual_seed(0)
    radius = 0.6 + 0.2 * torch.rand(images, 1, 3, generator=generator)
    bumps = 0.002 * torch.randn(images, mesh.verts_packed().shape[0], 3, generator=generator)
    verts = mesh.verts_packed() * radius + bumps + torch.tensor([0.0, 0.0, 3.0])
    return verts.contiguous(), mesh.faces_packed()


def peak_bytes(work: Callable[[], None]) -> int:
    """How much the resident memory rises above its present level during ``work`` (Linux)."""

    def status(field: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))

    ctypes.CDLL(None).malloc_trim(0)  # give back what was freed
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = status("VmRSS:")
    work()
    return status("VmHWM:") - before


def best(work: Callable[[], float], repeats: int) -> float:
    """The least of the seconds that ``work`` returns."""
    least = work()
    if least < 10:
        least = min([least, *(work() for _ in range(repeats - 1))])
    return least


def measure(
    method: str, size: str, threads: int, with_backward: bool, clock: str, outputs: str | None
) -> dict[str, float]:
    """Seconds and bytes of one method, in this process."""
    from shape3d_amodal.rendering import render_silhouettes

    torch.set_num_threads(threads)
    images, pixels, count = (int(part) for part in size.split("x"))
    verts, faces = views(images, count)
    verts.requires_grad_(with_backward)
    weights = torch.randn(images, pixels, pixels, generator=torch.Generator().manual_seed(1))
    mode, backend = ("product", "pytorch3d") if method == "pytorch3d" else (method, "auto")
    state: dict[str, Tensor] = {}

    now = CLOCKS[clock]

    def forward() -> float:
        state.clear()
        start = now()
        state["alpha"] = render_silhouettes(verts, faces, pixels, SIGMA, mode, backend)
        return now() - start

    def backward() -> float:
        if "alpha" not in state:
            forward()
        alpha = state.pop("alpha")
        start = now()
        (state["grad"],) = torch.autograd.grad(alpha, verts, weights)
        elapsed = now() - start
        state["last"] = alpha.detach()
        return elapsed

    repeats = 3 if method == "pytorch3d" else 30
    if method != "pytorch3d":
        forward()  # compiles, and finds the edges
        if with_backward:
            backward()
    result = {"forward": best(forward, repeats)}
    if with_backward:
        result["backward"] = best(backward, repeats)
    tensors = [verts, faces, weights] if with_backward else [verts, faces]
    made = [state["last"], state["grad"]] if with_backward else [state["alpha"]]
    if outputs:
        np.savez(outputs, **{name: tensor.detach().numpy() for name, tensor in state.items() if name != "alpha"})
    if result["forward"] + result.get("backward", 0) < 10:
        needed = sum(tensor.nbytes for tensor in made)
        del made
        state.clear()
        rise = peak_bytes(backward if with_backward else forward)
        given = sum(tensor.nbytes for tensor in tensors)
        result |= {"peak": given + rise, "tensors": given + needed}
    return result


def run(
    method: str,
    size: str,
    threads: int,
    with_backward: bool,
    clock: str,
    limit: float = 600,
    outputs: Path | None = None,
) -> dict | None:
    """``measure`` in a fresh process; None if it did not finish in ``limit`` seconds."""
    request = {"method": method, "size": size, "threads": threads, "with_backward": with_backward, "clock": clock}
    request["outputs"] = None if outputs is None else str(outputs)
    environment = os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "MALLOC_MMAP_THRESHOLD_": "65536",  # freed memory goes back to the system, so that the peak is seen
    }
    command = [sys.executable, __file__, "--worker", json.dumps(request)]
    try:
        answer = subprocess.run(command, env=environment, stdout=subprocess.PIPE, timeout=limit, check=True, text=True)
    except subprocess.TimeoutExpired:
        return None
    return json.loads(answer.stdout.splitlines()[-1])


def milliseconds(result: dict | None, name: str) -> str:
    if result is None:
        return "not finished"
    return (
        ""
        if name not in result
        else f"{1000 * result[name]:,.1f}"
        if result[name] < 1
        else f"{1000 * result[name]:,.0f}"
    )


def comparison(sizes: list[str], threads: int, clock: str, pytorch3d: str, limit: float) -> list[str]:
    """The rows of the main table."""
    rows = [
        "| images, pixels, faces | method | forward ms | backward ms | faster forward | faster backward "
        "| peak MiB | peak / tensors | agreement with PyTorch3D |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            theirs = None
            methods = METHODS if pytorch3d == "none" else METHODS[::-1]
            for method in methods:
                if method == "pytorch3d" and pytorch3d == "none":
                    continue
                with_backward = method != "pytorch3d" or pytorch3d == "both"
                outputs = Path(folder) / f"{method}.npz"
                result = run(method, size, threads, with_backward, clock, limit, outputs)
                if result is None and with_backward:
                    result = run(method, size, threads, False, clock, limit)
                    outputs.unlink(missing_ok=True)
                theirs = result if method == "pytorch3d" else theirs
                rows.append(row(size, method, result, theirs, Path(folder)))
                print(rows[-1], flush=True)
            for file in Path(folder).iterdir():
                file.unlink()
    return rows


def row(size: str, method: str, result: dict | None, theirs: dict | None, folder: Path) -> str:
    cells = [size.replace("x", ", "), {"pytorch3d": "PyTorch3D"}.get(method, f"ours, {method}")]
    cells += [milliseconds(result, "forward"), milliseconds(result, "backward")]
    for name in ("forward", "backward"):
        known = method != "pytorch3d" and result and theirs and name in result and name in theirs
        cells.append(f"{theirs[name] / result[name]:,.0f}x" if known else "")
    measured = result and "peak" in result
    cells += [f"{result['peak'] / 2**20:.1f}", f"{result['peak'] / result['tensors']:.2f}"] if measured else ["", ""]
    cells.append(agreement(folder) if method == "product" else "")
    return f"| {' | '.join(cells)} |"


def agreement(folder: Path) -> str:
    """Largest difference of the images, relative L2 difference of the gradients and their cosine."""
    if not ((folder / "pytorch3d.npz").exists() and (folder / "product.npz").exists()):
        return ""
    ours, theirs = np.load(folder / "product.npz"), np.load(folder / "pytorch3d.npz")
    if "grad" not in theirs:
        return ""
    a, b = ours["grad"].ravel().astype(float), theirs["grad"].ravel().astype(float)
    images = np.abs(ours["last"] - theirs["last"]).max()
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    return f"{images:.0e}, {np.linalg.norm(a - b) / np.linalg.norm(b):.0e}, 1 - {1 - cosine:.0e}"


def scaling(threads: int, clock: str) -> list[str]:
    """Rows for growing batches, images, meshes and numbers of threads."""
    rows = ["| images, pixels, faces | threads | product ms | edge ms |", "|---|---|---|---|"]
    cases = [(f"{n}x64x1280", threads) for n in (1, 2, 4, 8, 16, 32)]
    cases += [(f"8x{n}x1280", threads) for n in (32, 128, 256)]
    cases += [(f"8x64x{n}", threads) for n in (80, 320, 5120, 20480)]
    if clock == "wall":
        cases += [("32x128x1280", n) for n in (1, 2, 4)]
    for size, number in cases:
        results = [run(mode, size, number, True, clock) for mode in ("product", "edge")]
        times = [f"{milliseconds(result, 'forward')} + {milliseconds(result, 'backward')}" for result in results]
        rows.append(f"| {size.replace('x', ', ')} | {number} | {times[0]} | {times[1]} |")
        print(rows[-1], flush=True)
    return rows


def share_of_limit(clock: str) -> str:
    """The arithmetic of the product mode's forward pass against a matrix product's, both on one core."""
    size, pixels, count = 8, 64, 1280
    verts, faces = views(size, count)
    corners = verts[:, faces][..., :2]
    reach = (9.21 * SIGMA) ** 0.5
    first = ((1 - corners.amax(2) - reach) * pixels / 2 - 0.5).clamp(0, pixels).floor()
    last = ((1 - corners.amin(2) + reach) * pixels / 2 + 0.5).clamp(0, pixels).ceil()
    pairs = float((last - first).prod(-1).sum())
    seconds = run("product", f"{size}x{pixels}x{count}", 1, True, clock)
    torch.set_num_threads(1)
    matrix = torch.rand(1024, 1024)

    def multiply() -> float:
        start = CLOCKS[clock]()
        matrix @ matrix
        return CLOCKS[clock]() - start

    peak = 2 * 1024**3 / best(multiply, 20)
    rate = pairs * OPERATIONS / seconds["forward"]
    return (
        f"At {size}, {pixels}, {count} the faces' boxes hold {pairs:,.0f} pixels; at about {OPERATIONS} operations a "
        f"pixel the forward pass reaches {rate / 1e9:.0f} GFLOP/s on one core, {100 * rate / peak:.0f} % of a matrix "
        f"product's {peak / 1e9:.0f}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), metavar="IMAGESxPIXELSxFACES")
    parser.add_argument("--pytorch3d", choices=("both", "forward", "none"), default="both", help="which of its passes")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall")
    parser.add_argument("--limit", type=float, default=480.0, help="seconds for each of PyTorch3D's measurements")
    parser.add_argument("--no-scaling", action="store_true")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(measure(**json.loads(arguments.worker))))
        return
    import pytorch3d

    command = " ".join(["python", "benchmarks/silhouettes.py", *sys.argv[1:]])
    print(f"{command}\n{machine()}, pytorch3d {pytorch3d.__version__}, {arguments.threads} thread(s)")
    rows = comparison(arguments.sizes, arguments.threads, arguments.clock, arguments.pytorch3d, arguments.limit)
    text = [
        f"{arguments.threads} thread(s), {arguments.clock} clock, sigma {SIGMA} NDC, float32; "
        f"PyTorch3D {pytorch3d.__version__} with 100 faces a pixel.",
        "",
        *rows,
    ]
    text += [
        "",
        "Agreement: largest difference of the images, relative L2 of the gradients, their cosine. With 20,480 faces "
        "more than 100 meet at some pixels; PyTorch3D leaves the others out.",
    ]
    if not arguments.no_scaling:
        text += ["", "Forward + backward of ours:", "", *scaling(arguments.threads, arguments.clock)]
        text += ["", share_of_limit(arguments.clock)]
        print(text[-1])
    if arguments.write:
        write_section("silhouettes", "Silhouettes", command, "\n".join(text))


if __name__ == "__main__":
    main()
