"""Mesh files that claim, or hold, far too much: one line, soon, and without the memory that they ask for."""

from __future__ import annotations

import json
import resource
import struct
import time

import numpy as np
import pytest

from shape3d_amodal.errors import DataError
from shape3d_amodal.meshes.formats.glb import parse_glb
from shape3d_amodal.meshes.formats.mesh_data import MeshData
from shape3d_amodal.meshes.formats.obj import parse_obj
from shape3d_amodal.meshes.formats.off import parse_off
from shape3d_amodal.meshes.formats.ply import parse_ply


def ply(kind: str, faces: int, count: str, body: bytes) -> bytes:
    head = f"ply\nformat {kind} 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
    head += f"element face {faces}\nproperty list {count} int vertex_indices\nend_header\n"
    return head.encode() + body


def glb(primitive: dict, accessors: list[dict], **node: object) -> bytes:
    document = {
        "asset": {"version": "2.0"},
        "extensionsUsed": ["EXT_mesh_gpu_instancing"],
        "buffers": [{"byteLength": 64}],
        "bufferViews": [{"buffer": 0, "byteLength": 64}],
        "accessors": accessors,
        "meshes": [{"primitives": [primitive]}],
        "nodes": [{"mesh": 0, **node}],
        "scenes": [{"nodes": [0]}],
    }
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", 64, b"BIN\0") + bytes(64)
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


POINTS = {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}
MANY = {"bufferView": 0, "componentType": 5126, "count": 10**9, "type": "VEC3"}
NAMES = {"bufferView": 0, "componentType": 5123, "count": 10**9, "type": "SCALAR"}
INSTANCES = {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": 1}}}
TRIANGLE = struct.pack("<9f", 0, 0, 0, 1, 0, 0, 0, 1, 0)
SAW = "".join(f"{k} {k % 2} 0\n" for k in range(20_000))

ATTACKS = {
    "PLY: a list of 2^32 - 1": (parse_ply, ply("binary_little_endian", 1, "uint", TRIANGLE + b"\xff" * 4)),
    "PLY: a list of -1": (parse_ply, ply("binary_little_endian", 1, "int", TRIANGLE + b"\xff" * 4)),
    "PLY: lists of half a number": (parse_ply, ply("ascii", 1, "float", b"0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n")),
    "PLY: 10^12 faces": (parse_ply, ply("ascii", 10**12, "uchar", b"0 0 0\n1 0 0\n0 1 0\n")),
    "OFF: 10^11 vertices": (parse_off, b"OFF\n100000000000 1 0\n0 0 0\n"),
    "OFF: a polygon of 10^15 corners": (parse_off, b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n1000000000000000 0 1 2\n"),
    "OFF: a saw of 20,000 teeth": (
        parse_off,
        f"OFF\n20000 1 0\n{SAW}20000 {' '.join(map(str, range(20_000)))}\n".encode(),
    ),
    "OBJ: an index of 10^30": (parse_obj, b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 1" + b"0" * 30),
    "GLB: 10^9 instances": (
        parse_glb,
        glb({"attributes": {"POSITION": 0}}, [POINTS, MANY], extensions=INSTANCES),
    ),
    "GLB: a strip of 10^9": (parse_glb, glb({"attributes": {"POSITION": 0}, "indices": 1, "mode": 5}, [POINTS, NAMES])),
    "GLB: a fan of 10^9": (parse_glb, glb({"attributes": {"POSITION": 0}, "indices": 1, "mode": 6}, [POINTS, NAMES])),
    "GLB: 10^9 vertices": (parse_glb, glb({"attributes": {"POSITION": 0}}, [MANY])),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_it_is_refused_soon(name: str) -> None:
    parse, content = ATTACKS[name]
    begin, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError) as caught:
        parse(content)
    assert "\n" not in str(caught.value)
    assert time.process_time() - begin < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_a_large_convex_polygon_is_none() -> None:
    """A circle of 100,000 corners is a fan like any other."""
    angle = 2 * np.pi * np.arange(100_000) / 100_000
    rows = "".join(f"{x!r} {y!r} 0\n" for x, y in zip(np.cos(angle).tolist(), np.sin(angle).tolist(), strict=True))
    mesh: MeshData = parse_off(f"OFF\n100000 1 0\n{rows}100000 {' '.join(map(str, range(100_000)))}\n".encode())
    assert len(mesh.faces) == 99_998
