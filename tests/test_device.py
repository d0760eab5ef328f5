from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from shape3d_amodal.device import check_device_early, check_device_name, torch_device
from shape3d_amodal.errors import MissingBackendError, UsageError


@pytest.mark.parametrize("name", ["cpu", "cpu:0", torch.device("cpu")])
def test_the_cpu(name) -> None:
    assert torch_device(name).type == "cpu"


@pytest.mark.parametrize(
    "name",
    ["", "toaster", "meta", "mps", "CPU", "cpu:1", "cuda:", "cuda:-1", "cuda:01", "cuda:x", 0, None, 1.5, b"cpu"],
)
def test_what_is_no_name_of_a_device(name) -> None:
    for check in (check_device_name, check_device_early, torch_device):
        with pytest.raises(UsageError, match=r"^device: expected cpu, cuda or cuda:N, got ") as caught:
            check(name)
        assert repr(name) in str(caught.value)


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:63", "cuda:300", "cuda:99999999999999999999"])
def test_a_device_that_is_not_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr("shape3d_amodal.device._has_driver", lambda: False)
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
    monkeypatch.setattr("shape3d_amodal.device._has_driver", lambda: driver)
    check_device_early("cpu")
    with pytest.raises(MissingBackendError) if refused else nullcontext():
        check_device_early("cuda")
