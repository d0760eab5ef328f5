"""``shapes2d make``, ``bounds`` and ``show`` from the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from shape3d_amodal.annotations.formats.registry import read_dataset
from shape3d_amodal.cli import main
from shape3d_amodal.config import dump_config
from shape3d_amodal.files.weights import save_weights
from shape3d_amodal.papers.layered.network import LayeredConfig, LayeredNetwork

SMALL = ("--set", "shapes.size=64", "shapes.per_class=1", "count=2")


def test_make_writes_a_set_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "set"
    assert main(["shapes2d", "make", "--out", str(out), *SMALL]) == 0
    dataset = read_dataset(out / "annotations.json")
    assert len(dataset.images) == 2
    assert {path.name for path in (out / "images").iterdir()} == {image.file_name for image in dataset.images}
    assert "2 scenes with" in capsys.readouterr().out
    assert main(["shapes2d", "make", "--out", str(out), *SMALL]) == 2
    assert "holds scenes already" in capsys.readouterr().err


def test_one_is_no_plural(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = ["--set", "shapes.size=64", "shapes.per_class=1", "count=1"]
    assert main(["shapes2d", "make", "--out", str(tmp_path / "set"), *one]) == 0
    assert "1 scene with " in capsys.readouterr().out
    assert main(["shapes2d", "bounds", "--per-class", "1", "--layers", "1", *one]) == 0
    assert capsys.readouterr().out.startswith("1 scene, seed ")


def test_bounds_prints_a_row_a_number_of_layers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shapes2d", "bounds", "--per-class", "1", "--layers", "1", "9", *SMALL]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:4] == ["N", "L", "AP", "AP50"]
    assert [line.split()[:2] for line in lines[2:]] == [["1", "1"], ["1", "9"]]
    assert lines[3].split()[2:6] == ["100.00"] * 4


def test_levels_without_a_shape_have_no_number(capsys: pytest.CaptureFixture[str]) -> None:
    one = ["shapes.size=64", "shapes.classes=[circle]", "shapes.per_class=1", "count=1"]
    assert main(["shapes2d", "bounds", "--per-class", "1", "--layers", "2", "--set", *one]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["1", "2", *["100.00"] * 5, "-", "-"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--layers", "2", "0"], "--layers: expected numbers from 1 on, got 2 0"),
        (["--per-class=-1"], "--per-class: expected numbers 1 to 100, got -1"),
        (["--per-class", "0"], "--per-class: expected numbers 1 to 100, got 0"),
        (["--per-class", "6", "200"], "--per-class: expected numbers 1 to 100, got 6 200"),
    ],
)
def test_numbers_are_looked_at_before_anything_is_printed(
    options: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["shapes2d", "bounds", *options, *SMALL]) == 2
    said = capsys.readouterr()
    assert problem in said.err and not said.out


def test_sizes_that_the_stride_does_not_divide_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shapes2d", "make", "--out", str(tmp_path / "set"), "--set", "shapes.size=66", "count=1"]) == 2
    assert "shapes.size: expected a multiple of stride (4), got 66; change one" in capsys.readouterr().err
    assert not (tmp_path / "set").exists()
    assert (
        main(["shapes2d", "make", "--out", str(tmp_path / "set"), "--set", "shapes.size=66", "count=1", "stride=2"])
        == 0
    )


def test_show_draws_a_row_a_scene(tmp_path: Path) -> None:
    config = LayeredConfig(image_size=64, backbone="resnet18", features=16, heads=(16,))
    torch.manual_seed(0)
    save_weights(tmp_path / "weights", dump_config(config), LayeredNetwork(config).state_dict())
    heights = []
    for limit in ("1", "2"):
        arguments = ["--weights", str(tmp_path / "weights"), "--out", str(tmp_path / "p.png"), "--limit", limit]
        assert main(["shapes2d", "show", *arguments, *SMALL]) == 0
        heights.append(np.asarray(Image.open(tmp_path / "p.png")).shape[0])
    assert heights[1] - heights[0] == 64 + 4  # beside the titles, which both have


def test_show_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--weights", str(tmp_path / "none"), "--out", str(tmp_path / "p.png")]
    assert main(["shapes2d", "show", *arguments]) == 3
    assert "none" in capsys.readouterr().err
    assert main(["shapes2d", "show", *arguments, "--limit", "0"]) == 2
