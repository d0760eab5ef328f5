"""The table of known cameras, on renders of box meshes: where a category has one shape, its mean is that shape."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from shape3d_amodal.benchmarking.config import KnownCamerasRun
from shape3d_amodal.config import dump_config
from shape3d_amodal.errors import DataError, WeightsError
from shape3d_amodal.files.weights import save_weights
from shape3d_amodal.papers.nmr.benchmark import score_known_cameras
from shape3d_amodal.papers.nmr.network import KnownCamerasConfig, KnownCamerasModel
from shape3d_amodal.papers.nmr.rendering import write_nmr
from shape3d_amodal.priors.learned.reconstruction import ReconstructionConfig
from shape3d_amodal.reports.benchmark.report import write_reports
from shape3d_amodal.reports.benchmark.results_page import write_results_page

SYNSETS = ("02933112", "03001627", "03636649", "04256520", "04379243")
SMALL = ReconstructionConfig(level=1, code_size=4, widths=(4, 4, 8, 8), features=16, embedding=4)


def weights(folder: Path, synsets: tuple[str, ...] = SYNSETS) -> Path:
    torch.manual_seed(0)
    config = KnownCamerasConfig(synsets=synsets, reconstruction=SMALL)
    save_weights(folder, dump_config(config), KnownCamerasModel(config).state_dict())
    return folder


@pytest.fixture(scope="module")
def renders(box_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nmr")
    for split in ("train", "test"):
        write_nmr(str(box_folder), folder, split)
    return folder


def test_the_mean_of_one_shape_is_that_shape(renders: Path, tmp_path: Path) -> None:
    known = score_known_cameras(KnownCamerasRun(data=renders, weights=weights(tmp_path / "weights"), note="A note."))
    mean, ours = (known.scores[name]["by_category"] for name in ("mean shape", "reconstruction"))
    assert {name: score["object_voxel_iou"] for name, score in mean.items() if name != "chair"} == {
        "dresser": 1.0, "lamp": 1.0, "sofa": 1.0, "table": 1.0
    }  # fmt: skip
    assert 0.5 < mean["chair"]["object_voxel_iou"] < 1  # two chairs, one of them with an arm
    assert all(0 < score["object_voxel_iou"] < 1 for score in ours.values())
    assert "6 objects" in known.note and known.note.endswith("A note.")

    write_reports(tmp_path, [], title="t", intro="", command="c", extra=[known])
    assert "| sofa | **100.0** |" in (tmp_path / "tables.md").read_text()
    assert "Known cameras" in (tmp_path / "report.html").read_text()
    content = json.loads((tmp_path / "scores.json").read_text())
    assert content["known_cameras"]["mean shape"]["by_category"]["sofa"]["object_voxel_iou"] == 1
    write_results_page(tmp_path / "page.md", [], title="t", intro="", command="c", extra=[known])
    text = (tmp_path / "page.md").read_text()
    assert "## Known cameras" in text and "**reconstruction** over mean shape" in text


def test_what_cannot_be_scored_is_said(renders: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="test synset that the weights and the training objects know, got 02933112"):
        score_known_cameras(KnownCamerasRun(data=renders, weights=weights(tmp_path / "a", SYNSETS[1:])))
    with pytest.raises(WeightsError, match="none"):
        score_known_cameras(KnownCamerasRun(data=renders, weights=tmp_path / "none"))
    with pytest.raises(DataError, match="found none"):
        score_known_cameras(KnownCamerasRun(data=tmp_path, weights=weights(tmp_path / "b")))
