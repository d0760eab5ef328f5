#!/usr/bin/env bash
# Sets up what is missing, then completes 26 unseen scenes and writes outputs/demo/report.html.
#
#   bash scripts/demo.sh [options of `shape3d-amodal demo`]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/setup.sh
export OMP_WAIT_POLICY=PASSIVE
exec .venv/bin/shape3d-amodal demo --out outputs/demo "$@"
