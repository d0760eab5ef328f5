"""Every kernel compiles for CUDA devices, with the types and options that it is launched with.

The interpreter accepts much that the compiler refuses. Neither a GPU nor CUDA's own tools are needed.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import interpreter  # noqa: F401
import torch
from silhouette_cases import render_with_gradient, triangle
from triton.runtime.interpreter import InterpretedFunction

from shape3d_amodal.rendering import gpu_zbuffer

TYPES = {torch.float32: "*fp32", torch.int64: "*i64", torch.int32: "*i32", torch.int8: "*i8", int: "i32", float: "fp32"}
OPTIONS = ("num_warps", "enable_fp_fusion")
FOLDER = Path(__file__).parent


def kernels():
    """All kernels of the package."""
    for path in Path(gpu_zbuffer.__file__).parent.glob("gpu*.py"):
        module = importlib.import_module(f"shape3d_amodal.rendering.{path.stem}")
        for name, value in vars(module).items():
            if isinstance(value, InterpretedFunction) and name.endswith("_kernel"):
                yield module.__name__, name


def launches(monkeypatch):
    """Draw one triangle in all ways, and return how the kernels were launched."""
    seen = {}
    run = InterpretedFunction.run

    def record(self, *values, **named):
        arguments = dict(zip(self.arg_names, values, strict=False))
        arguments |= {name: value for name, value in named.items() if name in self.arg_names}
        constant = {name for name, kind in self.fn.__annotations__.items() if "constexpr" in kind}
        types = {
            name: value if name in constant else TYPES[getattr(value, "dtype", type(value))]
            for name, value in arguments.items()
        }
        options = {name: named[name] for name in OPTIONS if name in named}
        seen[json.dumps([self.fn.__module__, self.fn.__name__, types, options])] = None
        return run(self, *values, **named)

    monkeypatch.setattr(InterpretedFunction, "run", record)
    verts, faces = triangle()
    for mode in ("product", "edge"):
        render_with_gradient(verts, faces, 4, 1e-2, mode, "gpu")
    for dtype in (torch.int32, torch.int64):
        gpu_zbuffer.rasterize(verts[0], faces.to(dtype), 4, 4)
    return [json.loads(launch) for launch in seen]


def test_every_kernel_compiles(monkeypatch):
    known = launches(monkeypatch)
    assert {(module, name) for module, name, *_ in known} == set(kernels())
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, str(FOLDER / "compile_kernels.py")]
    result = subprocess.run(
        command, input=json.dumps(known), env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-4000:]
    lines = [line.split() for line in result.stdout.splitlines()]
    assert len(lines) == 2 * len(known)
    assert all(int(size) > 1000 for *_, size in lines)
