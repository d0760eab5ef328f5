"""Shipped files: which path names which of them, and what a wheel carries."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from shape3d_amodal import __version__
from shape3d_amodal.cli import main
from shape3d_amodal.errors import WeightsError
from shape3d_amodal.files.assets import CONFIGS, find_config
from shape3d_amodal.files.pretrained import CHECKPOINTS, weights_folder

ROOT = Path(__file__).resolve().parents[2]
OWN = "open13/test.yaml"
SHIPPED = ("assets/checkpoints", "assets/open13", "configs")
KNOWN = ("assets/checkpoints/open13/model.safetensors", "assets/open13/index.tsv", f"configs/{OWN}")
NOT_BUILT = (".*", "*.egg-info", "build", "dist", "outputs", "site")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (f"configs/{OWN}", CONFIGS / OWN),
        (OWN, CONFIGS / OWN),
        (Path(OWN), CONFIGS / OWN),
        (CONFIGS / OWN, CONFIGS / OWN),
        ("configs/open13/none.yaml", Path("configs/open13/none.yaml")),
        ("configs/open13", Path("configs/open13")),  # a folder is no configuration
        ("test.yaml", Path("test.yaml")),
        ("", Path()),
    ],
)
def test_shipped_configs_are_found_from_anywhere(path: str | Path, found: Path) -> None:
    assert find_config(path) == found


def test_a_file_of_the_working_folder_goes_before_a_shipped_one(elsewhere: Path) -> None:
    own = elsewhere / "configs" / OWN
    own.parent.mkdir(parents=True)
    own.write_text("seed: 1")
    assert find_config(f"configs/{OWN}") == Path(f"configs/{OWN}")
    assert find_config(OWN) == CONFIGS / OWN


@pytest.mark.parametrize("name", ["open13", "assets/checkpoints/open13"])
def test_shipped_weights_are_found_from_anywhere(name: str) -> None:
    assert weights_folder(name) == CHECKPOINTS / "open13"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["train", "configs/open13/shape_prior.yaml", "--print-config"], "stage: prior"),
        (["benchmark", "open13/benchmark.yaml", "--print-config"], "scenes: configs/open13/test.yaml"),
        (
            ["scenes", "--out", "scenes", "--config", OWN, "--set", "per_category=x"],
            "configs/open13/test.yaml: per_cat",
        ),
        (
            ["shapes2d", "make", "--out", "shapes", "--config", "shapes2d/test.yaml", "--set", "count=x"],
            "configs/shapes2d/test.yaml: count: ",
        ),
    ],
)
def test_commands_take_shipped_configs(capsys: pytest.CaptureFixture[str], arguments: list[str], line: str) -> None:
    main(arguments)
    assert line in "".join(capsys.readouterr())


@pytest.mark.slow
def test_a_wheel_carries_weights_meshes_and_configs(tmp_path: Path) -> None:
    """Built by way of a source distribution, which has to hold all that the wheel needs."""
    copied = shutil.copytree(ROOT, tmp_path / "copy", ignore=shutil.ignore_patterns(*NOT_BUILT))
    cached = copied / "shape3d_amodal" / "rendering" / "cpu" / "__pycache__"
    cached.mkdir(exist_ok=True)
    (cached / "kernel.nbi").touch()  # what numba leaves there
    sdist = _build("build_sdist", copied, tmp_path)
    shutil.unpack_archive(sdist, tmp_path, filter="data")
    unpacked = tmp_path / sdist.name.removesuffix(".tar.gz")
    stale = unpacked / "build" / "lib" / "shape3d_amodal" / "_data" / "configs" / "stale.yaml"
    stale.parent.mkdir(parents=True)
    stale.touch()
    wheel = _build("build_wheel", unpacked, tmp_path)

    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(f"shape3d_amodal-{__version__}.dist-info/METADATA").decode()
    information = {name for name in names if name.startswith(f"shape3d_amodal-{__version__}.dist-info/")}
    shipped = {path for folder in SHIPPED for path in (copied / folder).rglob("*") if path.is_file()}
    expected = {f"shape3d_amodal/_data/{path.relative_to(copied).as_posix()}" for path in shipped}
    assert expected == {name for name in names if "/_data/" in name}
    assert {f"shape3d_amodal/_data/{name}" for name in KNOWN} <= expected
    package = {path.relative_to(copied).as_posix() for path in (copied / "shape3d_amodal").rglob("*") if path.is_file()}
    assert {name for name in package if "__pycache__" not in name} == names - expected - information
    assert "shape3d_amodal/py.typed" in names
    assert "GPL-2.0-or-later" in metadata  # the licence of some meshes
    assert "shape3d_amodal/py.typed" in names  # without it type checkers take the package for untyped
    assert wheel.stat().st_size < 100 * 2**20  # the most that PyPI takes


def _build(step: str, folder: Path, out: Path) -> Path:
    """What setuptools' ``build_sdist`` or ``build_wheel`` makes of the project in ``folder``."""
    code = f"from setuptools import build_meta; print(build_meta.{step}({str(out)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    return out / done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("opne13", "open13"),
        ("Open13_Bank", "open13_bank"),
        ("open13-detector", "open13_detector"),
        ("unet2", "baselines/unet2d"),
        ("baseline/orcnn", "baselines/orcnn"),
        ("assets/checkpoints/open13_bnak", "open13_bank"),
    ],
)
def test_a_slip_in_the_name_of_weights_is_answered_by_the_name_meant(typed: str, meant: str) -> None:
    with pytest.raises(WeightsError) as caught:
        weights_folder(typed)
    problem = "no such folder of weights, and none are shipped by that name; did you mean"
    assert str(caught.value) == f"{typed}: {problem} {meant}?"


@pytest.mark.parametrize("typed", ["nam", "outputs/mine/weights", "x"])
def test_what_is_like_no_name_is_answered_by_all(typed: str) -> None:
    with pytest.raises(WeightsError) as caught:
        weights_folder(typed)
    assert "train them first, or take baselines/aisformer, " in str(caught.value)
    assert str(caught.value).endswith(", open13, open13_bank, open13_detector")
