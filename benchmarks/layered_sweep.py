"""Figure 3 of Layered Embeddings: scores over instances and dimensions of the embedding, one training each.

    python benchmarks/layered_sweep.py [--config configs/shapes2d/figure3.yaml] [--out outputs/shapes2d/figure3]
        [--dimensions 1 2 3 4 5 6] [--instances 6 12 18 24 30] [--set loop.steps=1000 ...]

What is trained already stays; a training that was stopped goes on where it stood. The paper's whole sweep is 30
trainings of 50,000 steps, for a GPU.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from matplotlib.figure import Figure

from shape3d_amodal.files.atomic import write_json_atomic
from shape3d_amodal.training.registry import load_training
from shape3d_amodal.training.run import run_training

METRICS = {"amodal_ap": "AP", "amodal_ap50": "AP50", "amodal_ar100": "AR100"}
Scores = dict[int, dict[int, dict[str, float]]]
"""Metrics in percent by dimensions C and instances."""


def table(scores: Scores, instances: list[int], metric: str) -> str:
    """A row a dimension, a column a number of instances."""
    rows = ["| C | " + " | ".join(map(str, instances)) + " |", "|---" * (len(instances) + 1) + "|"]
    rows += [f"| {c} | " + " | ".join(f"{own[n][metric]:.1f}" for n in instances) + " |" for c, own in scores.items()]
    return "\n".join(rows)


def chart(scores: Scores, instances: list[int]) -> Figure:
    """A panel a metric, a line a dimension."""
    figure = Figure(figsize=(4 * len(METRICS), 3.5), layout="constrained")
    for axes, (metric, title) in zip(figure.subplots(1, len(METRICS)), METRICS.items(), strict=True):
        for dimension, own in scores.items():
            axes.plot(instances, [own[n][metric] for n in instances], marker="o", label=f"C = {dimension}")
        axes.set(title=title, xlabel="instances", ylim=(0, 100), xticks=instances)
    axes.legend()
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("configs/shapes2d/figure3.yaml"))
    parser.add_argument("--out", type=Path, default=Path("outputs/shapes2d/figure3"))
    parser.add_argument("--dimensions", type=int, nargs="+", default=[1, 2, 3, 4, 5, 6])
    parser.add_argument("--instances", type=int, nargs="+", default=[6, 12, 18, 24, 30])
    parser.add_argument("--set", nargs="*", action="extend", default=[], help="options of the training to change")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    scores: Scores = {}
    for dimension in arguments.dimensions:
        for number in arguments.instances:
            own = [f"model.embedding={dimension}", f"shapes.per_class={number}"]
            training = load_training(arguments.config, overrides=[*arguments.set, *own])
            folder = arguments.out / f"c{dimension}-n{number}"
            result = run_training(training, folder, cache=arguments.out)
            scores.setdefault(dimension, {})[number] = dict(result.metrics)
            write_json_atomic(arguments.out / "scores.json", scores)
    chart(scores, arguments.instances).savefig(arguments.out / "figure3.png", dpi=120)
    for metric, title in METRICS.items():
        print(f"\n{title} by dimensions C and instances\n\n{table(scores, arguments.instances, metric)}")


if __name__ == "__main__":
    main()
