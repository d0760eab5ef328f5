"""Mutation test: change the code a little, run the tests that reach the change, and see whether one of them fails.

``scripts/mutation.sh`` sets up what this needs and says how to call it. A mutant is tried in a copy of the code, in a
child process that has the heavy libraries already. Its tests are those that run the changed line (all that run the
file for lines that run at import, all of the room where numba's compiled code hides its lines), the fastest first,
until one fails. Time is counted in seconds of CPU, so that a busy machine kills nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import coverage
import kornia  # noqa: F401  # libraries that all children share
import numba
import pytest
import scipy.ndimage  # noqa: F401
import torch
from mutants import Mutant, functions, mutants, mutated

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "shape3d_amodal"
RESULTS = ROOT / "outputs" / "mutation"
ROOMS: dict[str, tuple[list[str], list[str]]] = {
    "refinement": (["refinement"], ["tests/refinement"]),
    "priors": (["priors"], ["tests/priors"]),
    "evaluation": (["evaluation"], ["tests/evaluation"]),
    "geometry": (["geometry"], ["tests/geometry"]),
    "reference": (["rendering/reference.py"], ["tests/rendering/test_reference.py"]),
    "losses": (
        [
            *(f"baselines/rcnn/{name}.py" for name in ("bcnet", "asn", "vrsp", "imle", "orcnn", "aisformer")),
            *(f"baselines/{name}.py" for name in ("c2f_seg/model", "c2f_seg/codebook", "pcnet_m/network")),
            "segmentation/layers.py",
            "papers/layered/losses.py",
        ],
        [
            "tests/baselines/rcnn",
            "tests/baselines/test_c2f_seg.py",
            "tests/baselines/test_pcnet_m.py",
            "tests/papers/test_layered_losses.py",
        ],
    ),
    "pasting": (["crops/pasting.py"], ["tests/crops/test_pasting.py"]),
}
"""The files of each, and the tests that should notice."""
LOSSES = {"losses", "occlusion_loss", "class_loss", "matching_loss", "completion_loss", "mask_loss", "embedding_losses"}
LOSSES |= {"layered_losses", "_sums", "pixel_classes"}
"""Of the files of ``losses`` these functions alone."""
_SPARE_S, _FACTOR = 20, 5
"""Seconds of CPU that a mutant has beside this many times what its tests take."""
_LARGEST = 12 << 30
"""Bytes of memory that a mutant may ask for."""


class Watch:
    """A pytest plugin: notes what each test runs and costs, or picks tests and puts the fastest first."""

    def __init__(self, cov: coverage.Coverage | None = None, chosen: dict[str, float] | None = None) -> None:
        self.cov, self.chosen, self.seconds = cov, chosen, dict[str, float]()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self.chosen is not None:
            items[:] = sorted((i for i in items if i.nodeid in self.chosen), key=lambda i: self.chosen[i.nodeid])

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
        begin = time.process_time()
        if self.cov:
            self.cov.switch_context(item.nodeid)
        yield
        self.seconds[item.nodeid] = time.process_time() - begin


def in_child(action: Callable[[], int], cpu_s: float) -> int:
    """Exit status of ``action`` in a process of its own; -1 where it took too long."""
    sys.stdout.flush()
    if not (child := os.fork()):
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (int(cpu_s) + 1, int(cpu_s) + 2))
        resource.setrlimit(resource.RLIMIT_AS, (_LARGEST, _LARGEST))
        status = 99
        with contextlib.suppress(BaseException):
            status = int(action())
        os._exit(status)
    end = time.monotonic() + 10 * cpu_s
    while True:
        done, code = os.waitpid(child, os.WNOHANG)
        if done or time.monotonic() > end:
            break
        time.sleep(0.01)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # and what it has started
    if not done:
        os.waitpid(child, 0)
        return -1
    return os.waitstatus_to_exitcode(code)


def run_pytest(folder: Path, arguments: list[str], watch: Watch) -> int:
    os.chdir(folder)
    sys.path[:0] = [str(folder)]
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    quiet = ["-q", "-x", "-p", "no:cacheprovider", "--tb=no", "--no-header", "-o", "timeout=0"]
    return int(pytest.main([*quiet, *arguments], plugins=[watch]))


class Room:
    """A room in a copy of the code, the seconds of each of its tests and which lines each of them runs."""

    def __init__(self, name: str, folder: Path) -> None:
        self.folder, (parts, self.tests) = folder, ROOMS[name]
        paths = [ROOT / PACKAGE / part for part in parts]
        found = [one for path in paths for one in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]
        self.files = [str(path.relative_to(ROOT)) for path in found]
        self.losses = name == "losses"
        for path in ROOT.iterdir():
            if path.name not in (PACKAGE, ".git", "outputs"):
                (folder / path.name).symlink_to(path)
        shutil.copytree(ROOT / PACKAGE, folder / PACKAGE)
        self.seconds: dict[str, float] = {}
        self.runs: dict[str, dict[int, list[str]]] = {}

    def measure(self) -> None:
        """Run all tests unchanged.

        Raises:
            SystemExit: one of them fails.
        """
        noted = self.folder / "noted.json"

        def note() -> int:
            cov = coverage.Coverage(source=[PACKAGE], data_file=None, config_file=False)
            watch = Watch(cov)
            os.chdir(self.folder)
            cov.start()
            status = run_pytest(self.folder, self.tests, watch)
            cov.stop()
            data = cov.get_data()
            runs = {name: data.contexts_by_lineno(str(self.folder / name)) for name in self.files}
            noted.write_text(json.dumps([watch.seconds, runs]))
            return status

        if status := in_child(note, 1200):
            raise SystemExit(f"the tests fail without any mutant (status {status}); mend them first: {self.tests}")
        self.seconds, runs = json.loads(noted.read_text())
        self.runs = {name: {int(line): tests for line, tests in lines.items()} for name, lines in runs.items()}

    def mutants(self) -> list[tuple[str, Mutant]]:
        found = []
        for name in self.files:
            source = (ROOT / name).read_text()
            spans = functions(source, LOSSES) if self.losses else [(0, len(source))]
            found += [(name, one) for one in mutants(source) if any(a <= one.line <= b for a, b in spans)]
        return found

    def tests_of(self, name: str, mutant: Mutant) -> dict[str, float]:
        """The tests that may notice, and their seconds."""
        lines = self.runs[name]
        known = {test for test in lines.get(mutant.line, []) if test}
        if "njit" in (ROOT / name).read_text():
            known = set(self.seconds)
        elif not known and mutant.line in lines:  # runs at import
            known = {test for tests in lines.values() for test in tests if test}
        elif not known:  # a later line of a statement
            before = max((line for line in lines if line < mutant.line), default=0)
            known = {test for test in lines.get(before, []) if test}
        return {test: self.seconds[test] for test in known if test in self.seconds}

    def attempt(self, name: str, mutant: Mutant) -> str:
        """killed, timeout or survived."""
        chosen = self.tests_of(name, mutant)
        if not chosen:
            return "survived"
        path, source = self.folder / name, (ROOT / name).read_text()
        stamp = path.stat()
        compiled = "njit" in source

        def attempt() -> int:
            sys.dont_write_bytecode = True
            if compiled:
                numba.config.CACHE_DIR = tempfile.mkdtemp(dir=self.folder)
            files = sorted({test.partition("::")[0] for test in chosen})
            return run_pytest(self.folder, files, Watch(chosen=chosen))

        path.write_text(mutated(source, mutant))
        status = in_child(attempt, _FACTOR * sum(chosen.values()) + _SPARE_S * (4 if compiled else 1))
        path.write_text(source)
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        return {0: "survived", -1: "timeout", -signal.SIGXCPU: "timeout", -signal.SIGKILL: "timeout"}.get(
            status, "killed"
        )


def change(name: str, mutant: Mutant) -> str:
    """The changed line."""
    source = (ROOT / name).read_text()
    before, after = source.splitlines(), mutated(source, mutant).splitlines()
    for old, new in zip(before, after, strict=False):
        if old != new:
            return f"`{old.strip()}` -> `{new.strip()}`"
    return mutant.kind


def key(name: str, mutant: Mutant) -> str:
    digest = sha256((ROOT / name).read_bytes()).hexdigest()[:12]
    return f"{name} {digest} {mutant.kind} {mutant.occurrence}"


def test_room(name: str, sample: int | None, limit_s: float) -> None:
    """Try the room's mutants, or ``sample`` of them; those known to be killed are not tried again."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    log = RESULTS / f"{name}.jsonl"
    known = {}
    if log.exists():
        known = dict(json.loads(line) for line in log.read_text().splitlines())
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        room = Room(name, Path(folder).resolve())
        everything = room.mutants()
        chosen = everything
        if sample is not None and sample < len(everything):
            chosen = sorted(random.Random(0).sample(everything, sample), key=everything.index)
        room.measure()
        begin, results = time.monotonic(), {}
        with log.open("a") as file:
            for i, (path, mutant) in enumerate(chosen):
                one = key(path, mutant)
                if known.get(one, "survived") == "survived":
                    if time.monotonic() - begin > limit_s:
                        raise SystemExit(f"{name}: stopped after {i} of {len(chosen)}; call again to go on")
                    known[one] = room.attempt(path, mutant)
                    file.write(json.dumps([one, known[one]]) + "\n")
                    file.flush()
                results[path, mutant] = known[one]
                if known[one] == "survived":
                    print(f"{path}:{mutant.line} {change(path, mutant)}", flush=True)
    print(row(name, list(results.values()), len(everything)), flush=True)


def row(name: str, results: list[str], possible: int) -> str:
    """A row of the table: room, mutants, tried, killed, survived, score with a 95 % interval (Wilson) of a sample."""
    tried, survived = len(results), results.count("survived")
    score = f"{100 * (tried - survived) / tried:.1f}"
    if tried < possible:
        z, share = 1.96, (tried - survived) / tried
        middle, spread = share + z**2 / (2 * tried), z * (share * (1 - share) / tried + (z / (2 * tried)) ** 2) ** 0.5
        low, high = (100 * (middle + sign * spread) / (1 + z**2 / tried) for sign in (-1, 1))
        score += f" ({low:.1f} to {high:.1f})"
    return f"| {name} | {possible} | {tried} | {tried - survived} | {survived} | {score} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rooms", nargs="*", default=list(ROOMS), help=f"of {', '.join(ROOMS)}; all by default")
    parser.add_argument("--sample", type=int, help="this many mutants of each room, drawn with a fixed seed")
    parser.add_argument("--limit-s", type=float, default=float("inf"), help="stop after this time; call again to go on")
    options = parser.parse_args()
    if unknown := set(options.rooms) - set(ROOMS):
        parser.error(f"expected rooms of {', '.join(ROOMS)}, got {', '.join(sorted(unknown))}")
    torch.set_num_threads(1)
    for name in options.rooms:
        test_room(name, options.sample, options.limit_s)


if __name__ == "__main__":
    main()
