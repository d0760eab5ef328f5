"""One HTML file that tells how good the masks are: tables, charts and images. No network, no script."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, groupby
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image as PillowImage

from shape3d_amodal.drawing.colors import Color
from shape3d_amodal.evaluation.metrics import Metric
from shape3d_amodal.evaluation.tables import Table
from shape3d_amodal.files.atomic import write_text_atomic
from shape3d_amodal.reports.charts import Chart

_PANELS_A_ROW = 6


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A number to begin with: ``label`` "occluded mIoU", ``value`` "71.2", ``note`` "visible only: 0.0"."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class EncodedImage:
    """An image as the page holds it: a ``data:`` address, and its size in pixels."""

    uri: str
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Key:
    """What a colour of the images means."""

    label: str
    color: Color


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One image of a case.

    Attributes:
        label: below the image.
        image: [H,W,3] or [H,W] uint8, or what ``encoded`` made of it.
        value: a number beside the label, may be empty.
    """

    label: str
    image: NDArray[np.uint8] | EncodedImage
    value: str = ""


@dataclass(frozen=True, kw_only=True)
class ReportCase:
    """One object or image as panels, from left to right.

    Attributes:
        title: shown as it is; empty where the group's title says it.
        caption: beside the title, may be empty.
        panels: the images.
        score: orders cases (higher is better).
        color: what the object has in another image, shown beside the title.
    """

    title: str
    caption: str
    panels: tuple[Panel, ...]
    score: float = float("nan")
    color: Color | None = None


@dataclass(frozen=True, kw_only=True)
class CaseGroup:
    """Cases under one heading."""

    title: str
    cases: tuple[ReportCase, ...]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Blocks that are shown when a reader opens them."""

    title: str
    blocks: tuple[Table | Chart | CaseGroup, ...]
    note: str = ""


Block = Table | Chart | CaseGroup | Fold
"""What a section is made of."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page: tables that follow each other stand side by side where they fit.

    Attributes:
        note: what a reader should know of the blocks.
        hint: what a reader should do next, set off from the rest.
        keys: what the colours of the images mean.
    """

    title: str
    blocks: tuple[Block, ...]
    note: str = ""
    hint: str = ""
    keys: tuple[Key, ...] = ()


_KINDS: dict[str, type] = {"tables": Table, "charts": Chart, "groups": CaseGroup, "folds": Fold}


def write_report(
    path: str | Path,
    *,
    title: str,
    intro: str,
    figures: Sequence[Figure] = (),
    sections: Sequence[Section] = (),
    metrics: Sequence[Metric] = (),
    facts: Sequence[tuple[str, str]] = (),
) -> None:
    """Write the report; its folder must exist. Sections without content are left out.

    Args:
        path: the HTML file.
        title, intro: plain text.
        figures: the numbers to begin with.
        sections: in their order.
        metrics: definitions of the numbers.
        facts: the conditions of the numbers, e.g. ("command", "..."), ("seed", "0").

    Raises:
        DataError: the file cannot be written.
    """
    environment = Environment(
        loader=PackageLoader("shape3d_amodal.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    numbers = count(1)
    text = environment.get_template("report.html.j2").render(
        title=title,
        intro=intro,
        figures=figures,
        sections=[section for section in sections if section.blocks or section.hint],
        metrics=metrics,
        facts=facts,
        by_kind=_by_kind,
        columns=_columns,
        css=_css,
        told="How it was measured" if metrics else "How it was made",
        zip=zip,
        encoded=encoded,
        svg=lambda chart: Markup(chart.svg(f"chart-{next(numbers)}")),
    )
    write_text_atomic(path, text)


def encoded(image: NDArray[np.uint8] | EncodedImage) -> EncodedImage:
    """``image`` as the page holds it; what is encoded already stays as it is."""
    if isinstance(image, EncodedImage):
        return image
    return EncodedImage(data_uri(image), width=image.shape[1], height=image.shape[0])


def data_uri(image: NDArray[np.uint8]) -> str:
    """An image as a ``data:`` address: colour [H,W,3] uint8 as JPEG, grey [H,W] uint8 (masks) as PNG."""
    buffer = io.BytesIO()
    kind = "png" if image.ndim == 2 else "jpeg"
    # Colour at full resolution, which thin contours need; PNG ignores both options.
    PillowImage.fromarray(image).save(buffer, kind, quality=85, subsampling=0)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _by_kind(blocks: Sequence[Block]) -> Iterator[tuple[str, list[Block]]]:
    """Runs of blocks of one kind, by the name of the macro that shows them."""

    def kind(block: Block) -> str:
        return next(name for name, one in _KINDS.items() if isinstance(block, one))

    return ((name, list(run)) for name, run in groupby(blocks, kind))


def _css(**names: bool) -> str:
    """The attribute ``class`` with those names that are given, or nothing."""
    chosen = " ".join(name for name, given in names.items() if given)
    return Markup(' class="{}"').format(chosen) if chosen else ""


def _columns(panels: int) -> int:
    """Columns that give about equally full rows of at most ``_PANELS_A_ROW``."""
    rows = math.ceil(panels / _PANELS_A_ROW)
    return math.ceil(panels / max(rows, 1))
