from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from shape3d_amodal.benchmarking.config import BenchmarkConfig
from shape3d_amodal.cli.demo import demo
from shape3d_amodal.cli.papers.shapes2d import show
from shape3d_amodal.cli.shared.options import PipelineOptions
from shape3d_amodal.device import check_device_early, check_device_name, torch_device
from shape3d_amodal.errors import MissingBackendError, UsageError
from shape3d_amodal.methods.networks import NetworkMethod
from shape3d_amodal.methods.prediction import ImagePredictor
from shape3d_amodal.pipeline import ShapePriorPipeline
from shape3d_amodal.segmentation.detector import Detector
from shape3d_amodal.training.loop.interface import LoopConfig


@pytest.mark.parametrize("name", ["cpu", "cpu:0", torch.device("cpu")])
def test_the_cpu(name) -> None:
    assert torch_device(name).type == "cpu"


@pytest.mark.parametrize(("there", "expected"), [(True, "cuda"), (False, "cpu")])
def test_by_default_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch, there: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: int(there))
    check_device_early("auto")
    assert torch_device("auto") == torch.device(expected)


@pytest.mark.parametrize(
    "chooses",
    [
        ShapePriorPipeline.from_pretrained,
        ShapePriorPipeline.from_meshes,
        ImagePredictor.from_pretrained,
        Detector.from_pretrained,
        NetworkMethod.from_pretrained,
        PipelineOptions,
        BenchmarkConfig,
        LoopConfig,
        demo,
        show,
    ],
)
def test_whatever_chooses_a_device_does_so_by_default(chooses: Callable[..., Any]) -> None:
    assert inspect.signature(chooses).parameters["device"].default == "auto"


@pytest.mark.parametrize(
    "name",
    ["", "toaster", "meta", "mps", "CPU", "cpu:1", "cuda:", "cuda:-1", "cuda:01", "cuda:x", 0, None, 1.5, b"cpu"],
)
def test_what_is_no_name_of_a_device(name) -> None:
    for check in (check_device_name, check_device_early, torch_device):
        with pytest.raises(UsageError, match=r"^device: expected auto, cpu, cuda or cuda:N, got ") as caught:
            check(name)
        assert repr(name) in str(caught.value)


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:63", "cuda:300", "cuda:99999999999999999999"])
def test_a_device_that_is_not_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr("shape3d_amodal.device.has_driver", lambda: False)
    check_device_name(name)
    for check in (check_device_early, torch_device):
        with pytest.raises(MissingBackendError, match=f"device: this machine has 0 CUDA devices, not {name}; use cpu"):
            check(name)


@pytest.mark.parametrize(
    ("visible", "driver", "refused"),
    [(None, True, False), ("0", True, False), ("", True, True), (None, False, True), ("", False, True)],
)
def test_without_torch_only_what_is_certain_is_refused(
    visible: str | None, driver: bool, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr("shape3d_amodal.device.has_driver", lambda: driver)
    check_device_early("cpu")
    with pytest.raises(MissingBackendError) if refused else nullcontext():
        check_device_early("cuda")
