"""The results file: what is written, and that it is read back. Bad records are in tests/attacks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from drawn_datasets import POSES
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from shape3d_amodal import masks
from shape3d_amodal.annotations.results import AmodalResult, read_results, write_results
from shape3d_amodal.errors import DataError
from shape3d_amodal.structures import Pose, Rle

MASK = Rle(4, 5, "488")
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
CODES = arrays(np.bool_, (3, 4)).map(masks.encode)
RESULTS = st.lists(
    st.builds(
        AmodalResult,
        image_id=st.integers(-5, 10**9),
        category_id=st.integers(0, 99),
        score=NUMBERS,
        segmentation=CODES,
        annotation_id=st.none() | st.integers(0, 99),
        visible=st.none() | CODES,
        occluded=st.none() | CODES,
        viewpoint=st.none() | st.dictionaries(st.text(max_size=4), NUMBERS | st.lists(NUMBERS, max_size=2), max_size=3),
        mesh=st.none() | st.text(max_size=5),
        depth_order=st.none() | st.integers(-3, 99),
        pose=st.none() | POSES,
        model=st.none() | st.text(max_size=5),
        chance=st.none() | st.floats(0, 1),
    ),
    max_size=3,
)


def check_round_trip(folder: Path, examples: int) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(RESULTS)
    def check(results: list[AmodalResult]) -> None:
        write_results(folder / "results.json", results)
        assert read_results(folder / "results.json") == results

    check()


def test_round_trip(tmp_path: Path) -> None:
    check_round_trip(tmp_path, 50)


@pytest.mark.slow
def test_round_trip_at_length(tmp_path: Path) -> None:
    check_round_trip(tmp_path, 1000)


def test_the_written_record(tmp_path: Path) -> None:
    full = AmodalResult(
        image_id=1,
        annotation_id=2,
        category_id=3,
        score=0.5,
        segmentation=MASK,
        visible=MASK,
        occluded=MASK,
        viewpoint={"azimuth_deg": 30.0, "offset": [0.0, 0.1]},
        depth_order=2,
        mesh="a.glb",
        pose=Pose((0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0), (0.5, 0.0, 900.0)),
        model="chair/a.obj",
        chance=0.25,
    )
    write_results(tmp_path / "r.json", [full, AmodalResult(image_id=1, category_id=3, score=1, segmentation=MASK)])
    code = {"size": [4, 5], "counts": "488"}
    assert json.loads((tmp_path / "r.json").read_text()) == [
        {
            "image_id": 1,
            "annotation_id": 2,
            "category_id": 3,
            "score": 0.5,
            "segmentation": code,
            "visible_mask": code,
            "occluded_mask": code,
            "viewpoint": {"azimuth_deg": 30.0, "offset": [0.0, 0.1]},
            "depth_order": 2,
            "mesh": "a.glb",
            "cam_R_m2c": [0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0],
            "cam_t_m2c": [0.5, 0.0, 900.0],
            "model": "chair/a.obj",
            "chance": 0.25,
        },
        {"image_id": 1, "category_id": 3, "score": 1, "segmentation": code},
    ]


def test_coco_results_are_read(tmp_path: Path) -> None:
    record = {"image_id": 1, "category_id": 3, "score": 1, "segmentation": {"size": [4, 5], "counts": [4, 8, 8]}}
    (tmp_path / "r.json").write_text(json.dumps([{**record, "bbox": [1, 0, 2, 4]}]))
    assert read_results(tmp_path / "r.json") == [AmodalResult(image_id=1, category_id=3, score=1.0, segmentation=MASK)]


@pytest.mark.parametrize("content", ["{}", "[3]", '[{"image_id": 1}]'])
def test_other_shapes_are_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(DataError, match="expected"):
        read_results(tmp_path / "r.json")


@pytest.mark.parametrize(
    ("chance", "problem"), [(1.5, "from 0 to 1, got 1.5"), (-0.1, "got -0.1"), ("likely", "finite number, got text")]
)
def test_chances_that_are_none_are_refused(chance: object, problem: str, tmp_path: Path) -> None:
    mask = {"size": [4, 5], "counts": "488"}
    record = {"image_id": 1, "category_id": 3, "score": 1, "segmentation": mask, "chance": chance}
    (tmp_path / "r.json").write_text(json.dumps([record]))
    with pytest.raises(DataError, match=rf"r\.json: \[0\]\.chance: expected a .*{problem}"):
        read_results(tmp_path / "r.json")


def test_nan_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_results(
            tmp_path / "r.json", [AmodalResult(image_id=1, category_id=1, score=float("nan"), segmentation=MASK)]
        )
    assert not list(tmp_path.iterdir())
