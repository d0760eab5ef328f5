"""Statistics of a picture counted by hand, and shapes whose convexity and simplicity are known."""

from __future__ import annotations

import json
from pathlib import Path

import annotated
import numpy as np
import pytest

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.registry import read_dataset
from shape3d_amodal.annotations.statistics import shape_of, statistics
from shape3d_amodal.structures import AmodalDataset


def read(folder: Path, document: annotated.Document) -> AmodalDataset:
    (folder / "set.json").write_text(json.dumps(document))
    return read_dataset(folder / "set.json")


def turned_box(width: float, height: float, degrees: float) -> np.ndarray:
    rows, columns = np.mgrid[:300, :300] + 0.5
    angle = np.radians(degrees)
    x = (columns - 150.3) * np.cos(angle) + (rows - 149.8) * np.sin(angle)
    y = (rows - 149.8) * np.cos(angle) - (columns - 150.3) * np.sin(angle)
    return (np.abs(x) < width / 2) & (np.abs(y) < height / 2)


@pytest.mark.parametrize("radius", [8, 16, 40, 120])
def test_a_disc_is_convex_and_simple(radius: int) -> None:
    rows, columns = np.mgrid[:300, :300] + 0.5
    disc = (rows - 150.2) ** 2 + (columns - 149.9) ** 2 < radius**2
    convexity, simplicity = shape_of(masks.encode(disc))
    assert 1 - 0.3 / radius < convexity <= 1
    assert simplicity == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("degrees", [0, 10, 22.5, 30, 45])
@pytest.mark.parametrize(("width", "height"), [(40, 40), (120, 30), (200, 20)])
def test_boxes_at_any_angle(width: int, height: int, degrees: float) -> None:
    """sqrt(4 pi w h) / (2 w + 2 h)."""
    convexity, simplicity = shape_of(masks.encode(turned_box(width, height, degrees)))
    assert convexity > 0.96
    assert simplicity == pytest.approx(np.sqrt(4 * np.pi * width * height) / (2 * (width + height)), rel=0.02)


def test_an_l_has_three_quarters_of_its_box_and_six_sevenths_of_its_hull() -> None:
    mask = np.zeros((300, 300), dtype=bool)
    mask[50:250, 50:250] = True
    mask[50:150, 150:250] = False
    assert shape_of(masks.encode(mask))[0] == pytest.approx(6 / 7, abs=0.005)


def test_parts_and_holes_count() -> None:
    """Two squares, their side apart: 2 of 3 squares of the hull. A ring of a third of its side: 8 of 9 squares."""
    squares = np.zeros((60, 200), dtype=bool)
    squares[:60, :60] = squares[:60, 120:180] = True
    assert shape_of(masks.encode(squares))[0] == pytest.approx(2 / 3, abs=0.005)
    ring = np.ones((90, 90), dtype=bool)
    ring[30:60, 30:60] = False
    convexity, simplicity = shape_of(masks.encode(ring))
    assert convexity == pytest.approx(8 / 9, abs=0.01)
    assert simplicity == pytest.approx(np.sqrt(4 * np.pi * 7200) / (360 + 120), rel=0.03)


def test_a_single_pixel_has_a_shape() -> None:
    mask = np.zeros((3, 3), dtype=bool)
    mask[1, 1] = True
    assert shape_of(masks.encode(mask)) == pytest.approx((1, np.sqrt(np.pi) / 2))  # a square, standing on a corner


def test_the_picture_counted_by_hand(tmp_path: Path) -> None:
    """FAR hides 6 of 20; NEAR and FAR form a cluster with one occluded object; 43 of 96 pixels are covered."""
    found = statistics(read(tmp_path, annotated.kins2020()))
    told = found.to_dict()
    assert (told["images"], told["objects"], told["objects_an_image"], told["fully_hidden"]) == (1, 3, 3, 0)
    assert list(told["by_class"].items())[:2] == [("car", 2), ("rider", 1)]
    assert told["by_class"]["tram"] == 0
    assert told["covered_share"] == (25 + 20 - 6 + 4) / 96
    assert told["occluded_share"] == pytest.approx(1 / 3)
    assert told["mean_occlusion_of_occluded"] == pytest.approx(0.3)
    assert sum(told["occlusion_level"]["objects"]) == 1
    assert told["max_occlusion_order"] == {"1": 1}
    assert told["max_match_number"] == {"0": 1, "1": 2}
    assert {kind: len(shapes) for kind, shapes in found.shapes.items()} == {"inmodal": 3, "amodal": 3}


def test_clusters_are_made_of_overlaps_where_none_are_given(tmp_path: Path) -> None:
    assert statistics(read(tmp_path, annotated.cocoa())).to_dict()["max_occlusion_order"] == {"1": 1}


def test_fully_hidden_objects_have_no_inmodal_shape(tmp_path: Path) -> None:
    document = annotated.kins2019()
    document["annotations"][0]["inmodal_seg"] = annotated.EMPTY_CODE
    found = statistics(read(tmp_path, document))
    assert (found.hidden, len(found.shapes["inmodal"]), max(found.occlusion)) == (1, 2, 1)


def test_statistics_of_nothing() -> None:
    told = statistics(AmodalDataset(images=(), categories=())).to_dict()
    assert told["objects_an_image"] is told["covered_share"] is told["occluded_share"] is None
    assert told["shapes"]["amodal"] == {"convexity": None, "simplicity": None}


def test_objects_without_amodal_mask_are_only_counted(tmp_path: Path) -> None:
    document = annotated.own()
    for record in document["annotations"]:
        del record["segmentation"], record["invisible_mask" if "invisible_mask" in record else "area"]
    found = statistics(read(tmp_path, document))
    assert (found.objects, found.occlusion, found.covered) == (3, [], 0)
