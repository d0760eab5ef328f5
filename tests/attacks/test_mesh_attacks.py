"""Mesh files whose counts, lists, polygons, instances or nodes are far larger than they have any right to be."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attacking import Attack, must_be_refused

from shape3d_amodal.meshes.parsers import read_mesh_file

VERTICES = "0 0 0\n1 0 0\n0 1 0\n"
POINTS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4").tobytes()
MILLION = 1_000_000


def mesh(suffix: str, content: bytes | str) -> Callable[[Path], Any]:
    def attack(folder: Path) -> Any:
        (folder / f"bad.{suffix}").write_bytes(content.encode() if isinstance(content, str) else content)
        return read_mesh_file(folder / f"bad.{suffix}")

    return attack


def ply(body: bytes | str, *, kind: str = "binary_little_endian", faces: int = 1, listed: str = "uint int") -> bytes:
    axes = "".join(f"property float {axis}\n" for axis in "xyz")
    head = f"ply\nformat {kind} 1.0\nelement vertex 3\n{axes}element face {faces}\n"
    start = VERTICES.encode() if kind == "ascii" else POINTS
    rest = body.encode() if isinstance(body, str) else body
    return (head + f"property list {listed} vertex_indices\nend_header\n").encode() + start + rest


def zigzag(corners: int) -> str:
    """The vertices of a comb of ``corners`` corners, which no fan covers, a line each."""
    return "".join(f"{k} {3 * (k % 2)} 0\n" for k in range(corners - 1)) + f"{corners} -5 0\n"


def comb_obj(corners: int) -> str:
    vertices = "".join(f"v {line}\n" for line in zigzag(corners).splitlines())
    rows = ["f"] + [" ".join(map(str, range(k + 1, min(k + 1000, corners) + 1))) for k in range(0, corners, 1000)]
    return vertices + " \\\n".join(rows) + "\n"


def tangle(polygons: int, corners: int) -> str:
    """An OFF file of ``polygons`` the same scattered polygon, whose edges cross each other all over."""
    points = np.random.default_rng(0).normal(size=(corners, 2))
    rows = "".join(f"{x} {y} 0\n" for x, y in points.tolist())
    face = f"{corners} " + " ".join(map(str, range(corners))) + "\n"
    return f"OFF\n{corners} {polygons} 0\n{rows}{face * polygons}"


def glb(binary: bytes = POINTS, **changes: Any) -> bytes:
    """A triangle as GLB, with other entries of its JSON."""
    tree = {
        "asset": {"version": "2.0"},
        "buffers": [{"byteLength": len(binary)}],
        "bufferViews": [{"buffer": 0, "byteLength": len(binary)}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "nodes": [{"mesh": 0}],
        **changes,
    }
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def positions(**changes: Any) -> dict[str, Any]:
    return {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3", **changes}


def instanced(*accessors: dict[str, Any], views: tuple[dict[str, Any], ...] = ()) -> bytes:
    attributes = {"attributes": {"TRANSLATION": 1}}
    return glb(
        accessors=[positions(), *accessors],
        bufferViews=[{"buffer": 0, "byteLength": len(POINTS)}, *views],
        nodes=[{"mesh": 0, "extensions": {"EXT_mesh_gpu_instancing": attributes}}],
    )


def repeated(count: int, mode: int) -> bytes:
    """A mesh that names the same strip of 10^6 corners ``count`` times; each has its own vertices."""
    corners = np.arange(MILLION, dtype="<u4") % 3
    views = [{"buffer": 0, "byteLength": 36}, {"buffer": 0, "byteOffset": 36, "byteLength": corners.nbytes}]
    indices = {"bufferView": 1, "componentType": 5125, "count": MILLION, "type": "SCALAR"}
    primitive = {"attributes": {"POSITION": 0}, "indices": 1, "mode": mode}
    return glb(
        POINTS + corners.tobytes(),
        bufferViews=views,
        accessors=[positions(), indices],
        meshes=[{"primitives": [primitive] * count}],
    )


MANY_NODES = [{"mesh": 0}] * 100_000
NOTHING: list[dict[str, Any]] = [{"primitives": []}]
LONG = positions(count=10**9, componentType=5125, type="SCALAR")

STRIP = [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1, "mode": 5}]}]
INSTANCES = positions(count=2 * MILLION)
WITHOUT_VIEW = {key: value for key, value in INSTANCES.items() if key != "bufferView"}
NO_VALUES = {"count": 0, "indices": {"bufferView": 0, "componentType": 5121}, "values": {"bufferView": 0}}
TWO_ROWS = struct.pack("<8i", 3, 0, 1, 2, -1, 0, 1, 2)
LONG_SECOND = struct.pack("<4I", 3, 0, 1, 2) + b"\xff" * 16
HUGE = {"mesh": 0, "matrix": [1e200] * 16}


def elements(lines: bytes) -> bytes:
    return b"ply\nformat ascii 1.0\n" + lines + b"end_header\n"


def chain(levels: int) -> bytes:
    return glb(nodes=[{"children": [k + 1]} for k in range(levels - 1)] + [{"mesh": 0}])


def off_comb(corners: int) -> str:
    return f"OFF\n{corners} 1 0\n{zigzag(corners)}{corners} " + " ".join(map(str, range(corners)))


def large_mesh_everywhere() -> bytes:
    strip = [{"primitives": [{"attributes": {"POSITION": 0}, "mode": 5}]}]
    return glb(bytes(80_000 * 12), accessors=[positions(count=80_000)], nodes=MANY_NODES, meshes=strip)


def many_arrays(count: int) -> bytes:
    """A mesh of ``count`` arrays of vertices, which all are the same bytes."""
    rows = 300_000
    primitives = [{"attributes": {"POSITION": k}, "mode": 5, "indices": count} for k in range(count)]
    indices = positions(count=9, componentType=5121, type="SCALAR")
    arrays = [positions(count=rows)] * count + [indices]
    return glb(bytes(rows * 12), accessors=arrays, meshes=[{"primitives": primitives}])


PLY: list[Attack] = [
    ("ply list longer than the file", mesh("ply", ply(struct.pack("<I", 10**6) + bytes(12))), "bad.ply"),
    ("ply second list longer than the file", mesh("ply", ply(LONG_SECOND, faces=2)), "faces"),
    ("ply list of -1", mesh("ply", ply(struct.pack("<4i", -1, 0, 1, 2), listed="int int")), "bad.ply"),
    ("ply list of -1 in the second row", mesh("ply", ply(TWO_ROWS, faces=2, listed="int int")), "at least 0"),
    ("ply list of -2^63", mesh("ply", ply(struct.pack("<q3i", -(2**63), 0, 1, 2), listed="int64 int")), "bad.ply"),
    ("ply list of 2^64 - 1", mesh("ply", ply(b"\xff" * 20, listed="uint64 int")), "bad.ply"),
    ("ply list counted in floats", mesh("ply", ply(bytes(16), listed="float int")), "integers"),
    ("ply list of 10^12, as text", mesh("ply", ply("1000000000000 0 1 2\n", kind="ascii")), "bad.ply"),
    ("ply list of -3, as text", mesh("ply", ply("-3 0 1 2\n", kind="ascii", listed="int int")), "bad.ply"),
    ("ply list of 2.5, as text", mesh("ply", ply("2.5 0 1 2\n", kind="ascii")), "bad.ply"),
    ("ply list of nan, as text", mesh("ply", ply("nan 0 1 2\n", kind="ascii")), "bad.ply"),
    ("ply list of 1e300, as text", mesh("ply", ply("1e300 0 1 2\n", kind="ascii")), "bad.ply"),
    ("ply of 10^12 - 1 faces", mesh("ply", ply(bytes(16), faces=10**12 - 1)), "element face"),
    ("ply of 10^12 faces", mesh("ply", ply(bytes(16), faces=10**12)), "header"),
    ("ply of 10^6 rows without a column", mesh("ply", elements(b"element x 10000000\n" * 2000)), "bad.ply"),
    ("ply of 30,000 elements", mesh("ply", elements(b"element x 1\n" * 30_000)), "bad.ply"),
    ("ply index of 1e300", mesh("ply", ply("3 0 1 1e300\n", kind="ascii", listed="uchar double")), "bad.ply"),
]  # fmt: skip

OFF: list[Attack] = [
    ("off of 10^12 faces", mesh("off", f"OFF\n3 1000000000000 0\n{VERTICES}"), "counts"),
    ("off of 1e300 vertices", mesh("off", f"OFF\n1e300 1 0\n{VERTICES}"), "bad.off"),
    ("off of -1 faces", mesh("off", f"OFF\n3 -1 0\n{VERTICES}"), "at least 0"),
    ("off of 1.5 vertices", mesh("off", f"OFF\n1.5 1 0\n{VERTICES}"), "integers"),
    ("off of nan vertices", mesh("off", f"OFF\nnan 1 0\n{VERTICES}"), "bad.off"),
    ("off face of 10^12 corners", mesh("off", f"OFF\n3 1 0\n{VERTICES}1000000000000 0 1 2\n"), "bad.off"),
    ("off face of -3 corners", mesh("off", f"OFF\n3 1 0\n{VERTICES}-3 0 1 2\n"), "bad.off"),
    ("off face of nan corners", mesh("off", f"OFF\n3 1 0\n{VERTICES}nan 0 1 2\n"), "bad.off"),
    ("off of 10^6 bare prefixes", mesh("off", "STCN" * MILLION + "\n3 1 0\n"), "OFF"),
    ("off of 10^6 empty faces", mesh("off", f"OFF\n3 {MILLION} 0\n{VERTICES}" + "0\n" * MILLION), "at least one face"),
]  # fmt: skip

POLYGONS: list[Attack] = [
    ("comb of 100,000 corners", mesh("obj", comb_obj(100_000)), "10000 corners"),
    ("off comb of 300,000 corners", mesh("off", off_comb(300_000)), "10000 corners"),
    ("obj face of 10^6 corners on one line", mesh("obj", "v 0 0 0\n" + "f" + " 1" * MILLION), "lines of less than"),
    ("outline of 10,000 corners that crosses itself all over", mesh("off", tangle(1, 10_000)), "cross themselves"),
    ("outline of 400 corners that crosses itself all over", mesh("off", tangle(1, 400)), "cross themselves"),
]  # fmt: skip

GLB: list[Attack] = [
    ("glb of 10^9 instances", mesh("glb", instanced(positions(count=10**9))), "500000 places"),
    ("glb of 10^6 instances in one place", mesh("glb", instanced(positions(count=MILLION))), "500000 places"),
    ("glb of instances beyond the file", mesh("glb", instanced(positions(count=400_000))), "larger than the file"),
    ("glb of instances without a view", mesh("glb", instanced(WITHOUT_VIEW)), "500000 places"),
    ("glb of instances of zeros", mesh("glb", instanced({**WITHOUT_VIEW, "sparse": NO_VALUES})), "500000 places"),
    ("glb of 100,000 nodes of a large mesh", mesh("glb", large_mesh_everywhere()), "vertices"),
    ("glb of 600,000 nodes of nothing", mesh("glb", glb(nodes=MANY_NODES * 6, meshes=NOTHING)), "100000 nodes"),
    ("glb strip of 10^9 corners", mesh("glb", glb(accessors=[positions(), LONG], meshes=STRIP)), "8000000 faces"),
    ("glb strips of 10^6 corners, 100 times", mesh("glb", repeated(100, 5)), "faces"),
    ("glb fans of 10^6 corners, 100 times", mesh("glb", repeated(100, 6)), "faces"),
    ("glb of one array under 1,000 numbers", mesh("glb", many_arrays(1000)), "vertices"),
    ("glb of 65 levels", mesh("glb", chain(65)), "64 levels"),
    ("glb of 100,000 levels", mesh("glb", chain(100_000)), "64 levels"),
    ("glb of a scene that names a node 10^5 times", mesh("glb", glb(scenes=[{"nodes": [0] * 100_000}])), "once"),
    ("glb of a matrix beyond float64", mesh("glb", glb(nodes=[{**HUGE, "children": [1]}, HUGE])), "finite"),
]  # fmt: skip

TABLE = [*PLY, *OFF, *POLYGONS, *GLB]


@pytest.mark.parametrize(("attack", "part"), [pytest.param(a, part, id=name) for name, a, part in TABLE])
def test_attack(attack: Callable[[Path], Any], part: str, tmp_path: Path) -> None:
    must_be_refused(attack, part, tmp_path)
