"""Work that survives the death of its process: a file with a line for each part that is done.

    with Journal(path, fingerprint) as journal:
        for record in journal.records:      # what an earlier run with the same fingerprint has done
            ...
        journal.append({"image_id": 7})     # survives this process from here on
        journal.remove()                    # all is done, and stands elsewhere

The first line tells, by the hash of the fingerprint, what the records belong to. A line that was cut off when its
writer died is dropped.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from typing_extensions import Self

from shape3d_amodal.errors import AmodalError, DataError
from shape3d_amodal.files.atomic import write_atomic
from shape3d_amodal.files.safe_io import parse_json, read_bytes

SUFFIX = ".part.jsonl"
"""What the names of journals end with."""
_LIMIT = 2**40


def journal_of(output: Path) -> Path:
    """The journal of what becomes the file ``output``."""
    return output.with_name(f"{output.name}{SUFFIX}")


class Journal:
    """A journal, held by one process at a time; its folder must exist.

    Args:
        path: the file.
        fingerprint: JSON values, everything that the records depend on. Records of another fingerprint are set aside,
            in a file that ends in ``.old``; they come back when their fingerprint does.
        resume: False drops the records in any case.

    Attributes:
        records: those of an earlier run, in their order.
        aside: where records were put that did not fit; None where there were none.

    Raises:
        AmodalError: another process works with this journal.
        DataError: the file cannot be read or written, or is no journal.
    """

    def __init__(self, path: Path, fingerprint: Mapping[str, Any], *, resume: bool = True) -> None:
        self.path = path
        self._resume = resume
        self.records: list[dict[str, Any]] = []
        self.aside: Path | None = None
        self._head = _head_line(fingerprint)
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        try:
            self._file = _open_alone(self.path)
            self._go_on(self._file)
        except OSError as error:
            self._close()
            raise DataError(
                f"cannot write the file ({error.strerror}); check folder and space", file=self.path
            ) from error
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a record of JSON values."""
        assert self._file is not None, "a journal is a context manager"
        line = json.dumps(record, allow_nan=False).encode() + b"\n"
        try:
            self._file.write(line)
            self._file.flush()
        except OSError as error:
            raise DataError(f"cannot write the file ({error.strerror}); check the space", file=self.path) from error

    def remove(self) -> None:
        """Delete the file, which has served."""
        self.path.unlink(missing_ok=True)

    def _go_on(self, file: BinaryIO) -> None:
        """Read what fits, cut off the rest, and stand at the end."""
        content = file.read()
        head, known, end = _parse(content, self.path)
        if content and head is None and not self._head.startswith(content):
            raise DataError("expected the journal of an unfinished run, got another file; move it away", file=self.path)
        if self._resume and head == self._head:
            self.records = known
        else:
            content = self._exchanged(content) if self._resume and known else b""
            _, self.records, end = _parse(content, self.path)
        file.seek(0)
        file.write(content[:end] or self._head + b"\n")
        file.truncate()
        file.flush()

    def _exchanged(self, content: bytes) -> bytes:
        """Set ``content`` aside; what was set aside before, where it fits."""
        self.aside = self.path.with_name(f"{self.path.name}.old")
        before = read_bytes(self.aside, _LIMIT) if self.aside.exists() else b""
        write_atomic(self.aside, content)
        return before if _parse(before, self.aside)[0] == self._head else b""

    def _close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            file.close()


def read_journal(path: str | Path) -> list[dict[str, Any]]:
    """The whole records of a journal that another process may be writing.

    Raises:
        DataError: it cannot be read, or is no journal.
    """
    head, records, _ = _parse(read_bytes(path, _LIMIT), path)
    if head is None:
        raise DataError("expected a line with the fingerprint, then one for each image; name a results file", file=path)
    return records


def stored_records(path: str | Path, fingerprint: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The whole records of a journal; none where there is no file, or one of another fingerprint."""
    try:
        head, records, _ = _parse(read_bytes(path, _LIMIT), path)
    except DataError:
        return []
    return records if head == _head_line(fingerprint) else []


def _head_line(fingerprint: Mapping[str, Any]) -> bytes:
    key = hashlib.sha256(json.dumps(fingerprint, sort_keys=True).encode()).hexdigest()
    return json.dumps({"fingerprint": key}).encode()


def _parse(content: bytes, path: str | Path) -> tuple[bytes | None, list[dict[str, Any]], int]:
    """The first line, the records, and where the last whole one ends; (None, [], 0) for what is no journal."""
    head, newline, _ = content.partition(b"\n")
    if not newline or not head.startswith(b'{"fingerprint"'):
        return None, [], 0
    records: list[dict[str, Any]] = []
    end = len(head) + 1
    while (after := content.find(b"\n", end) + 1) > 0:
        try:
            record = parse_json(content[end:after], file=path)
        except DataError:  # cut off, or the disk was full
            break
        if not isinstance(record, dict):
            break
        records.append(record)
        end = after
    return head, records, end


def _open_alone(path: Path) -> BinaryIO:
    """The file, made where it is missing, locked."""
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            problem = f"{path}: another process does the same work; wait for it, or write to another place"
            raise AmodalError(problem) from error
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # its last owner has finished and removed it in between
