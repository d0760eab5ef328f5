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
from array import array
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, overload

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
        records: those of an earlier run, in their order, then those that were appended; each is read from the file
            when it is asked for, so that a long journal takes no memory.
        aside: where records were put that did not fit; None where there were none.

    Raises:
        AmodalError: another process works with this journal.
        DataError: the file cannot be read or written, or is no journal.
    """

    def __init__(self, path: Path, fingerprint: Mapping[str, Any], *, resume: bool = True) -> None:
        self.path = path
        self._resume = resume
        self.records: Sequence[dict[str, Any]] = []
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
        assert isinstance(self.records, _Records), "an open journal has its records in its file"
        line = json.dumps(record, allow_nan=False).encode() + b"\n"
        try:
            self._file.write(line)
            self._file.flush()
            self.records.ends.append(self.records.ends[-1] + len(line))
        except OSError as error:
            raise DataError(f"cannot write the file ({error.strerror}); check the space", file=self.path) from error

    def remove(self) -> None:
        """Delete the file, which has served."""
        self.path.unlink(missing_ok=True)

    def _go_on(self, file: BinaryIO) -> None:
        """Read what fits, cut off the rest, and stand at the end."""
        head, ends = _scanned(file, self.path)
        if head is None and not self._head.startswith(_whole(file, len(self._head) + 1)):
            raise DataError("expected the journal of an unfinished run, got another file; move it away", file=self.path)
        if not self._resume or head != self._head:
            content = self._exchanged(_whole(file)) if self._resume and len(ends) > 1 else b""
            file.seek(0)
            file.truncate()
            file.write(content or self._head + b"\n")
            file.flush()
            _, ends = _scanned(file, self.path)
        file.truncate(ends[-1])
        file.seek(ends[-1])
        self.records = _Records(file, ends, self.path)

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


class _Records(Sequence[dict[str, Any]]):
    """The records of an open journal, read when they are asked for.

    Attributes:
        ends: where the first line ends, and each record.
    """

    def __init__(self, file: BinaryIO, ends: array[int], path: Path) -> None:
        self.ends = ends
        self._file, self._path = file, path

    def __len__(self) -> int:
        return len(self.ends) - 1

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        start, end = self.ends[place], self.ends[place + 1]
        record: dict[str, Any] = parse_json(os.pread(self._file.fileno(), end - start, start), file=self._path)
        return record

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # it grows


def read_journal(path: str | Path) -> list[dict[str, Any]]:
    """The whole records of a journal that another process may be writing.

    Raises:
        DataError: it cannot be read, or is no journal.
    """
    head, records = _parse(read_bytes(path, _LIMIT), path)
    if head is None:
        raise DataError("expected a line with the fingerprint, then one for each image; name a results file", file=path)
    return records


def stored_records(path: str | Path, fingerprint: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The whole records of a journal; none where there is no file, or one of another fingerprint."""
    try:
        head, records = _parse(read_bytes(path, _LIMIT), path)
    except DataError:
        return []
    return records if head == _head_line(fingerprint) else []


def _head_line(fingerprint: Mapping[str, Any]) -> bytes:
    key = hashlib.sha256(json.dumps(fingerprint, sort_keys=True).encode()).hexdigest()
    return json.dumps({"fingerprint": key}).encode()


def _parse(content: bytes, path: str | Path) -> tuple[bytes | None, list[dict[str, Any]]]:
    """The first line and the records; (None, []) for what is no journal."""
    file = BytesIO(content)
    head = _first_line(file)
    return (None, []) if head is None else (head[:-1], [record for record, _ in _whole_records(file, path)])


def _scanned(file: BinaryIO, path: Path) -> tuple[bytes | None, array[int]]:
    """The first line, and where it and each whole record behind it end; (None, [0]) for what is no journal."""
    file.seek(0)
    head = _first_line(file)
    if head is None:
        return None, array("q", [0])
    ends = array("q", [len(head)])
    for _, length in _whole_records(file, path):
        ends.append(ends[-1] + length)
    return head[:-1], ends


def _first_line(file: BinaryIO) -> bytes | None:
    """With its end; None where it is not that of a journal."""
    head = file.readline()
    return head if head.endswith(b"\n") and head.startswith(b'{"fingerprint"') else None


def _whole_records(file: BinaryIO, path: str | Path) -> Iterator[tuple[dict[str, Any], int]]:
    """The records that follow, and the bytes of each one's line, up to one that was cut off."""
    for line in file:
        if not line.endswith(b"\n"):
            return
        try:
            record = parse_json(line, file=path)
        except DataError:  # cut off, or the disk was full
            return
        if not isinstance(record, dict):
            return
        yield record, len(line)


def _whole(file: BinaryIO, most: int = -1) -> bytes:
    file.seek(0)
    return file.read(most)


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
