#!/usr/bin/env bash
# Makes .venv beside the code with everything that the project needs, pinned by hash; a second call finds it done.
#
#   bash scripts/setup.sh                      # run by demo.sh and test.sh, too
#   PYTHON=python3.12 bash scripts/setup.sh    # another interpreter than python3
#
# It needs CPython 3.10 to 3.13 with pip or ensurepip, 10 GB of free disk and a package index (pip's own settings are
# honoured); no root. What goes wrong early is told in one line, with exit status 1.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PIP_DISABLE_PIP_VERSION_CHECK=1 OMP_WAIT_POLICY=PASSIVE

venv=.venv
stamp=$venv/.setup-done
unfinished=$venv/.setup-unfinished
min_free_gb=${SETUP_MIN_FREE_GB:-10}

fail() { echo "error: $*" >&2; exit 1; }
say() { echo "set-up: $*"; }

# The version of interpreter $1 where it is a CPython that we support, else nothing.
supported() {
    "$1" -c 'import platform, sys
if platform.python_implementation() == "CPython" and (3, 10) <= sys.version_info[:2] <= (3, 13):
    print(platform.python_version())' 2>/dev/null || true
}

choose_python() {
    local candidates=(python3 python3.13 python3.12 python3.11 python3.10)
    [ -x $venv/bin/python ] && [ ! -e $unfinished ] && candidates=($venv/bin/python "${candidates[@]}")
    [ -n "${PYTHON:-}" ] && candidates=("$PYTHON")
    for python in "${candidates[@]}"; do
        version=$(supported "$python")
        [ -n "$version" ] && return
    done
    fail "expected CPython 3.10 to 3.13, found $("${candidates[0]}" --version 2>&1 | head -n 1) as ${candidates[0]};" \
        "install one, or name it: PYTHON=/path/to/python3.12 bash scripts/setup.sh"
}

# What a finished set-up depends on; a moved checkout needs a new one, since a venv holds absolute paths.
fingerprint() {
    { cat requirements/*.txt pyproject.toml setup.py; echo "$version $PWD"; } | sha256sum | cut -d ' ' -f 1
}

is_done() { [ ! -e $unfinished ] && [ -x $venv/bin/python ] && [ "$(cat $stamp 2>/dev/null)" = "$1" ]; }

check_disk() {
    local free_gb
    free_gb=$(df -Pk . | awk 'NR == 2 { print int($4 / 1048576) }')
    [ "$free_gb" -ge "$min_free_gb" ] ||
        fail "expected $min_free_gb GB of free disk in $PWD, found $free_gb GB; free some, or clone to another disk"
}

# A venv of $python with pip in it. Debian's python3 lacks ensurepip unless python3-venv is installed: then pip is copied in.
make_venv() {
    if [ -x $venv/bin/python ] && [ ! -e $unfinished ] && [ "$(supported $venv/bin/python)" = "$version" ]; then
        has_pip $venv/bin/python || $venv/bin/python -m ensurepip >/dev/null  # uv makes venvs without pip
        return
    fi
    "$python" -c 'import venv' 2>/dev/null || fail "$python has no module venv; install python3-venv, or set PYTHON"
    rm -rf $venv
    mkdir $venv
    touch $unfinished
    if "$python" -c 'import ensurepip' 2>/dev/null; then
        "$python" -m venv $venv
    elif has_pip "$python"; then
        "$python" -m venv --without-pip $venv
        "$python" -m pip install -qq --timeout 10 --retries 1 --target "$(site_packages)" pip >/dev/null 2>&1 || no_index
    else
        fail "$python has neither pip nor ensurepip; install python3-pip, or set PYTHON"
    fi
}

site_packages() { $venv/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])'; }

pip() { $venv/bin/python -m pip "$@"; }

no_index() {
    [ ! -e $unfinished ] || rm -rf $venv
    fail "cannot reach a Python package index; check the network, or pip's index-url and proxy settings"
}

# Asks the index for a tiny package, with the pip of interpreter $1.
check_index() {
    local folder
    folder=$(mktemp -d)
    "$1" -m pip download -qq --no-deps --no-cache-dir --timeout 10 --retries 1 --dest "$folder" yacs==0.1.8 \
        >/dev/null 2>&1 || { rm -rf "$folder"; no_index; }
    rm -rf "$folder"
}

has_pip() { "$1" -m pip --version >/dev/null 2>&1; }

# uv does not read pip's settings: hand them on, unless uv has its own.
translate_pip_settings() {
    local settings
    settings=$(pip config list 2>/dev/null || true)
    setting() {
        local section value
        for section in :env: install global; do
            value=$(sed -n "s/^$section\.$1='\(.*\)'\$/\1/p" <<<"$settings")
            [ -n "$value" ] && { echo "${value//\\n/ }" | xargs; return; }
        done
        return 0
    }
    hand_on() { [ -n "${!1:-}" ] || [ -z "$2" ] || export "$1=$2"; }
    hand_on UV_DEFAULT_INDEX "$(setting index-url)"
    hand_on UV_INDEX "$(setting extra-index-url)"
    hand_on UV_FIND_LINKS "$(setting find-links | tr ' ' ,)"
    hand_on UV_INSECURE_HOST "$(setting trusted-host)"
    hand_on SSL_CERT_FILE "$(setting cert)"
    hand_on ALL_PROXY "$(setting proxy)"
    # Every version and hash is pinned, so a file may come from whichever index has it.
    export UV_INDEX_STRATEGY=${UV_INDEX_STRATEGY:-unsafe-best-match} UV_HTTP_TIMEOUT=${UV_HTTP_TIMEOUT:-180}
}

# The few libraries that come as source are built with the pinned setuptools, not with whatever is newest. uv takes a
# third of pip's time; pip is the fallback where uv does not reach the index.
install_locked() {
    local options=(--require-hashes --no-build-isolation -r requirements/lock.txt)
    translate_pip_settings
    $venv/bin/uv pip install --quiet --python $venv/bin/python "${options[@]}" && return
    say "uv could not install the libraries, trying pip"
    pip install -qq "${options[@]}"
}

# The wheel is tagged for Python 3.10 and serves the others too: its compiled part is not needed (requirements/README.md).
install_detectron2() {
    $venv/bin/python -c 'import detectron2' 2>/dev/null && return
    pip install -qq --require-hashes --no-deps --only-binary=:all: --python-version 3.10 --upgrade \
        --target "$(site_packages)" -r requirements/detectron2.txt
}

# What is imported for the first time leaves its bytecode, without which every command takes twice as long to start; uv makes
# none, and an environment that forbids it (PYTHONDONTWRITEBYTECODE), as many images of Docker have, would never get any.
start_once() {
    env -u PYTHONDONTWRITEBYTECODE $venv/bin/python -m shape3d_amodal doctor >/dev/null ||
        say "shape3d-amodal doctor finds faults; the line above says which"
}

# Runs the step $2... and says how long it took.
step() {
    local name=$1 begin=$SECONDS
    shift
    "$@" || fail "$name failed; the lines above say why, and a next call starts anew"
    say "$name, $((SECONDS - begin)) s"
}

choose_python
wanted=$(fingerprint)
is_done "$wanted" && exit 0

# One set-up at a time: the lock is on the checkout's folder and goes with the process.
if command -v flock >/dev/null; then
    exec 9<.
    flock --nonblock 9 || { say "another set-up is running; waiting for it"; flock 9; }
    choose_python
    wanted=$(fingerprint)
    is_done "$wanted" && exit 0
fi

check_disk
say "CPython $version ($(command -v "$python")); about 6 GB come into $venv, which takes some minutes"
if has_pip "$python"; then check_index "$python"; fi
make_venv
if ! has_pip "$python"; then check_index $venv/bin/python; fi
touch $unfinished
rm -f $stamp
step "installers" pip install -qq --require-hashes -r requirements/bootstrap.txt
step "libraries" install_locked
step "detectron2" install_detectron2
step "the project itself" pip install -qq --no-deps --no-build-isolation --editable .
step "first start" start_once
echo "$wanted" >$stamp
rm $unfinished
say "done in $SECONDS s"
