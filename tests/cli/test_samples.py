"""``samples``: a picture of several masks an object from files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.coco_amodal import write_coco_amodal
from shape3d_amodal.annotations.results import AmodalResult, write_results
from shape3d_amodal.cli import main
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance, Category


def square(width: int) -> np.ndarray:
    mask = np.zeros((48, 64), bool)
    mask[10:30, 10 : 10 + width] = True
    return mask


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Three objects: one of which nothing is hidden, one half hidden, one for three quarters."""
    visible, amodal = (20, 10, 10), (20, 20, 40)
    instances = tuple(
        AmodalInstance(id=i, category_id=1, visible=masks.encode(square(v)), amodal=masks.encode(square(a)))
        for i, (v, a) in enumerate(zip(visible, amodal, strict=True), start=1)
    )
    image = AmodalImage(id=1, file_name="a.png", width=64, height=48, instances=instances)
    write_coco_amodal(tmp_path / "annotations.json", AmodalDataset(images=(image,), categories=(Category(1, "chair"),)))
    Image.new("RGB", (64, 48), (230, 230, 230)).save(tmp_path / "a.png")
    several = [
        AmodalResult(image_id=1, category_id=1, score=1.0, segmentation=masks.encode(square(width)), annotation_id=i)
        for i in (1, 2, 3)
        for width in (10, 20, 30)[: i + 1]
    ]
    write_results(tmp_path / "several.json", several)
    beside = [
        replace(several[-1], segmentation=masks.encode(square(40))),
        *(replace(one, chance=0.3) for one in several),
    ]
    write_results(tmp_path / "beside.json", beside)
    write_results(tmp_path / "single.json", [several[0], several[2]])
    return tmp_path


def run(folder: Path, results: str, *more: str) -> int:
    annotations = ["--images", str(folder), "--annotations", str(folder / "annotations.json")]
    return main(["samples", str(folder / results), *annotations, "--out", str(folder / "new" / "out.png"), *more])


def test_a_row_a_partly_hidden_object(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(files, "several.json") == 0
    out = capsys.readouterr().out.splitlines()
    assert out[:2] == [
        "chair: 3 samples · best IoU 100.0 · mean 72.2",  # 10, 20 and 30 columns of 20
        "chair: 3 samples · best IoU 75.0 · mean 50.0",  # of 40
    ]
    picture = np.asarray(Image.open(files / "new" / "out.png"))
    assert picture.shape[1:] == (7 * 148 - 4, 3)  # image, visible, three samples, share and truth
    head = picture[: -(2 * 148 - 4)].min(axis=2) < 128
    assert all(head[:, 148 * column : 148 * column + 144].any() for column in range(7)), "a title a column"


def test_answers_with_a_chance_are_the_samples(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole mask beside those of the third object is none of them."""
    assert run(files, "beside.json") == 0
    assert capsys.readouterr().out.splitlines()[1] == "chair: 3 samples · best IoU 75.0 · mean 50.0"


def test_rows_and_samples_may_be_fewer(files: Path) -> None:
    assert run(files, "several.json", "--count", "1", "--shown", "2") == 0
    assert np.asarray(Image.open(files / "new" / "out.png")).shape[1:] == (6 * 148 - 4, 3)


def test_what_cannot_be_drawn_is_one_line(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(files, "single.json") == 3
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "single.json" in error and "expected several results for an annotation id" in error
    assert run(files, "several.json", "--count", "0") == 2
    assert not (files / "new").exists()
