"""Every kernel compiles for CUDA devices, with the arguments and options that it is launched with.

The interpreter accepts much that the compiler refuses. Neither a GPU nor CUDA's own tools are needed.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from shape3d_amodal.rendering import gpu


def kernels():
    """All kernels of the package, as (module, name)."""
    for path in Path(gpu.__file__).parent.glob("*.py"):
        module = importlib.import_module(f"{gpu.__name__}.{path.stem}")
        for name, value in vars(module).items():
            if name.endswith("_kernel") and value.fn.__module__ == module.__name__:
                yield module.__name__, name


@pytest.mark.slow
@pytest.mark.parametrize("capability", ["80", "90"])
def test_every_kernel_compiles(capability):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, str(Path(__file__).parents[1] / "helpers" / "compile_kernels.py"), capability]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-4000:]
    launches = [line.split() for line in result.stdout.splitlines()]
    known = set(kernels())
    assert len(known) == 12
    assert {tuple(launch[:2]) for launch in launches} == known
    assert all(int(size) > 1000 for *_, size in launches)
