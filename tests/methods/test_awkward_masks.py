"""Whatever is left to see of an object, and whichever prior is asked: a whole mask that contains what is visible."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from boxes import BoxMeshes
from tiny import tiny_config, tiny_model

from shape3d_amodal.model import AmodalModel
from shape3d_amodal.pipeline import ShapePriorPipeline
from shape3d_amodal.priors.bank.prior import BankPrior
from shape3d_amodal.priors.bank.shapes import ShapeBank
from shape3d_amodal.priors.learned.fit import LearnedPrior
from shape3d_amodal.structures import OCCLUDER

HEIGHT, WIDTH = 60, 80
PICTURE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def rectangle(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:bottom, left:right] = True
    return mask


def ring(mask: np.ndarray, width: int) -> np.ndarray:
    """What lies within ``width`` pixels of ``mask``."""
    rows, columns = (np.nonzero(mask.any(axis=axis))[0] for axis in (1, 0))
    around = rectangle(
        max(0, rows[0] - width), rows[-1] + 1 + width, max(0, columns[0] - width), columns[-1] + 1 + width
    )
    return around & ~mask


FEW = rectangle(30, 31, 40, 43)
SPECKS = rectangle(10, 11, 10, 11) | rectangle(50, 51, 70, 71)
CORNER = rectangle(0, 6, 70, 80)
MIDDLE = rectangle(20, 40, 30, 50)
MASKS = {
    "one pixel that nothing hides": (rectangle(30, 31, 40, 41), rectangle(0, 0, 0, 0)),
    "a few pixels, surrounded": (FEW, ring(FEW, 12)),
    "two specks far apart, all else hidden": (SPECKS, ~SPECKS),
    "in a corner, half hidden": (CORNER, rectangle(6, 20, 60, 80)),
    "a row at the border, all else hidden": (rectangle(59, 60, 0, 80), ~rectangle(59, 60, 0, 80)),
    "surrounded": (MIDDLE, ring(MIDDLE, 30)),
    "the whole image": (rectangle(0, HEIGHT, 0, WIDTH), rectangle(0, 0, 0, 0)),
}


def make(kind: str, boxes: BoxMeshes) -> ShapePriorPipeline:
    """A pipeline of which only what ``kind`` names is asked."""
    if kind == "learned":
        return ShapePriorPipeline.from_model(tiny_model(), refine="visible-union")
    if kind == "bank":
        return ShapePriorPipeline({"bank": BankPrior(ShapeBank(boxes))}, refine="visible-union")
    config = tiny_config()
    torch.manual_seed(0)
    model = AmodalModel(replace(config, refinement=replace(config.refinement, priors=("learned", "bank"))))
    bank = BankPrior(ShapeBank(boxes), config.categories)
    return ShapePriorPipeline({"learned": LearnedPrior(model.prior, config.categories), "bank": bank}, model)


@pytest.fixture(scope="module", params=["learned", "bank", "both, refined"])
def pipeline(request: pytest.FixtureRequest, boxes: BoxMeshes) -> ShapePriorPipeline:
    return make(request.param, boxes)


@pytest.mark.parametrize("fit_steps", [0, 2])
@pytest.mark.parametrize("name", MASKS)
def test_the_mask_is_valid_and_contains_what_is_visible(
    pipeline: ShapePriorPipeline, name: str, fit_steps: int
) -> None:
    visible, hiding = MASKS[name]
    masks, names = ([visible, hiding], ["lamp", OCCLUDER]) if hiding.any() else ([visible], ["lamp"])
    (lamp,) = pipeline.with_fit_steps(fit_steps).complete(PICTURE, masks, names)
    assert lamp.amodal.shape == (HEIGHT, WIDTH) and lamp.amodal.dtype == np.bool_
    assert lamp.amodal[visible].all()
    assert not lamp.amodal[~(visible | hiding)].any()
    assert 0 <= lamp.score <= 1
    assert len(lamp.verts) > 3 and np.isfinite(lamp.verts).all() and lamp.faces.max() < len(lamp.verts)
    numbers = [
        *np.ravel(list(lamp.viewpoint["offset"])),
        *(lamp.viewpoint[key] for key in lamp.viewpoint if key != "offset"),
    ]
    assert np.isfinite(np.array(numbers, float)).all()
