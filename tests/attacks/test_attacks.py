"""Bad inputs by the table: each must end in a one-line DataError that names the file, quickly and in little memory."""

from __future__ import annotations

import copy
import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from attacking import Attack, must_be_refused
from PIL import Image

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.registry import read_dataset
from shape3d_amodal.annotations.images import ImageFiles
from shape3d_amodal.annotations.results import read_results
from shape3d_amodal.files import safe_io
from shape3d_amodal.meshes import parsers
from shape3d_amodal.structures import AmodalImage

# --- builders ---------------------------------------------------------------------------------------------------------


def opened(name: str, content: bytes, read: Callable[[Path], Any]) -> Callable[[Path], Any]:
    def attack(folder: Path) -> Any:
        (folder / name).write_bytes(content)
        return read(folder / name)

    return attack


def png(width: int, height: int, data: bytes = b"", depth: int = 8, color: int = 0) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def picture(kind: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def jpeg_of_size(width: int, height: int) -> bytes:
    data = bytearray(picture("JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def npz(compression: int = zipfile.ZIP_DEFLATED, **entries: np.ndarray | bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, value in entries.items():
            if isinstance(value, np.ndarray):
                content = io.BytesIO()
                np.save(content, value, allow_pickle=True)
                value = content.getvalue()
            archive.writestr(f"{name}.npy", value)
    return stream.getvalue()


def npy_header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


V = np.array([[0, 0, 0], [9, 0, 0], [0, 9, 0]], dtype=np.int16)
F = np.array([[0, 1, 2]], dtype=np.uint16)
TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\n"
PLY = (
    "ply\nformat {} 1.0\nelement vertex {}\nproperty float x\nproperty float y\nproperty float z\n"
    "element face {}\nproperty list uchar int vertex_indices\nend_header\n"
)
PLY_BINARY = PLY.replace("{}", "binary_little_endian", 1)
NPY_HUGE = npy_header("{'descr':'<i2','fortran_order':False,'shape':(1000000000000,3)}\n")
PLY_LONG_LIST = PLY_BINARY.format(1, 1).replace("uchar", "uint").encode() + bytes(12) + b"\xff" * 8
PLY_VERTS = "0 0 0\n1 0 0\n0 1 0\n"
GLB = trimesh.Scene(trimesh.creation.box()).export(file_type="glb")


def glb(change: Callable[[dict[str, Any]], Any]) -> bytes:
    length = int.from_bytes(GLB[12:16], "little")
    tree = json.loads(GLB[20 : 20 + length])
    change(tree)
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    rest = GLB[20 + length :]
    return GLB[:8] + struct.pack("<II", 20 + len(text) + len(rest), len(text)) + b"JSON" + text + rest


def chain(tree: dict[str, Any]) -> None:
    tree["nodes"] = [{"children": [i + 1], "mesh": 0} for i in range(20_000)] + [{"mesh": 0}]
    tree["scenes"] = [{"nodes": [0]}]


def doubling(tree: dict[str, Any]) -> None:
    tree["nodes"] = [{"children": [i + 1, i + 1]} for i in range(40)] + [{"mesh": 0}]
    tree["scenes"] = [{"nodes": [0]}]


EMPTY = {"size": [4, 5], "counts": [20]}
GOOD_RLE = {"size": [4, 5], "counts": [5, 3, 12]}
GOOD = {
    "images": [{"id": 1, "file_name": "a.png", "width": 5, "height": 4}],
    "categories": [{"id": 7, "name": "chair"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 7, "visible_mask": GOOD_RLE, "segmentation": GOOD_RLE, "iscrowd": 0}
    ],
}


def annotations(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Any]:
    document = copy.deepcopy(GOOD)
    change(document)
    return opened("bad.json", json.dumps(document).encode(), read_dataset)


def mask(value: Any) -> Callable[[Path], Any]:
    return annotations(lambda document: document["annotations"][0].update(visible_mask=value))


def amodal(value: Any) -> Callable[[Path], Any]:
    return annotations(lambda document: document["annotations"][0].update(segmentation=value))


def code(counts: Any, size: Any = (4, 5)) -> Callable[[Path], Any]:
    return mask({"size": list(size), "counts": counts})


def obj(text: str) -> Callable[[Path], Any]:
    return opened("bad.obj", text.encode(), parsers.read_mesh_file)


def mesh(suffix: str, content: bytes | str) -> Callable[[Path], Any]:
    return opened(f"bad.{suffix}", content.encode() if isinstance(content, str) else content, parsers.read_mesh_file)


def image(suffix: str, content: bytes) -> Callable[[Path], Any]:
    return opened(f"bad.{suffix}", content, safe_io.read_image)


def text(content: bytes) -> Callable[[Path], Any]:
    return opened("bad.json", content, safe_io.read_json)


def results(record: Any) -> Callable[[Path], Any]:
    return opened("bad.json", json.dumps([record]).encode(), read_results)


def name_inside(name: str) -> Callable[[Path], Any]:
    return lambda folder: safe_io.resolve_inside(folder, name, file="bad.json", field="images[0].file_name")


def link_outside(folder: Path) -> Any:
    (folder / "set").mkdir()
    (folder / "secret.png").write_bytes(png(1, 1, b"\0\0"))
    (folder / "set" / "a.png").symlink_to(folder / "secret.png")
    return safe_io.resolve_inside(folder / "set", "a.png", file="bad.json")


def linked_folder_outside(folder: Path) -> Any:
    (folder / "set").mkdir()
    (folder / "set" / "up").symlink_to(folder)
    return safe_io.resolve_inside(folder / "set", "up/bad.png")


def circular_link(folder: Path) -> Any:
    (folder / "bad.png").symlink_to(folder / "bad.png")
    return safe_io.resolve_inside(folder, "bad.png")


def pipe(folder: Path) -> Any:
    os.mkfifo(folder / "bad.png")
    return safe_io.read_image(folder / "bad.png")


def folder_as_file(folder: Path) -> Any:
    (folder / "bad.json").mkdir()
    return safe_io.read_json(folder / "bad.json")


def wrong_image_size(folder: Path) -> Any:
    (folder / "a.png").write_bytes(png(2, 1, b"\0\0\0"))
    entry = AmodalImage(id=3, file_name="a.png", width=1, height=2, instances=())
    return ImageFiles(folder, Path("bad.json")).read(entry)


def too_many_bytes(folder: Path) -> Any:
    (folder / "bad.json").write_bytes(b"[" + b" " * 1000 + b"]")
    return safe_io.read_json(folder / "bad.json", limit=1000)


# --- the table --------------------------------------------------------------------------------------------------------

IMAGES: list[Attack] = [
    ("png bomb by its header", image("png", png(100_000, 100_000)), "pixels"),
    ("png of 4 Gpixels in one row", image("png", png(2**31 - 1, 2)), "pixels"),
    ("jpeg bomb by its header", image("jpg", jpeg_of_size(65_000, 65_000)), "pixels"),
    ("png without pixels", image("png", png(0, 0)), "damaged"),
    ("png whose data end early", image("png", png(100, 100, b"\0" * 500)), "damaged"),
    ("png with a text bomb", image("png", png(8, 8)[:33] + struct.pack(">I", 2**31) + b"zTXt" + b"x"), "damaged"),
    ("truncated png", image("png", picture("PNG")[:2000]), "damaged"),
    ("truncated jpeg", image("jpg", picture("JPEG")[:900]), "damaged"),
    ("png signature alone", image("png", b"\x89PNG\r\n\x1a\n"), "damaged"),
    ("jpeg signature alone", image("jpg", b"\xff\xd8\xff"), "damaged"),
    ("empty image", image("png", b""), "PNG or JPEG"),
    ("gif under the name of a png", image("png", picture("GIF")), "PNG or JPEG"),
    ("svg under the name of a png", image("png", b"<svg/>"), "PNG or JPEG"),
    ("pipe", pipe, "regular file"),
    ("image of another size than annotated", wrong_image_size, "1 x 2"),
]

PATHS: list[Attack] = [
    ("parent folder", name_inside("../a.png"), "relative name"),
    ("parent folder inside", name_inside("x/../../a.png"), "relative name"),
    ("absolute name", name_inside("/etc/passwd"), "relative name"),
    ("backslashes", name_inside("..\\a.png"), "relative name"),
    ("drive", name_inside("C:a.png"), "relative name"),
    ("empty name", name_inside(""), "file name"),
    ("NUL in a name", name_inside("a\0.png"), "file name"),
    ("newline in a name", name_inside("a\n.png"), "file name"),
    ("half a surrogate pair in a name", name_inside("\ud800"), "file name"),
    ("very long name", name_inside("x" * 5000), "file name"),
    ("link out of the folder", link_outside, "symbolic link"),
    ("linked folder out of the folder", linked_folder_outside, "symbolic link"),
    ("link to itself", circular_link, "cannot"),
    ("missing file", lambda folder: safe_io.read_json(folder / "bad.json"), "No such file"),
    ("folder for a file", folder_as_file, "regular file"),
]

JSON: list[Attack] = [
    ("nested lists", text(b"[" * 100_000 + b"]" * 100_000), "nested"),
    ("nested objects", text(b'{"a":' * 100_000 + b"1" + b"}" * 100_000), "nested"),
    ("NaN", text(b'{"a": NaN}'), "NaN"),
    ("Infinity", text(b"[-Infinity]"), "Infinity"),
    ("number beyond float64", text(b"[1e999]"), "float64"),
    ("integer of 10^5 digits", text(b"[" + b"9" * 100_000 + b"]"), "digits"),
    ("truncated", text(json.dumps(GOOD).encode()[:150]), "line 1"),
    ("empty file", text(b""), "line 1"),
    ("two documents", text(b"{} {}"), "line 1"),
    ("Latin-1", text(b'["\xe4"]'), "UTF-8"),
    ("UTF-16", text('["a"]'.encode("utf-16")), "UTF-8"),
    ("larger than allowed", too_many_bytes, "1000 bytes"),
]

RECORDS: list[Attack] = [
    ("list for the whole", opened("bad.json", b"[]", read_dataset), "an object"),
    ("no annotations", annotations(lambda d: d.pop("annotations")), "annotations: missing"),
    ("annotations as object", annotations(lambda d: d.update(annotations={})), "a list"),
    ("annotation as number", annotations(lambda d: d.update(annotations=[3])), "annotations[0]"),
    ("duplicate annotation id", annotations(lambda d: d["annotations"].append(d["annotations"][0])), "duplicate"),
    ("duplicate image id", annotations(lambda d: d["images"].append(d["images"][0])), "duplicate"),
    ("duplicate category id", annotations(lambda d: d["categories"].append(d["categories"][0])), "duplicate"),
    ("orphan image id", annotations(lambda d: d["annotations"][0].update(image_id=2)), "annotations[0].image_id"),
    ("orphan category id", annotations(lambda d: d["annotations"][0].update(category_id=1)), "category_id"),
    ("boolean id", annotations(lambda d: d["annotations"][0].update(id=True)), "annotations[0].id"),
    ("text id", annotations(lambda d: d["annotations"][0].update(id="1")), "annotations[0].id"),
    ("image of negative width", annotations(lambda d: d["images"][0].update(width=-5)), "positive"),
    ("image of 10^10 pixels", annotations(lambda d: d["images"][0].update(width=10**5, height=10**5)), "pixels"),
    ("image of 10^4000 pixels", annotations(lambda d: d["images"][0].update(width=10**4000)), "pixels"),
    ("negative depth order", annotations(lambda d: d["annotations"][0].update(depth_order=-1)), "depth_order"),
    ("crowd flag of 2", annotations(lambda d: d["annotations"][0].update(iscrowd=2)), "0 or 1"),
    ("camera of text", annotations(lambda d: d["images"][0].update(camera={"fov": "wide"})), "camera"),
    ("no visible mask", annotations(lambda d: d["annotations"][0].pop("visible_mask")), "visible_mask: missing"),
    ("broken invisible mask", annotations(lambda d: d["annotations"][0].update(invisible_mask=3)), "invisible_mask"),
    ("result without mask", results({"image_id": 1, "category_id": 1, "score": 0.5}), "[0].segmentation"),
    (
        "result with text score",
        results({"segmentation": GOOD_RLE, "score": "1", "image_id": 1, "category_id": 1}),
        "[0].score",
    ),
    (
        "result with masks of two sizes",
        results(
            {
                "segmentation": GOOD_RLE,
                "score": 1,
                "image_id": 1,
                "category_id": 1,
                "visible_mask": {"size": [1, 1], "counts": [1]},
            }
        ),
        "visible_mask.size",
    ),
]

MASKS: list[Attack] = [
    ("runs too short", code([5, 3]), "add up"),
    ("runs too long", code([5, 3, 13]), "add up"),
    ("negative run", code([5, -3, 18]), "at least 0"),
    ("run of 10^4000", code([10**4000]), "add up"),
    ("fractional run", code([5.0, 15]), "integers"),
    ("nested runs", code([[5], [15]]), "integers"),
    ("text too short", code("5"), "fewer pixels"),
    ("text too long", code("53>"), "more pixels"),
    ("text of a negative run", code("O"), "negative"),
    ("text ends inside a number", code("PP"), "middle"),
    ("text with a strange letter", code("5~"), "outside"),
    ("text beyond ASCII", code("5é"), "outside"),
    ("text of one endless number", code("o" * 10_000), "longer"),
    ("text of 10^6 runs", code("1" * 1_000_000), "more pixels"),
    ("empty text", code(""), "fewer pixels"),
    ("counts missing", mask({"size": [4, 5]}), "counts"),
    ("counts null", code(None), "counts"),
    ("size of 10^9", code([10**18], (10**9, 10**9)), "visible_mask.size"),
    ("size of another image", code([20], (5, 4)), "4 x 5"),
    ("size as text", mask({"size": "4x5", "counts": [20]}), "visible_mask.size"),
    ("mask as text", mask("5300"), "got str"),
    ("empty mask", amodal(EMPTY), "at least one pixel"),
    ("coordinate of 10^9", mask([[0, 0, 1e9, 0, 1e9, 1e9]]), "coordinates from"),
    ("coordinate of 10^300", mask([[0, 0, 1e300, 0, 0, 1]]), "coordinates from"),
    ("coordinate of 10^400", mask([[0, 0, 10**400, 0, 0, 1]]), "numbers"),
    (
        "coordinate NaN",
        lambda _: masks.from_annotation([[0, 0, np.nan, 0, 1, 1]], 4, 5, file="bad.json", field="m"),
        "finite",
    ),
    ("coordinate as text", mask([["0", "0", "1", "0", "1", "1"]]), "numbers"),
    ("two corners", mask([[0, 0, 3, 3]]), "at least 6"),
    ("odd count of coordinates", mask([[0, 0, 3, 3, 1, 2, 1]]), "even"),
    ("ragged polygon", mask([[0, 0, [3], 3, 1, 2]]), "numbers"),
    ("polygons too deep", mask([[[0, 0], [1, 1], [2, 0]]]), "numbers"),
    ("no polygons", mask([[], [3, 3]]), "at least 6"),
    ("polygon without area", amodal([[9, 9, 9, 9, 9, 9]]), "at least one pixel"),
    ("outline of 10^7 pixels", mask([[0, 0, 50, 50] * 100_000]), "outline"),
]

MESHES: list[Attack] = [
    ("obj index 0", obj(TRIANGLE + "f 0 1 2\n"), "line 4"),
    ("obj index beyond", obj(TRIANGLE + "f 1 2 4\n"), "indices"),
    ("obj index of 10^30", obj(TRIANGLE + f"f 1 2 {10**30}\n"), "line 4"),
    ("obj index far back", obj(TRIANGLE + "f -1 -2 -4\n"), "line 4"),
    ("obj index as text", obj(TRIANGLE + "f a b c\n"), "line 4"),
    ("obj face of two corners", obj(TRIANGLE + "f 1 2\n"), "at least one face"),
    ("obj coordinate NaN", obj(TRIANGLE + "v nan 0 0\nf 1 2 4\n"), "finite"),
    ("obj coordinate infinite", obj(TRIANGLE + "v 1e999 0 0\nf 1 2 4\n"), "finite"),
    ("obj coordinate missing", obj("v 0 0\nf 1 1 1\n"), "line 1"),
    ("obj of too many vertices", obj("v 0 0 0\n" * 4_000_002 + "f 1 2 3\n"), "4000000 vertices"),
    ("obj of a long line", obj(TRIANGLE + "f" + " 1" * 20_000_000), "line 4"),
    ("obj of a line that goes on and on", obj(TRIANGLE + "f \\\n" + "1 \\\n" * 500_000), "lines of less than"),
    ("obj without faces", obj(TRIANGLE), "at least one face"),
    ("obj of bytes", obj("\0\1\2" * 1000), "at least one face"),
    ("empty obj", obj(""), "got an empty file"),
    ("ply of 10^9 vertices", mesh("ply", PLY_BINARY.format(10**9, 1)), "element vertex"),
    ("ply of 10^9 faces", mesh("ply", PLY.format("ascii", 3, 10**9) + PLY_VERTS), "element face"),
    ("ply of -1 vertices", mesh("ply", PLY.format("ascii", -1, 1)), "header"),
    ("ply list of 2^31 entries", mesh("ply", PLY_LONG_LIST), "ply"),
    ("ply header without end", mesh("ply", "ply\nformat ascii 1.0\n" * 1000), "end_header"),
    ("ply of fewer rows than stated", mesh("ply", PLY.format("ascii", 4, 1) + PLY_VERTS + "3 0 1 2\n"), "bad.ply"),
    ("ply of fewer faces than stated", mesh("ply", PLY.format("ascii", 3, 2) + PLY_VERTS + "3 0 1 2\n"), "2 faces"),
    ("ply index beyond", mesh("ply", PLY.format("ascii", 3, 1) + PLY_VERTS + "3 0 1 3\n"), "indices"),
    ("ply index negative", mesh("ply", PLY.format("ascii", 3, 1) + PLY_VERTS + "3 0 1 -1\n"), "indices"),
    ("ply coordinate NaN", mesh("ply", PLY.format("ascii", 3, 1) + "nan 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"), "finite"),
    ("ply truncated", mesh("ply", PLY_BINARY.format(3, 1).encode() + bytes(36) + b"\3\0\0"), "damaged"),
    ("off of 10^9 vertices", mesh("off", "OFF\n1000000000 1 0\n0 0 0\n"), "counts"),
    ("off index beyond", mesh("off", "OFF\n3 1 0\n" + PLY_VERTS + "3 0 1 9\n"), "indices"),
    ("off of fewer faces than stated", mesh("off", "OFF\n3 2 0\n" + PLY_VERTS + "3 0 1 2\n"), "2 faces"),
    ("off without counts", mesh("off", "OFF\n"), "counts"),
    ("glb truncated", mesh("glb", GLB[: len(GLB) // 2]), "length"),
    ("glb of its header alone", mesh("glb", GLB[:20]), "length"),
    ("glb not glb", mesh("glb", b"<gltf>" * 10), "glTF"),
    ("glb of broken JSON", mesh("glb", GLB[:20] + b"?" + GLB[21:]), "JSON"),
    ("glb accessor of 10^9", mesh("glb", glb(lambda t: t["accessors"][0].update(count=10**9))), "at most"),
    ("glb accessor without data", mesh("glb", glb(lambda t: t["accessors"][0].pop("bufferView"))), "uncompressed"),
    ("glb view beyond the file", mesh("glb", glb(lambda t: t["bufferViews"][0].update(byteLength=10**9))), "larger"),
    ("glb view negative", mesh("glb", glb(lambda t: t["bufferViews"][0].update(byteLength=-4))), "structure"),
    ("glb buffer elsewhere", mesh("glb", glb(lambda t: t["buffers"][0].update(uri="/etc/passwd"))), "inside the file"),
    ("glb chain of 20,000 nodes", mesh("glb", glb(chain)), "levels"),
    ("glb nodes that double", mesh("glb", glb(doubling)), "levels"),
    ("glb circle of nodes", mesh("glb", glb(lambda t: t.update(nodes=[{"children": [0]}]))), "levels"),
    ("glb matrix of text", mesh("glb", glb(lambda t: t["nodes"][-1].update(matrix="x" * 16))), "damaged"),
    ("glb of nested JSON", mesh("glb", glb(lambda t: t.update(x=None)).replace(b"null", b"[[[[")), "JSON"),
    ("npz with pickled objects", mesh("npz", npz(v=np.array([[None] * 3]), f=F)), "i2"),
    ("npz of floats", mesh("npz", npz(v=V.astype(np.float32), f=F)), "f4"),
    ("npz of signed faces", mesh("npz", npz(v=V, f=F.astype(np.int32))), "i4"),
    ("npz of another shape", mesh("npz", npz(v=V[:, :2].copy(), f=F)), "shape"),
    ("npz without faces", mesh("npz", npz(v=V)), "missing"),
    ("npz of zero faces", mesh("npz", npz(v=V, f=F[:0])), "at least one face"),
    ("npz index beyond", mesh("npz", npz(v=V, f=F + 1)), "indices"),
    ("npz colours of another length", mesh("npz", npz(v=V, f=F, rgb=np.zeros((2, 3), np.uint8))), "colour"),
    ("npz bomb", mesh("npz", npz(v=b"\0" * 60_000_000, f=F)), "rows"),
    ("npz header of 10^12 rows", mesh("npz", npz(v=NPY_HUGE, f=F)), "rows"),
    ("npz header of code", mesh("npz", npz(v=npy_header("__import__('os').getcwd()\n"), f=F)), "damaged"),
    ("npz truncated", mesh("npz", npz(v=V, f=F)[:-30]), "damaged"),
    ("npz with a flipped byte", mesh("npz", npz(zipfile.ZIP_STORED, v=V, f=F).replace(V.tobytes(), bytes(18))), "CRC"),
    ("npz not zip", mesh("npz", b"PK\3\4" + bytes(100)), "damaged"),
    ("fbx", mesh("fbx", b"Kaydara"), "expected a mesh file"),
]  # fmt: skip

TABLE = [*IMAGES, *PATHS, *JSON, *RECORDS, *MASKS, *MESHES]


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """Compile the mask kernels before the clock runs."""
    masks.from_annotation(GOOD_RLE, 4, 5, file=None, field=None)
    masks.area(masks.encode(np.eye(3, dtype=bool)))


def test_the_table_is_large_and_its_names_differ() -> None:
    assert len(TABLE) >= 60
    assert len({name for name, _, _ in TABLE}) == len(TABLE)


def test_the_good_document_is_read(tmp_path: Path) -> None:
    assert len(annotations(lambda _: None)(tmp_path).images[0].instances) == 1


@pytest.mark.parametrize(("attack", "part"), [pytest.param(a, part, id=name) for name, a, part in TABLE])
def test_attack(attack: Callable[[Path], Any], part: str, tmp_path: Path) -> None:
    must_be_refused(attack, part, tmp_path, names=("bad", "a.png"))
