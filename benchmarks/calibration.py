"""How well known shapes know how good their masks are: expected against true IoU on scenes of val meshes.

    python benchmarks/calibration.py --chart docs/images/known_calibration.png
    python benchmarks/calibration.py --kept answers.json --fit      # the constants anew

Sets: composed scenes, bars, and targets of which 70 to 90 % are hidden; banks: the very meshes, all meshes, and others
of the same name (training meshes), each as it is and weighed by stage 5. The table gives the expected calibration
error: of ten equal bins of the expected IoU, the distance of its mean from that of the true IoU, weighted by the bins'
counts. ``--fit`` finds the constants of ``priors.bank.posterior`` and ``refinement.trust`` anew; table and chart are
then of constants that are found on one half of the objects and judged on the other. ``--kept`` keeps what the bank has
answered, for that takes a second an object.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from shape3d_amodal.config import load_config
from shape3d_amodal.crops.cutting import instance_crops, mask_crops, masks_through
from shape3d_amodal.crops.pixels import PixelWindow, pixel_windows
from shape3d_amodal.files.atomic import write_atomic, write_json_atomic
from shape3d_amodal.files.cache import user_cache
from shape3d_amodal.files.pretrained import load_network
from shape3d_amodal.masks.occlusion import occluders
from shape3d_amodal.meshes.sources import mesh_source
from shape3d_amodal.model import AmodalModel, AmodalModelConfig
from shape3d_amodal.priors.bank import posterior as told
from shape3d_amodal.priors.bank.finding import Found
from shape3d_amodal.priors.bank.prior import BankPrior, BankPriorConfig
from shape3d_amodal.priors.bank.shapes import ShapeBank
from shape3d_amodal.refinement import trust
from shape3d_amodal.refinement.regions import compose
from shape3d_amodal.scenes.compose import make_scene
from shape3d_amodal.scenes.sets import SceneSetConfig, category_names
from shape3d_amodal.stages import FINE, Stages
from shape3d_amodal.structures import Estimate, InstanceCrops

SETS = {"composed": "test", "bars": "test_bars", "heavily hidden": "test_heavy"}
BANKS = {"very meshes": "open13:val", "all meshes": "open13", "strangers": "open13:train"}
NOISES = (0.125, 0.25, 0.5, 1.0, 2.0)
BINS = 10
Array = NDArray[np.float64]


class Remembering(BankPrior):
    """A bank that keeps what it found last, and the bent shapes."""

    def find(self, *asked: Any) -> Found:
        self.found = super().find(*asked)
        return self.found

    def bent(self, found: Found, crop: InstanceCrops) -> tuple[Estimate, Array]:
        estimate, signs = super().bent(found, crop)
        self.deformed = estimate, signs, crop
        return estimate, signs


def answers(bank: str, scenes: str, objects: int, seed: int, model: AmodalModel) -> Iterator[dict]:
    """For each object what tells how good the bank's mask, that of bent shapes, and stage 5's are, and how good they
    are: signs and true IoUs."""
    source, val = mesh_source(BANKS[bank]), mesh_source("open13:val")
    exact = bank == "very meshes"
    names = model.config.categories
    prior = Remembering(ShapeBank(source, cache=user_cache()), names, BankPriorConfig(exact=exact))
    stages = Stages({"bank": prior}, model, "full")
    config = load_config(Path(f"configs/open13/{SETS[scenes]}.yaml"), SceneSetConfig).scenes
    known = [name for name in category_names(val) if name in names]
    for index in range(objects):
        category = known[index % len(known)]
        scene = make_scene(val, config, seed, index, target_category=category)
        visible = [one.visible for one in scene.instances]
        (hiding, *_), truth = occluders(visible), scene.instances[0].amodal
        hiding = hiding if scene.erased is None else hiding | scene.erased
        crop = instance_crops(scene.image, visible[:1], [hiding], [names.index(category)], FINE)
        (window,) = pixel_windows(visible[:1], [hiding], crop.window.numpy())
        with torch.no_grad():
            result = stages.predict(crop, [window])
        found, estimate = prior.found, result.estimate
        record: dict = {"bank": bank, "set": scenes, "category": category, "index": index, "noise": []}
        for noise in NOISES:
            likely = told.posterior(found, noise)
            mask = pasted(likely.mean > 0.5, likely.window, hiding) | visible[0]
            signs = likely.signs(float(found.poses.score[0])).tolist()
            record["noise"].append({"signs": signs, "iou": iou(mask, truth)})
        if not exact and found.poses.score[0] < prior.config.fit_below:
            bent, signs, wide = prior.deformed
            record["bent"] = {"signs": signs.tolist(), "iou": crop_iou(bent.silhouette, wide, truth)}
        wide = masks_through(crop, estimate.window, [window.masks])
        own = float(trust.own_iou(result.probability))
        record["final"] = {"own": own, "iou": crop_iou(result.probability, wide, truth)}
        yield record


def pasted(mask: NDArray[np.bool_], window: PixelWindow, hiding: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A window's mask in the image, where something may hide the object."""
    around = np.pad(np.zeros_like(hiding), window.side)
    top, left = window.top + window.side, window.left + window.side
    around[top : top + window.side, left : left + window.side] = mask
    return around[window.side : -window.side, window.side : -window.side] & hiding


def iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))


def crop_iou(probability: torch.Tensor, crop: InstanceCrops, truth: NDArray[np.bool_]) -> float:
    """The IoU of a crop's mask with the truth; what lies beyond the crop's window is missed."""
    whole = compose(probability, crop.visible, crop.occluder)[0] > 0.5
    true = mask_crops([truth], crop.window, crop.size)[0] > 0.5
    pixel = float(crop.window[0, 2] - crop.window[0, 0]) / crop.size
    area = max(float(truth.sum()) / pixel**2, float(true.sum()))
    shared = float((whole & true).sum())
    return shared / (float(whole.sum()) + area - shared)


def regression(signs: Array, ious: Array) -> Array:
    """Weights of a logistic regression on shares, by Newton's steps, slightly drawn to 0."""
    weights = np.zeros(signs.shape[1])
    for _ in range(30):
        chance = 1 / (1 + np.exp(-signs @ weights))
        slope = signs.T @ (ious - chance) - 0.1 * weights
        bend = (signs * (chance * (1 - chance))[:, None]).T @ signs + 0.1 * np.eye(len(weights))
        weights += np.linalg.solve(bend, slope)
    return weights


def logit(share: Array) -> Array:
    inside = np.clip(share, 1e-3, 1 - 1e-3)
    return np.log(inside / (1 - inside))


@dataclass(frozen=True)
class Constants:
    """Those of ``priors.bank.posterior`` and ``refinement.trust``; ``noise`` is an index of ``NOISES``."""

    noise: int
    known: Array
    final: Array

    def expected(self, record: dict) -> tuple[float, float]:
        """The IoU that is expected of the bank's mask, and of stage 5's."""
        known = self.known @ np.array(mask_of(record, self.noise)["signs"])
        final = self.final @ [1, float(logit(np.array(record["final"]["own"]))), known]
        return float(1 / (1 + np.exp(-known))), float(1 / (1 + np.exp(-final)))


def mask_of(record: dict, noise: int) -> dict:
    """Signs and IoU of the bank's mask: of the bent shapes where these were asked for."""
    chosen: dict = record["bent"] if "bent" in record else record["noise"][noise]
    return chosen


def fit(records: list[dict]) -> Constants:
    """The constants that suit these objects best."""
    noise = int(np.argmax([np.mean([record["noise"][n]["iou"] for record in records]) for n in range(len(NOISES))]))
    chosen = [mask_of(record, noise) for record in records]
    signs = np.array([one["signs"] for one in chosen])
    known = regression(signs, np.array([one["iou"] for one in chosen]))
    own = logit(np.array([record["final"]["own"] for record in records]))
    told = np.stack([np.ones(len(own)), own, signs @ known], axis=1)
    return Constants(noise, known, regression(told, np.array([record["final"]["iou"] for record in records])))


def halves(records: list[dict]) -> list[Constants]:
    """For each object constants that the other half of all objects has given."""
    place = [record["index"] // 8 % 2 for record in records]
    others = [fit([one for one, half in zip(records, place, strict=True) if half != own]) for own in (0, 1)]
    return [others[half] for half in place]


def calibration_error(expected: Array, true: Array) -> float:
    bins = np.minimum((expected * BINS).astype(int), BINS - 1)
    gaps = [abs(float((expected - true)[bins == b].sum())) for b in range(BINS)]
    return sum(gaps) / max(len(expected), 1)


def judge(records: list[dict], constants: list[Constants]) -> tuple[list[str], dict[str, tuple[Array, Array]]]:
    """The table, and expected and true IoUs by set of the bank's masks; ``constants`` of each object."""
    rows = [
        "| set | bank | objects | mIoU, % | expected | error | with stage 5: mIoU, % | expected | error |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    numbers = np.array(
        [
            [*own.expected(one), mask_of(one, own.noise)["iou"], one["final"]["iou"]]
            for one, own in zip(records, constants, strict=True)
        ]
    )
    by_set = {}
    for scenes in SETS:
        for bank in (*BANKS, "all three"):
            own = [i for i, one in enumerate(records) if one["set"] == scenes and bank in (one["bank"], "all three")]
            if not own:
                continue
            known, final, true, weighed = numbers[own].T
            cells = [
                f"{100 * x.mean():.1f} | {100 * y.mean():.1f} | {calibration_error(y, x):.3f}"
                for x, y in ((true, known), (weighed, final))
            ]
            rows.append(f"| {scenes} | {bank} | {len(own)} | {' | '.join(cells)} |")
            if bank == "all three":
                by_set[scenes] = known, true
    return rows, by_set


def chart(by_set: dict[str, tuple[Array, Array]]) -> bytes:
    """The reliability diagram as a PNG."""
    figure = Figure(figsize=(4.6, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#b0b0b0", linewidth=1)
    for (name, (expected, true)), color in zip(by_set.items(), ("#2c6fbb", "#c2571a", "#4a8a3f"), strict=False):
        bins = np.minimum((expected * BINS).astype(int), BINS - 1)
        points = [(expected[bins == b].mean(), true[bins == b].mean(), (bins == b).sum()) for b in np.unique(bins)]
        x, y, count = np.array(points).T
        axes.plot(x, y, color=color, linewidth=1)
        label = f"{name}, error {calibration_error(expected, true):.3f}"
        axes.scatter(x, y, s=8 + 120 * count / len(expected), color=color, label=label)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="expected IoU (score)", ylabel="true IoU", aspect="equal")
    axes.legend(loc="upper left", frameon=False)
    written = BytesIO()
    figure.savefig(written, format="png", dpi=110)
    return written.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=120, help="of each set and bank")
    parser.add_argument("--seed", type=int, default=900)
    parser.add_argument("--kept", type=Path, help="JSON file of answers, asked for if it is missing")
    parser.add_argument("--fit", action="store_true", help="find the constants anew")
    parser.add_argument("--chart", type=Path, help="PNG file to write")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.kept is not None and given.kept.exists():
        records = json.loads(given.kept.read_text())
    else:
        model, _ = load_network("open13_bank", AmodalModelConfig, AmodalModel)
        records = []
        for bank in BANKS:
            for scenes in SETS:
                records += answers(bank, scenes, given.objects, given.seed, model.eval())
                print(f"{bank}, {scenes}: asked", flush=True)
                if given.kept is not None:
                    write_json_atomic(given.kept, records)
    constants = [Constants(NOISES.index(told.NOISE), told.EXPECTED, np.array(trust.EXPECTED))] * len(records)
    if given.fit:
        found, constants = fit(records), halves(records)
        print(f"NOISE = {NOISES[found.noise]}, EXPECTED of the bank and of stage 5:")
        print(np.round(found.known, 3).tolist(), np.round(found.final, 3).tolist())
    rows, by_set = judge(records, constants)
    print("\n".join(rows))
    if given.chart is not None:
        write_atomic(given.chart, chart(by_set))


if __name__ == "__main__":
    main()
