#!/usr/bin/env bash
# Sets up what is missing, then builds the documentation into site/; a warning, such as a broken link, is an error.
#
#   bash scripts/docs.sh                 # then: python -m http.server -d site, or open site/index.html
#   bash scripts/docs.sh --site-dir DIR  # arguments go to mkdocs build
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/setup.sh
export PATH=$PWD/.venv/bin:$PATH NO_MKDOCS_2_WARNING=1
exec mkdocs build --strict --quiet "$@"
