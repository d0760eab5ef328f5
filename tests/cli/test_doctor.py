"""The report on the machine: its lines, remedies and errors."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from shape3d_amodal.errors import MissingBackendError, WeightsError
from shape3d_amodal.files.weights import write_sealed
from shape3d_amodal.rendering import silhouettes

module = importlib.import_module("shape3d_amodal.cli.doctor")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one mesh and one folder of weights, both whole; no library counts as required."""
    meshes = tmp_path / "assets" / "open13"
    meshes.mkdir(parents=True)
    (meshes / "a.npz").write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # printf abc | sha256sum
    (meshes / "index.tsv").write_text(f"category\tpath\tsha256\nchair\ta.npz\t{digest}\n")
    write_sealed(tmp_path / "assets" / "checkpoints" / "open13", {"config.yaml": b"a: 1\n", "model.safetensors": b"0"})
    monkeypatch.setattr(module, "ROOT", tmp_path)
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
    assert set(report.values()) == {"ok"}
    assert {"python", "cores", "memory", "disk", "json", "cuda", "silhouettes", "open13 meshes"} <= set(report)
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


@pytest.mark.usefixtures("root")
def test_missing_required_library_is_an_error_with_its_remedy(capsys, monkeypatch):
    monkeypatch.setattr(module, "REQUIRED", ("json", "no_such_library"))
    with pytest.raises(MissingBackendError, match=r"missing no_such_library: run scripts/setup\.sh") as caught:
        module.doctor()
    assert caught.value.exit_status == 4
    assert _report(capsys)["no_such_library"] == "missing"


@pytest.mark.usefixtures("root")
def test_missing_optional_library_is_none(capsys, monkeypatch):
    monkeypatch.setattr(module, "OPTIONAL", {"no_such_library": "only stage 1 needs it"})
    module.doctor()
    out = capsys.readouterr().out
    assert "run scripts/setup.sh (only stage 1 needs it)" in out


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


def test_wheel_without_assets_is_told_where_they_are(root, capsys, monkeypatch):
    monkeypatch.setattr(module, "ROOT", root / "assets" / "checkpoints")
    module.doctor()
    report = _report(capsys)
    assert report["open13 meshes"] == report["weights"] == "missing"


@pytest.mark.usefixtures("root")
def test_low_disk_is_told(capsys, monkeypatch):
    monkeypatch.setattr(module, "FREE_GB", 10**9)
    module.doctor()
    assert _report(capsys)["disk"] == "low"
