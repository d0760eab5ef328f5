"""Which tests may run together: those on a GPU and those in Triton's interpreter may not."""

from __future__ import annotations

import os
from types import SimpleNamespace

import conftest
import pytest

GPU, OTHER = (SimpleNamespace(get_closest_marker={"gpu": gpu}.get) for gpu in ("a mark", None))


@pytest.mark.parametrize(
    ("expression", "interpreted"),
    [("", True), ("not slow and not gpu", True), ("slow", True), ("gpu", False), ("slow and gpu", False)],
)
def test_interpreter_unless_a_gpu_is_asked_for(expression, interpreted, monkeypatch):
    monkeypatch.setattr(os, "environ", {"CUDA_VISIBLE_DEVICES": "0"})
    conftest.pytest_configure(SimpleNamespace(option=SimpleNamespace(markexpr=expression)))
    expected = {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""} if interpreted else {"CUDA_VISIBLE_DEVICES": "0"}
    assert os.environ == expected


@pytest.mark.parametrize(
    ("items", "interpreted", "refused"),
    [
        ([OTHER], True, False),
        ([GPU], False, False),
        ([], True, False),
        ([GPU, OTHER], True, True),
        ([GPU, OTHER], False, True),
        ([GPU], True, True),
    ],
)
def test_tests_on_a_gpu_run_alone(items, interpreted, refused, monkeypatch):
    monkeypatch.setattr(os, "environ", {"TRITON_INTERPRET": "1"} if interpreted else {})
    session = SimpleNamespace(items=items)
    if not refused:
        conftest.pytest_collection_finish(session)
        return
    with pytest.raises(pytest.UsageError, match="tests marked gpu need a run of their own: pytest -m gpu"):
        conftest.pytest_collection_finish(session)
