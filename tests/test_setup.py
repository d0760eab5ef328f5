"""scripts/setup.sh: what it refuses, and when it has nothing to do. Nothing is installed: pip and uv are stand-ins."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = ("bash", "scripts/setup.sh")
REPOSITORY = Path(__file__).resolve().parents[1]

STAND_IN = """#!/usr/bin/env bash
# A python that runs code for real, has no detectron2, and only notes what it is asked to install.
[[ "$*" != *"import detectron2" ]] || exit 1
[ "$1" = -m ] || exec {python} "$@"
[[ "$*" != *"{failing}"* ]] || exit 1
echo "$*" >>{log}
[ -z "${{PYTHONDONTWRITEBYTECODE:-}}" ] || echo "no bytecode from $*" >>{log}
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files that the script reads, alone in a folder."""
    folder = tmp_path / "check out"  # a path with a space must do
    (folder / "scripts").mkdir(parents=True)
    shutil.copy(REPOSITORY / "scripts" / "setup.sh", folder / "scripts")
    shutil.copytree(REPOSITORY / "requirements", folder / "requirements")
    for name in ("pyproject.toml", "setup.py"):
        shutil.copy(REPOSITORY / name, folder)
    return folder


@pytest.fixture
def installed(checkout: Path, tmp_path: Path) -> Path:
    """A checkout whose venv has stand-ins for python and uv; what they are asked is logged beside it."""
    binaries = checkout / ".venv" / "bin"
    binaries.mkdir(parents=True)
    _script(binaries / "python", STAND_IN.format(python=sys.executable, failing="nothing", log=tmp_path / "log"))
    _script(binaries / "uv", f'#!/usr/bin/env bash\nsleep 0.5\necho "uv $*" >>{tmp_path / "log"}\n')
    return checkout


def _script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def _environment(**changes: str) -> dict[str, str]:
    own = ("PIP_", "UV_", "SETUP_", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    return {**kept, "PIP_CONFIG_FILE": os.devnull, "SETUP_MIN_FREE_GB": "0", **changes}


def _run(checkout: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    environment = _environment(**changes)
    return subprocess.run(COMMAND, cwd=checkout, env=environment, capture_output=True, text=True, check=False)


def _log(tmp_path: Path) -> list[str]:
    return (tmp_path / "log").read_text().splitlines()


def _only_error(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def test_wrong_python_is_refused(checkout, tmp_path):
    old = _script(tmp_path / "python3.9", '#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2\n')
    line = _only_error(_run(checkout, PYTHON=str(old)))
    assert "expected CPython 3.10 to 3.13, found Python 3.9.2" in line
    assert not (checkout / ".venv").exists()


def test_missing_python_is_refused(checkout, tmp_path):
    assert "expected CPython 3.10 to 3.13" in _only_error(_run(checkout, PYTHON=str(tmp_path / "nowhere")))


def test_full_disk_is_refused(checkout):
    result = _run(checkout, PYTHON=sys.executable, SETUP_MIN_FREE_GB="1000000000")
    assert "expected 1000000000 GB of free disk" in _only_error(result)
    assert not (checkout / ".venv").exists()


def test_missing_network_is_refused(checkout):
    begin = time.monotonic()
    result = _run(checkout, PYTHON=sys.executable, PIP_INDEX_URL="http://127.0.0.1:9/simple")
    assert "cannot reach a Python package index" in _only_error(result)
    assert not (checkout / ".venv").exists()
    assert time.monotonic() - begin < 300  # it does not try again and again


def test_second_call_has_nothing_to_do(installed, tmp_path):
    first = _run(installed)
    assert first.returncode == 0, first.stderr
    calls = _log(tmp_path)
    for requirements, installer in (("bootstrap", "-m pip"), ("lock", "uv pip"), ("detectron2", "-m pip")):
        (call,) = [call for call in calls if f"requirements/{requirements}.txt" in call]
        assert call.startswith(installer) and "--require-hashes" in call

    second = _run(installed)
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert _log(tmp_path) == calls


def test_set_up_leaves_bytecode_where_the_environment_forbids_it(installed, tmp_path):
    """Else all libraries are compiled anew whenever a command starts."""
    done = _run(installed, PYTHONDONTWRITEBYTECODE="1")
    assert done.returncode == 0, done.stderr
    calls = _log(tmp_path)
    assert "no bytecode from -m pip install -qq --no-deps --no-build-isolation --editable ." in calls
    assert calls[-1] == "-m shape3d_amodal doctor"


def test_faults_that_doctor_finds_do_not_end_the_set_up(installed, tmp_path):
    python = STAND_IN.format(python=sys.executable, failing="doctor", log=tmp_path / "log")
    _script(installed / ".venv" / "bin" / "python", python)
    done = _run(installed)
    assert (done.returncode, "set-up: shape3d-amodal doctor finds faults" in done.stdout) == (0, True)
    assert not (installed / ".venv" / ".setup-unfinished").exists()


def test_changed_requirements_are_installed(installed, tmp_path):
    _run(installed)
    for file in ("requirements/lock.txt", "pyproject.toml"):
        before = len(_log(tmp_path))
        with (installed / file).open("a") as stream:
            stream.write("# changed\n")
        assert _run(installed).returncode == 0
        assert len(_log(tmp_path)) > before, file


def test_moved_checkout_is_set_up_again(installed, tmp_path):
    _run(installed)
    before = len(_log(tmp_path))
    moved = installed.rename(tmp_path / "moved")
    assert _run(moved).returncode == 0
    assert len(_log(tmp_path)) > before


def test_failed_set_up_is_not_taken_for_done(installed):
    _script(installed / ".venv" / "bin" / "uv", "#!/bin/sh\nexit 1\n")
    python = STAND_IN.format(python=sys.executable, failing="lock.txt", log=os.devnull)
    _script(installed / ".venv" / "bin" / "python", python)
    assert "libraries failed" in _only_error(_run(installed))
    assert not (installed / ".venv" / ".setup-done").exists()
    assert (installed / ".venv" / ".setup-unfinished").exists()


def test_two_calls_at_once_install_once(installed, tmp_path):
    calls = [subprocess.Popen(COMMAND, cwd=installed, env=_environment(), stdout=subprocess.PIPE) for _ in range(2)]
    assert [call.wait(timeout=60) for call in calls] == [0, 0]
    for call in calls:
        assert call.stdout is not None
        call.stdout.close()
    assert sum("lock.txt" in line for line in _log(tmp_path)) == 1
