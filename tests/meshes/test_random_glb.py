"""GLB files of random layouts, against a small reader after the text of glTF 2.0, which turns by scipy's rotations."""

from __future__ import annotations

import json
import struct
from collections import Counter
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from shape3d_amodal.meshes.formats.glb import parse_glb

MANY = settings(max_examples=80, deadline=None)
COMPONENTS = {5120: "i1", 5121: "u1", 5122: "i2", 5123: "u2", 5125: "u4", 5126: "f4"}
LEFT_OUT = {0: "points", 1: "lines", 2: "lines", 3: "lines"}


def glb(document: dict[str, Any], binary: bytes) -> bytes:
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    binary += b"\0" * (-len(binary) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


class Writer:
    """The arrays of a file, each in a view of its own with other bytes before, between and behind its rows."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.binary = b""
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def add(self, values: np.ndarray, component: int, kind: str, *, strided: bool = True, **more: Any) -> int:
        draw = self.draw
        stored = np.ascontiguousarray(values.astype(COMPONENTS[component]))
        row = stored.view(np.uint8).reshape(len(stored), -1)
        width = row.shape[1]
        stride = -(-width // 4) * 4 + draw(st.sampled_from([0, 4, 12])) if strided else width
        inner = draw(st.sampled_from([None, 0, 4, 8, 24]))
        table = np.full((len(row), stride), 201, np.uint8)
        table[:, :width] = row
        last = draw(st.booleans()) * (stride - width)  # a view may end with the last number
        content = b"\xc9" * (inner or 0) + table.tobytes()[: table.size - last]
        self.binary += b"\xc9" * (draw(st.sampled_from([0, 4, 8])) + -len(self.binary) % 4)
        view = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(content)}
        self.views.append({**view, "byteStride": stride} if strided else view)
        self.binary += content
        accessor = {"bufferView": len(self.views) - 1, "componentType": component, "count": len(stored), "type": kind}
        self.accessors.append({**accessor, **({} if inner is None else {"byteOffset": inner}), **more})
        return len(self.accessors) - 1


def primitive(draw: Any, numbers: np.random.Generator, writer: Writer) -> dict[str, Any]:
    count = draw(st.sampled_from([3, 6, 9]))  # a multiple of 3, as triangles without indices must have
    component = draw(st.sampled_from([5120, 5121, 5122, 5123, 5126]))
    kind = np.dtype(COMPONENTS[component])
    low, high = (-1000, 1000) if kind.kind == "f" else (np.iinfo(kind).min, np.iinfo(kind).max)
    values = numbers.integers(low, high, (count, 3), endpoint=True)
    values[0, 0] = low  # which, normalized, would lie below -1
    normalized = {"normalized": True} if kind.kind != "f" and draw(st.booleans()) else {}
    made: dict[str, Any] = {"attributes": {"POSITION": writer.add(values, component, "VEC3", **normalized)}}
    mode = draw(st.sampled_from([None, 4, 4, 5, 6, 0, 1, 2, 3]))
    if mode is not None:
        made["mode"] = mode
    if draw(st.booleans()):
        component = draw(st.sampled_from([5121, 5123, 5125]))
        listed = numbers.integers(0, count, 3 * draw(st.integers(1, 4)))
        made["indices"] = writer.add(listed[:, None], component, "SCALAR", strided=False)
    return made


def turns(numbers: np.random.Generator, count: int) -> np.ndarray:
    """Unit quaternions [count,4], x y z w."""
    drawn = numbers.normal(size=(count, 4))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def instances(draw: Any, numbers: np.random.Generator, writer: Writer) -> dict[str, Any]:
    """EXT_mesh_gpu_instancing, with at least one of its attributes; rotations may be normalized integers."""
    count = draw(st.integers(1, 4))
    names = draw(st.sets(st.sampled_from(["TRANSLATION", "ROTATION", "SCALE"]), min_size=1))
    attributes = {}
    if "TRANSLATION" in names:
        attributes["TRANSLATION"] = writer.add(numbers.uniform(-9, 9, (count, 3)), 5126, "VEC3")
    if "ROTATION" in names:
        component = draw(st.sampled_from([5126, 5122, 5120]))
        most = 1 if component == 5126 else np.iinfo(COMPONENTS[component]).max
        values = turns(numbers, count) * most
        whole = {} if component == 5126 else {"normalized": True}
        attributes["ROTATION"] = writer.add(values if most == 1 else values.round(), component, "VEC4", **whole)
    if "SCALE" in names:
        signs = numbers.choice([-1.0, 1.0], (count, 3))
        attributes["SCALE"] = writer.add(signs * numbers.uniform(0.5, 2, (count, 3)), 5126, "VEC3")
    return {"EXT_mesh_gpu_instancing": {"attributes": attributes}}


def placed(draw: Any, numbers: np.random.Generator) -> dict[str, Any]:
    """The transform of a node: none, some of its parts, or a matrix, by columns."""
    if draw(st.booleans()):
        parts = {
            "translation": numbers.uniform(-5, 5, 3).tolist(),
            "rotation": turns(numbers, 1)[0].tolist(),
            "scale": (numbers.choice([-1.0, 1.0], 3) * numbers.uniform(0.5, 2, 3)).tolist(),
        }
        return {name: parts[name] for name in draw(st.sets(st.sampled_from(sorted(parts))))}
    whole = np.eye(4)
    whole[:3, :3] = numbers.normal(size=(3, 3)) + 2 * np.eye(3)
    whole[:3, 3] = numbers.uniform(-5, 5, 3)
    return {"matrix": whole.T.ravel().tolist()}


@st.composite
def glb_files(draw: Any) -> tuple[dict[str, Any], bytes, set[str]]:
    """The JSON, the binary chunk, and the notes that a reader owes."""
    numbers = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    writer = Writer(draw)
    meshes = [
        {"primitives": [primitive(draw, numbers, writer) for _ in range(draw(st.integers(1, 3)))]} for _ in range(2)
    ]
    nodes = [{"mesh": 0, **placed(draw, numbers)}, {"children": [0], **placed(draw, numbers)}]
    nodes.append({"mesh": draw(st.integers(0, 1)), **placed(draw, numbers)})
    for node in nodes:
        if "mesh" in node and draw(st.booleans()):
            node["extensions"] = instances(draw, numbers, writer)
    hidden = draw(st.integers(0, 2))
    nodes += [{"mesh": 0, "translation": [9, 9, 9]}] * hidden
    document = {
        "asset": {"version": "2.0"},
        "extensionsUsed": ["KHR_mesh_quantization", "EXT_mesh_gpu_instancing"],
        "extensionsRequired": ["KHR_mesh_quantization", "EXT_mesh_gpu_instancing"],
        "buffers": [{"byteLength": len(writer.binary)}],
        "bufferViews": writer.views,
        "accessors": writer.accessors,
        "meshes": meshes,
        "nodes": nodes,
        "scenes": [{"nodes": [1, 2]}],
        "scene": 0,
    }
    named = {node["mesh"] for node in nodes if "mesh" in node}
    modes = [one.get("mode", 4) for mesh in named for one in meshes[mesh]["primitives"]]
    owed = Counter(f"primitive of {LEFT_OUT[mode]}" for mode in modes if mode in LEFT_OUT)
    notes = {f"{count} {one if count == 1 else one.replace(' ', 's ', 1)} left out" for one, count in owed.items()}
    if hidden:
        notes.add(f"{hidden} node{'s' * (hidden > 1)} outside of the scene left out")
    if 1 not in named:
        notes.add("1 mesh that no node names left out")
    return document, writer.binary, notes


def array(document: dict[str, Any], binary: bytes, number: int) -> np.ndarray:
    """The values of an accessor, one by one, as sections 3.6.2 and 3.11 say."""
    one = document["accessors"][number]
    view = document["bufferViews"][one["bufferView"]]
    kind = np.dtype(COMPONENTS[one["componentType"]]).newbyteorder("<")
    width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[one["type"]]
    stride = view.get("byteStride", width * kind.itemsize)
    begin = view.get("byteOffset", 0) + one.get("byteOffset", 0)
    rows = [np.frombuffer(binary, kind, width, begin + k * stride) for k in range(one["count"])]
    values = np.array(rows, np.float64)
    if one.get("normalized"):
        values = np.maximum(values / np.iinfo(kind).max, -1)
    return values


def affine(shift: Any = (0, 0, 0), turn: Any = (0, 0, 0, 1), scale: Any = (1, 1, 1)) -> np.ndarray:
    """T R S of section 3.5.2."""
    whole = np.eye(4)
    whole[:3, :3] = Rotation.from_quat(np.asarray(turn)).as_matrix() @ np.diag(scale)
    whole[:3, 3] = shift
    return whole


def corners_of(mode: int, order: list[int]) -> list[list[int]]:
    """The corners of the triangles of section 3.7.2.1."""
    if mode == 4:
        return [order[k : k + 3] for k in range(0, len(order) - 2, 3)]
    if mode == 5:
        return [[order[k], order[k + 1 + k % 2], order[k + 2 - k % 2]] for k in range(len(order) - 2)]
    if mode == 6:
        return [[order[k + 1], order[k + 2], order[0]] for k in range(len(order) - 2)]
    return []


def triangles_of(document: dict[str, Any], binary: bytes) -> np.ndarray:
    """All triangles [T,3,3] of the scene, after the text of glTF 2.0; what a mirror turns is turned back (3.7.4)."""
    found = []

    def instances_of(node: dict[str, Any]) -> list[np.ndarray]:
        if "extensions" not in node:
            return [np.eye(4)]
        attributes = node["extensions"]["EXT_mesh_gpu_instancing"]["attributes"]
        arguments = {"TRANSLATION": "shift", "ROTATION": "turn", "SCALE": "scale"}
        read = {arguments[name]: array(document, binary, number) for name, number in attributes.items()}
        count = len(next(iter(read.values())))
        return [affine(**{name: values[k] for name, values in read.items()}) for k in range(count)]

    def visit(node: dict[str, Any], above: np.ndarray) -> None:
        if "matrix" in node:
            local = np.array(node["matrix"], float).reshape(4, 4).T
        else:
            parts = {"translation": "shift", "rotation": "turn", "scale": "scale"}
            local = affine(**{parts[name]: node[name] for name in parts if name in node})
        for one in document["meshes"][node["mesh"]]["primitives"] if "mesh" in node else ():
            points = array(document, binary, one["attributes"]["POSITION"])
            order = list(range(len(points)))
            if "indices" in one:
                order = array(document, binary, one["indices"])[:, 0].astype(int).tolist()
            for whole in (above @ local @ instance for instance in instances_of(node)):
                moved = points @ whole[:3, :3].T + whole[:3, 3]
                back = -1 if np.linalg.det(whole[:3, :3]) < 0 else 1
                found.extend(moved[corners[::back]] for corners in corners_of(one.get("mode", 4), order))
        for child in node.get("children", []):
            visit(document["nodes"][child], above @ local)

    for root in document["scenes"][0]["nodes"]:
        visit(document["nodes"][root], np.eye(4))
    return np.array(found).reshape(-1, 3, 3)


def without_degenerate(triangles: np.ndarray) -> np.ndarray:
    """Those with an area [T,9], each from its smallest corner on, sorted: readers may leave out the others."""
    first, second = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    size = np.linalg.norm(np.cross(first, second), axis=1)
    kept = triangles[size > 1e-9 * np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)]
    turned = [min(np.roll(one, -k, axis=0).round(6).ravel().tolist() for k in range(3)) for one in kept]
    return np.array(sorted(turned)).reshape(-1, 9)


@MANY
@given(glb_files())
def test_glb_layouts(file: tuple[dict[str, Any], bytes, set[str]]) -> None:
    document, binary, notes = file
    mesh = parse_glb(glb(document, binary))
    expected = without_degenerate(triangles_of(document, binary))
    np.testing.assert_allclose(without_degenerate(mesh.verts[mesh.faces]), expected, rtol=1e-6, atol=1e-5)
    assert set(mesh.notes) == notes


def test_the_reader_of_this_test() -> None:
    """A unit square as a strip, in two places and a quarter turn about z."""
    square = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [5, 0, 0], [7, 0, 0]], "<f4").tobytes()
    document = {
        "bufferViews": [{"byteLength": 72}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3"},
            {"bufferView": 0, "byteOffset": 48, "componentType": 5126, "count": 2, "type": "VEC3"},
        ],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "mode": 5}]}],
        "nodes": [
            {
                "mesh": 0,
                "rotation": [0, 0, 0.5**0.5, 0.5**0.5],
                "extensions": {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": 1}}},
            }
        ],
        "scenes": [{"nodes": [0]}],
    }
    triangles = triangles_of(document, square)
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    np.testing.assert_allclose(normals, [[0, 0, 1]] * 4, atol=1e-12)
    np.testing.assert_allclose(triangles[:2].min(axis=(0, 1)), [-1, 5, 0], atol=1e-12)
    np.testing.assert_allclose(triangles[2:].max(axis=(0, 1)), [0, 8, 0], atol=1e-12)
