"""What a method answered, on disk: kept as long as nothing changes that it depends on, and image by image until then.

Of a method there are ``<name>.json`` (a results file), ``<name>.run.json`` (how it was made, with the fingerprint of
all that it depends on) and, until it is finished, ``<name>.part.jsonl`` with a line an image.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from shape3d_amodal.annotations.results import AmodalResult, from_json, to_json, write_results
from shape3d_amodal.errors import DataError
from shape3d_amodal.files.atomic import write_atomic
from shape3d_amodal.files.safe_io import parse_json, read_json


@dataclass(frozen=True)
class Answer:
    """What a method said of one image, and how long it took."""

    image_id: int
    seconds: float
    results: tuple[AmodalResult, ...]


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """How a results file was made.

    Attributes:
        seconds: median over images of the seconds that an instance took; None where nobody knows.
        parameters: learned parameters; None where nobody knows.
        instances: number of results.
        commit, versions, machine, threads, device, processes: what they were made with.
    """

    seconds: float | None
    parameters: int | None
    instances: int
    commit: str
    versions: str
    machine: str
    threads: int
    device: str
    processes: int


class ResultFiles:
    """The files of one method.

    Args:
        folder: where they lie; it must exist.
        stem: the method's name as a part of file names.
        fingerprint: all that the results depend on, as JSON values.
    """

    def __init__(self, folder: Path, stem: str, fingerprint: Mapping[str, Any]) -> None:
        self.results = folder / f"{stem}.json"
        self._run = folder / f"{stem}.run.json"
        self._part = folder / f"{stem}.part.jsonl"
        self._fingerprint = dict(fingerprint)
        self._key = hashlib.sha256(json.dumps(self._fingerprint, sort_keys=True).encode()).hexdigest()

    def finished(self) -> RunRecord | None:
        """How the results were made, or None where there are none, damaged ones, or some of another fingerprint."""
        try:
            content = read_json(self._run)
            if content["fingerprint"] != self._fingerprint or content["results_sha256"] != _sha256(self.results):
                return None
            if not all((self.results.parent / name).is_file() for name in content["meshes"]):
                return None
            return RunRecord(**content["run"])
        except (DataError, OSError, KeyError, TypeError):  # missing, cut or changed by hand: it is run again
            return None

    def answers(self) -> dict[int, Answer]:
        """The answers of a run that was broken off, by image id."""
        try:
            head, *lines = self._part.read_bytes().split(b"\n")
        except OSError:
            return {}
        if head != self._head():
            return {}
        parsed = (_parsed(line, self._part) for line in lines)
        return {answer.image_id: answer for answer in parsed if answer is not None}

    @contextmanager
    def recording(self, answers: Iterable[Answer]) -> Iterator[Recorder]:
        """A recorder that goes on after ``answers``, which are those of ``answers()``."""
        begun = [self._head(), *(_line(answer) for answer in answers)]
        write_atomic(self._part, b"\n".join(begun) + b"\n")
        with self._part.open("a", encoding="utf-8") as stream:
            yield Recorder(stream)

    def finish(self, answers: Iterable[Answer], run: RunRecord) -> None:
        """Publish the answers, in this order, as results; the record comes last, so it never speaks of other files."""
        self._run.unlink(missing_ok=True)
        results = [result for answer in answers for result in answer.results]
        write_results(self.results, results)
        content = {
            "fingerprint": self._fingerprint,
            "results_sha256": _sha256(self.results),
            "meshes": [result.mesh for result in results if result.mesh is not None],
            "run": asdict(run),
        }
        write_atomic(self._run, json.dumps(content, indent=1).encode())
        self._part.unlink(missing_ok=True)

    def _head(self) -> bytes:
        return json.dumps({"fingerprint": self._key}).encode()


class Recorder:
    """Appends answers to a file; what is written survives the death of this process."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def add(self, answer: Answer) -> None:
        self._stream.write(_line(answer).decode() + "\n")
        self._stream.flush()


def _line(answer: Answer) -> bytes:
    results = [to_json(result) for result in answer.results]
    return json.dumps({"image_id": answer.image_id, "seconds": answer.seconds, "results": results}).encode()


def _parsed(line: bytes, file: Path) -> Answer | None:
    """The answer of one line; None for the last one, which is empty or cut short by a kill."""
    try:
        content = parse_json(line, file=file)
        results = tuple(from_json(value, file, "results") for value in content["results"])
        return Answer(content["image_id"], content["seconds"], results)
    except (DataError, KeyError, TypeError):
        return None


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
