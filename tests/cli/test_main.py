"""The command line itself: help, exit statuses and one-line errors."""

from __future__ import annotations

import subprocess
import sys

import pytest

from shape3d_amodal import __version__, cli
from shape3d_amodal.errors import DataError, MissingBackendError, TrainingError, UsageError


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch):
    """Makes the command ``doctor`` raise."""

    def install(error: BaseException) -> None:
        def doctor() -> None:
            raise error

        monkeypatch.setitem(cli.COMMANDS, "doctor", doctor)

    return install


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (DataError("expected JSON", file="a.json", field="images"), 3, "error: a.json: images: expected JSON\n"),
        (UsageError("a.yaml: no such key"), 2, "error: a.yaml: no such key\n"),
        (MissingBackendError("no triton"), 4, "error: no triton\n"),
        (TrainingError("the loss is NaN"), 1, "error: the loss is NaN\n"),
        (PermissionError(13, "Permission denied", "out.json"), 1, "error: out.json: Permission denied\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_errors_have_their_status_and_one_line(fails, capsys, error, status, line):
    fails(error)
    assert cli.main(["doctor"]) == status
    assert capsys.readouterr().err == line


def test_missing_optional_library_names_the_remedy(fails, capsys):
    fails(ModuleNotFoundError("No module named 'detectron2.engine'", name="detectron2.engine"))
    assert cli.main(["doctor"]) == 4
    assert capsys.readouterr().err.startswith("error: detectron2 is not installed: run scripts/setup.sh")


@pytest.mark.parametrize("error", [ValueError("a fault of ours"), ModuleNotFoundError("typo", name="typo")])
def test_our_own_faults_keep_their_traceback(fails, error):
    fails(error)
    with pytest.raises(type(error)):
        cli.main(["doctor"])


def test_debug_shows_the_traceback(fails, capsys):
    fails(DataError("expected JSON"))
    assert cli.main(["doctor", "--debug"]) == 3
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("error: expected JSON\n")


@pytest.mark.parametrize("arguments", [["nonsense"], ["doctor", "--nonsense"], ["complete"]])
def test_wrong_usage_exits_with_2(arguments):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"shape3d-amodal {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_names_every_command(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert not caught.value.code
    out = capsys.readouterr().out
    assert all(command in out for command in cli.COMMANDS)


RUN_HELP = """
import runpy, sys
sys.argv = ["shape3d-amodal", "--help"]
try:
    runpy.run_module("shape3d_amodal", run_name="__main__")
except SystemExit as exit:
    assert not exit.code
print("heavy:", *sorted({"torch", "numba", "numpy", "pytorch3d", "matplotlib"} & set(sys.modules)))
"""


def test_module_runs_and_its_help_is_light():
    done = subprocess.run([sys.executable, "-c", RUN_HELP], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "heavy:"


def test_output_that_nobody_reads_is_no_error():
    """As in ``shape3d-amodal complete --help | head -1``; unbuffered, so that the first write meets the closed pipe."""
    command = [sys.executable, "-u", "-m", "shape3d_amodal", "complete", "--help"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (141, b"")
