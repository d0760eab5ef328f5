"""Bad archives by the table: npz files (as NMR's renders and open13's meshes), tar files and shards of scenes."""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attacking import Attack, must_be_refused
from PIL import Image

from shape3d_amodal.files import safe_io
from shape3d_amodal.files.archives import ArraySpec, npz_blocks, npz_shape, tar_members
from shape3d_amodal.meshes import parsers
from shape3d_amodal.scenes.shard_reading import SceneShards
from shape3d_amodal.scenes.shards import FORMAT

SPEC = ArraySpec(("u1",), (None, 4, 3), max_rows=1000)
GOOD = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def npy_stating(shape: str, body: bytes = b"", kind: str = "|u1") -> bytes:
    text = f"{{'descr':'{kind}','fortran_order':False,'shape':{shape}}}\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + body


def zipped(compression: int = zipfile.ZIP_DEFLATED, **entries: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(f"{name}.npy", content)
    return stream.getvalue()


def read_all(path: Path) -> None:
    npz_shape(path, "arr_0", SPEC)
    for _ in npz_blocks(path, "arr_0", SPEC, rows=1):
        pass


def npz(content: bytes) -> Callable[[Path], Any]:
    def attack(folder: Path) -> None:
        (folder / "bad.npz").write_bytes(content)
        read_all(folder / "bad.npz")

    return attack


def array(content: bytes, compression: int = zipfile.ZIP_DEFLATED) -> Callable[[Path], Any]:
    return npz(zipped(compression, arr_0=content))


def read_tar(path: Path) -> list[bytes]:
    with safe_io.open_regular(path) as file:
        return [member.read(file) for member in tar_members(file, path)]


def tar(content: bytes) -> Callable[[Path], Any]:
    def attack(folder: Path) -> Any:
        (folder / "bad.tar").write_bytes(content)
        return read_tar(folder / "bad.tar")

    return attack


def entry(name: str = "a.png", kind: bytes = tarfile.REGTYPE, size: int = 4, link: str = "", **changes: Any) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    for key, value in changes.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.USTAR_FORMAT)


DATA = b"data".ljust(512, b"\0")
END = bytes(1024)


def many_files(count: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("arr_0.npy", npy(GOOD))
    whole = stream.getvalue()
    start = whole.index(b"PK\1\2")
    directory, end = whole[start : whole.index(b"PK\5\6")], bytearray(whole[whole.index(b"PK\5\6") :])
    end[8:16] = struct.pack("<HHI", 1, 1, count * len(directory))
    return whole[:start] + directory * count + bytes(end)


def zip64_directory_of(length: int, stated_at: int = 0) -> bytes:
    record = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 1, 1, length, 0)
    locator = b"PK\6\7" + struct.pack("<IQI", 0, stated_at, 1)
    return record + locator + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, 0xFFFFFFFF - 2**31, 0, 0)


def unknown_compression() -> bytes:
    content = bytearray(zipped(zipfile.ZIP_STORED, arr_0=npy(GOOD)))
    content[8:10] = content[content.index(b"PK\1\2") + 10 : content.index(b"PK\1\2") + 12] = struct.pack("<H", 99)
    return bytes(content)


def encrypted() -> bytes:
    content = bytearray(zipped(zipfile.ZIP_STORED, arr_0=npy(GOOD)))
    content[6] |= 1
    content[content.index(b"PK\1\2") + 8] |= 1
    return bytes(content)


def flipped() -> bytes:
    return zipped(zipfile.ZIP_STORED, arr_0=npy(GOOD)).replace(GOOD.tobytes(), GOOD[::-1].tobytes())


LONG_HEADER = b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1) + b" " * 3_000_000

NPZ: list[Attack] = [
    ("npz that is no zip", npz(b"PK\3\4" + bytes(100)), "damaged"),
    ("empty npz", npz(b""), "damaged"),
    ("npz truncated", npz(zipped(arr_0=npy(GOOD))[:-40]), "damaged"),
    ("npz of another array", npz(zipped(images=npy(GOOD))), "an array arr_0"),
    ("npz with a name out of its folder", npz(zipped(**{"../arr_0": npy(GOOD)})), "an array arr_0"),
    ("npz of objects", array(npy(np.array([[[None] * 3] * 4]))), "|O"),
    ("npz of records", array(npy(np.zeros((2, 4, 3), [("a", "u1"), ("b", "O")]))), "expected u1"),
    ("npz of floats", array(npy(GOOD.astype(np.float32))), "f4"),
    ("npz of another shape", array(npy(GOOD[:, :3])), "[N,4,3]"),
    ("npz of one dimension less", array(npy(GOOD[0])), "[N,4,3]"),
    ("npz in column-major order", array(npy(np.asfortranarray(GOOD))), "column-major"),
    ("npz header of 10^9 rows", array(npy_stating("(1000000000,4,3)")), "at most 1000 rows"),
    ("npz header of 10^30 rows", array(npy_stating(f"({10**30},4,3)")), "at most 1000 rows"),
    ("npz header of -1 rows", array(npy_stating("(-1,4,3)", bytes(12))), "expected"),
    ("npz header of 4 GB", array(LONG_HEADER), "header of at most"),
    ("npz header of code", array(b"\x93NUMPY\x01\x00\x1b\x00__import__('os').getcwd()  \n"), "damaged"),
    ("npz header of nested lists", array(npy_stating("(" * 3000 + ")" * 3000)), "damaged"),
    ("npz of fewer rows than stated", array(npy_stating("(9,4,3)", bytes(12 * 8))), "fewer"),
    ("npz of more rows than stated", array(npy_stating("(1,4,3)", bytes(12 * 8))), "got more"),
    ("npz bomb behind its last row", array(npy_stating("(1,4,3)", bytes(50_000_000))), "got more"),
    ("npz with a flipped byte", npz(flipped()), "CRC"),
    ("npz compressed by bzip2", array(npy(GOOD), zipfile.ZIP_BZIP2), "stored or deflated"),
    ("npz compressed by LZMA", array(npy(GOOD), zipfile.ZIP_LZMA), "stored or deflated"),
    ("npz of unknown compression", npz(unknown_compression()), "stored or deflated"),
    ("npz with a password", npz(encrypted()), "damaged"),
    ("npz of 10^5 files", npz(many_files(100_000)), "few files"),
    ("npz of 10^12 bytes of contents, elsewhere", npz(zip64_directory_of(10**12, stated_at=98)), "few files"),
    ("npz of 10^12 bytes of contents", npz(zip64_directory_of(10**12)), "few files"),
    ("open13 mesh of 10^5 files", lambda folder: mesh_of_many_files(folder), "few files"),
    ("npz in another folder", lambda folder: read_all(folder / "bad" / "a.npz"), "No such file"),
    ("npz that is a folder", lambda folder: read_all((folder / "bad.npz").mkdir() or folder / "bad.npz"), "regular"),
]  # fmt: skip

TAR: list[Attack] = [
    ("tar that is empty", tar(b""), "truncated"),
    ("tar that is text", tar(b"not a tar file " * 100), "uncompressed tar"),
    ("tar compressed by gzip", tar(b"\x1f\x8b\x08\0" + bytes(range(1, 256)) * 8), "uncompressed tar"),
    ("tar cut within a header", tar(entry()[:300]), "truncated"),
    ("tar cut within a file", tar(entry(size=4000) + DATA), "truncated"),
    ("tar without an end", tar(entry() + DATA), "truncated"),
    ("tar with a flipped bit", tar(bytes([entry()[0] ^ 1]) + entry()[1:] + DATA + END), "damaged header"),
    ("tar with a link", tar(entry(kind=tarfile.SYMTYPE, size=0, link="/etc/passwd") + END), "type '2'"),
    ("tar with a hard link", tar(entry(kind=tarfile.LNKTYPE, size=0, link="../a") + END), "type '1'"),
    ("tar with a device", tar(entry(kind=tarfile.CHRTYPE, size=0) + END), "type '3'"),
    ("tar with a folder", tar(entry(kind=tarfile.DIRTYPE, size=0) + END), "type '5'"),
    ("tar with a pipe", tar(entry(kind=tarfile.FIFOTYPE, size=0) + END), "type '6'"),
    ("tar with a header of 2^33 bytes", tar(entry(kind=tarfile.XHDTYPE, size=2**33 - 1) + DATA + END), "type 'x'"),
    ("tar with a sparse file", tar(entry(kind=tarfile.GNUTYPE_SPARSE) + DATA + END), "type 'S'"),
    ("tar with an absolute name", tar(entry("/etc/passwd") + DATA + END), "relative names"),
    ("tar with a name of the parent", tar(entry("../../a.png") + DATA + END), "relative names"),
    ("tar with a hidden parent", tar(entry("a/../../b.png") + DATA + END), "relative names"),
    ("tar with a newline in a name", tar(entry("a\n.png") + DATA + END), "relative names"),
    ("tar with a name twice", tar((entry() + DATA) * 2 + END), "different names"),
    ("tar with a file of 8 GB", tar(entry(size=2**33 - 1) + DATA + END), "at most"),
    ("tar in another folder", lambda folder: read_tar(folder / "bad" / "a.tar"), "No such file"),
]  # fmt: skip

PIXEL = io.BytesIO()
Image.new("RGB", (5, 4)).save(PIXEL, "PNG")
WIDE = io.BytesIO()
Image.new("RGB", (6, 4)).save(WIDE, "PNG")
HUGE_PIXELS = PIXEL.getvalue()[:16] + struct.pack(">II", 100_000, 100_000) + PIXEL.getvalue()[24:]
HUGE_PIXELS = HUGE_PIXELS[:29] + struct.pack(">I", zlib.crc32(HUGE_PIXELS[12:29])) + HUGE_PIXELS[33:]
RLE = {"size": [4, 5], "counts": [5, 3, 12]}
SAMPLE = {
    "images": [{"id": 1, "file_name": "0.png", "width": 5, "height": 4}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "visible_mask": RLE, "segmentation": RLE}],
}


def shard(sample: bytes | dict[str, Any] = SAMPLE, name: str = "0.png", png: bytes = PIXEL.getvalue()) -> Any:
    """A shard of one scene whose manifest is right, read with its picture."""

    def attack(folder: Path) -> np.ndarray:
        content = sample if isinstance(sample, bytes) else json.dumps(sample).encode()
        members = ((name, png), ("0.json", content))
        data = b"".join(entry(name, size=len(body)) + body + bytes(-len(body) % 512) for name, body in members) + END
        (folder / "bad").mkdir()
        (folder / "bad" / "scenes-000000.tar").write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        manifest = {"format": FORMAT, "tar": "scenes-000000.tar", "sha256": digest, "identity": "", "first": 0}
        (folder / "bad" / "scenes-000000.json").write_text(json.dumps({**manifest, "count": 1, "categories": ["car"]}))
        back = SceneShards(folder / "bad")
        return back.image(back.dataset.images[0])

    return attack


def annotated(**changes: Any) -> dict[str, Any]:
    return {**SAMPLE, "annotations": [{**SAMPLE["annotations"][0], **changes}]}


SHARDS: list[Attack] = [
    ("shard with nested JSON", shard(b"[" * 100_000), "nested"),
    ("shard with NaN", shard(b'{"images": [NaN]}'), "NaN"),
    ("shard with a list for a scene", shard(b"[]"), "an object"),
    ("shard without annotations", shard({"images": SAMPLE["images"]}), "annotations: missing"),
    ("shard with an orphan", shard(annotated(image_id=2)), "no image has the id 2"),
    ("shard with an unknown category", shard(annotated(category_id=2)), "unknown category"),
    ("shard with runs too long", shard(annotated(visible_mask={"size": [4, 5], "counts": [5, 10**12]})), "add up"),
    ("shard with a mask of 10^18 pixels", shard(annotated(segmentation={"size": [10**9] * 2, "counts": [1]})), "size"),
    ("shard with two scenes in one", shard({**SAMPLE, "images": SAMPLE["images"] * 2}), "duplicate"),
    ("shard without its picture", shard(name="1.png"), "has no image '0.png'"),
    ("shard with a pixel bomb", shard(png=HUGE_PIXELS), "pixels"),
    ("shard with a truncated picture", shard(png=PIXEL.getvalue()[:45]), "damaged image"),
    ("shard with text for a picture", shard(png=b"no picture"), "PNG or JPEG"),
    ("shard with a picture of another size", shard(png=WIDE.getvalue()), "expected 5 x 4"),
]  # fmt: skip

TABLE = [*NPZ, *TAR, *SHARDS]


def mesh_of_many_files(folder: Path) -> None:
    (folder / "bad.npz").write_bytes(many_files(100_000))
    parsers.read_mesh_file(folder / "bad.npz")


@pytest.fixture(scope="module", autouse=True)
def compiled(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Compile the mask kernels and import the mesh parsers before the clock runs."""
    importlib.import_module("shape3d_amodal.meshes.parsers")
    assert shard()(tmp_path_factory.mktemp("good")).shape == (4, 5, 3)


def test_the_good_archives_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(zipped(arr_0=npy(GOOD)))
    assert npz_shape(tmp_path / "a.npz", "arr_0", SPEC) == (2, 4, 3)
    np.testing.assert_array_equal(np.concatenate(list(npz_blocks(tmp_path / "a.npz", "arr_0", SPEC, rows=1))), GOOD)
    (tmp_path / "a.tar").write_bytes(entry() + DATA + entry("b/c.json", size=3) + DATA + END)
    assert read_tar(tmp_path / "a.tar") == [b"data", b"dat"]


def test_names_differ() -> None:
    assert len({name for name, _, _ in TABLE}) == len(TABLE) >= 60


@pytest.mark.parametrize(("attack", "part"), [pytest.param(a, part, id=name) for name, a, part in TABLE])
def test_attack(attack: Callable[[Path], Any], part: str, tmp_path: Path) -> None:
    must_be_refused(attack, part, tmp_path)
