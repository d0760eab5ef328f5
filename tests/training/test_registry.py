from __future__ import annotations

from pathlib import Path

import pytest

from shape3d_amodal.errors import UsageError
from shape3d_amodal.training.registry import load_training, training_class
from shape3d_amodal.training.tasks.stages import StageConfig

CONFIGS = Path(__file__).parents[2] / "configs"


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


def trainings() -> list[Path]:
    found = [path for path in CONFIGS.rglob("*.yaml") if path.read_text().find("\nstage:") >= 0]
    assert len(found) >= 5
    return sorted(found)


@pytest.mark.parametrize("path", trainings(), ids=lambda path: str(path.relative_to(CONFIGS)))
def test_every_shipped_training_can_be_read(path: Path) -> None:
    training = load_training(path, overrides=["loop.steps=7"])
    assert isinstance(training, training_class(training.stage))
    assert training.loop.steps == 7


def test_stages_are_trained_as_stages() -> None:
    assert training_class("completion2d") is StageConfig
