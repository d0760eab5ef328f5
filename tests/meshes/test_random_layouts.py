"""Text and PLY files of random layouts, against the values that were written. GLB is in ``test_random_glb``."""

from __future__ import annotations

import struct
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

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


def obj_of(points: np.ndarray, polygons: list[list[int]]) -> bytes:
    faces = ["f " + " ".join(str(corner + 1) for corner in one) for one in polygons]
    return "\n".join([*(f"v {row}" for row in as_text(points)), *faces]).encode()


def off_of(points: np.ndarray, polygons: list[list[int]]) -> bytes:
    faces = [" ".join(map(str, [len(one), *one])) for one in polygons]
    return "\n".join(["OFF", f"{len(points)} {len(faces)} 0", *as_text(points), *faces]).encode()


def ply_of(points: np.ndarray, polygons: list[list[int]], kind: str) -> bytes:
    head = f"ply\nformat {kind} 1.0\nelement vertex {len(points)}\n"
    head += "".join(f"property double {axis}\n" for axis in "xyz")
    head += f"element face {len(polygons)}\nproperty list ushort int vertex_indices\nend_header\n"
    if kind == "ascii":
        return head.encode() + b"\n".join(off_of(points, polygons).split(b"\n")[2:])
    sign = "<" if kind == "binary_little_endian" else ">"
    rows = [struct.pack(f"{sign}H{len(one)}i", len(one), *one) for one in polygons]
    return head.encode() + points.astype(f"{sign}f8").tobytes() + b"".join(rows)


KINDS = ("ascii", "binary_little_endian", "binary_big_endian")


@MANY
@given(st.lists(outlines(), min_size=1, max_size=4), st.integers(0, 1000))
def test_polygons_in_any_planes(flats: list[np.ndarray], seed: int) -> None:
    """Each has vertices of its own, so that its triangles are known by them."""
    shapes = [shapely.Polygon(flat) for flat in flats]
    assert all(shape.is_valid for shape in shapes), "the test draws outlines that do not cross themselves"
    points = np.concatenate([in_space(flat, seed + k) for k, flat in enumerate(flats)])
    starts = np.cumsum([0, *map(len, flats)])
    polygons = [list(range(start, end)) for start, end in pairwise(starts.tolist())]
    meshes = [parse_obj(obj_of(points, polygons)), parse_off(off_of(points, polygons))]
    meshes += [parse_ply(ply_of(points, polygons, kind)) for kind in KINDS]
    for mesh in meshes:
        np.testing.assert_array_equal(mesh.verts, points)
        assert np.unique(mesh.faces).tolist() == list(range(len(points)))
        owner = np.searchsorted(starts, mesh.faces, side="right") - 1
        assert (owner == owner[:, :1]).all()
        for k, (flat, shape) in enumerate(zip(flats, shapes, strict=True)):
            faces = mesh.faces[owner[:, 0] == k]
            np.testing.assert_allclose(area(mesh.verts, faces), shape.area, rtol=1e-5)
            parts = [shapely.Polygon(flat[face - starts[k]]) for face in faces]
            union = shapely.union_all([part for part in parts if part.area > 1e-9])
            assert union.symmetric_difference(shape).area < 1e-5 * shape.area


@st.composite
def convex_polygons(draw: Any) -> tuple[np.ndarray, list[list[int]]]:
    """Vertices [V,3] on a parabola, small whole numbers in any order, and polygons among them, either way round."""
    numbers = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    along = numbers.permutation(np.arange(-7, 8))[: draw(st.integers(4, 12))]
    verts = np.stack([along, along**2, np.full(len(along), 3)], axis=1).astype(np.float64)
    polygons = []
    for _ in range(draw(st.integers(1, 5))):
        chosen = numbers.choice(len(along), numbers.integers(3, len(along), endpoint=True), replace=False)
        outline = np.roll(chosen[np.argsort(along[chosen])], numbers.integers(len(chosen)))
        polygons.append((outline[::-1] if numbers.integers(2) else outline).tolist())
    return verts, polygons


def assert_covers(faces: np.ndarray, verts: np.ndarray, polygons: list[list[int]]) -> None:
    """That the triangles cover one polygon after the other: all turn its way, and their inner edges cancel out."""
    assert len(faces) == sum(len(polygon) - 2 for polygon in polygons)
    start = 0
    for polygon in polygons:
        triangles = faces[start : start + len(polygon) - 2]
        start += len(triangles)
        x, y = np.moveaxis(verts[triangles], 2, 0)[:2]
        turns = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (y[:, 1] - y[:, 0]) * (x[:, 2] - x[:, 0])
        x, y = verts[polygon].T[:2]
        assert (np.sign(turns) == np.sign((x * np.roll(y, -1) - y * np.roll(x, -1)).sum())).all()
        edges = Counter(
            (one, other) for face in triangles.tolist() for one, other in zip(face, face[1:] + face[:1], strict=True)
        )
        for one, other in list(edges):
            both = min(edges[one, other], edges[other, one])
            edges.subtract({(one, other): both, (other, one): both})
        assert +edges == Counter(zip(polygon, polygon[1:] + polygon[:1], strict=True))


@MANY
@given(st.data())
def test_obj_layouts(data: st.DataObject) -> None:
    """Vertices and polygons among other statements, which go on behind a backslash, and with or without a note."""
    draw = data.draw
    verts, polygons = draw(convex_polygons())
    known = {"": "", "bzp 1 2": "patches (bzp)", "call a.obj": "called files (call)", "l 1 2": "lines", "p 1": "points"}
    others = st.sampled_from([*known, "# f 1 2 3 \\", "g f 1 2", "usemtl v\\", "vn 0 0 1", "s 1", "res 4 4"])
    backwards, slashes = draw(st.booleans()), draw(st.sampled_from(["", "/1", "//1", "/1/1"]))
    rows = [f"v {x:g} {y:g} {z:g}{draw(st.sampled_from(['', ' 1', ' 0.5 0.5 0.5']))}" for x, y, z in verts.tolist()]
    for polygon in polygons:
        corners = [corner - len(verts) if backwards else corner + 1 for corner in polygon]
        rows.append("f " + " ".join(f"{corner}{slashes}" for corner in corners))
    lines, told = [], Counter[str]()
    for row in rows:
        other = draw(others)
        told += Counter([known[other]] if known.get(other) else [])
        lines += [other, *([f"{other} \\", "f 1 2 3"] if other in ("vn 0 0 1", "s 1", "res 4 4") else []), row]
    text = draw(st.sampled_from(["\n", "\r\n", "\r"])).join(lines)
    cuts = draw(st.sampled_from([" ", " \\\n ", "\t", " \\\r\n"]))
    for row in rows:
        text = text.replace(row, row.replace(" ", cuts))
    mesh = parse_obj(text.encode())
    np.testing.assert_array_equal(mesh.verts, verts)
    assert_covers(mesh.faces, verts, polygons)
    assert len(mesh.notes) == len(told)
    for what, count in told.items():
        assert any(note.startswith(f"{count} statement") and f"{what} left out" in note for note in mesh.notes)


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
def ply_files(draw: Any) -> tuple[bytes, np.ndarray, list[list[int]], int]:
    """A PLY file, its vertices, its polygons, and the bytes or lines behind them."""
    kind = draw(st.sampled_from(KINDS))
    numbers = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    coordinate = draw(st.sampled_from(["float", "double", "short", "char"]))
    verts, faces = draw(convex_polygons())
    size = len(verts)

    def extra(what: str) -> list[tuple[str, str | None, str]]:
        names = draw(st.lists(st.sampled_from("abcd"), unique=True, max_size=2))
        return [
            (f"{what}{name}", draw(st.sampled_from([None, "uchar", "int"])), draw(st.sampled_from(list(PLY_TYPES))))
            for name in names
        ]

    def table(
        columns: list[tuple[str, str | None, str]], rows: int, given: dict[str, list[Any]]
    ) -> tuple[str, list[list[Any]]]:
        head = "".join(f"property {f'list {count} ' if count else ''}{one} {name}\n" for name, count, one in columns)
        body: list[list[Any]] = [[] for _ in range(rows)]
        for row in range(rows):
            for name, count, one in columns:
                value = given[name][row] if name in given else None
                if count is None:
                    body[row].append((one, int(numbers.integers(0, 99)) if value is None else value))
                else:
                    listed = numbers.integers(0, 99, int(numbers.integers(0, 4))).tolist() if value is None else value
                    body[row] += [(count, len(listed)), *((one, entry) for entry in listed)]
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
    aligned = draw(st.booleans())
    head = f"ply\nformat {kind} 1.0\ncomment made by a test\n"
    body = b""
    for name in order:
        rows, properties, values = elements[name]
        head += f"element {name} {rows}\n{properties}"
        if kind == "ascii":
            body += "".join(f"{row}\n" for row in _rows(values, aligned)).encode()
        else:
            sign = "<" if kind == "binary_little_endian" else ">"
            whole = [value for row in values for value in row]
            body += b"".join(np.array(value).astype(sign + PLY_TYPES[one]).tobytes() for one, value in whole)
    behind = draw(st.integers(0, 3)) if kind != "ascii" or aligned else 0
    if any(" list " in elements[name][1] for name in order[1 + max(map(order.index, ("vertex", "face"))) :]):
        behind = behind if kind == "ascii" else 0  # where unread lists end nobody knows
    body += b"7 7\n" * behind if kind == "ascii" else bytes(behind)
    ends = draw(st.sampled_from([("\n", "\n"), ("\r\n", "\r\n"), ("\r\n", "\n"), ("\n", "\r\n"), ("\r", "\r")]))
    first, _, rest = (head + "end_header\n").partition("\n")
    return (first + ends[0] + rest.replace("\n", ends[1])).encode() + body, verts, faces, behind


def _rows(values: list[list[tuple[str, Any]]], aligned: bool) -> list[str]:
    """The rows of an element as text, or the same numbers without regard to lines: readers then go by the counts."""
    words = [
        [repr(float(value)) if one in ("float", "double") else str(int(value)) for one, value in row] for row in values
    ]
    if aligned:
        return [" ".join(row) for row in words]
    every = [word for row in words for word in row]
    width = max(-(-len(every) // max(len(words), 1)), 1)
    return [" ".join(every[k : k + width]) for k in range(0, len(every), width)]


@MANY
@given(ply_files())
def test_ply_layouts(file: tuple[bytes, np.ndarray, list[list[int]], int]) -> None:
    content, verts, faces, behind = file
    mesh = parse_ply(content)
    np.testing.assert_array_equal(mesh.verts, verts)
    assert_covers(mesh.faces, verts, faces)
    assert [note for note in mesh.notes if "element" not in note] == (
        [f"{behind} {'line' if b' ascii ' in content else 'byte'}{'s' * (behind > 1)} behind the last row left out"]
        if behind
        else []
    )


@MANY
@given(st.data())
def test_off_layouts(data: st.DataObject) -> None:
    draw = data.draw
    numbers = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    words = [word for word in ("ST", "C", "N") if draw(st.booleans())]
    more = sum({"ST": 2, "C": 4, "N": 3}[word] for word in words)
    verts, faces = draw(convex_polygons())
    colour = draw(st.sampled_from(["", " 1", " 10 20 30", " 0.5 0.5 0.5 1"]))

    def junk() -> str:
        return draw(st.sampled_from(["", "", "\n", " # words 1 2 3", "\n# 7 8 9", "\t"]))

    lines = [f"{''.join(words)}OFF{junk()}", f"{len(verts)} {len(faces)}{draw(st.sampled_from(['', ' 0']))}{junk()}"]
    lines += [" ".join(map(str, [*row, *numbers.random(more).round(3)])) + junk() for row in verts.tolist()]
    lines += [f"{len(face)} {' '.join(map(str, face))}{colour}{junk()}" for face in faces]
    mesh = parse_off(draw(st.sampled_from(["\n", "\r\n"])).join(lines).encode())
    np.testing.assert_array_equal(mesh.verts, verts)
    assert_covers(mesh.faces, verts, faces)
