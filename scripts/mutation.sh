#!/usr/bin/env bash
# Mutation test: small changes of the code, of which some test should notice each. tests/MUTATION.md has the results.
#
#   bash scripts/mutation.sh                             # all rooms
#   bash scripts/mutation.sh refinement geometry
#   bash scripts/mutation.sh priors --sample 100         # a random sample, the same one each time
#
# Results are kept in outputs/mutation: a second call tries again what survived and what is new.
# The tool has a virtual environment of its own that sees the packages of .venv, so that these stay as they are.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/setup.sh
venv=outputs/mutation/venv
if [ ! -e $venv/.done ]; then
    .venv/bin/python -m venv --clear $venv
    .venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
        >"$($venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/project.pth"
    $venv/bin/python -m pip install --quiet --disable-pip-version-check cosmic-ray==8.7.0 coverage==7.17.5 parso==0.8.7
    touch $venv/.done
fi
export OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1
exec nice -n 10 $venv/bin/python scripts/mutation.py "$@"
