"""``shapes2d make``, ``bounds`` and ``show`` from the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from shape3d_amodal.baselines.layered.network import LayeredConfig, LayeredNetwork
from shape3d_amodal.cli import main
from shape3d_amodal.config import dump_config
from shape3d_amodal.data.formats.detect import read_dataset
from shape3d_amodal.weights import save_weights

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


def test_bounds_prints_a_row_a_number_of_layers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shapes2d", "bounds", "--per-class", "1", "--layers", "1", "9", *SMALL]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:4] == ["N", "L", "AP", "AP50"]
    assert [line.split()[:2] for line in lines[2:]] == [["1", "1"], ["1", "9"]]
    assert lines[3].split()[2:6] == ["100.00"] * 4


def test_layers_are_counted_from_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shapes2d", "bounds", "--layers", "0", *SMALL]) == 2
    assert "--layers: expected numbers from 1 on" in capsys.readouterr().err


def test_show_draws_a_row_a_scene(tmp_path: Path) -> None:
    config = LayeredConfig(image_size=64, backbone="resnet18", features=16, heads=(16,))
    torch.manual_seed(0)
    save_weights(tmp_path / "weights", dump_config(config), LayeredNetwork(config).state_dict())
    arguments = ["--weights", str(tmp_path / "weights"), "--out", str(tmp_path / "p.png"), "--limit", "2"]
    assert main(["shapes2d", "show", *arguments, *SMALL]) == 0
    picture = np.asarray(Image.open(tmp_path / "p.png"))
    assert picture.shape[0] == 2 * (64 + 4)


def test_show_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--weights", str(tmp_path / "none"), "--out", str(tmp_path / "p.png")]
    assert main(["shapes2d", "show", *arguments]) == 3
    assert "none" in capsys.readouterr().err
    assert main(["shapes2d", "show", *arguments, "--limit", "0"]) == 2
