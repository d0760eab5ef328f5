"""scripts/train_kins.sh: what it refuses before it trains for days. Nothing is trained: the command is a stand-in."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "scripts/train_kins.sh"
KINS = (
    "data/kins/update_train_2020.json",
    "data/kins/update_test_2020.json",
    "data/kins/training/image_2",
    "data/kins/testing/image_2",
    "data/weights/resnet50.safetensors",
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The script, a command that only notes what it is asked for, and the data."""
    for name in ("scripts", ".venv/bin"):
        (tmp_path / name).mkdir(parents=True)
    shutil.copy(SCRIPT, tmp_path / "scripts")
    command = tmp_path / ".venv/bin/shape3d-amodal"
    command.write_text(f'#!/usr/bin/env bash\necho "$*" >>{tmp_path}/log\n')
    command.chmod(0o755)
    for name in KINS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def run(checkout: Path, *options: str) -> tuple[int, str, list[str]]:
    """Exit status, errors, and the commands that were run."""
    command = ["bash", "scripts/train_kins.sh", *options]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=60)
    log = checkout / "log"
    return done.returncode, done.stderr, log.read_text().splitlines() if log.exists() else []


@pytest.mark.parametrize(
    ("options", "first", "last"),
    [
        ((), f"data validate {KINS[0]}", "benchmark configs/kins/benchmark.yaml"),
        (("--small",), "scenes --layout kins", "benchmark configs/kins/benchmark_small.yaml"),
    ],
)
def test_it_goes_from_the_data_to_the_benchmark(checkout: Path, options, first: str, last: str) -> None:
    status, errors, commands = run(checkout, *options)
    assert (status, errors) == (0, "")
    assert commands[0].startswith(first) and commands[-1] == last


@pytest.mark.parametrize("options", [("--smal",), ("small",), ("--small", "--dry-run"), ("--help",)])
def test_other_options_do_not_start_the_long_training(checkout: Path, options) -> None:
    status, errors, commands = run(checkout, *options)
    assert (status, commands) == (2, [])
    assert errors == f"error: expected --small or nothing, got {' '.join(options)}\n"


@pytest.mark.parametrize("name", [*KINS, ".venv/bin/shape3d-amodal"])
def test_what_is_missing_is_named_at_once(checkout: Path, name: str) -> None:
    (checkout / name).unlink()
    status, errors, commands = run(checkout)
    assert (status, commands) == (2, [])
    assert errors.count("\n") == 1 and name.partition("/bin")[0] in errors


@pytest.mark.parametrize("report", [True, False])
def test_only_a_file_whose_errors_are_listed_is_learned_from(checkout: Path, report: bool) -> None:
    command = checkout / ".venv/bin/shape3d-amodal"
    listing = "mkdir -p outputs/kins && touch outputs/kins/train.json;" if report else ""
    command.write_text(f'{command.read_text()}[ "$1" != data ] || {{ {listing} exit 3; }}\n')
    (checkout / "outputs/kins").mkdir(parents=True)
    (checkout / "outputs/kins/train.json").touch()  # of an earlier run
    status, _, commands = run(checkout)
    assert (status == 0, len(commands) > 1) == (report, report)
