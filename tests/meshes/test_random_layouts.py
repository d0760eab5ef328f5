"""Mesh files of random layouts, against the values that were written and a small reader after the text of glTF 2.0."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from shape3d_amodal.meshes.formats.glb import parse_glb
from shape3d_amodal.meshes.formats.obj import parse_obj
from shape3d_amodal.meshes.formats.off import parse_off
from shape3d_amodal.meshes.formats.ply import parse_ply

MANY = settings(max_examples=60, deadline=None)


def area(verts: np.ndarray, faces: np.ndarray) -> float:
    corners = verts[faces]
    crossed = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return float(np.linalg.norm(crossed, axis=1).sum() / 2)


@st.composite
def outlines(draw: Any) -> np.ndarray:
    """A polygon [n,2] that does not cross itself: a star, a comb, or a spiral, with corners on its edges or not."""
    seed = draw(st.integers(0, 2**32 - 1))
    numbers = np.random.default_rng(seed)
    kind, count = draw(st.sampled_from(["star", "comb", "spiral"])), draw(st.integers(3, 12))
    if kind == "star":
        angle = 2 * np.pi * (np.arange(count) + numbers.uniform(0.1, 0.9, count)) / count
        flat = np.stack([np.cos(angle), np.sin(angle)], axis=1) * numbers.uniform(0.2, 1, count)[:, None]
    elif kind == "comb":
        teeth = [(x, y) for x in range(count) for y in (0.2 + numbers.random(), 2.0)]
        flat = np.array([(0, 0), *((x + (y > 1.5) * 0.5, y) for x, y in teeth), (count, 0)], float)
    else:
        turn = np.linspace(0.3, 4 * np.pi, 4 * count)
        inner = np.stack([turn * np.cos(turn), turn * np.sin(turn)], axis=1)
        flat = np.concatenate([inner, (inner * (1 + 1.5 / turn[:, None]))[::-1]])
    if draw(st.booleans()):
        after = np.roll(flat, -1, axis=0)
        flat = np.stack([flat, (flat + after) / 2], axis=1).reshape(-1, 2)
    flat = np.roll(flat, draw(st.integers(0, len(flat) - 1)), axis=0)
    return flat[::-1] if draw(st.booleans()) else flat


def in_space(flat: np.ndarray, seed: int) -> np.ndarray:
    """The outline in a random plane, exact as float32."""
    axes = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0][:2]
    return (flat @ axes + [3.0, -2, 1]).astype(np.float32).astype(np.float64)


def as_text(points: np.ndarray) -> list[str]:
    return [" ".join(repr(float(value)) for value in row) for row in points]


def obj_of(points: np.ndarray) -> bytes:
    lines = [f"v {row}" for row in as_text(points)]
    return "\n".join([*lines, "f " + " ".join(str(k + 1) for k in range(len(points)))]).encode()


def off_of(points: np.ndarray) -> bytes:
    count = len(points)
    return "\n".join(["OFF", f"{count} 1 0", *as_text(points), f"{count} " + " ".join(map(str, range(count)))]).encode()


def ply_of(points: np.ndarray) -> bytes:
    head = f"ply\nformat binary_big_endian 1.0\nelement vertex {len(points)}\n"
    head += "".join(f"property double {axis}\n" for axis in "xyz")
    head += "element face 1\nproperty list ushort int vertex_indices\nend_header\n"
    return (
        head.encode()
        + points.astype(">f8").tobytes()
        + struct.pack(f">H{len(points)}i", len(points), *range(len(points)))
    )


@MANY
@given(outlines(), st.integers(0, 1000))
def test_polygons_in_any_plane(flat: np.ndarray, seed: int) -> None:
    polygon = shapely.Polygon(flat)
    assert polygon.is_valid, "the test draws outlines that do not cross themselves"
    points = in_space(flat, seed)
    for parse, content in ((parse_obj, obj_of(points)), (parse_off, off_of(points)), (parse_ply, ply_of(points))):
        mesh = parse(content)
        np.testing.assert_array_equal(mesh.verts, points)
        assert np.unique(mesh.faces).tolist() == list(range(len(points)))
        np.testing.assert_allclose(area(mesh.verts, mesh.faces), polygon.area, rtol=1e-5)
        parts = [shapely.Polygon(flat[face]) for face in mesh.faces]
        union = shapely.union_all([part for part in parts if part.area > 1e-9])
        assert union.symmetric_difference(polygon).area < 1e-5 * polygon.area


PLY_TYPES = {
    "char": "i1",
    "uchar": "u1",
    "short": "i2",
    "ushort": "u2",
    "int": "i4",
    "uint": "u4",
    "float": "f4",
    "double": "f8",
}


@st.composite
def ply_files(draw: Any) -> tuple[bytes, np.ndarray, list[list[int]]]:
    """A PLY file, its vertices, and its polygons, which are triangles and convex quadrilaterals."""
    kind = draw(st.sampled_from(["ascii", "binary_little_endian", "binary_big_endian"]))
    numbers = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = draw(st.integers(4, 9))
    coordinate = draw(st.sampled_from(["float", "double", "short", "char"]))
    verts = numbers.integers(-50, 50, (size, 3)).astype(np.float64)
    faces = [numbers.choice(size, 3, replace=False).tolist() for _ in range(draw(st.integers(1, 5)))]

    def extra(what: str) -> list[tuple[str, str | None, str]]:
        names = draw(st.lists(st.sampled_from("abcd"), unique=True, max_size=2))
        return [
            (f"{what}{name}", draw(st.sampled_from([None, "uchar", "int"])), draw(st.sampled_from(list(PLY_TYPES))))
            for name in names
        ]

    def table(
        columns: list[tuple[str, str | None, str]], rows: int, given: dict[str, list[Any]]
    ) -> tuple[str, list[Any]]:
        head = "".join(f"property {f'list {count} ' if count else ''}{one} {name}\n" for name, count, one in columns)
        body = []
        for row in range(rows):
            for name, count, one in columns:
                value = given[name][row] if name in given else None
                if count is None:
                    body.append((one, int(numbers.integers(0, 99)) if value is None else value))
                else:
                    listed = numbers.integers(0, 99, int(numbers.integers(0, 4))).tolist() if value is None else value
                    body += [(count, len(listed)), *((one, entry) for entry in listed)]
        return head, body

    axes = [(axis, None, coordinate) for axis in "xyz"]
    vertex = draw(st.permutations([*axes, *extra("v")]))
    index = draw(st.sampled_from(["vertex_indices", "vertex_index"]))
    listed = (
        index,
        draw(st.sampled_from(["uchar", "int", "ushort"])),
        draw(st.sampled_from(["uchar", "int", "uint", "short"])),
    )
    face = draw(st.permutations([listed, *extra("f")]))
    elements = {
        "vertex": (size, *table(vertex, size, {axis: verts[:, k].tolist() for k, axis in enumerate("xyz")})),
        "face": (len(faces), *table(face, len(faces), {index: faces})),
        "other": (3, *table([("o", None, "float"), *extra("o")], 3, {})),
    }
    order = draw(st.permutations(list(elements)))
    line = draw(st.sampled_from(["\n", "\r\n"]))
    head = f"ply\nformat {kind} 1.0\ncomment made by a test\n"
    body = b""
    for name in order:
        rows, properties, values = elements[name]
        head += f"element {name} {rows}\n{properties}"
        if kind == "ascii":
            body += "\n".join(_rows(values, rows)).encode() + b"\n"
        else:
            sign = "<" if kind == "binary_little_endian" else ">"
            body += b"".join(np.array(value).astype(sign + PLY_TYPES[one]).tobytes() for one, value in values)
    return (head + "end_header\n").replace("\n", line).encode() + body, verts, faces


def _rows(values: list[tuple[str, Any]], rows: int) -> list[str]:
    """All values of an element, as text without regard to lines: readers go by the counts."""
    words = [repr(float(value)) if one in ("float", "double") else str(int(value)) for one, value in values]
    width = -(-len(words) // rows) if rows else 1
    return [" ".join(words[k : k + width]) for k in range(0, len(words), max(width, 1))]


@MANY
@given(ply_files())
def test_ply_layouts(file: tuple[bytes, np.ndarray, list[list[int]]]) -> None:
    content, verts, faces = file
    mesh = parse_ply(content)
    np.testing.assert_array_equal(mesh.verts, verts)
    assert mesh.faces.tolist() == faces


@MANY
@given(st.data())
def test_off_layouts(data: st.DataObject) -> None:
    draw = data.draw
    numbers = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    words = [word for word in ("ST", "C", "N") if draw(st.booleans())]
    more = sum({"ST": 2, "C": 4, "N": 3}[word] for word in words)
    verts = numbers.integers(-9, 9, (6, 3)).astype(float)
    faces = [numbers.choice(6, 3, replace=False).tolist() for _ in range(draw(st.integers(1, 4)))]
    colour = draw(st.sampled_from(["", " 1", " 10 20 30", " 0.5 0.5 0.5 1"]))

    def junk() -> str:
        return draw(st.sampled_from(["", "", "\n", " # words 1 2 3", "\n# 7 8 9", "\t"]))

    lines = [f"{''.join(words)}OFF{junk()}", f"6 {len(faces)}{draw(st.sampled_from(['', ' 0']))}{junk()}"]
    lines += [" ".join(map(str, [*row, *numbers.random(more).round(3)])) + junk() for row in verts.tolist()]
    lines += [f"3 {' '.join(map(str, face))}{colour}{junk()}" for face in faces]
    mesh = parse_off(draw(st.sampled_from(["\n", "\r\n"])).join(lines).encode())
    np.testing.assert_array_equal(mesh.verts, verts)
    assert mesh.faces.tolist() == faces


COMPONENTS = {5120: "i1", 5121: "u1", 5122: "i2", 5123: "u2", 5125: "u4", 5126: "f4"}


def glb(document: dict[str, Any], binary: bytes) -> bytes:
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    binary += b"\0" * (-len(binary) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


@st.composite
def glb_files(draw: Any) -> tuple[dict[str, Any], bytes]:
    numbers = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    binary, views, accessors, primitives = b"", [], [], []
    for _ in range(draw(st.integers(1, 3))):
        count = draw(st.sampled_from([3, 6, 9]))  # a multiple of 3, as triangles without indices must have
        component = draw(st.sampled_from([5120, 5121, 5122, 5123, 5126]))
        kind = np.dtype(COMPONENTS[component])
        low, high = (-1000, 1000) if kind.kind == "f" else (np.iinfo(kind).min, np.iinfo(kind).max)
        values = numbers.integers(low, high, (count, 3), endpoint=True).astype(kind)
        values[0, 0] = low  # which, normalized, would lie below -1
        stride = -(-3 * kind.itemsize // 4) * 4 + draw(st.sampled_from([0, 4]))
        rows = np.zeros((count, stride), np.uint8)
        rows[:, : 3 * kind.itemsize] = values.view(np.uint8).reshape(count, -1)
        binary += b"\0" * draw(st.sampled_from([0, 4, 8]))
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": rows.size, "byteStride": stride})
        binary += rows.tobytes()
        position = {"bufferView": len(views) - 1, "componentType": component, "count": count, "type": "VEC3"}
        if kind.kind != "f" and draw(st.booleans()):
            position["normalized"] = True
        accessors.append(position)
        primitive: dict[str, Any] = {"attributes": {"POSITION": len(accessors) - 1}}
        mode = draw(st.sampled_from([None, 4, 5, 6, 1]))
        if mode is not None:
            primitive["mode"] = mode
        if draw(st.booleans()):
            component = draw(st.sampled_from([5121, 5123, 5125]))
            listed = numbers.integers(0, count, 3 * draw(st.integers(1, 4))).astype(COMPONENTS[component])
            binary += b"\0" * (-len(binary) % 4)
            views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": listed.nbytes})
            binary += listed.tobytes() + b"\0" * (-listed.nbytes % 4)
            accessors.append(
                {"bufferView": len(views) - 1, "componentType": component, "count": len(listed), "type": "SCALAR"}
            )
            primitive["indices"] = len(accessors) - 1
        primitives.append(primitive)
    scale, shift = draw(st.sampled_from([1.0, 0.5, 2.0])), draw(st.integers(-5, 5))
    nodes: list[dict[str, Any]] = [{"mesh": 0}, {"children": [0], "translation": [shift, 0, 1], "scale": [scale] * 3}]
    if draw(st.booleans()):
        # A quarter turn about z, then a shift, by columns.
        nodes.append({"mesh": 0, "matrix": [0, 1, 0, 0, -1, 0, 0, 0, 0, 0, 1, 0, shift, 2, 3, 1]})
    document = {
        "asset": {"version": "2.0"},
        "extensionsUsed": ["KHR_mesh_quantization"],
        "extensionsRequired": ["KHR_mesh_quantization"],
        "buffers": [{"byteLength": len(binary)}],
        "bufferViews": views,
        "accessors": accessors,
        "meshes": [{"primitives": primitives}],
        "nodes": nodes,
        "scenes": [{"nodes": list(range(1, len(nodes)))}],
        "scene": 0,
    }
    return document, binary


def accessor(document: dict[str, Any], binary: bytes, number: int) -> np.ndarray:
    """The values of an accessor, one by one, as sections 3.6.2 and 3.11 say."""
    one = document["accessors"][number]
    view = document["bufferViews"][one["bufferView"]]
    kind = np.dtype(COMPONENTS[one["componentType"]]).newbyteorder("<")
    width = {"SCALAR": 1, "VEC3": 3}[one["type"]]
    stride = view.get("byteStride", width * kind.itemsize)
    begin = view.get("byteOffset", 0) + one.get("byteOffset", 0)
    rows = [np.frombuffer(binary, kind, width, begin + k * stride) for k in range(one["count"])]
    values = np.array(rows, np.float64)
    if one.get("normalized"):
        values = np.maximum(values / np.iinfo(kind).max, -1)
    return values


def triangles_of(document: dict[str, Any], binary: bytes) -> np.ndarray:
    """All triangles [T,3,3] of the scene, after the text of glTF 2.0 (3.7.2.1: modes; 3.5.2: transforms)."""
    found = []

    def visit(node: dict[str, Any], above: np.ndarray) -> None:
        local = np.eye(4)
        if "matrix" in node:
            local = np.array(node["matrix"], float).reshape(4, 4).T
        else:
            local[:3, :3] = np.diag(node.get("scale", [1, 1, 1]))
            local[:3, 3] = node.get("translation", [0, 0, 0])
        whole = above @ local
        for one in document["meshes"][node["mesh"]]["primitives"] if "mesh" in node else ():
            points = accessor(document, binary, one["attributes"]["POSITION"]) @ whole[:3, :3].T + whole[:3, 3]
            order = list(range(len(points)))
            if "indices" in one:
                order = accessor(document, binary, one["indices"])[:, 0].astype(int).tolist()
            mode = one.get("mode", 4)
            if mode == 4:
                found.extend(points[order[k : k + 3]] for k in range(0, len(order) - 2, 3))
            elif mode == 5:
                found.extend(
                    points[[order[k], order[k + 1 + k % 2], order[k + 2 - k % 2]]] for k in range(len(order) - 2)
                )
            elif mode == 6:
                found.extend(points[[order[k + 1], order[k + 2], order[0]]] for k in range(len(order) - 2))
        for child in node.get("children", []):
            visit(document["nodes"][child], whole)

    for root in document["scenes"][0]["nodes"]:
        visit(document["nodes"][root], np.eye(4))
    return np.array(found).reshape(-1, 3, 3)


def without_degenerate(triangles: np.ndarray) -> list[list[float]]:
    """Those with an area, each from its smallest corner on, sorted: readers may leave out the others."""
    crossed = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    kept = triangles[np.linalg.norm(crossed, axis=1) > 1e-9]
    turned = [min((np.roll(one, -k, axis=0).round(6) + 0.0).ravel().tolist() for k in range(3)) for one in kept]
    return sorted(turned)


@MANY
@given(glb_files())
def test_glb_layouts(file: tuple[dict[str, Any], bytes]) -> None:
    expected = without_degenerate(triangles_of(*file))
    mesh = parse_glb(glb(*file))
    np.testing.assert_allclose(without_degenerate(mesh.verts[mesh.faces]), expected, rtol=1e-6, atol=1e-6)
    lines = sum(one.get("mode") == 1 for one in file[0]["meshes"][0]["primitives"])
    assert bool(mesh.notes) == bool(lines), mesh.notes


def test_the_reader_of_this_test() -> None:
    """A unit square as a strip has the area 1."""
    square = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]], "<f4").tobytes()
    document = {
        "bufferViews": [{"byteLength": 48}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3"}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "mode": 5}]}],
        "nodes": [{"mesh": 0}],
        "scenes": [{"nodes": [0]}],
    }
    triangles = triangles_of(document, square)
    assert area(triangles.reshape(-1, 3), np.arange(6).reshape(2, 3)) == 1
