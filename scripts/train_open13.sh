#!/usr/bin/env bash
# Train open13, open13_bank and open13_detector of assets/checkpoints, from nothing: four hours on 2 CPU cores with AMX.
# Stopped half way, it goes on where it stood when it is called again.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh
export OMP_WAIT_POLICY=PASSIVE
train() { .venv/bin/shape3d-amodal train "configs/open13/$1.yaml"; }

train shape_prior       # stages 2 and 3, from visible masks alone
train stage5_a_2d       # stage 5 without a prior: where the refinement starts
train stage5_b_learned  # stage 5 on top of the prior
mkdir -p assets/checkpoints
rm -rf assets/checkpoints/open13
cp -r outputs/open13/stage5_b_learned/weights assets/checkpoints/open13
train trust             # how far stage 5 trusts a bank of shapes
.venv/bin/python scripts/ship_weights.py outputs/open13/trust/weights assets/checkpoints/open13_bank \
    --base assets/checkpoints/open13 --whole
train mask_rcnn_small   # stage 1
.venv/bin/python scripts/ship_weights.py outputs/open13/mask_rcnn_small/weights assets/checkpoints/open13_detector
echo "weights in assets/checkpoints"
