"""Messages name an option as it is typed, and the parser offers nothing that nobody types."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shape3d_amodal.cli import dispatch, main
from shape3d_amodal.errors import AmodalError, DataError, MissingBackendError, UsageError


@pytest.mark.parametrize(
    ("error", "line", "expected"),
    [
        (UsageError("min_score: expected 1, got 2"), "--min-score 2", "--min-score: expected 1, got 2"),
        (UsageError("min_score: expected 1, got 2"), "--min_score=2", "--min-score: expected 1, got 2"),
        (UsageError("min_score: expected 1: got 2"), "--out a", "min_score: expected 1: got 2"),
        (MissingBackendError("device: none; use cpu"), "--device cuda", "--device: none; use cpu"),
        (UsageError("a b.yaml: seed: too low: -1"), "--config a --seed -1", "--seed: too low: -1"),
        (UsageError("configuration: seed: too low"), "--set seed=-1", "configuration: seed: too low"),
        (UsageError("a.yaml: scenes.seed: too low"), "--seed 3", "a.yaml: scenes.seed: too low"),
        (UsageError("a: b: device: none"), "--device cuda", "a: b: device: none"),
        (DataError("is damaged", file="images"), "--images pictures --annotations images", "images: is damaged"),
        (UsageError("out: is in use"), "--out out", "out: is in use"),
        (UsageError("meshes: is in use"), "--meshes a --out=meshes", "meshes: is in use"),
        (UsageError("device"), "--device cuda", "device"),
    ],
)
def test_the_name_in_python_becomes_that_of_the_option(error: AmodalError, line: str, expected: str) -> None:
    assert dispatch._as_typed(error, line.split()) == expected


@pytest.mark.parametrize(
    ("words", "status", "begin"),
    [
        ("data convert FILE --to foo --out x.json", 2, "--to: expected a format of coco_amodal, "),
        ("data convert FILE --to cocoa --masks polygons --out x.json", 2, "--masks: cocoa has one form; "),
        ("data validate FILE --published foo", 2, "--published: expected sets of kins-train, "),
        ("data validate FILE --images . --allow-links no", 2, "--allow-links: expected a folder that links may lead"),
        ("predict . --min-score 3", 2, "--min-score: expected a number from 0 to 1, got 3.0\n"),
        ("predict . --device toaster", 2, "--device: expected auto, cpu, cuda or cuda:N, got 'toaster'\n"),
        ("demo --device cuda", 4, "--device: this machine has 0 CUDA devices, not cuda; use cpu\n"),
        ("demo --per-category 0", 2, "--per-category: expected 1 or more, got 0\n"),
        (
            "benchmark open13/benchmark.yaml --device cuda:1",
            4,
            "--device: this machine has 0 CUDA devices, not cuda:1",
        ),
        (
            "train open13/unet2d.yaml --device toaster",
            2,
            "--device: expected auto, cpu, cuda or cuda:N, got 'toaster'\n",
        ),
        ("shapes2d show --weights a --out b.png --device cuda", 4, "--device: this machine has 0 CUDA devices, not "),
        ("scenes --out a --count 0", 2, "--count: input should be greater than or equal to 1, got 0\n"),
        ("scenes --out a --config FILE.yaml --count 2 --seed -1", 2, "--seed: input should be greater than or equal"),
        ("scenes --out a --meshes x?sun=1 --count 2", 2, "--meshes: unknown option 'sun'; "),
    ],
)
def test_commands_name_their_options(tmp_path: Path, monkeypatch, capsys, words: str, status: int, begin: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("FILE").write_text("{}")
    Path("FILE.yaml").write_text("seed: 1")
    assert main(words.split()) == status
    error = capsys.readouterr().err
    assert error.startswith(f"error: {begin}") and error.count("\n") == 1


EVERY = [[name] for name in dispatch.COMMANDS if name not in dispatch.GROUPS]
EVERY += [[name, one] for name, group in dispatch.GROUPS.items() for one in group]


@pytest.mark.parametrize("command", EVERY, ids=" ".join)
def test_none_is_nothing_to_choose(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*command, "--help"])
    said = capsys.readouterr().out
    assert "None" not in said and len(said) > 100


@pytest.mark.parametrize(
    ("words", "choices"),
    [
        ("complete --images a --annotations b --out c --prior", "('learned', 'bank')"),
        ("scenes --out c --layout", "('folder', 'shards', 'kins')"),
    ],
)
@pytest.mark.parametrize("typed", ["None", "foo"])
def test_choices_are_those_that_can_be_typed(
    capsys: pytest.CaptureFixture[str], words: str, choices: str, typed
) -> None:
    with pytest.raises(SystemExit):
        main([*words.split(), typed])
    said = " ".join(re.sub("[│╭╮╰╯─]", " ", capsys.readouterr().err).split())
    assert f"invalid choice '{typed}'" in said and f"Expected one of {choices}." in said


def test_a_file_may_be_called_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "None").write_text("[]")
    assert main(["evaluate", "a.json", "--annotations", str(tmp_path / "a"), "--out", str(tmp_path / "None")]) == 2
    assert f"--out: expected a folder to write to, got the file {tmp_path / 'None'}" in capsys.readouterr().err
