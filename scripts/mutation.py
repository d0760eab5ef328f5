"""Mutation test: change the code a little, run the tests that reach the change, and see whether one of them fails.

``scripts/mutation.sh`` sets up what this needs and says how to call it. A mutant is tried in a copy of the code, in a
child process that has the libraries and, where functions alone are changed, the tests already. Its tests are those that
run the changed line (all of the room for lines that run at import), the fastest first, until one fails. Files of
compiled code are a room of their own, which runs as plain Python. Time is counted in seconds of CPU, so that a busy
machine kills nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import inspect
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
from types import CodeType, FunctionType
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
    "reference": (
        ["rendering/reference.py"],
        ["tests/rendering/test_reference.py", "tests/rendering/test_silhouettes.py"],
    ),
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
    "compiled": (
        [
            "baselines/placing.py",
            *(f"evaluation/{one}.py" for one in ("given_masks/pixels", "instance/matching")),
            "evaluation/instance/average_precision.py",
        ],
        ["tests/baselines/test_placing.py"]
        + [f"tests/evaluation/test_{name}.py" for name in ("pixels", "average_precision", "instance_evaluator")],
    ),
    "pasting": (["crops/pasting.py"], ["tests/crops/test_pasting.py"]),
}
"""The files of each, and the tests that should notice."""
LOSSES = {"losses", "occlusion_loss", "class_loss", "matching_loss", "completion_loss", "mask_loss", "embedding_losses"}
LOSSES |= {"layered_losses", "_sums", "pixel_classes"}
"""Of the files of ``losses`` these functions alone."""
_SPARE_S, _FACTOR = 20, 5
"""Seconds of CPU that a mutant has beside this many times what its tests take."""
_NOT_FOUND = 98
"""Exit status where there is no function to change."""
_SLOW_S = 1
"""Tests that take longer are not run."""
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


def silence() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def run_pytest(folder: Path, arguments: list[str], watch: Watch | Loop, *, silent: bool = True) -> int:
    os.chdir(folder)
    sys.path[:0] = [str(folder)]
    if silent:
        silence()
    quiet = ["-q", "-x", "-s", "-p", "no:cacheprovider", "--tb=no", "--no-header", "-o", "timeout=0"]
    return int(pytest.main([*quiet, *arguments], plugins=[watch]))


class Room:
    """A room in a copy of the code, the seconds of each of its tests and which lines each of them runs."""

    def __init__(self, name: str, folder: Path) -> None:
        self.folder, (parts, self.tests) = folder, ROOMS[name]
        paths = [ROOT / PACKAGE / part for part in parts]
        found = [one for path in paths for one in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]
        own = [path for path in found if ("njit" in path.read_text()) == (name == "compiled")]
        self.files = [str(path.relative_to(ROOT)) for path in own]
        self.losses = name == "losses"
        for path in ROOT.iterdir():
            if path.name not in (PACKAGE, ".git", "outputs"):
                (folder / path.name).symlink_to(path)
        shutil.copytree(ROOT / PACKAGE, folder / PACKAGE)
        self.sources = {name: (folder / name).read_text() for name in self.files}
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
        self._time_slow_ones_again(noted)

    def _time_slow_ones_again(self, noted: Path) -> None:
        """The first test of a kernel compiles it, and all of them were traced: neither is a test's own time."""
        slow = {test: seconds for test, seconds in self.seconds.items() if seconds >= _SLOW_S}

        def note() -> int:
            watch = Watch(chosen=slow)
            status = run_pytest(self.folder, sorted({test.partition("::")[0] for test in slow}), watch)
            noted.write_text(json.dumps(watch.seconds))
            return status

        if slow and not in_child(note, 1200):
            self.seconds |= json.loads(noted.read_text())

    def mutants(self) -> list[tuple[str, Mutant]]:
        found = []
        for name in self.files:
            source = self.sources[name]
            spans = functions(source, LOSSES) if self.losses else [(0, len(source))]
            found += [(name, one) for one in mutants(source) if any(a <= one.line <= b for a, b in spans)]
        return found

    def tests_of(self, name: str, mutant: Mutant) -> dict[str, float]:
        """The tests that may notice, and their seconds."""
        lines = self.runs[name]
        known = {test for test in lines.get(mutant.line, []) if test}
        if not known and mutant.line in lines:  # runs at import, so that any test may see it
            known = set(self.seconds)
        elif not known:  # a later line of a statement
            before = max((line for line in lines if line < mutant.line), default=0)
            known = {test for test in lines.get(before, []) if test}
        return {test: self.seconds[test] for test in known if self.seconds.get(test, _SLOW_S) < _SLOW_S}

    def quick(self, name: str, mutant: Mutant) -> dict[tuple[str, int], CodeType] | None:
        """The code objects that the mutant changes, by name and first line; None where it takes a new import."""
        source = self.sources[name]
        before, after = (_codes(text, str(self.folder / name)) for text in (source, mutated(source, mutant)))
        changed = {place: code for place, code in after.items() if code != before.get(place)}
        return None if ("<module>", 1) in changed and not _same_but_functions(before, after) else changed

    def attempt(self, name: str, mutant: Mutant) -> str:
        """killed, timeout or survived, by a new import of the changed file."""
        chosen = self.tests_of(name, mutant)
        if not chosen:
            return "survived"
        path, source = self.folder / name, self.sources[name]
        stamp = path.stat()

        def attempt() -> int:
            sys.dont_write_bytecode = True
            files = sorted({test.partition("::")[0] for test in chosen})
            return run_pytest(self.folder, files, Watch(chosen=chosen))

        path.write_text(mutated(source, mutant))
        status = in_child(attempt, _limit(chosen))
        path.write_text(source)
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        return _outcome(status)


class Loop:
    """A pytest plugin: in place of the tests, tries mutants whose functions can be changed where they are."""

    def __init__(self, room: Room, todo: list[tuple[str, Mutant]], done: Callable[[str, Mutant, str], None]) -> None:
        self.room, self.todo, self.done = room, todo, done

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        where = str(self.room.folder)
        for name in self.room.files:  # some are imported only where they are used
            importlib.import_module(name.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
        found = [one for one in gc.get_objects() if type(one) is FunctionType]
        found = [one for one in found if one.__code__.co_filename.startswith(where)]
        gc.freeze()  # children copy less
        everything = sorted(session.items, key=lambda i: self.room.seconds[i.nodeid])
        if in_child(lambda: _run(session, everything, found, "", {}), _limit(self.room.seconds)):
            raise SystemExit("the tests fail without any mutant when the fastest come first; mend them")
        for name, mutant in self.todo:
            chosen = self.room.tests_of(name, mutant)
            outcome = "survived"
            if chosen:
                items = sorted((i for i in session.items if i.nodeid in chosen), key=lambda i: chosen[i.nodeid])
                changed = self.room.quick(name, mutant) or {}
                path = str(self.room.folder / name)
                status = in_child(lambda: _run(session, items, found, path, changed), _limit(chosen))  # noqa: B023
                if status == _NOT_FOUND:
                    continue
                outcome = _outcome(status)
            self.done(name, mutant, outcome)
        return True


def _run(
    session: pytest.Session,
    items: list[pytest.Item],
    found: list[FunctionType],
    path: str,
    changed: dict[tuple[str, int], CodeType],
) -> int:
    """Change the functions of the file ``path`` and run tests until one fails; 1 if one does."""
    silence()
    hits = 0
    for one in found:
        place = one.__code__.co_name, one.__code__.co_firstlineno
        if one.__code__.co_filename == path and place in changed:
            one.__code__, hits = changed[place], hits + 1
    if changed and not hits:
        return _NOT_FOUND
    for item, following in zip(items, [*items[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.testsfailed:
            return 1
    return 0


def _codes(source: str, path: str) -> dict[tuple[str, int], CodeType]:
    """All code objects of a file, by name and first line."""
    waiting, found = [compile(source, path, "exec", dont_inherit=True)], {}
    while waiting:
        code = waiting.pop()
        found[code.co_name, code.co_firstlineno] = code
        waiting += [one for one in code.co_consts if isinstance(one, CodeType)]
    return found


def _same_but_functions(before: dict[tuple[str, int], CodeType], after: dict[tuple[str, int], CodeType]) -> bool:
    """Whether modules and classes do the same at import but for the bodies of their functions."""

    def bare(code: CodeType) -> tuple[object, ...]:
        return code.co_code, code.co_names, *(one for one in code.co_consts if not isinstance(one, CodeType))

    def at_import(codes: dict[tuple[str, int], CodeType]) -> list[tuple[object, ...]]:
        return [bare(code) for code in codes.values() if not code.co_flags & inspect.CO_NEWLOCALS]

    return repr(at_import(before)) == repr(at_import(after))


def _limit(chosen: dict[str, float]) -> float:
    return _FACTOR * sum(chosen.values()) + _SPARE_S


def _outcome(status: int) -> str:
    late = (-1, -signal.SIGXCPU, -signal.SIGKILL)
    return "survived" if status == 0 else "timeout" if status in late else "killed"


def change(source: str, mutant: Mutant) -> str:
    """The changed line."""
    before, after = source.splitlines(), mutated(source, mutant).splitlines()
    for old, new in zip(before, after, strict=False):
        if old != new:
            return f"`{old.strip()}` -> `{new.strip()}`"
    return mutant.kind


def key(name: str, source: str, mutant: Mutant) -> str:
    digest = sha256(source.encode()).hexdigest()[:12]
    return f"{name} {digest} {mutant.kind} {mutant.occurrence}"


def test_room(name: str, sample: int | None, seed: int, untried: bool, limit_s: float) -> None:
    """Try the room's mutants, or ``sample`` of them; those known to be killed are not tried again."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    log = RESULTS / f"{name}.jsonl"
    known = {}
    if log.exists():
        known = dict(json.loads(line) for line in log.read_text().splitlines())
    numba.config.DISABLE_JIT = name == "compiled"
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        room = Room(name, Path(folder).resolve())
        everything = room.mutants()
        chosen = [one for one in everything if not untried or key(one[0], room.sources[one[0]], one[1]) not in known]
        if sample is not None and sample < len(chosen):
            chosen = sorted(random.Random(seed).sample(chosen, sample), key=everything.index)
        room.measure()
        waiting = [
            (path, one)
            for path, one in chosen
            if known.get(key(path, room.sources[path], one), "survived") == "survived"
        ]
        end = time.monotonic() + limit_s

        def done(path: str, mutant: Mutant, outcome: str) -> None:
            with log.open("a") as file:
                file.write(json.dumps([key(path, room.sources[path], mutant), outcome]) + "\n")
            if outcome == "survived":
                print(f"{path}:{mutant.line} {change(room.sources[path], mutant)}", flush=True)
            if time.monotonic() > end:
                os._exit(3)

        before = len(log.read_text().splitlines()) if log.exists() else 0
        quick = [one for one in waiting if room.quick(*one) is not None]
        if in_child(lambda: run_pytest(room.folder, room.tests, Loop(room, quick, done), silent=False), 1e6):
            raise SystemExit(f"{name}: stopped, or failed; call again to go on")
        tried = dict(json.loads(line) for line in log.read_text().splitlines()[before:]) if quick else {}
        for path, mutant in waiting:
            if key(path, room.sources[path], mutant) not in tried:
                done(path, mutant, room.attempt(path, mutant))
    known = dict(json.loads(line) for line in log.read_text().splitlines())
    results = [known[key(path, room.sources[path], mutant)] for path, mutant in chosen]
    print(row(name, results, len(everything)), flush=True)


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
    parser.add_argument("--sample", type=int, help="this many mutants of each room, drawn with the seed")
    parser.add_argument("--seed", type=int, default=0, help="of the sample; 0 by default")
    parser.add_argument("--untried", action="store_true", help="only mutants that no call has tried yet")
    parser.add_argument("--limit-s", type=float, default=float("inf"), help="stop after this time; call again to go on")
    options = parser.parse_args()
    if unknown := set(options.rooms) - set(ROOMS):
        parser.error(f"expected rooms of {', '.join(ROOMS)}, got {', '.join(sorted(unknown))}")
    torch.set_num_threads(1)
    for name in options.rooms:
        test_room(name, options.sample, options.seed, options.untried, options.limit_s)


if __name__ == "__main__":
    main()
