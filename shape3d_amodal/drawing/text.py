"""Words on images: titles above the columns of a grid, and tags on objects. All images are RGB, [H,W,3] uint8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont
from scipy import ndimage

from shape3d_amodal.drawing.colors import Color, ink_on
from shape3d_amodal.drawing.overlays import Image, Mask

_SIZE = 13  # of titles, in pixels
_INK: Color = (60, 66, 74)
_SMALLEST = 13  # of tags, in pixels; a longer image has larger ones
_SHARE = 1 / 35  # of an image's longer side that the letters of a tag are high

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels."""


def title_row(titles: Sequence[str], width: int, gap: int) -> Image:
    """Titles for the columns of a grid, left-aligned, broken into lines where they are too long, on white.

    Args:
        titles: one a column.
        width: of a column in pixels.
        gap: pixels between columns.

    Returns:
        [H,len(titles)*(width+gap)-gap,3] uint8, for the space above the grid.
    """
    font = _font(_SIZE)
    columns = [_lines(title, width, font) for title in titles]
    step = round(1.25 * _SIZE)
    height = step * max(len(lines) for lines in columns) + 6
    row = PillowImage.new("RGB", (len(titles) * (width + gap) - gap, height), "white")
    draw = ImageDraw.Draw(row)
    for number, lines in enumerate(columns):
        for place, line in enumerate(lines):
            draw.text((number * (width + gap), place * step + _SIZE), line, fill=_INK, font=font, anchor="ls")
    return np.asarray(row)


@dataclass(frozen=True)
class Tag:
    """What stands on an object.

    Attributes:
        texts: the longest first; a shorter one is taken where there is no room for it.
        color: of the object; the letters are black or white on it.
        mask: [H,W] bool, the object.
    """

    texts: tuple[str, ...]
    color: Color
    mask: Mask


def draw_tags(image: Image, tags: Sequence[Tag]) -> Image:
    """A tag on each object, inside the image and, where there is room, apart from the other tags.

    Empty masks, and images too small for letters, get none.
    """
    height, width = image.shape[:2]
    size = max(_SMALLEST, round(_SHARE * max(height, width)))
    if height < 3 * size:
        return image
    drawn = PillowImage.fromarray(image)
    draw, font = ImageDraw.Draw(drawn), _font(size)
    taken: list[Box] = []
    for tag in tags:
        if not tag.mask.any():
            continue
        text, box = _placed(tag, font, size, (width, height), taken)
        taken.append(box)
        draw.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=tag.color)
        middle = (box[1] + box[3]) / 2
        draw.text((box[0] + size // 3, middle), text, fill=ink_on(tag.color), font=font, anchor="lm")
    return np.asarray(drawn)


def _placed(
    tag: Tag, font: ImageFont.FreeTypeFont, size: int, limits: tuple[int, int], taken: Sequence[Box]
) -> tuple[str, Box]:
    """The longest text that has room, and its box; the last text at its first place where none has."""
    shortest = tag.texts[-1]
    for text in tag.texts:
        boxes = _boxes(tag.mask, round(font.getlength(text)) + 2 * (size // 3), round(1.4 * size), limits)
        free = (box for box in boxes if box[2] <= limits[0] and not any(_overlap(box, other) for other in taken))
        found = next(free, boxes[0] if text == shortest else None)
        if found:
            return text, found
    raise ValueError("expected a tag with a text, got none")


def _boxes(mask: Mask, wide: int, high: int, limits: tuple[int, int]) -> list[Box]:
    """Boxes of this size inside the image where a tag may be, the best first: above, at the top, in the middle, below.

    They are those of the mask's largest part. A box that is wider than the image begins at its left end.
    """
    parts, _ = ndimage.label(mask)
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    rows, columns = ndimage.find_objects(parts)[areas.argmax() - 1]
    top, bottom, left, right = rows.start, rows.stop, columns.start, columns.stop
    middle = ((left + right - wide) // 2, (top + bottom - high) // 2)
    corners = [(left, top - high), (left, top), middle, (right - wide, top)]
    corners += [(left, bottom - high), (right - wide, bottom - high), (left, bottom)]
    moved = [(max(0, min(x, limits[0] - wide)), max(0, min(y, limits[1] - high))) for x, y in corners]
    return [(x, y, x + wide, y + high) for x, y in moved]


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _lines(text: str, width: int, font: ImageFont.FreeTypeFont) -> list[str]:
    """``text`` in lines of at most ``width`` pixels; longer words are cut."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(_cut(word, width, font))
    return lines or [""]


def _cut(word: str, width: int, font: ImageFont.FreeTypeFont) -> str:
    if font.getlength(word) <= width:
        return word
    short = word
    while short and font.getlength(f"{short}…") > width:
        short = short[:-1]
    return f"{short}…" if short else ""


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and has the letters of many scripts."""
    import matplotlib as mpl

    return ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)
