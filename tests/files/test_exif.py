"""The EXIF orientation, against the text of EXIF: ``exif_files`` turns pixel by pixel and writes the files by hand."""

from __future__ import annotations

import io
from pathlib import Path

import exif_files
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from shape3d_amodal.files.safe_io import decode_image, read_image

NOISE = np.random.default_rng(5).integers(0, 256, (11, 17, 3), dtype=np.uint8)
XMP = b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def pixels(data: bytes, orientation: str = "exif") -> np.ndarray:
    return decode_image(data, file="a", orientation=orientation).pixels


@settings(max_examples=80, deadline=None)
@given(
    tag=st.integers(1, 8),
    order=st.sampled_from("<>"),
    kind=st.sampled_from([1, 3, 4]),
    before=st.integers(0, 3),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    file=st.sampled_from(["jpeg", "png", "png behind"]),
)
def test_every_orientation_is_turned_as_exif_says(
    tag: int, order: str, kind: int, before: int, size: tuple[int, int], file: str
) -> None:
    stored = NOISE[: size[0], : size[1]]
    content = exif_files.exif(tag, order=order, kind=kind, before=before)
    if file == "jpeg":
        data, plain = exif_files.jpeg(stored, content), exif_files.jpeg(stored)
        stored = pixels(plain)  # as the decoder gives them
    else:
        data = exif_files.png(stored, exif_files.chunk(b"eXIf", content), behind=file.endswith("behind"))
    read = decode_image(data, file="a")
    np.testing.assert_array_equal(read.pixels, exif_files.shown(stored, tag))
    assert read.pixels.flags.c_contiguous
    assert (read.exif_orientation, read.exif_damage) == (tag, None)
    np.testing.assert_array_equal(pixels(data, "stored"), stored)


@pytest.mark.parametrize("tag", range(1, 9))
@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "I;16", "1"])
def test_every_kind_of_png_is_turned(tag: int, mode: str, tmp_path: Path) -> None:
    image = Image.fromarray(NOISE).convert("L" if mode == "I;16" else mode)
    image = Image.fromarray(np.array(image).astype(np.uint16) * 256) if mode == "I;16" else image
    image.save(tmp_path / "a.png", exif=exif_files.exif(tag))
    stored = read_image(tmp_path / "a.png", orientation="stored")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), exif_files.shown(stored, tag))


@pytest.mark.parametrize("tag", range(1, 9))
def test_a_file_that_pillow_wrote_is_turned_as_pillow_does(tag: int) -> None:
    written, exif = io.BytesIO(), Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x0131] = tag, "a camera of a long name", "a program"
    Image.fromarray(NOISE).save(written, "JPEG", exif=exif)
    expected = ImageOps.exif_transpose(Image.open(written))
    np.testing.assert_array_equal(pixels(written.getvalue()), np.asarray(expected))


def test_without_exif_the_orientation_of_xmp_counts() -> None:
    plain = exif_files.jpeg(NOISE)
    turned = exif_files.shown(pixels(plain), 6)
    with_xmp = plain[:2] + exif_files.segment(0xE1, XMP) + plain[2:]
    np.testing.assert_array_equal(pixels(with_xmp), turned)
    with_both = plain[:2] + exif_files.segment(0xE1, XMP) + exif_files.jpeg(NOISE, exif_files.exif(1))[2:]
    np.testing.assert_array_equal(pixels(with_both), pixels(plain))


def test_the_profile_that_imagemagick_writes_into_png() -> None:
    content = b"Exif\0\0" + exif_files.exif(8)
    text = b"Raw profile type exif\0\nexif\n" + str(len(content)).encode() + b"\n" + content.hex().encode() + b"\n"
    np.testing.assert_array_equal(
        pixels(exif_files.png(NOISE, exif_files.chunk(b"tEXt", text))), exif_files.shown(NOISE, 8)
    )


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_a_value_without_meaning_turns_nothing(value: int) -> None:
    read = decode_image(exif_files.png(NOISE, exif_files.chunk(b"eXIf", exif_files.exif(value))), file="a")
    np.testing.assert_array_equal(read.pixels, NOISE)
    assert (read.exif_orientation, read.exif_damage) == (1, None)


DAMAGED = {
    "empty": b"",
    "no TIFF": b"\0" * 40,
    "another number": b"II" + b"\x2b\0" + b"\x08\0\0\0" + b"\0\0",
    "header alone": b"MM\0\x2a",
    "directory beyond the end": b"II\x2a\0\xff\xff\xff\xff",
    "directory that ends early": exif_files.exif(6, before=3)[:30],
    "two orientations": exif_files.exif(6, count=2),
}


@pytest.mark.parametrize("file", ["jpeg", "png"])
@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_exif_leaves_the_image_as_it_is_stored(name: str, file: str) -> None:
    content = DAMAGED[name]
    if file == "jpeg":
        data, stored = exif_files.jpeg(NOISE, content), pixels(exif_files.jpeg(NOISE))
    else:
        data, stored = exif_files.png(NOISE, exif_files.chunk(b"eXIf", content)), NOISE
    read = decode_image(data, file="a")
    np.testing.assert_array_equal(read.pixels, stored)
    assert read.exif_orientation == 1 and read.exif_damage


def test_other_segments_stay_and_the_first_exif_counts() -> None:
    plain = exif_files.jpeg(NOISE)
    two = exif_files.jpeg(NOISE, exif_files.exif(3), exif_files.exif(6))
    np.testing.assert_array_equal(pixels(two), exif_files.shown(pixels(plain), 3))
    note = exif_files.segment(0xFE, b"a note")
    between = two[:2] + note + b"\0\0\xff" + note + b"\xff\x00" + two[2:]  # decoders pass over such bytes
    np.testing.assert_array_equal(pixels(between), exif_files.shown(pixels(plain), 3))
