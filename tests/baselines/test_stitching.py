"""The script that draws the stitching of ARCNN: its chart by hand, and from weights."""

from __future__ import annotations

import re
import runpy
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rcnn_small import small_config, small_rcnn

from shape3d_amodal.baselines.rcnn.arcnn import ArcnnHead
from shape3d_amodal.config import dump_config
from shape3d_amodal.files.weights import save_weights

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "plot_stitching.py"))
draw_stitching, main, stitching_figure = (SCRIPT[name] for name in ("draw_stitching", "main", "stitching_figure"))


def test_bars_are_the_weights() -> None:
    """The own category stands apart; of each panel all visible weights come first."""
    own, others = stitching_figure("b", ["a", "b", "c"], [2.0, 5.0, 0.25], [-1.0, 6.0, 0.5]).axes
    assert [patch.get_height() for patch in own.patches] == [5.0, 6.0]
    assert [patch.get_height() for patch in others.patches] == [2.0, 0.25, -1.0, 0.5]
    assert [label.get_text() for label in own.get_xticklabels()] == ["b"]
    assert [label.get_text() for label in others.get_xticklabels()] == ["a", "c"]
    bars = dict(zip(*others.get_legend_handles_labels()[::-1], strict=True))
    assert [patch.get_height() for patch in bars["occluded mask"]] == [-1.0, 0.5]


@pytest.mark.parametrize("count", [1, 13, 80])
def test_any_number_of_categories(count: int) -> None:
    names = [f"$category_{i}$" for i in range(count)]
    values = np.linspace(-1, 1, count).tolist()
    chart = Image.open(BytesIO(draw_stitching(names[0], names, values, values[::-1])))
    assert chart.width >= 600
    assert chart.width < 3000


def weights(folder: Path, system: str) -> str:
    model = small_rcnn(system)
    if isinstance(model.mask_head, ArcnnHead):
        with torch.no_grad():
            model.mask_head.stitching.weight.add_(0.5)
    save_weights(folder, dump_config(small_config(system)), model.state_dict())
    return str(folder)


def test_the_script_draws_the_row_of_a_category(tmp_path: Path) -> None:
    main([weights(tmp_path / "weights", "arcnn"), "disc", str(tmp_path / "disc.png")])
    expected = draw_stitching("disc", ("box", "disc", "bar"), [0.5, 1.5, 0.5], [0.5, 1.5, 0.5])
    assert (tmp_path / "disc.png").read_bytes() == expected


@pytest.mark.parametrize(
    ("system", "category", "message"),
    [
        ("arcnn", "lamp", r"error: category: expected one of box, disc, bar, got 'lamp'\n"),
        ("arcnn_add", "disc", r"error: .*expected weights of arcnn, got arcnn_add; the others stitch nothing\n"),
        (None, "disc", r"error: .*none: no such folder of weights.*\n"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    system: str | None,
    category: str,
    message: str,
) -> None:
    folder = str(tmp_path / "none") if system is None else weights(tmp_path / "weights", system)
    with pytest.raises(SystemExit) as stopped:
        main([folder, category, str(tmp_path / "x.png")])
    assert stopped.value.code in (2, 3)
    assert re.fullmatch(message, capsys.readouterr().err)
    assert not (tmp_path / "x.png").exists()
