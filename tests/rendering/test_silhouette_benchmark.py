"""The benchmark of the silhouettes: what it measures, and how its tables say so. The clock of a GPU is a stand-in."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[2] / "benchmarks")
    yield lambda name: importlib.import_module(name)
    for name in ("silhouettes", "silhouette_worker", "report"):
        sys.modules.pop(name, None)


def test_measurement_of_a_method(benchmarks, tmp_path):
    worker = benchmarks("silhouette_worker")
    request = worker.Request(method="edge", size="2x8x80", outputs=str(tmp_path / "edge.npz"))
    result = worker.measure(worker.Request(**json.loads(worker.request_text(request))))
    assert result["forward"] > 0
    assert result["backward"] > 0
    assert result["same_bits"]
    # 2 x 42 vertices, 80 faces of int64, weights; and the image and the gradient.
    assert result["tensors"] == 4 * 2 * 42 * 3 + 8 * 80 * 3 + 4 * 2 * 64 + 4 * 2 * 64 + 4 * 2 * 42 * 3
    assert result["peak"] >= 4 * 2 * 42 * 3 + 8 * 80 * 3 + 4 * 2 * 64
    outputs = np.load(tmp_path / "edge.npz")
    assert outputs["alpha"].shape == (2, 8, 8)
    assert outputs["grad"].shape == (2, 42, 3)


def test_forward_alone(benchmarks):
    worker = benchmarks("silhouette_worker")
    result = worker.measure(worker.Request(method="pytorch3d", size="1x8x80", with_backward=False, clock="cpu"))
    assert set(result) == {"forward", "tensors", "same_bits", "peak"}


def test_clock_of_a_gpu(benchmarks, monkeypatch):
    """The median of the events' milliseconds, and the rise of the allocator's peak over what was there before."""
    worker = benchmarks("silhouette_worker")
    elapsed, done = iter([5.0, 1.0, 3.0]), []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            done.append("event")

        def elapsed_time(self, _):
            return next(elapsed)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    for name in ("synchronize", "empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: 100)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 350)
    gauge = worker.meter("cuda")
    assert gauge.device == "cuda"
    assert gauge.seconds(lambda: done.append("prepare"), lambda: done.append("work"), 3) == 0.003
    assert done == ["prepare", "event", "work", "event"] * 3
    assert gauge.peak(100, lambda: None) == 350


def test_long_runs_are_measured_once(benchmarks):
    worker = benchmarks("silhouette_worker")
    times = iter([0.0, 11.0, 20.0, 20.5])
    gauge = worker.Processor(lambda: next(times))
    assert gauge.seconds(lambda: None, lambda: None, 3) == 11.0


def test_rows_of_the_comparison(benchmarks, tmp_path):
    module = benchmarks("silhouettes")
    theirs = {"forward": 2.0, "backward": 30.0}
    ours = {"forward": 0.02, "backward": 0.0005, "peak": 3 * 2**20, "tensors": 2 * 2**20, "same_bits": True}
    np.savez(tmp_path / "pytorch3d.npz", alpha=np.array([0.5, 1.0]), grad=np.array([3.0, 4.0]))
    np.savez(tmp_path / "product.npz", alpha=np.array([0.5, 0.9]), grad=np.array([3.0, 4.0]))
    row = module.row("8x64x1280", "product", ours, theirs, tmp_path)
    cells = ["8, 64, 1280", "ours, product", "20.0", "0.500", "100x", "60,000x", "3.0", "1.50", "yes"]
    assert row == f"| {' | '.join(cells)} | 1e-01, 0e+00, 1 - 0e+00 |"
    assert module.row("8x64x1280", "pytorch3d", theirs, theirs, tmp_path) == (
        "| 8, 64, 1280 | PyTorch3D | 2,000 | 30,000 |  |  |  |  |  |  |"
    )
    assert module.row("8x64x1280", "pytorch3d", None, None, tmp_path).count("not finished") == 2


def test_threads_beyond_the_cores_are_left_out(benchmarks, monkeypatch):
    module = benchmarks("silhouettes")
    monkeypatch.setattr(module.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(module, "run", lambda request: {"forward": 0.3 / request.threads, "backward": 0.1})
    *_, alone, both = module.threads(argparse.Namespace(sizes=["8x64x1280"]))
    assert alone == "| 8, 64, 1280 | edge | 1 | 300.0 | 100.0 | 1.00x |"
    assert both == "| 8, 64, 1280 | edge | 2 | 150.0 | 100.0 | 1.60x |"


def test_share_of_the_limit(benchmarks, monkeypatch):
    """At 1 GFLOP/s the operations take longest, at 1 MB/s the bytes."""
    module = benchmarks("silhouettes")
    monkeypatch.setattr(module, "candidates", lambda _: (1e6, 2e6, 4e6))
    monkeypatch.setattr(module, "run", lambda _: {"forward": 0.6, "backward": 8.0})
    arguments = argparse.Namespace(clock="wall")
    monkeypatch.setattr(module, "best_rates", lambda _: (1e9, 1e12))
    assert module.limit(arguments)[-2].endswith("| 0.060 | 60.0000 | 600.0 | 10 % |")
    monkeypatch.setattr(module, "best_rates", lambda _: (1e12, 1e6))
    assert module.limit(arguments)[-1] == "| backward | 4.00 | 4000.0000 | 0.105 | 0.1050 | 8,000 | 50 % |"


def test_pixels_of_the_boxes_by_counting(benchmarks, monkeypatch):
    """A face of 0.5 x 0.5 NDC and its reach of 0.03 lie in columns and rows 1 to 4 of 8."""
    module = benchmarks("silhouettes")
    mesh = torch.tensor([[[0.0, 0.0, 1.0], [0.5, 0.0, 1.0], [0.0, 0.5, 1.0]]]), torch.tensor([[0, 1, 2]])
    monkeypatch.setattr(module, "views", lambda *_: mesh)
    pairs, forward, backward = module.candidates("1x8x80")
    assert pairs == 16
    assert (forward, backward) == (36 + 24 + 256, 36 + 24 + 512 + 36)


@pytest.mark.parametrize(
    ("line", "message"), [(["speed"], "expected tables of comparison"), (["--clock", "cuda"], "needs a CUDA device")]
)
def test_wrong_arguments(benchmarks, monkeypatch, capsys, line, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["silhouettes.py", *line])
    with pytest.raises(SystemExit):
        benchmarks("silhouettes").main()
    assert message in capsys.readouterr().err
