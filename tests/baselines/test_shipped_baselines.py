"""The weights of baselines that are shipped: all there, whole, and good for what the table of all systems does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from shape3d_amodal import masks
from shape3d_amodal.benchmarking.config import load_benchmark
from shape3d_amodal.benchmarking.methods import PipelineOptions, TrainedOptions
from shape3d_amodal.files.pretrained import CHECKPOINTS, weights_folder
from shape3d_amodal.meshes.sources import CATEGORIES
from shape3d_amodal.structures import AmodalImage, AmodalInstance

CONFIG = Path(__file__).parents[2] / "configs/open13/systems.yaml"
SHIPPED = sorted(str(folder.relative_to(CHECKPOINTS)) for folder in (CHECKPOINTS / "baselines").iterdir())


def test_the_table_needs_what_is_shipped_and_nothing_else() -> None:
    methods = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["methods"].values()
    named = {one[key] for one in methods for key in ("weights", "detector") if key in one}
    trained = {f"outputs/open13/{name}/weights" for name in ("panet_small", "asn_panet_small", "c2f_seg")}
    assert named == {"open13_detector", *SHIPPED, *trained}
    assert all(weights_folder(name).is_relative_to(CHECKPOINTS) for name in named - trained)


def test_weights_are_small() -> None:
    sizes = {name: sum(file.stat().st_size for file in (CHECKPOINTS / name).iterdir()) / 2**20 for name in SHIPPED}
    assert all(size < 16 for size in sizes.values()), sizes


@pytest.mark.parametrize("name", SHIPPED)
def test_an_object_is_completed(name: str) -> None:
    methods = {
        key: one
        for key, one in load_benchmark(CONFIG).methods.items()
        if isinstance(one, TrainedOptions | PipelineOptions) and one.weights == name
    }
    options = next(iter(methods.values()))
    method = options.build(dict(enumerate(CATEGORIES)), "cpu")
    visible = np.zeros((64, 64), bool)
    visible[20:50, 10:40] = True
    other = np.zeros_like(visible)
    other[20:50, 40:60] = True
    instances = tuple(
        AmodalInstance(id=i + 1, category_id=3, visible=masks.encode(mask)) for i, mask in enumerate((visible, other))
    )
    record = AmodalImage(id=1, file_name="a.png", width=64, height=64, instances=instances)
    results = method.complete(np.full((64, 64, 3), 128, np.uint8), record)
    assert [one.annotation_id for one in results] == [1, 2]
    assert (masks.decode(results[0].segmentation) & visible).sum() == visible.sum()
