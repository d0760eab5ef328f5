"""What doctor says of GPUs, by what torch says of them; and the trial of the kernels, in Triton's interpreter."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import interpreter  # noqa: F401
import numpy as np
import pytest
import torch

from shape3d_amodal.cli.shared import gpus
from shape3d_amodal.cli.shared.findings import Finding
from shape3d_amodal.rendering import silhouettes
from shape3d_amodal.rendering.gpu import trial

pytestmark = pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")  # of NumPy, in the interpreter


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    """A machine with a GPU for each compute capability that a test puts into the list."""
    capabilities: list[tuple[int, int]] = []

    def properties(number: int) -> SimpleNamespace:
        major, minor = capabilities[number]
        return SimpleNamespace(name="Some GPU", major=major, minor=minor, total_memory=24 * 2**30)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(capabilities))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(capabilities))
    monkeypatch.setattr(torch.cuda, "get_device_properties", properties)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: True)
    monkeypatch.setattr(torch.cuda.nccl, "version", lambda: (2, 27, 3))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(trial, "_TRIALS", {"product": lambda: 0.0})
    monkeypatch.setattr(silhouettes, "triton_version", lambda: "3.6.0")
    yield capabilities


def found() -> dict[str, Finding]:
    return {finding.name: finding for finding in gpus.gpu_findings()}


def test_gpus_that_can_be_used(machine: list[tuple[int, int]], tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine += [(7, 5), (9, 0)]
    (tmp_path / "version").write_text("550.54.15\n")
    monkeypatch.setattr(gpus, "_DRIVER", tmp_path / "version")
    report = found()
    assert {finding.state for finding in report.values()} == {"ok"}
    assert report["driver"].detail == "550.54.15; torch is built for CUDA 12.8"
    assert report["cuda:1"].detail == "Some GPU, compute capability 9.0, 24.0 GB"
    assert report["nccl"].detail == "2.27.3"
    assert list(report) == ["driver", "cuda:0", "cuda:1", "nccl", "kernel product"]


@pytest.mark.parametrize("capability", [(7, 0), (6, 1)])
def test_an_old_gpu_is_told_and_no_kernel_is_tried(machine: list[tuple[int, int]], capability: tuple[int, int]) -> None:
    machine += [(8, 0), capability]
    report = found()
    assert (report["cuda:0"].state, report["cuda:1"].state) == ("ok", "low")
    assert "the kernels need 7.5; use --device cpu" in report["cuda:1"].remedy
    assert not any(name.startswith("kernel") for name in report)


def test_without_nccl(machine: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    machine.append((8, 0))
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: False)
    assert found()["nccl"].state == "optional"


def broken() -> float:
    raise RuntimeError("no kernel image is available\n for execution on the device")


@pytest.mark.parametrize(
    ("difference", "problem"),
    [
        (broken, "no kernel image is available for execution on the device"),
        (lambda: 0.5, "differs from the CPU by 0.5"),
        (lambda: float("nan"), "differs from the CPU by nan"),
    ],
)
def test_a_kernel_that_does_not_run(machine, monkeypatch: pytest.MonkeyPatch, difference, problem: str) -> None:
    machine.append((8, 0))
    monkeypatch.setattr(trial, "_TRIALS", {"edge": difference})
    finding = found()["kernel edge"]
    assert (finding.state, finding.detail) == ("missing", problem) and "--device cpu" in finding.remedy


@pytest.mark.parametrize(
    ("driver", "visible", "built", "state", "words"),
    [
        (False, None, "12.8", "optional", "none, running on the CPU"),
        (True, "", "12.8", "optional", "hidden by CUDA_VISIBLE_DEVICES"),
        (True, None, None, "optional", "is built for the CPU"),
        (True, None, "12.8", "missing", "The NVIDIA driver on your system is too old"),
    ],
)
@pytest.mark.usefixtures("machine")
def test_why_there_is_no_gpu(monkeypatch, driver, visible, built, state, words) -> None:
    def init() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old\n(found version 11040)")

    monkeypatch.setattr(gpus, "has_driver", lambda: driver)
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "init", init)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    (finding,) = gpus.gpu_findings()
    assert finding.name == "cuda" and finding.state == state and words in finding.detail


@pytest.mark.slow
def test_every_kernel_gives_what_the_cpu_does() -> None:
    """In the interpreter."""
    assert dict(trial.trials()) == {"product": "", "edge": "", "z-buffer": ""}


@pytest.mark.gpu
def test_every_kernel_gives_what_the_cpu_does_on_a_gpu() -> None:
    assert dict(trial.trials()) == {"product": "", "edge": "", "z-buffer": ""}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["product", "edge", "z-buffer"])
def test_the_trial_sees_a_mesh_that_is_elsewhere(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """What the CPU gives is of another mesh, a pixel further to the side."""

    def rendered(verts, faces, size, sigma, mode, backend):
        shift = 2 / size if backend == "cpu" else 0
        return render(verts + torch.tensor([shift, 0, 0]), faces, size, sigma, mode, backend)

    zbuffer, render = trial.zbuffer.rasterize, trial.render_silhouettes
    shift = np.array([1, 0, 0], np.float32)
    monkeypatch.setattr(trial.zbuffer, "rasterize", lambda verts, *rest: zbuffer(verts + shift, *rest))
    monkeypatch.setattr(trial, "render_silhouettes", rendered)
    monkeypatch.setattr(trial, "_TRIALS", {name: trial._TRIALS[name]})
    assert "differs from the CPU by" in dict(trial.trials())[name]
