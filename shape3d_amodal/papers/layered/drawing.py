"""Drawings of the network's output for an image: embeddings of all layers, their clusters, and the masks."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.drawing.overlays import Image, image_grid
from shape3d_amodal.drawing.text import title_row
from shape3d_amodal.papers.layered.method import LayeredInstance, find_instances, look_at, resampled
from shape3d_amodal.papers.layered.network import LayeredNetwork

_GAP = 4
_GOLDEN = 0.618034  # step between hues: the golden ratio, so that all are different


_TITLES = ("image", "embeddings of each layer", "clusters", "classes", "largest masks, visible parts darker")


def draw_layers(network: LayeredNetwork, images: Sequence[Image], *, columns: int = 6) -> Image:
    """A strip an image, below titles: the image; embeddings, clusters and classes of each layer; the largest masks.

    Embeddings are drawn by their first three principal components, of the pixels of a class in all layers together, so
    that the same colour in two layers means the same embedding. A mask's visible part is darker than its hidden part.

    Args:
        images: one or more, [H,W,3] uint8 each.
        columns: of the masks, which are in two rows.

    Returns:
        [H',W',3] uint8, on white.
    """
    strips = [_panels(network, image, columns) for image in images]
    titles = [title_row([title], panel.shape[1], 0) for title, panel in zip(_TITLES, strips[0], strict=True)]
    return np.concatenate([_row(titles, at_bottom=True), *map(_row, strips)])


def _panels(network: LayeredNetwork, image: Image, columns: int) -> list[Image]:
    output = look_at(network, image)
    found = find_instances(output)
    kinds = output.logits.argmax(dim=1).cpu().numpy()  # [L,H,W]
    colours = principal_colours(output.embeddings.permute(0, 2, 3, 1).cpu().numpy(), kinds > 0)
    clusters = np.full((*kinds.shape, 3), 255, np.uint8)
    for number, one in enumerate(found):
        clusters[one.layers] = _hue(number)
    palette = np.array([(255, 255, 255), *(_hue(kind) for kind in range(len(network.config.classes)))], np.uint8)
    side = network.config.image_size
    image = resampled(image, side, side)
    height = (side - _GAP * (len(kinds) - 1)) // len(kinds)
    panels = [
        image_grid([[resampled(layer, height, height)] for layer in layers], _GAP)
        for layers in (colours, clusters, palette[kinds])
    ]
    return [image, *panels, _masks(image, found, columns)]


def principal_colours(points: NDArray[np.float32], chosen: NDArray[np.bool_]) -> Image:
    """Points [...,C] as colours [...,3] uint8 by the first three principal components of those ``chosen`` [...].

    The others are white.
    """
    colours = np.full((*chosen.shape, 3), 255, np.uint8)
    own = points[chosen].astype(np.float64)
    if not len(own):
        return colours
    own -= own.mean(axis=0)
    axes = np.linalg.svd(own, full_matrices=False)[2][:3]
    shown = np.zeros((len(own), 3))
    shown[:, : len(axes)] = own @ axes.T
    low, high = np.percentile(shown, [2, 98], axis=0)
    colours[chosen] = np.round(235 * np.clip((shown - low) / np.maximum(high - low, 1e-9), 0, 1))
    return colours


def _masks(image: Image, found: Sequence[LayeredInstance], columns: int) -> Image:
    """The largest masks in two rows, drawn over the image."""
    half = (len(image) - _GAP) // 2
    cells = []
    for number, one in sorted(enumerate(found), key=lambda pair: -int(pair[1].amodal.sum()))[: 2 * columns]:
        colour = np.array(_hue(number), np.float64)
        cell = resampled(image, half, half).astype(np.float64)
        for mask, share in ((one.amodal, 0.35), (one.visible, 0.4)):
            inside = resampled(mask, half, half)
            cell[inside] = (1 - share) * cell[inside] + share * colour
        cells.append(cell.astype(np.uint8))
    cells += [np.full((half, half, 3), 255, np.uint8)] * (2 * columns - len(cells))
    return image_grid([cells[:columns], cells[columns:]], _GAP)


def _row(panels: Sequence[Image], *, at_bottom: bool = False) -> Image:
    """Panels side by side on white with a gap behind each, and below them unless they stand ``at_bottom``."""
    height = max(len(panel) for panel in panels) + (0 if at_bottom else _GAP)
    lacking = [height - len(panel) for panel in panels]
    ends = [(number, 0) if at_bottom else (0, number) for number in lacking]
    padded = [np.pad(one, (end, (0, _GAP), (0, 0)), constant_values=255) for one, end in zip(panels, ends, strict=True)]
    return np.concatenate(padded, axis=1)


def _hue(number: int) -> tuple[int, int, int]:
    """A colour of full saturation."""
    red, green, blue = colorsys.hsv_to_rgb(number * _GOLDEN % 1, 0.75, 0.85)
    return round(255 * red), round(255 * green), round(255 * blue)
