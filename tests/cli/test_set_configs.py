"""The shipped configurations of KINS, COCOA-cls and D2SA on tiny files that lie where the real ones are expected."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from drawn_masks import drawn_dataset, write_drawn

from shape3d_amodal.annotations.formats.coco_amodal import write_coco_amodal
from shape3d_amodal.annotations.formats.kins import CLASSES, write_kins2020
from shape3d_amodal.benchmarking.config import load_benchmark
from shape3d_amodal.benchmarking.data import open_data
from shape3d_amodal.cli import main
from shape3d_amodal.files.assets import find_config
from shape3d_amodal.structures import AmodalDataset, Category
from shape3d_amodal.training.registry import load_training

SETS = {"kins": CLASSES, "cocoa_cls": ("person", "dog"), "d2sa": ("apple", "bottle")}


def lay_out(name: str) -> None:
    """Tiny files in the working folder at the places that the configurations name."""
    training = load_training(find_config(Path(f"configs/{name}/shape_prior.yaml")))
    dataset = replace(drawn_dataset(), categories=tuple(Category(i, one) for i, one in enumerate(SETS[name], 1)))
    write_drawn(Path("drawn"), dataset)
    for crops in (training.train, training.validation):
        assert crops.annotations is not None and crops.images is not None
        if not Path(crops.images).exists():
            shutil.copytree("drawn/images", crops.images)
        write(Path(crops.annotations), dataset, name)


def write(file: Path, dataset: AmodalDataset, name: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    (write_kins2020 if name == "kins" else write_coco_amodal)(file, dataset)


@pytest.mark.parametrize("name", SETS)
def test_the_files_are_where_the_benchmark_looks(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lay_out(name)
    benchmark = load_benchmark(find_config(Path(f"configs/{name}/benchmark.yaml")))
    (data,) = benchmark.config.data
    opened = open_data(benchmark, data, tmp_path)
    assert len(opened.dataset.images) == 4
    names = set(opened.dataset.category_names.values())
    assert names == ({*CLASSES, "occluder"} - {"rider"} if name == "kins" else set(SETS[name]))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", SETS)
def test_one_batch_goes_through_trainings_of_full_size(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lay_out(name)
    for stage in ("shape_prior", "completion2d", "unet2d", "pcnet_m"):
        options = ["loop.batch_size=2", *(["train.min_visible_px=10"] if stage != "pcnet_m" else [])]
        assert main(["train", f"configs/{name}/{stage}.yaml", "--dry-run", "--set", *options]) == 0, stage
