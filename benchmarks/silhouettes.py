"""Silhouettes: ours against PyTorch3D's, forward, backward and peak memory, and how ours scales.

    python benchmarks/silhouettes.py [comparison] [scaling] [threads] [limit] [--write]
    python benchmarks/silhouettes.py threads --write                       # on a machine that is doing nothing else
    python benchmarks/silhouettes.py --clock cuda --write                  # on a GPU, by events on the device
    python benchmarks/silhouettes.py comparison --threads 1 --clock cpu    # fair on a busy machine

Tables: ``comparison`` with PyTorch3D on the same device, ``scaling`` in images, pixels and faces, ``threads``, and the
share of the physical ``limit``; without a name all of them. Every measurement runs in a process of its own, on the same
meshes and the same number of threads; PyTorch3D's are ended after ``--limit`` seconds and then stand as "not finished".
Times are the best of several runs on a CPU, of one run for what takes longer than ten seconds, and the median on a GPU.
``--clock cpu`` counts the processor's time alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from report import machine, write_section
from silhouette_worker import SIGMA, Request, meter, request_text, views

from shape3d_amodal.rendering.silhouettes import triton_version

SIZES = ("8x64x1280", "32x128x1280", "8x256x1280", "1x256x20480", "8x256x20480")
CUDA_SIZES = ("8x64x1280", "32x128x1280", "8x256x1280", "8x256x20480", "256x64x1280")
THREAD_SIZES = ("8x64x1280", "32x128x1280", "8x256x20480")
METHODS = ("pytorch3d", "product", "edge")
OPERATIONS = {"forward": 60, "backward": 105}  # of the product mode's kernels at one pixel of one face's box


def run(request: Request, limit: float = 600) -> dict | None:
    """Measure in a fresh process; None if it did not finish in ``limit`` seconds."""
    environment = os.environ | {
        "OMP_NUM_THREADS": str(request.threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "MALLOC_MMAP_THRESHOLD_": "65536",  # freed memory goes back to the system, so that the peak is seen
    }
    command = [sys.executable, str(Path(__file__).with_name("silhouette_worker.py")), request_text(request)]
    try:
        answer = subprocess.run(command, env=environment, stdout=subprocess.PIPE, timeout=limit, check=True, text=True)
    except subprocess.TimeoutExpired:
        return None
    return json.loads(answer.stdout.splitlines()[-1])


def milliseconds(result: dict | None, name: str) -> str:
    if result is None:
        return "not finished"
    if name not in result:
        return ""
    value = 1000 * result[name]
    return f"{value:.3f}" if value < 1 else f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"


def comparison(arguments: argparse.Namespace) -> list[str]:
    """Ours beside PyTorch3D."""
    rows = [
        "| images, pixels, faces | method | forward ms | backward ms | faster forward | faster backward "
        "| peak MiB | peak / tensors | same bits | agreement with PyTorch3D |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for size in arguments.sizes or (CUDA_SIZES if arguments.clock == "cuda" else SIZES):
        theirs = None
        with tempfile.TemporaryDirectory() as folder:
            for method in METHODS if arguments.pytorch3d != "none" else METHODS[1:]:
                result = compared(arguments, method, size, Path(folder))
                theirs = result if method == "pytorch3d" else theirs
                rows.append(row(size, method, result, theirs, Path(folder)))
                print(rows[-1], flush=True)
    faces = (
        "Agreement: largest difference of the images, relative L2 of the gradients, their cosine. PyTorch3D counts at "
        "most 100 faces a pixel; with 20,480 faces more meet at some, and it leaves the others out. Peak: with inputs "
        "and outputs. Same bits: of image and gradient in three runs."
    )
    return [*rows, "", faces]


def compared(arguments: argparse.Namespace, method: str, size: str, folder: Path) -> dict | None:
    outputs = folder / f"{method}.npz"
    with_backward = method != "pytorch3d" or arguments.pytorch3d == "both"
    request = {"method": method, "size": size, "threads": arguments.threads, "clock": arguments.clock}
    result = run(Request(**request, with_backward=with_backward, outputs=str(outputs)), arguments.limit)
    if result is None and with_backward:
        return run(Request(**request, with_backward=False), arguments.limit)
    return result


def row(size: str, method: str, result: dict | None, theirs: dict | None, folder: Path) -> str:
    cells = [size.replace("x", ", "), {"pytorch3d": "PyTorch3D"}.get(method, f"ours, {method}")]
    cells += [milliseconds(result, "forward"), milliseconds(result, "backward")]
    for name in ("forward", "backward"):
        known = method != "pytorch3d" and result and theirs and name in result and name in theirs
        cells.append(f"{theirs[name] / result[name]:,.0f}x" if known else "")
    if result and "peak" in result:
        cells += [f"{result['peak'] / 2**20:.1f}", f"{result['peak'] / result['tensors']:.2f}"]
        cells.append("yes" if result["same_bits"] else "no")
    else:
        cells += ["", "", ""]
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
    images = np.abs(ours["alpha"] - theirs["alpha"]).max()
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    return f"{images:.0e}, {np.linalg.norm(a - b) / np.linalg.norm(b):.0e}, 1 - {1 - cosine:.0e}"


def scaling(arguments: argparse.Namespace) -> list[str]:
    """Growing batches, images and meshes."""
    rows = ["| images, pixels, faces | product ms | edge ms |", "|---|---|---|"]
    images = (1, 2, 4, 8, 16, 32, *((64, 128, 256) if arguments.clock == "cuda" else ()))
    sizes = [f"{n}x64x1280" for n in images]
    sizes += [f"8x{n}x1280" for n in (32, 128, 256)] + [f"8x64x{n}" for n in (80, 320, 5120, 20480)]
    for size in sizes:
        results = [
            run(Request(method=mode, size=size, threads=arguments.threads, clock=arguments.clock))
            for mode in ("product", "edge")
        ]
        times = [f"{milliseconds(result, 'forward')} + {milliseconds(result, 'backward')}" for result in results]
        rows.append(f"| {size.replace('x', ', ')} | {times[0]} | {times[1]} |")
        print(rows[-1], flush=True)
    return ["Forward + backward of ours.", "", *rows]


def threads(arguments: argparse.Namespace) -> list[str]:
    """More threads, as far as there are cores for them; by the clock on the wall."""
    rows = [
        "| images, pixels, faces | mode | threads | forward ms | backward ms | faster |",
        "|---|---|---|---|---|---|",
    ]
    cores = os.cpu_count() or 1
    for size in arguments.sizes or THREAD_SIZES:
        for mode in ("product", "edge"):
            alone = None
            for number in (n for n in (1, 2, 4, 8) if n <= cores):
                result = run(Request(method=mode, size=size, threads=number))
                assert result is not None
                seconds = result["forward"] + result["backward"]
                alone = alone or seconds
                cells = [size.replace("x", ", "), mode, str(number)]
                cells += [milliseconds(result, "forward"), milliseconds(result, "backward"), f"{alone / seconds:.2f}x"]
                rows.append(f"| {' | '.join(cells)} |")
                print(rows[-1], flush=True)
    load = os.getloadavg()[0]
    return [f"Wall clock; the machine's load was {load:.1f} at the end of {cores} cores.", "", *rows]


def candidates(size: str) -> tuple[float, int, int]:
    """How many pixels the faces' boxes hold, and the bytes that a forward and a backward pass cannot do without."""
    images, pixels, count = (int(part) for part in size.split("x"))
    verts, faces = views(images, count)
    corners = verts[:, faces][..., :2]
    reach = (9.21 * SIGMA) ** 0.5
    first = ((1 - corners.amax(2) - reach) * pixels / 2 - 0.5).clamp(0, pixels).floor()
    last = ((1 - corners.amin(2) + reach) * pixels / 2 + 0.5).clamp(0, pixels).ceil()
    pairs = float((last - first).prod(-1).sum())
    image = 4 * images * pixels**2
    mesh = verts.nbytes + faces.nbytes
    return pairs, mesh + image, mesh + 2 * image + verts.nbytes


def limit(arguments: argparse.Namespace) -> list[str]:
    """What the product mode's passes must move and compute, against what the device does at best."""
    on_gpu = arguments.clock == "cuda"
    size = "256x64x1280" if on_gpu else "8x64x1280"
    pairs, *moved = candidates(size)
    rate, bandwidth = best_rates(arguments.clock)
    result = run(Request(method="product", size=size, clock=arguments.clock))
    assert result is not None
    rows = [
        "| pass | MB | ms for these | GFLOP | ms for these | measured ms | share of the limit |",
        "|---|" + "---|" * 6,
    ]
    for name, size_bytes in zip(("forward", "backward"), moved, strict=True):
        operations = pairs * OPERATIONS[name]
        floor = max(size_bytes / bandwidth, operations / rate)
        cells = [name, f"{size_bytes / 1e6:.2f}", f"{1000 * size_bytes / bandwidth:.4f}", f"{operations / 1e9:.3f}"]
        cells += [f"{1000 * operations / rate:.4f}", milliseconds(result, name), f"{100 * floor / result[name]:.0f} %"]
        rows.append(f"| {' | '.join(cells)} |")
        print(rows[-1], flush=True)
    where = "the device" if on_gpu else "one core"
    text = (
        f"Product mode at {size.replace('x', ', ')}, where the faces' boxes hold {pairs:,.0f} pixels, of about "
        f"{OPERATIONS['forward']} operations each forward and {OPERATIONS['backward']} backward. The limit is the "
        f"longer of two times on {where}: of the inputs and outputs at the speed of a copy "
        f"({bandwidth / 1e9:.0f} GB/s), and of the operations at that of a float32 matrix product "
        f"({rate / 1e9:,.0f} GFLOP/s)."
    )
    return [text, "", *rows]


def best_rates(clock: str) -> tuple[float, float]:
    """Operations a second of a float32 matrix product, and bytes a second that a copy reads and writes."""
    torch.set_num_threads(1)
    gauge = meter(clock)
    n = 8192 if gauge.device == "cuda" else 1024
    matrix = torch.rand(n, n, device=gauge.device)
    source = torch.rand(2**28 if gauge.device == "cuda" else 2**25, device=gauge.device)
    target = torch.empty_like(source)

    def best(work: Callable[[], object]) -> float:
        work()
        return gauge.seconds(lambda: None, work, 100)

    return 2 * n**3 / best(lambda: matrix @ matrix), 2 * source.nbytes / best(lambda: target.copy_(source))


TABLES = {
    "comparison": ("silhouettes", "Silhouettes", comparison),
    "scaling": ("silhouettes-scaling", "Silhouettes: scaling", scaling),
    "threads": ("silhouettes-threads", "Silhouettes: threads", threads),
    "limit": ("silhouettes-limit", "Silhouettes: share of the physical limit", limit),
}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"of {', '.join(TABLES)}; all by default")
    parser.add_argument("--sizes", nargs="+", metavar="IMAGESxPIXELSxFACES", help="of comparison and threads")
    parser.add_argument("--pytorch3d", choices=("both", "forward", "none"), default="both", help="which of its passes")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="of comparison and scaling")
    parser.add_argument("--clock", choices=("wall", "cpu", "cuda"), default="wall")
    parser.add_argument("--limit", type=float, default=480.0, help="seconds for each of PyTorch3D's measurements")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    arguments = parser.parse_args()
    unknown = set(arguments.tables) - set(TABLES)
    if unknown:
        parser.error(f"expected tables of {', '.join(TABLES)}, got {', '.join(sorted(unknown))}")
    if arguments.clock == "cuda" and not torch.cuda.is_available():
        parser.error("--clock cuda needs a CUDA device, and there is none")
    return arguments


def setting(arguments: argparse.Namespace) -> str:
    where = torch.cuda.get_device_name() if arguments.clock == "cuda" else f"{arguments.threads} thread(s)"
    libraries = f"PyTorch3D {version('easypytorch3d')}, Triton {triton_version()}"
    return f"{where}, {arguments.clock} clock, sigma {SIGMA} NDC, float32; {libraries}."


def main() -> None:
    arguments = parse()
    command = " ".join(["python", "benchmarks/silhouettes.py", *sys.argv[1:]])
    print(f"{command}\n{machine()}\n{setting(arguments)}")
    by_default = [name for name in TABLES if not (name == "threads" and arguments.clock != "wall")]
    for table in arguments.tables or by_default:
        name, title, make = TABLES[table]
        begin = time.monotonic()
        lines = make(arguments)
        print("\n".join(lines), f"\n({table}: {time.monotonic() - begin:.0f} s)\n")
        if arguments.write:
            on_gpu = arguments.clock == "cuda"
            text = "\n".join([setting(arguments), "", *lines])
            write_section(f"{name}-gpu" if on_gpu else name, f"{title}, on a GPU" if on_gpu else title, command, text)


if __name__ == "__main__":
    main()
