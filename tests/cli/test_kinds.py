"""Files that belong to another command or option, and options that are almost right."""

from __future__ import annotations

import pytest

from shape3d_amodal.cli import main
from shape3d_amodal.errors import WeightsError
from shape3d_amodal.files.pretrained import CHECKPOINTS, load_network

TRAINING, BENCHMARK, SCENES = "open13/unet2d.yaml", "open13/benchmark.yaml", "open13/test.yaml"
SHAPES, BARS, BASE = "shapes2d/test.yaml", "open13/test_bars.yaml", "open13/_stage.yaml"


@pytest.mark.parametrize(
    ("command", "files", "own"),
    [
        (["train"], (BENCHMARK, SCENES, SHAPES, BARS), "train"),
        (["benchmark"], (TRAINING, SCENES, SHAPES, "kins/vrsp.yaml"), "benchmark"),
        (["scenes", "--out", "out", "--config"], (TRAINING, BENCHMARK, SHAPES), "scenes --config"),
        (["demo", "--out", "out", "--config"], (TRAINING, BENCHMARK, SHAPES), "scenes --config"),
        (["shapes2d", "make", "--out", "out", "--config"], (TRAINING, BENCHMARK, SCENES), "shapes2d make --config"),
        (["shapes2d", "bounds", "--config"], (TRAINING, BENCHMARK, SCENES), "shapes2d make --config"),
    ],
)
def test_a_configuration_of_another_command_names_it(capsys, tmp_path, monkeypatch, command, files, own) -> None:
    monkeypatch.chdir(tmp_path)
    names = {TRAINING: "train", BENCHMARK: "benchmark", SHAPES: "shapes2d make --config", "kins/vrsp.yaml": "train"}
    for file in files:
        assert main([*command, file]) == 2
        err = capsys.readouterr().err
        theirs = names.get(file, "scenes --config")
        line = f"{file}: this is a configuration for `shape3d-amodal {theirs}`, got it for `{own}`\n"
        assert err.endswith(line) and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_base_of_other_files_is_no_training(capsys) -> None:
    assert main(["train", BASE]) == 2
    assert "stage: expected the name of a training, got none; is it the base of other files?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "near"),
    [
        ("pool.crops.meshes=x", "train.meshes"),
        ("pool.scenes=3", "train.scenes"),
        ("loop.stepz=3", "loop.steps"),
        ("loop.lr=3", "see --print-config"),
        ("steps=3", "loop.steps"),
        ("train.mesh=x", "train.meshes"),
        ("model.refinement.width=[1]", "model.refinement.widths"),
    ],
)
def test_an_unknown_option_names_those_that_are_near(capsys, override, near) -> None:
    assert main(["train", TRAINING, "--set", override]) == 2
    err = capsys.readouterr().err
    assert "this key is not known; " in err and near in err and "--print-config" in err


OURS = ("open13", "open13_bank", "baselines/unet2d")


SHIPPED = {path.parent.relative_to(CHECKPOINTS).as_posix() for path in CHECKPOINTS.rglob("config.yaml")}
OTHERS = sorted(SHIPPED - {*OURS})


@pytest.mark.parametrize("name", OTHERS)
def test_weights_of_another_kind_say_where_they_belong(name: str) -> None:
    from shape3d_amodal.model import AmodalModel, AmodalModelConfig

    with pytest.raises(WeightsError) as caught:
        load_network(name, AmodalModelConfig, AmodalModel)
    kind = "PCNet-M" if name.endswith("pcnet_m") else "a detector (stage 1, the R-CNN family)"
    place = "pcnet_m" if name.endswith("pcnet_m") else "predict --detector"
    assert f"expected weights of stages 2 to 5, got those of {kind}, which belong to " in str(caught.value)
    assert place in str(caught.value)


@pytest.mark.parametrize("name", [*OURS, "baselines/pcnet_m"])
def test_other_weights_are_no_detector(name: str) -> None:
    from shape3d_amodal.segmentation.model import Rcnn
    from shape3d_amodal.segmentation.systems import RcnnConfig

    with pytest.raises(WeightsError, match=r"expected weights of a detector .*, got those of (stages 2 to 5|PCNet-M)"):
        load_network(name, RcnnConfig, Rcnn)


def test_a_benchmark_finds_the_scene_set_beside_it_from_any_folder(capsys, tmp_path, monkeypatch) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "set.yaml").write_text("meshes: open13:test\nper_category: 0\n")
    text = "data: {a: {scenes: set.yaml}}\nmethods: {v: {kind: visible_only}}\nruns: [{data: a}]\n"
    (tmp_path / "mine" / "bench.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert main(["benchmark", "mine/bench.yaml"]) == 2
    assert "mine/set.yaml: per_category: input should be greater than or equal to 1, got 0" in capsys.readouterr().err
