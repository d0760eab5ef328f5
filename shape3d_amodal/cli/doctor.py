"""``shape3d-amodal doctor``: what this machine has, what is missing, and what to do about it."""

from __future__ import annotations

import gc
import hashlib
import importlib
import importlib.util
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shape3d_amodal.cli.shared.findings import Finding, State
from shape3d_amodal.cli.shared.gpus import gpu_findings
from shape3d_amodal.errors import MissingBackendError, WeightsError, counted
from shape3d_amodal.files.assets import ASSETS

SETUP_SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "setup.sh"
"""There in a checkout alone."""
REQUIRED = (
    "numpy",
    "torch",
    "torchvision",
    "kornia",
    "trimesh",
    "numba",
    "scipy",
    "safetensors",
    "faster_coco_eval",
    "matplotlib",
    "jinja2",
)
OPTIONAL = {
    "detectron2": "only predict and the R-CNN baselines need it",
    "tensorboard": "only training needs it",
    "pytorch3d": "only the baseline mean_shape and silhouettes of the backend pytorch3d need it",
}
"""Libraries that a plain installation lacks, and what needs them."""
EXTRAS = {"detectron2": "detectron2", "tensorboard": "train", "pytorch3d": "pytorch3d"}
"""The extra of the package that brings each; for detectron2, not on PyPI under its own name, what it imports."""
_PROBES = {"detectron2": "detectron2.modeling"}
"""What to import to see whether a library works, where its top is not enough."""
_WITHOUT_TORCH = frozenset(("trimesh", "numba", "scipy", "faster_coco_eval", "matplotlib", "jinja2", "tensorboard"))
"""Libraries that do not import torch: a second process loads them while this one loads those that do."""
DETECTRON2_NEEDS = ("cloudpickle", "fvcore", "hydra", "iopath", "omegaconf", "pycocotools", "termcolor", "yacs")
"""What detectron2 imports; its wheel is installed without them."""
FREE_GB = 1


def doctor() -> None:
    """Print what this machine has, line by line: ok, optional (not there, and not needed), or missing and what to do.

    Exit status 4 where a library is missing that the pipeline needs, 3 where shipped weights or meshes are damaged.
    """
    lacking, damaged = [], []
    for finding in _findings():
        print(finding, flush=True)
        if finding.state == "missing" and finding.name in REQUIRED:
            lacking.append(finding.name)
        if finding.state == "damaged":
            damaged.append(finding.name)
    if lacking:
        raise MissingBackendError(f"missing {', '.join(lacking)}: {how_to_get(*lacking)}")
    if damaged:
        again = "git checkout assets" if SETUP_SCRIPT.is_file() else "install shape3d-amodal again"
        raise WeightsError(f"damaged: {', '.join(damaged)}; get the files again ({again})")


def how_to_get(*libraries: str) -> str:
    """What to run in order to install ``libraries``: the set-up of a checkout, else pip."""
    if SETUP_SCRIPT.is_file():
        return "run scripts/setup.sh"
    names = [f"shape3d-amodal[{EXTRAS[name]}]" if name in EXTRAS else name for name in libraries]
    command = f"pip install {shlex.join(names)}"
    if "detectron2" in libraries:  # its wheel is tagged for Python 3.10 and serves the others too
        target = shlex.quote(sysconfig.get_path("purelib"))
        wheel = f"--python-version 3.10 --target {target} sal-detectron2==0.7.2"
        command += f" && pip install --no-deps --only-binary=:all: {wheel}"
    return command


def _findings() -> Iterator[Finding]:
    names = (*REQUIRED, *OPTIONAL)
    with _loading(name for name in names if name in _WITHOUT_TORCH) as loaded, _without_collection():
        yield from _machine(Path.cwd())
        for name in names:
            yield _library(name, loaded)
    yield from _bytecode("torch")
    yield from _accelerators()
    yield _meshes(ASSETS / "open13")
    yield from _weights(ASSETS / "checkpoints")


def _machine(folder: Path) -> Iterator[Finding]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    yield Finding("ok", "python", f"{platform.python_version()} on {platform.platform()}")
    yield Finding("ok", "cores", f"{len(os.sched_getaffinity(0))} usable of {os.cpu_count()}")
    yield Finding("ok", "memory", f"{memory:.1f} GB")
    free = shutil.disk_usage(folder).free / 2**30
    enough = free >= FREE_GB
    remedy = "" if enough else f"free at least {FREE_GB} GB before training or writing results"
    yield Finding("ok" if enough else "low", "disk", f"{free:.1f} GB free in {folder}", remedy)


@dataclass(frozen=True)
class _Loaded:
    """What became of an import: the library's version, or why it cannot be imported."""

    version: str = ""
    problem: str = ""


_Loading = dict[str, "subprocess.Popen[str]"]


@contextmanager
def _loading(names: Iterable[str]) -> Iterator[_Loading]:
    """A process that imports the libraries ``names``, one after another."""
    names = list(names)
    code = f"from {__name__} import report; report({names!r})"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield dict.fromkeys(names, process)
        finally:
            process.kill()


def report(names: list[str]) -> None:
    """Import each library and print what became of it as a line of JSON."""
    with _without_collection():
        for name in names:
            done = _load(name)
            print(json.dumps([done.version, done.problem]), flush=True)


@contextmanager
def _without_collection() -> Iterator[None]:
    """What imports make stays: to look through it for garbage, again and again, takes an eighth of their time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _load(name: str) -> _Loaded:
    """Import it for good: a library that is there but cannot be loaded is missing, too."""
    try:
        importlib.import_module(_PROBES.get(name, name))
    except Exception as error:  # a broken library may raise anything
        return _Loaded(problem=" ".join(str(error).split()) or type(error).__name__)
    return _Loaded(getattr(sys.modules[name], "__version__", "version unknown"))


def _library(name: str, loading: _Loading | None = None) -> Finding:
    """``loading`` has the process that imports it, where that is not this one."""
    process = (loading or {}).get(name)
    line = "" if process is None or process.stdout is None else process.stdout.readline()
    if line:
        done = _Loaded(*json.loads(line))
    elif process is not None and process.wait() < 0:  # by a signal, such as a segmentation fault
        done = _Loaded(problem=f"Python dies (signal {-process.returncode}) when it, or one before it, is imported")
    else:
        done = _load(name)
    if not done.problem:
        return Finding("ok", name, done.version)
    if name in OPTIONAL:
        return Finding("optional", name, f"{done.problem}; {OPTIONAL[name]}", how_to_get(name))
    return Finding("missing", name, done.problem, how_to_get(name))


def _bytecode(library: str) -> Iterator[Finding]:
    """Told where there is none: then every command compiles what it imports, and takes twice as long to start."""
    file = getattr(sys.modules.get(library), "__file__", None)
    if file is not None and not Path(importlib.util.cache_from_source(file)).is_file():
        folder = shlex.quote(str(Path(file).parents[1]))
        command = f"env -u PYTHONDONTWRITEBYTECODE {shlex.quote(sys.executable)} -m compileall -q {folder}"
        yield Finding("optional", "bytecode", "none of the libraries, so that commands start slowly", command)


def _accelerators() -> Iterator[Finding]:
    try:
        import torch
    except (ImportError, OSError):
        return  # reported among the libraries
    yield from gpu_findings()
    flags = _cpu_flags()
    found = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags]
    yield Finding("ok", "cpu instructions", ", ".join(found) or "none of AVX2, AVX-512, AMX")
    yield from _silhouettes(torch.cuda.is_available())


def _silhouettes(has_cuda: bool) -> Iterator[Finding]:
    """What ``render_silhouettes`` chooses by itself on each device."""
    import torch

    from shape3d_amodal.rendering.silhouettes import automatic_backend, triton_version

    version = triton_version()
    triton = f"Triton {version}" if version else "no Triton 3.3 or later"
    names = {"cpu": "cpu (numba)", "gpu": f"gpu ({triton})", "reference": f"reference (plain torch, slow: {triton})"}
    detail = f"backend {names[automatic_backend(torch.device('cpu'))]}"
    if not has_cuda:
        yield Finding("ok", "silhouettes", f"{detail}; {triton}, but no CUDA device for it" if version else detail)
        return
    on_cuda = automatic_backend(torch.device("cuda"))
    remedy = "" if on_cuda == "gpu" else "pip install triton, in the version that belongs to this torch"
    state: State = "ok" if on_cuda == "gpu" else "missing"
    yield Finding(state, "silhouettes", f"{detail}, on CUDA {names[on_cuda]}", remedy)


def _cpu_flags() -> set[str]:
    """Instruction sets as Linux names them; empty elsewhere."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())


def _meshes(folder: Path) -> Finding:
    index = folder / "index.tsv"
    if not index.is_file():
        return Finding("missing", "open13 meshes", f"no {index}", "install shape3d-amodal again, or clone it")
    header, *rows = (line.split("\t") for line in index.read_text(encoding="utf-8").splitlines())
    path, digest = header.index("path"), header.index("sha256")
    bad = [row[path] for row in rows if _sha256(folder / row[path]) != row[digest]]
    if bad:
        detail = f"{len(bad)} of {counted(len(rows), 'file')}, such as {bad[0]}"
        return Finding("damaged", "open13 meshes", detail, "get them again")
    return Finding("ok", "open13 meshes", f"{counted(len(rows), 'mesh', 'meshes')} in {folder}")


def _weights(folder: Path) -> Iterator[Finding]:
    from shape3d_amodal.files.weights import MANIFEST, read_manifest, read_sealed

    manifests = sorted(folder.rglob(MANIFEST))
    if not manifests:
        yield Finding("missing", "weights", f"none in {folder}", "install shape3d-amodal again, or clone it")
    for manifest in manifests:
        sealed = manifest.parent
        name = f"weights {sealed.relative_to(folder)}"
        try:
            files = read_sealed(sealed, read_manifest(sealed))
        except WeightsError as error:
            yield Finding("damaged", name, str(error))
        else:
            yield Finding("ok", name, f"{sum(map(len, files.values())) / 2**20:.1f} MB")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
