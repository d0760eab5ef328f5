"""The report on the machine: its lines, remedies and errors."""

from __future__ import annotations

import ast
import gc
import importlib
import os
import py_compile
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from shape3d_amodal.errors import MissingBackendError, WeightsError
from shape3d_amodal.files.weights import write_sealed
from shape3d_amodal.rendering import silhouettes

module = importlib.import_module("shape3d_amodal.cli.doctor")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Assets of one mesh and one folder of weights, both whole; ``json`` is the one library that is required."""
    meshes = tmp_path / "assets" / "open13"
    meshes.mkdir(parents=True)
    (meshes / "a.npz").write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # printf abc | sha256sum
    (meshes / "index.tsv").write_text(f"category\tpath\tsha256\nchair\ta.npz\t{digest}\n")
    write_sealed(tmp_path / "assets" / "checkpoints" / "open13", {"config.yaml": b"a: 1\n", "model.safetensors": b"0"})
    monkeypatch.setattr(module, "ASSETS", tmp_path / "assets")
    monkeypatch.setattr(module, "REQUIRED", ("json",))
    monkeypatch.setattr(module, "OPTIONAL", {})
    return tmp_path


def _report(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """State of each line by its name."""
    lines = capsys.readouterr().out.splitlines()
    return {line[9:26].strip(): line.split()[0] for line in lines}


@pytest.mark.usefixtures("root")
def test_all_is_well(capsys):
    module.doctor()
    report = _report(capsys)
    assert report.pop("cuda") == "optional"
    assert set(report.values()) == {"ok"}
    assert {"python", "cores", "memory", "disk", "json", "silhouettes", "open13 meshes"} <= set(report)
    assert "weights open13" in report


@pytest.mark.parametrize(
    ("cuda", "triton", "state", "line"),
    [
        (False, "3.6.0", "ok", "backend cpu (numba); Triton 3.6.0, but no CUDA device for it"),
        (False, None, "ok", "backend cpu (numba)"),
        (True, "3.6.0", "ok", "backend cpu (numba), on CUDA gpu (Triton 3.6.0)"),
        (True, None, "missing", "on CUDA reference (plain torch, slow: no Triton 3.3 or later): pip install triton"),
    ],
)
def test_backend_of_silhouettes(monkeypatch, cuda, triton, state, line):
    monkeypatch.setattr(silhouettes, "triton_version", lambda: triton)
    (finding,) = module._silhouettes(cuda)
    assert finding.state == state
    assert line in str(finding)


@pytest.mark.parametrize("compiled", [True, False])
def test_libraries_without_bytecode_are_told(tmp_path, monkeypatch, compiled):
    """The remedy leaves some."""
    library = tmp_path / "site packages" / "some_library" / "__init__.py"
    library.parent.mkdir(parents=True)
    library.write_text("")
    monkeypatch.setattr(sys, "pycache_prefix", None)
    monkeypatch.setitem(sys.modules, "some_library", SimpleNamespace(__file__=str(library)))
    if compiled:
        py_compile.compile(str(library))
    findings = list(module._bytecode("some_library"))
    assert [finding.state for finding in findings] == ["optional"] * (not compiled)
    for finding in findings:
        monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)
        subprocess.run(shlex.split(finding.remedy), check=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    assert list(module._bytecode("some_library")) == []


@pytest.mark.usefixtures("root")
def test_missing_required_library_is_an_error_with_its_remedy(capsys, monkeypatch):
    monkeypatch.setattr(module, "REQUIRED", ("json", "no_such_library"))
    with pytest.raises(MissingBackendError, match=r"missing no_such_library: run scripts/setup\.sh") as caught:
        module.doctor()
    assert caught.value.exit_status == 4
    assert _report(capsys)["no_such_library"] == "missing"


@pytest.mark.usefixtures("root")
def test_missing_optional_library_is_no_error(capsys, monkeypatch):
    monkeypatch.setattr(module, "OPTIONAL", {"no_such_library": "only predict needs it"})
    module.doctor()
    out = capsys.readouterr().out
    assert "optional no_such_library" in out
    assert "only predict needs it: run scripts/setup.sh" in out


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("apart", [frozenset(), frozenset({"broken"})], ids=["in this process", "in the second one"])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("raise ImportError('libx.so.1: cannot open shared object file')", "libx.so.1: cannot open shared object file"),
        ("raise OSError('wrong ELF class')", "wrong ELF class"),
        ("1 / 0", "division by zero"),
        ("raise RuntimeError", "RuntimeError"),
    ],
)
def test_a_library_that_is_there_but_broken_is_missing(tmp_path, capsys, monkeypatch, content, reason, apart):
    (tmp_path / "broken.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    monkeypatch.setattr(module, "REQUIRED", ("json", "broken"))
    monkeypatch.setattr(module, "_WITHOUT_TORCH", apart)
    with pytest.raises(MissingBackendError, match="missing broken"):
        module.doctor()
    assert f"missing  broken            {reason}: run scripts/setup.sh\n" in capsys.readouterr().out


@pytest.mark.usefixtures("root")
def test_a_library_that_kills_python_is_missing(tmp_path, capsys, monkeypatch):
    (tmp_path / "broken.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    monkeypatch.setattr(module, "REQUIRED", ("broken",))
    monkeypatch.setattr(module, "_WITHOUT_TORCH", frozenset({"broken"}))
    with pytest.raises(MissingBackendError, match="missing broken"):
        module.doctor()
    assert "Python dies (signal 11)" in capsys.readouterr().out


PLAIN_INSTALLATION = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"detectron2", "pytorch3d", "tensorboard"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from shape3d_amodal import ShapePriorPipeline, cli
from shape3d_amodal.benchmarking import runner

assert ShapePriorPipeline.from_pretrained("open13")
print("doctor", cli.main(["doctor"]))
print("predict", cli.main(["predict", "image.png"]))
print("train", cli.main(["train", "configs/open13/unet2d.yaml"]))
"""


@pytest.mark.slow
def test_a_plain_installation_lacks_nothing_but_what_it_names(tmp_path):
    """The networks load and the modules of the demo import; predict and train say what they need."""
    done = subprocess.run(
        [sys.executable, "-c", PLAIN_INSTALLATION], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "doctor 0\n" in done.stdout
    assert "predict 4\n" in done.stdout
    assert "train 4\n" in done.stdout
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert lines == [
        "error: detectron2 is not installed: run scripts/setup.sh",
        "error: tensorboard is not installed: run scripts/setup.sh",
    ]


@pytest.mark.parametrize(
    ("libraries", "command"),
    [
        (("scipy", "faster_coco_eval"), "pip install scipy faster_coco_eval"),
        (("tensorboard",), "pip install 'shape3d-amodal[train]'"),
        (("pytorch3d",), "pip install 'shape3d-amodal[pytorch3d]'"),
        (("detectron2",), "pip install 'shape3d-amodal[detectron2]' && pip install --no-deps "),
    ],
)
def test_without_a_checkout_pip_is_the_remedy(tmp_path, monkeypatch, libraries, command):
    monkeypatch.setattr(module, "SETUP_SCRIPT", tmp_path / "setup.sh")
    assert module.how_to_get(*libraries).startswith(command)


def test_detectron2_is_the_wheel_of_the_requirements(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SETUP_SCRIPT", tmp_path / "setup.sh")
    pinned = (ROOT / "requirements" / "detectron2.txt").read_text().split()[0]
    assert module.how_to_get("detectron2").endswith(f" {pinned}")


def test_optional_libraries_have_their_extra():
    """Each optional library is told how to be got by an extra that there is, and what detectron2 imports is in its."""
    _, _, section = (ROOT / "pyproject.toml").read_text().partition("[project.optional-dependencies]\n")
    lists = re.findall(r"^(\w+) = (\[.*?\])$", section.partition("\n[")[0], re.MULTILINE | re.DOTALL)
    extras = {name: ast.literal_eval(packages) for name, packages in lists}
    assert set(module.EXTRAS) == set(module.OPTIONAL)
    assert set(module.EXTRAS.values()) <= set(extras)
    named = {re.split(r"\W", package)[0] for package in extras["detectron2"]}
    assert set(module.DETECTRON2_NEEDS) <= named


@pytest.mark.parametrize(
    ("file", "line"),
    [("open13/a.npz", "open13 meshes"), ("checkpoints/open13/model.safetensors", "weights open13")],
)
@pytest.mark.parametrize("damage", ["changed", "removed"])
def test_damaged_files_are_found(root, capsys, file, line, damage):
    path = root / "assets" / file
    if damage == "changed":
        path.write_bytes(b"xyz")
    else:
        path.unlink()
    with pytest.raises(WeightsError, match=line):
        module.doctor()
    assert _report(capsys)[line] == "damaged"


def test_no_assets_are_missing(root, capsys, monkeypatch):
    monkeypatch.setattr(module, "ASSETS", root / "nowhere")
    module.doctor()
    report = _report(capsys)
    assert report["open13 meshes"] == report["weights"] == "missing"


@pytest.mark.usefixtures("root")
def test_low_disk_is_told(capsys, monkeypatch):
    monkeypatch.setattr(module, "FREE_GB", 10**9)
    module.doctor()
    assert _report(capsys)["disk"] == "low"


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("apart", [frozenset(), frozenset({"watchful"})], ids=["in this process", "in the second one"])
@pytest.mark.parametrize("before", [True, False])
def test_no_garbage_is_looked_for_while_libraries_are_loaded(tmp_path, capsys, monkeypatch, apart, before):
    """It takes an eighth of the time; afterwards all is as it was."""
    (tmp_path / "watchful.py").write_text("import gc; __version__ = f'collecting {gc.isenabled()}'")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    monkeypatch.setattr(module, "REQUIRED", ("watchful",))
    monkeypatch.setattr(module, "_WITHOUT_TORCH", apart)
    monkeypatch.delitem(sys.modules, "watchful", raising=False)
    (gc.enable if before else gc.disable)()
    try:
        module.doctor()
        assert gc.isenabled() is before
    finally:
        gc.enable()
    assert "collecting False" in capsys.readouterr().out
