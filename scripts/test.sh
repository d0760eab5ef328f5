#!/usr/bin/env bash
# Sets up what is missing, then runs lint, format, types, layers and tests; the first that fails ends it.
#
#   bash scripts/test.sh                            # everything but the tests marked slow or gpu
#   bash scripts/test.sh -m slow                    # arguments go to pytest, and then only pytest runs
#   bash scripts/test.sh tests/rendering -x
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/setup.sh
PATH=$PWD/.venv/bin:$PATH

# torch and numba have a pool of threads each, and idle OpenMP threads spin: cap both and let the idle ones sleep.
threads=$(nproc)
[ "$threads" -le 4 ] || threads=4
export OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=${OMP_NUM_THREADS:-$threads} NUMBA_NUM_THREADS=${NUMBA_NUM_THREADS:-$threads}

step() {
    local begin=$SECONDS
    echo "== $*"
    "$@"
    echo "== $1: $((SECONDS - begin)) s"
}

if [ $# -gt 0 ]; then
    step pytest "$@"
else
    step ruff check
    step ruff format --check
    step mypy
    step lint-imports
    # A process a core, with a thread each: tests are many and small.
    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 step pytest -n "$threads"
fi
