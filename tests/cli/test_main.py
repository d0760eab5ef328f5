"""The command line itself: help, exit statuses and one-line errors."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from shape3d_amodal import __version__
from shape3d_amodal.cli import dispatch, main
from shape3d_amodal.errors import DataError, MissingBackendError, TrainingError, UsageError


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch):
    """Makes the command ``doctor`` raise."""

    def install(error: BaseException) -> None:
        def doctor() -> None:
            raise error

        monkeypatch.setitem(dispatch.COMMANDS, "doctor", doctor)

    return install


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (DataError("expected JSON", file="a.json", field="images"), 3, "error: a.json: images: expected JSON\n"),
        (UsageError("a.yaml: no such key"), 2, "error: a.yaml: no such key\n"),
        (MissingBackendError("no triton"), 4, "error: no triton\n"),
        (TrainingError("the loss is NaN"), 1, "error: the loss is NaN\n"),
        (PermissionError(13, "Permission denied", "out.json"), 1, "error: out.json: Permission denied\n"),
        (
            UnicodeEncodeError("utf-8", 100 * "a" + "\udce9" + 100 * "b", 100, 101, "surrogates not allowed"),
            2,
            f"error: '{20 * 'a'}\\\\udce9{59 * 'b'}' cannot be written in this locale, whose encoding is utf-8; "
            "set LC_ALL=C.UTF-8, or PYTHONUTF8=1\n",
        ),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_errors_have_their_status_and_one_line(fails, capsys, error, status, line):
    fails(error)
    assert main(["doctor"]) == status
    assert capsys.readouterr().err == line


def test_missing_optional_library_names_the_remedy(fails, capsys):
    fails(ModuleNotFoundError("No module named 'detectron2.engine'", name="detectron2.engine"))
    assert main(["doctor"]) == 4
    assert capsys.readouterr().err.startswith("error: detectron2 is not installed: run scripts/setup.sh")


@pytest.mark.parametrize("error", [ValueError("a fault of ours"), ModuleNotFoundError("typo", name="typo")])
def test_our_own_faults_keep_their_traceback(fails, error):
    fails(error)
    with pytest.raises(type(error)):
        main(["doctor"])


def test_debug_shows_the_traceback(fails, capsys):
    fails(DataError("expected JSON"))
    assert main(["doctor", "--debug"]) == 3
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("error: expected JSON\n")


@pytest.mark.parametrize(
    ("arguments", "program", "line"),
    [
        (["trian"], "shape3d-amodal", "got 'trian'; did you mean train? See"),
        (["Scenes"], "shape3d-amodal", "got 'Scenes'; did you mean scenes? See"),
        (["xyz"], "shape3d-amodal", "got 'xyz'; see"),
        (
            ["data", "stat"],
            "shape3d-amodal data",
            "validate, convert, stats, poses, kins, got 'stat'; did you mean",
        ),
        (
            ["shapes2d", "--device", "cpu"],
            "shape3d-amodal shapes2d",
            "expected one of make, bounds, show, got '--device'",
        ),
    ],
)
def test_an_unknown_command_names_the_nearest(capsys, arguments, program, line):
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {program}: expected one of ")
    assert line in err and err.endswith(f" {program} --help\n") and err.count("\n") == 1


EVERY = [[name] for name in dispatch.COMMANDS if name not in dispatch.GROUPS]
EVERY += [[name, inner] for name, group in dispatch.GROUPS.items() for inner in group]


@pytest.mark.parametrize("group", dispatch.GROUPS)
def test_help_of_a_group_names_its_commands(capsys, group):
    with pytest.raises(SystemExit) as caught:
        main([group, "--help"])
    assert not caught.value.code
    assert "{" + ",".join(dispatch.GROUPS[group]) + "}" in capsys.readouterr().out.replace(" ", "")


@pytest.mark.parametrize("command", EVERY, ids=" ".join)
def test_a_wrong_option_points_to_the_help_of_its_own_command(capsys, command):
    """Each is like an option of some command, but no option."""
    for option in ("--nonsense", "--fit-stepss", "--formats", "--devices", "--workerz"):
        with pytest.raises(SystemExit) as caught:
            main([*command, option, "1"])
        assert caught.value.code == 2
        err = " ".join(re.sub("[│╭╮╰╯─]", " ", capsys.readouterr().err).split())
        named = {tuple(one.split()) for one in re.findall(r"shape3d-amodal((?: [a-z][\w-]*)+) --help", err)}
        assert named == {tuple(command)}, err


def test_training_takes_a_device(capsys):
    assert main(["train", "open13/unet2d.yaml", "--device", "cpu", "--print-config"]) == 0
    assert "\n  device: cpu\n" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["doctor", "--nonsense"], ["complete"]])
def test_wrong_usage_exits_with_2(arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"shape3d-amodal {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_names_every_command(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert not caught.value.code
    out = capsys.readouterr().out
    assert all(command in out for command in dispatch.COMMANDS)


RUN_HELP = """
import runpy, sys
sys.argv = ["shape3d-amodal", "--help"]
try:
    runpy.run_module("shape3d_amodal", run_name="__main__")
except SystemExit as exit:
    assert not exit.code
print("heavy:", *sorted({"torch", "numba", "numpy", "pytorch3d", "matplotlib", "pydantic", "yaml"} & set(sys.modules)))
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


ROOT = Path(__file__).resolve().parents[2]
SHORT = (["doctor"], ["--help"], ["--version"], ["train", "--help"], ["train", "open13/unet2d.yaml", "--print-config"])


def run(arguments: list[str], *, folder: Path | None = None, python: tuple[str, ...] = (), **given):
    """The command in a process of its own; ``given`` are variables of its environment, and options of ``Popen``."""
    streams = {name: given.pop(name) for name in list(given) if name.startswith("std")}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **given}
    command = [sys.executable, *python, "-m", "shape3d_amodal", *arguments]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.run(command, cwd=folder, env=environment, timeout=120, check=False, **streams)


@pytest.mark.parametrize("arguments", SHORT, ids=" ".join)
@pytest.mark.parametrize("python", [(), ("-u",)], ids=["buffered", "unbuffered"])
def test_a_full_standard_output_is_one_line(arguments, python):
    with Path("/dev/full").open("wb") as full:
        done = run(arguments, python=python, stdout=full)
    assert done.returncode == 1
    line = b"error: cannot write the output: No space left on device; free some space, or write elsewhere\n"
    assert done.stderr == line


@pytest.mark.parametrize("arguments", SHORT[:3], ids=" ".join)
def test_a_closed_standard_output_is_one_line(arguments):
    command = f'exec "{sys.executable}" -m shape3d_amodal {" ".join(arguments)} >&-'
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=120, check=False)
    expected = "error: standard output is closed; redirect it, for example to /dev/null\n"
    assert (done.returncode, done.stderr) == (1, expected)


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}


@pytest.mark.parametrize(
    ("arguments", "status", "line"),
    [
        (["stühle.yaml", "--print-config"], 0, b"meshes: St\\xfchle"),
        (["fehlt-ä.yaml"], 2, b".yaml: cannot read the configuration: No such file or directory"),
        (["open13/unet2d.yaml", "--set", "bürste=1"], 2, b"this key is not known"),
    ],
)
def test_in_an_ascii_locale_other_signs_are_escaped(tmp_path, arguments, status, line):
    (tmp_path / "stühle.yaml").write_text("stage: pcnet_m\ntrain:\n  meshes: Stühle\n", encoding="utf-8")
    done = run(["train", *arguments], folder=tmp_path, **ASCII)
    assert done.returncode == status, done.stderr
    assert line in done.stdout + done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("command", dispatch.COMMANDS)
def test_help_in_an_ascii_locale(command):
    done = run([command, "--help"], **ASCII)
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii() and command.encode() in done.stdout


COMPLETE = ["complete", "--images", ".", "--annotations", "a.yaml", "--out", "b.json"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "none.yaml"], b"none.yaml: cannot read the configuration"),
        (["train", "a.yaml"], b"stage: expected one of prior"),
        (["train", "open13/unet2d.yaml", "--out", "a.yaml"], b"--out: expected a folder to write to, got the file"),
        (["benchmark", "none.yaml"], b"none.yaml: cannot read the configuration"),
        (["scenes", "--out", "a.yaml"], b"--out: expected a folder to write to, got the file"),
        (["train", "open13/unet2d.yaml", "--loop.steps", "3"], b"Unrecognized options"),
        (["train", "open13/unet2d.yaml", "--device", "cuda"], b"--device: this machine has 0 CUDA devices"),
        ([*COMPLETE, "--device", "cuda"], b"--device: this machine has 0 CUDA devices"),
        ([*COMPLETE, "--min-score", "2"], b"--min-score: expected a number from 0 to 1"),
        (["predict", ".", "--min-score", "2"], b"--min-score: expected a number from 0 to 1"),
        (["evaluate", "none.json", "--annotations", "a.yaml"], b"none.json: there is no such file or folder"),
        (["evaluate", "a.yaml", "--annotations", "none.json"], b"none.json: there is no such file or folder"),
        (
            ["evaluate", "a.yaml", "--annotations", "a.yaml", "--meshes", "open13"],
            b"--meshes: is of the track",
        ),
        (["evaluate", "a.yaml", "--annotations", "a.yaml", "--track", "order", "--by-level"], b"--by-level: is of the"),
    ],
)
def test_what_is_wrong_on_the_line_itself_is_said_before_heavy_libraries_are_loaded(tmp_path, arguments, words):
    (tmp_path / "a.yaml").write_text("stage: nonsense")
    seconds, heavy = failing(tmp_path, arguments, words)
    assert seconds < 1 and not heavy & {"torch", "numba", "trimesh", "matplotlib"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("detector.nonsense=1", b"detector.nonsense: unexpected keyword argument; this key is not known; near are "),
        ("detector.backbone.norm=LN", b"detector.backbone.norm: input should be 'FrozenBN', 'GN' or 'BN', got 'LN'"),
        ("detector.categories=[car,car]", b"detector.categories: expected different names, got 'car' twice"),
        ("augment.flip=2", b"augment.flip: input should be less than or equal to 1, got 2"),
        ("train.count=-1", b"train.count: input should be greater than or equal to 0, got -1"),
        ("loop.steps=0", b"loop.steps: input should be greater than or equal to 1, got 0"),
    ],
)
def test_wrong_options_of_a_detector_are_said_before_torch_is_loaded(tmp_path, change, words):
    seconds, heavy = failing(tmp_path, ["train", "open13/mask_rcnn_small.yaml", "--set", change], words)
    assert seconds < 2 and not heavy & {"torch", "detectron2", "matplotlib"}


def test_evaluate_knows_the_tracks_by_level():
    from shape3d_amodal.cli.evaluate import _SPECIAL
    from shape3d_amodal.evaluation.tracks import TRACKS

    assert set(_SPECIAL["by-level"]) == {name for name, track in TRACKS.items() if track.by_level}


def failing(folder: Path, arguments: list[str], words: bytes) -> tuple[float, set[str]]:
    """Run what fails with ``words``; the seconds of CPU that it takes, and the modules that it has loaded."""
    code = f"""
import atexit, sys
from shape3d_amodal.cli import main
atexit.register(lambda: print(*sys.modules))
sys.exit(main({arguments!r}))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, timeout=60, check=False
    )
    after = os.times()
    assert done.returncode in (2, 3, 4), done.stderr
    assert words in done.stderr
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, set(done.stdout.decode().splitlines()[-1].split())


@pytest.mark.parametrize(
    ("before", "given", "expected"),
    [
        ("import shape3d_amodal", {}, "PASSIVE"),
        ("import shape3d_amodal.cli", {}, "PASSIVE"),
        ("import shape3d_amodal", {"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"),
        ("import torch, shape3d_amodal", {}, "None"),
    ],
)
def test_waiting_threads_sleep_unless_the_user_says_otherwise(before, given, expected):
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    code = f"{before}; import os; print(os.environ.get('OMP_WAIT_POLICY'))"
    environment |= {"PYTHONPATH": str(ROOT), **given}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"{expected}\n"


@pytest.mark.parametrize("words", [["complete", "--weights", ""], ["predict", ""], [""], ["train", "x", "--out", ""]])
def test_an_empty_argument_is_no_default(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """As where a variable of the shell is not set."""
    assert main(words) == 2
    assert "error: an empty argument" in capsys.readouterr().err
