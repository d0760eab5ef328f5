"""Completion methods that are trained here, as kinds of a benchmark: with random weights on a drawn data set."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from drawn_data import benchmark, draw_data
from drawn_masks import drawn_dataset, write_drawn

from shape3d_amodal.baselines.c2f_seg.codebook import CodebookConfig
from shape3d_amodal.baselines.c2f_seg.model import C2FSeg, C2FSegConfig
from shape3d_amodal.baselines.c2f_seg.transformer import TransformerConfig
from shape3d_amodal.baselines.pcnet_m.network import CompletionNetwork, PcnetMConfig
from shape3d_amodal.benchmarking.runner import run_benchmark
from shape3d_amodal.config import dump_config
from shape3d_amodal.files.weights import save_weights


def pcnet_m_weights(folder: Path) -> None:
    config = PcnetMConfig(size=32, width=1)
    save_weights(folder, dump_config(config), CompletionNetwork(config).state_dict())


def c2f_seg_weights(folder: Path) -> None:
    config = C2FSegConfig(
        codebook=CodebookConfig(size=32, widths=(4, 4, 8, 8), codes=16, code_size=4),
        transformer=TransformerConfig(width=16, layers=1, heads=2),
    )
    save_weights(folder, dump_config(config), C2FSeg(config).state_dict())


WEIGHTS = {"pcnet_m": pcnet_m_weights, "c2f_seg": c2f_seg_weights}


@pytest.mark.parametrize("kind", WEIGHTS)
def test_kind(kind: str, tmp_path: Path) -> None:
    draw_data(tmp_path / "drawn", images=2)
    torch.manual_seed(0)
    WEIGHTS[kind](tmp_path / "weights")
    methods = {"visible": {"kind": "visible_only"}, "learned": {"kind": kind, "weights": str(tmp_path / "weights")}}
    config = benchmark(tmp_path / "drawn", methods=methods)
    (scores,) = run_benchmark(config, tmp_path / "out")
    record = scores.methods["learned"].record
    assert record is not None and record.parameters > 1000 and record.instances == 4
    assert [result.annotation_id for result in scores.methods["learned"].results] == [10, 100, 11, 101]
    assert scores.tables["learned"].score["miou"] > 0


def test_pcnet_m_fills_the_order_track(tmp_path: Path) -> None:
    """Told the order, it gives it back; the drawn objects are in the order of their ids."""
    dataset = drawn_dataset(images=2)
    write_drawn(tmp_path / "drawn", dataset)
    torch.manual_seed(0)
    pcnet_m_weights(tmp_path / "weights")
    options = {"kind": "pcnet_m", "weights": str(tmp_path / "weights"), "depth_order": True}
    config = benchmark(tmp_path / "drawn", methods={"pcnet_m": options}, runs=[{"data": "squares", "track": "order"}])
    (scores,) = run_benchmark(config, tmp_path / "out")
    assert scores.tables["pcnet_m"].score["order_accuracy"] == 1
    ranks = [result.depth_order for result in scores.methods["pcnet_m"].results]
    assert None not in ranks and max(ranks) > 0
