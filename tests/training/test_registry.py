from __future__ import annotations

from pathlib import Path

import pytest

from shape3d_amodal.errors import UsageError
from shape3d_amodal.training.registry import load_training, training_class
from shape3d_amodal.training.tasks.stages import StageConfig


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("stage: colours", r"stage: expected one of prior, .*, got 'colours'"),
        ("loop: {}", r"stage: expected one of prior, .*, got None"),
        ("- stage", "expected a mapping of options"),
        ("stage: [", "not valid YAML"),
        ("stage: prior\nloop: {stpes: 3}", r"stpes.*this key is not known"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text: str, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "training.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=problem) as caught:
        load_training(file)
    assert "training.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the configuration"):
        load_training(tmp_path / "none.yaml")


def test_the_stage_may_stand_in_the_base(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("stage: prior\nloop: {steps: 7}")
    file = tmp_path / "training.yaml"
    file.write_text("base: base.yaml\nloop: {batch_size: 3}")
    training = load_training(file)
    assert isinstance(training, StageConfig)
    assert (training.stage, training.loop.steps, training.loop.batch_size) == ("prior", 7, 3)
    (tmp_path / "base.yaml").write_text("stage: colours")
    with pytest.raises(UsageError, match=r"^\S+base\.yaml: stage: expected one of prior, .*, got 'colours'"):
        load_training(file)


def test_stages_are_trained_as_stages() -> None:
    assert training_class("completion2d") is StageConfig
