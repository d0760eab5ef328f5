"""Compile Triton kernels for CUDA devices that need not be there; run by ``test_gpu_compile``.

Standard input: a JSON list of launches, [module, kernel, {argument: type or value}, options]. Standard output: a line
for each kernel and compute capability, with the bytes of its machine code.
"""

from __future__ import annotations

import importlib
import json
import sys

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource


def compiled(module: str, name: str, arguments: dict, options: dict, capability: int) -> int:
    kernel = getattr(importlib.import_module(module), name)
    signature, constants, aligned = {}, {}, {}
    for n, parameter in enumerate(kernel.params):
        value = arguments[parameter.name]
        signature[parameter.name] = "constexpr" if parameter.is_constexpr else value
        if parameter.is_constexpr:
            constants[(n,)] = value
        elif value.startswith("*"):
            aligned[(n,)] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, constants, aligned)
    return len(triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options).asm["cubin"])


for launch in json.load(sys.stdin):
    for capability in (80, 90):
        print(*launch[:2], capability, compiled(*launch, capability), flush=True)  # noqa: T201
