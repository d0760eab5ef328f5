"""What people give as images and masks: each form's one meaning, and what is refused."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from shape3d_amodal.crops.given import given_image, given_mask, given_masks, given_ranks
from shape3d_amodal.errors import DataError, UsageError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
GREY = PIXELS[..., 0]
MASK = np.zeros((6, 8), bool)
MASK[1:4, 2:7] = True


def stored(array: np.ndarray, orientation: int) -> Image.Image:
    """A PIL image as a camera stores it, with its EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", exif=exif)
    return Image.open(buffer)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (PIXELS, PIXELS),
        (GREY, np.stack([GREY] * 3, axis=2)),
        (GREY[..., None], np.stack([GREY] * 3, axis=2)),
        (np.dstack([PIXELS, GREY]), PIXELS),
        (PIXELS[::-1, ::-2], PIXELS[::-1, ::-2].copy()),
        (np.asfortranarray(PIXELS), PIXELS),
        (PIXELS / 255, PIXELS),
        ((PIXELS / 255).astype(np.float32), PIXELS),
        ((GREY / 255).astype(np.float16), np.stack([GREY] * 3, axis=2)),
        (np.array([[0.0, 1.0, 0.5]]), np.array([[[0] * 3, [255] * 3, [128] * 3]], np.uint8)),
        (Image.fromarray(PIXELS), PIXELS),
        (Image.fromarray(GREY), np.stack([GREY] * 3, axis=2)),
        (Image.fromarray(np.dstack([PIXELS, GREY])), PIXELS),
        (Image.fromarray(GREY.astype(np.uint16) << 8), np.stack([GREY] * 3, axis=2)),
        (stored(PIXELS, 3), PIXELS[::-1, ::-1]),
        (stored(PIXELS, 6), np.rot90(PIXELS, -1)),
        (torch.from_numpy(PIXELS), PIXELS),
    ],
)
def test_forms_of_an_image(value, expected: np.ndarray) -> None:
    found = given_image(value)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)
    torch.from_numpy(found)  # which takes neither negative strides nor, without a warning, what is read only


def test_a_read_only_image_gives_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    torch.from_numpy(given_image(np.asarray(Image.fromarray(PIXELS))))
    assert not recwarn


@pytest.mark.parametrize(
    ("value", "came"),
    [
        (PIXELS.astype(np.float32), "float32 from 0 to 249"),
        (np.full((4, 4, 3), np.nan), "float64 from nan"),
        (PIXELS / 255 - 0.1, "float64 from -0.1"),
        (PIXELS.astype(np.int64), "int64"),
        (PIXELS.astype(np.uint16), "uint16"),
        (PIXELS > 9, "bool"),
        (PIXELS.transpose(2, 0, 1), r"\[3, 6, 8\]"),
        (PIXELS[None], r"\[1, 6, 8, 3\]"),
        (PIXELS[..., :2], r"\[6, 8, 2\]"),
        (PIXELS[:0], r"\[0, 8, 3\]"),
        (np.array("text"), r"\[\]"),
        (PIXELS.tolist(), "list"),
        (None, "None"),
        (7, "7"),
        (b"bytes", "b'bytes'"),
        (Image.fromarray(GREY.astype(np.float32)), "mode F"),
    ],
)
def test_images_that_are_none(value, came: str) -> None:
    with pytest.raises(UsageError, match=rf"^image: expected \[H,W,3\] uint8.*{came}") as caught:
        given_image(value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 250


def test_a_file_that_is_not_there(tmp_path) -> None:
    with pytest.raises(DataError, match=r"absent\.png"):
        given_image(tmp_path / "absent.png")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_forms_of_a_mask(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 7)), data.draw(st.integers(1, 7))
    bits = data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    mask = np.array(bits).reshape(height, width)
    runs = [0]  # COCO's uncompressed code, column by column, background first
    value = False
    for bit in mask.T.ravel().tolist():
        if bit != value:
            runs.append(0)
            value = bit
        runs[-1] += 1
    turned = np.ascontiguousarray(mask[::-1, ::-1])[::-1, ::-1]
    forms = [mask, np.asfortranarray(mask), turned, {"size": [height, width], "counts": runs}]
    forms += [mask.astype(kind) for kind in (np.uint8, np.int64, np.float32, np.float64)]
    forms += [mask * np.uint8(255), Image.fromarray(mask), Image.fromarray(mask * np.uint8(255))]
    for form in forms:
        found = given_mask(form, height, width, name="visible[0]")
        assert found.dtype == bool and min(found.strides) >= 0
        np.testing.assert_array_equal(found, mask)


@pytest.mark.parametrize(
    ("value", "came"),
    [
        (MASK * np.uint8(2), "uint8 from 0 to 2"),
        (MASK * np.int16(-1), "int16 from -1 to 0"),
        (MASK + np.uint8(254) * MASK[::-1], "uint8 from 0 to"),
        (MASK * 0.7, "float64 from 0 to 0.7"),
        (MASK * np.float32(255), "float32 from 0 to 255"),
        (np.where(MASK, np.nan, 0), "float64 from nan"),
        (MASK.astype(object), "object"),
        (MASK.astype(str), "<U5"),
        (MASK.T, r"\[8, 6\] bool"),
        (MASK[..., None], r"\[6, 8, 1\] bool"),
        (MASK.tolist(), "lists of pixels"),
        ((255 * MASK).tolist(), "lists of pixels"),
        ([[1, 2, 3, 4]], "at least 6 coordinates"),
        ([], "at least one polygon"),
        ([["a", "b", "c", "d", "e", "f"]], "flat list of numbers"),
        ({"size": [8, 6], "counts": [48]}, "6 x 8"),
        ({"size": [6, 8], "counts": [7]}, "add up to 6 x 8 pixels, got 7"),
        ({"counts": [48]}, "size"),
        ("mask.png", "'mask.png'"),
        (None, "None"),
        (object(), "object"),
    ],
)
def test_masks_that_are_none(value, came: str) -> None:
    with pytest.raises(UsageError, match=rf"visible\[3\].*{came}") as caught:
        given_mask(value, 6, 8, name="visible[3]")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


@pytest.mark.parametrize("value", [MASK, {"size": [6, 8], "counts": [0, 48]}, Image.fromarray(MASK)])
def test_a_single_mask_is_told_to_go_into_a_list(value) -> None:
    with pytest.raises(UsageError, match=r"put it into a list: \[mask\]"):
        given_masks(value, 6, 8)


@pytest.mark.parametrize("rank", [0.0, float("nan"), "0", True, -1, [0], np.float32(1)])
def test_ranks_that_are_none(rank) -> None:
    with pytest.raises(UsageError, match=r"^depth_order\[1\]: expected a "):
        given_ranks([None, rank])


@pytest.mark.parametrize("ranks", [{0, 1}, {0: 1}, "01", iter([0, 1]), 3])
def test_ranks_without_an_order(ranks) -> None:
    with pytest.raises(UsageError, match=r"^depth_order: expected a list with an item for each object"):
        given_ranks(ranks)
