"""The results of a method on disk, which are valid as long as nothing changes that they depend on.

The files of a method are ``<name>.json`` (its results), ``<name>.run.json`` (how they were made, with the fingerprint
of everything that they depend on) and, until they are complete, ``<name>.part.jsonl`` with one line for each image.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shape3d_amodal.annotations.results import AmodalResult, from_json, to_json, write_results
from shape3d_amodal.errors import DataError
from shape3d_amodal.files.atomic import write_atomic
from shape3d_amodal.files.journal import Journal, stored_records
from shape3d_amodal.files.safe_io import read_json, sha256


@dataclass(frozen=True)
class Answer:
    """The results of a method for one image, and the seconds that it took."""

    image_id: int
    seconds: float
    results: tuple[AmodalResult, ...]

    @property
    def objects(self) -> int:
        """Number of results, several answers with a chance left out."""
        return sum(result.chance is None for result in self.results)


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """How a results file was made.

    Attributes:
        seconds: median over images of the seconds per instance; None if there are no instances.
        parameters: number of learned parameters; None if unknown.
        instances: number of results.
        commit, versions, machine, threads, device, processes: the code and the computer that made them.
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
        folder: an existing folder.
        stem: the first part of the file names.
        fingerprint: everything that the results depend on, as JSON values.
    """

    def __init__(self, folder: Path, stem: str, fingerprint: Mapping[str, Any]) -> None:
        self.results = folder / f"{stem}.json"
        self._run = folder / f"{stem}.run.json"
        self._part = folder / f"{stem}.part.jsonl"
        self._fingerprint = dict(fingerprint)

    def finished(self) -> RunRecord | None:
        """How the results were made; None if they are missing, damaged or of another fingerprint."""
        try:
            content = read_json(self._run)
            if content["fingerprint"] != self._fingerprint or content["results_sha256"] != sha256(self.results):
                return None
            if not all((self.results.parent / name).is_file() for name in content["meshes"]):
                return None
            return RunRecord(**content["run"])
        except (DataError, OSError, KeyError, TypeError):  # missing, cut off or edited: run again
            return None

    def answers(self) -> dict[int, Answer]:
        """The answers of an interrupted run by image id."""
        parsed = (_parsed(record, self._part) for record in stored_records(self._part, self._fingerprint))
        return {answer.image_id: answer for answer in parsed if answer is not None}

    @contextmanager
    def recording(self) -> Iterator[Callable[[Answer], None]]:
        """A function that stores one more answer, so that it survives the death of this process."""
        with Journal(self._part, self._fingerprint) as journal:
            yield lambda answer: journal.append(_record(answer))

    def finish(self, answers: Iterable[Answer], run: RunRecord) -> None:
        """Write the results of ``answers`` in this order, then the record, which so never describes other results."""
        self._run.unlink(missing_ok=True)
        results = [result for answer in answers for result in answer.results]
        write_results(self.results, results)
        content = {
            "fingerprint": self._fingerprint,
            "results_sha256": sha256(self.results),
            "meshes": [result.mesh for result in results if result.mesh is not None],
            "run": asdict(run),
        }
        write_atomic(self._run, json.dumps(content, indent=1).encode())
        self._part.unlink(missing_ok=True)


def _record(answer: Answer) -> dict[str, Any]:
    results = [to_json(result) for result in answer.results]
    return {"image_id": answer.image_id, "seconds": answer.seconds, "results": results}


def _parsed(record: Mapping[str, Any], file: Path) -> Answer | None:
    """The answer in one record; None where it was made by another version."""
    try:
        results = tuple(from_json(value, file, "results") for value in record["results"])
        return Answer(record["image_id"], record["seconds"], results)
    except (DataError, KeyError, TypeError):
        return None
