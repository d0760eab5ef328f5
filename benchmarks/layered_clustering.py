"""How long layered embeddings take to cluster the pixels of an image, by the processor's clock.

    python benchmarks/layered_clustering.py --weights outputs/shapes2d/layered_embeddings_small/weights \\
        --config configs/shapes2d/test.yaml --set shapes.per_class=3 count=200
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from shape3d_amodal.config import load_config
from shape3d_amodal.files.pretrained import load_network
from shape3d_amodal.papers.layered.method import find_instances, look_at
from shape3d_amodal.papers.layered.network import LayeredConfig, LayeredNetwork
from shape3d_amodal.papers.layered.sets import Shapes2dSetConfig, annotated_scenes, rgb


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=Path("configs/shapes2d/test.yaml"))
    parser.add_argument("--set", nargs="*", action="extend", default=[], help="options of the set to change")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    network, _ = load_network(arguments.weights, LayeredConfig, LayeredNetwork)
    config = load_config(arguments.config, Shapes2dSetConfig, overrides=arguments.set)
    seconds, found = [], []
    for scene, _ in annotated_scenes(config):
        output = look_at(network, rgb(scene))
        if not found:
            find_instances(output)  # the first call compiles
        begin = time.process_time()
        found.append(len(find_instances(output)))
        seconds.append(time.process_time() - begin)
    times = 1000 * np.array(seconds)
    print(
        f"{len(times)} images, {np.mean(found):.1f} instances each: median {np.median(times):.1f} ms, "
        f"95 % below {np.percentile(times, 95):.1f} ms, longest {times.max():.1f} ms"
    )


if __name__ == "__main__":
    main()
