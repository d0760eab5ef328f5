"""Weights as they are shipped: numbers of 32 bits are stored with 16, and what other weights have is left out.

python scripts/ship_weights.py outputs/open13/mask_rcnn_small/weights assets/checkpoints/open13_detector
python scripts/ship_weights.py outputs/open13/orcnn_small/weights assets/checkpoints/baselines/orcnn \\
    --base assets/checkpoints/open13_detector
python scripts/ship_weights.py outputs/open13/trust/weights assets/checkpoints/open13_bank \\
    --base assets/checkpoints/open13 --whole

Networks take the numbers as 32 bits again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from shape3d_amodal.files.weights import load_weights, save_weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder of weights that a training wrote")
    parser.add_argument("target", type=Path, help="folder to write")
    parser.add_argument(
        "--base", type=Path, help="folder of shipped weights, of which tensors that are equal are taken"
    )
    parser.add_argument("--whole", action="store_true", help="keep 32 bits, as a base has them that does")
    arguments = parser.parse_args()
    config, state = load_weights(arguments.source)
    halved = () if arguments.whole else (torch.float32,)
    half = {name: one.half() if one.dtype in halved else one for name, one in state.items()}
    worst = max((half[name] - one).abs().max().item() for name, one in state.items() if one.is_floating_point())
    save_weights(arguments.target, config, half, base=arguments.base)
    size = sum(file.stat().st_size for file in arguments.target.iterdir()) / 2**20
    print(f"{arguments.target}: {size:.1f} MB; no number changed by more than {worst:.1g}")


if __name__ == "__main__":
    main()
