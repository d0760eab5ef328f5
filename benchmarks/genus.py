"""What genus 0 costs: how well each kind of shape can explain a whole silhouette that it is shown.

The silhouette of an unseen mesh is given whole, nothing hides it, and each prior is fitted to it for many steps: what
is missing then is not knowledge but what the shapes can be. Rows are the learned prior (a deformed sphere), the
same with free vertices, the bank of training meshes, and a bank that holds the very mesh.

    python benchmarks/genus.py --write
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from report import write_section

from shape3d_amodal.crops.config import CropsConfig
from shape3d_amodal.crops.pool import open_pool
from shape3d_amodal.crops.scenes import CropArrays
from shape3d_amodal.files.pretrained import load_network
from shape3d_amodal.meshes.sources import CATEGORIES, mesh_source
from shape3d_amodal.model import AmodalModel, AmodalModelConfig
from shape3d_amodal.priors.bank.prior import BankPrior, BankPriorConfig
from shape3d_amodal.priors.bank.shapes import ShapeBank
from shape3d_amodal.priors.learned.fit import FitConfig, LearnedPrior
from shape3d_amodal.scenes.compose import SceneConfig
from shape3d_amodal.structures import InstanceCrops
from shape3d_amodal.training.tasks.scores import mask_iou

Estimate = Callable[[InstanceCrops], torch.Tensor]
_BATCH = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="open13")
    parser.add_argument("--meshes", default="open13:test")
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--each", type=int, default=20, help="objects a category")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--cache", type=Path, default=Path("outputs/cache"))
    parser.add_argument("--write", action="store_true", help="write the table into docs/benchmarks.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    crops = CropsConfig(meshes=arguments.meshes, scenes=SceneConfig(), seed=11, count=arguments.scenes, jitter=0.0)
    pool = open_pool(crops, arguments.cache, workers=2)
    scores = {
        name: [category_iou(pool, category, arguments.each, estimate) for category in range(len(CATEGORIES))]
        for name, estimate in estimates(arguments.weights, arguments.meshes, arguments.steps).items()
    }
    text = table(scores)
    print(text)
    if arguments.write:
        write_section("genus", "What genus 0 costs", "python benchmarks/genus.py --write", text)


def estimates(weights: str, meshes: str, steps: int) -> dict[str, Estimate]:
    model, _ = load_network(weights, AmodalModelConfig, AmodalModel)
    model.eval()
    fit = FitConfig(steps=steps, starts=4, code_weight=0.0)
    learned = LearnedPrior(model.prior, CATEGORIES, fit)
    free = LearnedPrior(model.prior, CATEGORIES, replace(fit, vertex_rate=0.01))
    options = BankPriorConfig(fit_steps=steps)
    bank, own = (BankPrior(ShapeBank(mesh_source(source)), CATEGORIES, options) for source in ("open13:train", meshes))
    return {
        "learned prior, not fitted": lambda crops: model.prior.estimate(crops).silhouette,
        f"learned prior, fit {steps}": lambda crops: learned.estimate(crops).silhouette,
        f"learned prior with free vertices, fit {steps}": lambda crops: free.estimate(crops).silhouette,
        f"bank of training meshes, fit {steps}": lambda crops: bank.estimate(crops).silhouette,
        f"bank with the very mesh, fit {steps}": lambda crops: own.estimate(crops).silhouette,
    }


@torch.no_grad()
def category_iou(pool: CropArrays, category: int, count: int, estimate: Estimate) -> float:
    """Mean IoU in percent over the first ``count`` crops of a category, their whole silhouettes being shown."""
    rows: NDArray[np.int64] = np.flatnonzero(pool.category == category)[:count]
    batch = pool.supervised(rows)
    whole = replace(batch.crops, visible=batch.amodal, occluder=torch.zeros_like(batch.amodal))
    found = torch.cat([estimate(whole[i : i + _BATCH]) for i in range(0, len(rows), _BATCH)])
    return 100 * float(mask_iou(found > 0.5, batch.amodal > 0.5).mean())


def table(scores: dict[str, list[float]]) -> str:
    lines = [f"| IoU, % | {' | '.join(CATEGORIES)} | mean |", "|---|" + "---:|" * (len(CATEGORIES) + 1)]
    for name, row in scores.items():
        lines.append(f"| {name} | {' | '.join(f'{value:.1f}' for value in (*row, float(np.mean(row))))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
