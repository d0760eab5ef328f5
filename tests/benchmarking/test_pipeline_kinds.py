"""The stages 2 to 5 as kinds of a benchmark: which priors they ask, and what their results depend on."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from boxes import PARTS, box_mesh, write_obj
from tiny import tiny_config

from shape3d_amodal.benchmarking.methods import PipelineOptions, PredictOptions
from shape3d_amodal.errors import DataError
from shape3d_amodal.model import AmodalModel
from shape3d_amodal.pipeline import ShapePriorPipeline
from shape3d_amodal.segmentation.detector import Detector


@pytest.fixture
def weights(box_folder: Path, tmp_path: Path) -> str:
    """Weights that bring a bank, whose meshes lie beside them."""
    shutil.copytree(box_folder, tmp_path / "meshes")
    config = tiny_config()
    refinement = replace(config.refinement, priors=("learned", "bank"))
    model = AmodalModel(replace(config, refinement=refinement, meshes=str(tmp_path / "meshes")))
    model.save(tmp_path / "weights")
    return str(tmp_path / "weights")


def test_predict_asks_the_priors_that_it_is_told(weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = SimpleNamespace(parameters=0, has_visible=True, categories=("chair",))
    monkeypatch.setattr(Detector, "from_pretrained", lambda *_, **__: detector)
    asked: list[list[str]] = []
    made = ShapePriorPipeline.__init__
    monkeypatch.setattr(
        ShapePriorPipeline,
        "__init__",
        lambda self, *given, **named: made(self, *given, **named) or asked.append(list(self.priors)),
    )
    for priors in (None, ("learned",), ("bank",)):
        PredictOptions(detector="any", weights=weights, priors=priors).build({1: "chair"}, "cpu")
    assert asked == [["learned", "bank"], ["learned"], ["bank"]]


def test_results_depend_on_the_meshes_of_the_weights_own_bank(weights: str, tmp_path: Path) -> None:
    options = PipelineOptions(weights=weights)
    before = options.inputs()
    assert options.inputs() == before
    write_obj(tmp_path / "meshes" / "chair" / "four_legs.obj", box_mesh(PARTS["chair/four_legs"][:3]))
    assert options.inputs() != before
    shutil.rmtree(tmp_path / "meshes")
    with pytest.raises(DataError, match="expected a folder of meshes"):
        options.inputs()
