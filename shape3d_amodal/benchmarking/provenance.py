"""The origin of numbers: code, versions, machine and command."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

from shape3d_amodal import __version__

PACKAGE = Path(__file__).resolve().parents[1]
_LIBRARIES = ("torch", "numpy", "numba", "kornia", "faster-coco-eval")
_NOT_DECISIVE = ("cli", "reports", "drawing", "benchmarking", "evaluation", "training")
"""Rooms that cannot change the results of a method."""


@cache
def code_hash(*rooms: str) -> str:
    """SHA-256 of the package's source files, or of those in the named ``rooms`` (folders) only."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if not rooms or name.partition("/")[0] in rooms:
            digest.update(name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


@cache
def methods_hash() -> str:
    """SHA-256 of the source files that can change the results of a method."""
    rooms = {path.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*.py")}
    return code_hash(*sorted(rooms - set(_NOT_DECISIVE)))


@cache
def commit() -> str:
    """The commit of the package's checkout, with "-dirty" if files were changed; "unknown" without a checkout."""
    words = ["git", "-C", str(PACKAGE), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.check_output(words, stderr=subprocess.DEVNULL, text=True, timeout=20).strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def versions() -> str:
    """Versions of the package, of Python and of the libraries that numbers depend on."""
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    return f"shape3d-amodal {__version__}, Python {platform.python_version()}, {libraries}"


def machine() -> str:
    """The processor and its number of cores, for readers."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    return f"{model}, {os.cpu_count()} cores"


def command() -> str:
    """The command line of this process, quoted for a shell."""
    return shlex.join(["shape3d-amodal", *sys.argv[1:]])
