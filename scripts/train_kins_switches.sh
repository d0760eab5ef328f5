#!/usr/bin/env bash
# What the options for real sets are worth: each one alone, in a small training on the KINS-like set, scored on its
# validation streets. Run scripts/train_kins.sh --small first, which makes the set. Stopped half way, it goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_WAIT_POLICY=PASSIVE

for config in configs/kins_switches/{prior,completion}*.yaml; do
    .venv/bin/shape3d-amodal train "$config"
done
exec .venv/bin/shape3d-amodal benchmark configs/kins_switches/benchmark.yaml --workers 2
