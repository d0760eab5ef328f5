"""Image files and links that were made to do harm: read or refused within the bounds of all attacks."""

from __future__ import annotations

import os
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import exif_files
import numpy as np
import pytest
from attacking import SECONDS, bounded_memory, must_be_refused

from shape3d_amodal.annotations.images import ImageFiles
from shape3d_amodal.files.safe_io import decode_image
from shape3d_amodal.structures import AmodalImage

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)


def many_entries(size: int) -> bytes:
    """EXIF data whose every entry claims nearly all of them as its value: a general reader copies them each time."""
    count = min(65_535, (size - 20) // 12)
    entries = b"".join(struct.pack("<HHII", 1 + tag % 65_535, 7, size - 8, 8) for tag in range(count))
    return (b"II*\0\x08\0\0\0" + struct.pack("<H", count) + entries).ljust(size, b"\0")


def circle() -> bytes:
    """A directory whose next directory is itself."""
    return b"II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 0x0100, 4, 1, 8, 8)


BOMBS: list[tuple[str, Callable[[], bytes]]] = [
    ("one full segment", lambda: exif_files.jpeg(PIXELS, many_entries(65_000))),
    ("2,000 full segments", lambda: exif_files.jpeg(PIXELS, *[many_entries(65_000)] * 2000)),
    ("100,000 short segments", lambda: exif_files.jpeg(PIXELS, *[b"II*\0"] * 100_000)),
    ("png chunk of 50 MB", lambda: exif_files.png(PIXELS, exif_files.chunk(b"eXIf", many_entries(50_000_000)))),
    ("circle of directories", lambda: exif_files.jpeg(PIXELS, circle())),
    ("65,535 entries announced", lambda: exif_files.jpeg(PIXELS, b"II*\0\x08\0\0\0\xff\xff")),
]


@pytest.mark.parametrize(("name", "make"), BOMBS, ids=[name for name, _ in BOMBS])
def test_exif_bombs_do_not_harm_and_the_image_is_read(name: str, make: Callable[[], bytes]) -> None:
    data = make()
    with bounded_memory():
        start = time.process_time()
        pixels = decode_image(data, file="a").pixels
        assert time.process_time() - start < SECONDS
    assert pixels.shape == PIXELS.shape, name


def image(data: bytes) -> Callable[[Path], Any]:
    return lambda _: decode_image(data, file="bad.png")


JPEG = exif_files.jpeg(PIXELS)
TEXT = b"Raw profile type exif\0\0" + zlib.compress(b"0" * 100_000_000)
REFUSED: list[tuple[str, Callable[[Path], Any], str]] = [
    ("jpeg of 50 MB without pixels", image(JPEG[:2] + b"\xff\xd0" * 25_000_000), "no pixels"),
    ("jpeg of 50 MB between two segments", image(JPEG[:4] + b"\0" * 50_000_000 + JPEG[4:]), "damaged"),
    ("png with a compressed profile of 100 MB", image(exif_files.png(PIXELS, exif_files.chunk(b"zTXt", TEXT))), "dam"),
]


@pytest.mark.parametrize(("attack", "part"), [pytest.param(a, part, id=name) for name, a, part in REFUSED])
def test_refused(attack: Callable[[Path], Any], part: str, tmp_path: Path) -> None:
    must_be_refused(attack, part, tmp_path)


RECORD = AmodalImage(id=1, file_name="bad.png", width=12, height=8, instances=())


def read(folder: Path, allow_links: Path | None = None) -> np.ndarray:
    return ImageFiles(folder / "images", Path("bad.json"), allow_links=allow_links).read(RECORD)


def to_itself(folder: Path) -> Any:
    (folder / "images" / "bad.png").symlink_to("bad.png")
    return read(folder, folder)


def to_each_other(folder: Path) -> Any:
    (folder / "images" / "bad.png").symlink_to("../other.png")
    (folder / "other.png").symlink_to("images/bad.png")
    return read(folder, folder)


def to_a_device(folder: Path) -> Any:
    (folder / "images" / "bad.png").symlink_to("/dev/zero")
    return read(folder, Path("/dev"))


def to_a_pipe(folder: Path) -> Any:
    os.mkfifo(folder / "pipe")
    (folder / "images" / "bad.png").symlink_to("../pipe")
    return read(folder, folder)


def to_nothing(folder: Path) -> Any:
    (folder / "images" / "bad.png").symlink_to("../missing")
    return read(folder, folder)


def beside_the_allowed_folder(folder: Path) -> Any:
    (folder / "allowed").mkdir()
    (folder / "allowed2").mkdir()
    (folder / "allowed2" / "x").write_bytes(exif_files.png(PIXELS))
    (folder / "images" / "bad.png").symlink_to("../allowed2/x")
    return read(folder, folder / "allowed")


def on_from_the_allowed_folder(folder: Path) -> Any:
    (folder / "allowed").mkdir()
    (folder / "secret").write_bytes(exif_files.png(PIXELS))
    (folder / "allowed" / "x").symlink_to("../secret")
    (folder / "images" / "bad.png").symlink_to("../allowed/x")
    return read(folder, folder / "allowed")


def of_a_long_name(folder: Path) -> Any:
    (folder / "images" / "bad.png").symlink_to("/".join(["\x1b[31m" + "x" * 200] * 10))
    return read(folder)


def newline_in_the_target(folder: Path) -> Any:
    (folder / "a\nb").mkdir()
    (folder / "images" / "bad.png").symlink_to("../a\nb/x")
    return read(folder)


LINKS: list[tuple[Callable[[Path], Any], str]] = [
    (to_itself, "bad.png"),
    (to_each_other, "bad.png"),
    (to_a_device, "regular file"),
    (to_a_pipe, "regular file"),
    (to_nothing, "No such file"),
    (beside_the_allowed_folder, "out of the folder"),
    (on_from_the_allowed_folder, "out of the folder"),
    (of_a_long_name, "cannot be printed"),
    (newline_in_the_target, "out of the folder"),
]


@pytest.mark.parametrize(("attack", "part"), LINKS, ids=[attack.__name__ for attack, _ in LINKS])
def test_links(attack: Callable[[Path], Any], part: str, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    must_be_refused(attack, part, tmp_path, names=("bad", "x" * 100, "missing", "pipe", "zero"))
