"""Words and paths from Python that are none: refused by name, before anything is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from shape3d_amodal import Detector, ImagePredictor, read_dataset
from shape3d_amodal.annotations.conversion import convert
from shape3d_amodal.annotations.formats.kins import write_kins2020
from shape3d_amodal.annotations.formats.registry import read_annotations
from shape3d_amodal.annotations.images import ImageFiles
from shape3d_amodal.annotations.validation import validate
from shape3d_amodal.errors import UsageError
from shape3d_amodal.files.safe_io import decode_image, read_image
from shape3d_amodal.meshes.sources import mesh_source
from shape3d_amodal.methods.ground_truth import shown
from shape3d_amodal.priors.registry import check_names
from shape3d_amodal.refinement.modes import check_refine
from shape3d_amodal.structures import AmodalDataset, AmodalImage

EMPTY = AmodalDataset(images=(), categories=())
SEGMENTATION = "segmentation: expected amodal, visible, got 'vis'"
IMAGE = AmodalImage(id=1, file_name="a.png", width=4, height=4, instances=())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: read_dataset("a.json", segmentation="vis"), SEGMENTATION),
        (lambda: read_annotations("a.json", segmentation="vis"), SEGMENTATION),
        (lambda: validate("a.json", segmentation="vis"), SEGMENTATION),
        (lambda: convert("a.json", "b.json", "kins2020", segmentation="vis"), SEGMENTATION),
        (lambda: read_dataset("a.json", segmentation=None), "segmentation: expected amodal, visible, got None"),
        (lambda: read_dataset("a.json", segmentation=["visible"]), "got ['visible']"),
        (lambda: read_image("a.png", orientation="raw"), "orientation: expected exif, stored, got 'raw'"),
        (lambda: decode_image(b"", file="a", orientation="raw"), "orientation: expected exif, stored, got 'raw'"),
        (lambda: ImageFiles(Path(), Path(), orientation="Stored"), "orientation: expected exif, stored, got 'Stored'"),
        (lambda: convert("a.json", "b.json", "kins2020", form="RLE"), "form: expected rle, polygons, got 'RLE'"),
        (lambda: write_kins2020("b.json", EMPTY, form="polygon"), "form: expected rle, polygons, got 'polygon'"),
        (lambda: shown(IMAGE, "img"), "given: expected masks, image, got 'img'"),
        (lambda: check_names([["bank"]]), "priors: expected learned, bank, got ['bank']"),
        (lambda: check_refine(["2d"]), "refine: expected none, visible-union, 2d, full, got ['2d']"),
        (lambda: read_dataset(None), "path: expected a name or a path, got None"),
        (lambda: read_dataset(3), "path: expected a name or a path, got 3"),
        (lambda: read_dataset(""), "path: expected a name or a path, got ''"),
        (lambda: mesh_source(3), "meshes: expected a name or a path, got 3"),
        (lambda: read_image(3), "path: expected a name or a path, got 3"),
        (lambda: Detector.from_pretrained(None), "folder: expected a name or a path, got None"),
        (lambda: ImagePredictor.from_pretrained(None), "detector: expected a name or a path, got None"),
        (lambda: ImagePredictor.from_pretrained(weights=3), "weights: expected a name or a path, got 3"),
    ],
)
def test_what_came_and_what_was_expected_are_told(
    call: Callable[[], object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        call()
    assert message in str(caught.value)
    assert not any(tmp_path.iterdir())
