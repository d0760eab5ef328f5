"""Journals survive whatever happens to their writers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from shape3d_amodal.errors import AmodalError, DataError
from shape3d_amodal.files.journal import Journal, journal_of, read_journal

RECORDS = [{"image_id": key, "text": "ä" * key} for key in range(5)]


def written(path: Path, *records: dict, fingerprint: dict | None = None) -> bytes:
    with Journal(path, fingerprint or {"a": 1}) as journal:
        for record in records:
            journal.append(record)
    return path.read_bytes()


def test_records_are_found_again(tmp_path: Path) -> None:
    path = journal_of(tmp_path / "results.json")
    assert path.name == "results.json.part.jsonl"
    written(path, *RECORDS[:2])
    with Journal(path, {"a": 1}) as journal:
        assert journal.records == RECORDS[:2] and journal.aside is None
        journal.append(RECORDS[2])
        assert read_journal(path) == RECORDS[:3]  # while it is written
        journal.remove()
    assert not path.exists()


def test_a_journal_that_was_cut_off_anywhere_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a.part.jsonl"
    whole = written(path, *RECORDS)
    ends = [place + 1 for place, byte in enumerate(whole) if byte == ord("\n")]
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        with Journal(path, {"a": 1}) as journal:
            complete = sum(end <= length for end in ends) - 1  # without the head
            assert journal.records == RECORDS[: max(complete, 0)]
            for record in RECORDS[len(journal.records) :]:
                journal.append(record)
        assert path.read_bytes() == whole


def test_garbage_behind_the_last_record_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "a.part.jsonl"
    whole = written(path, *RECORDS)
    for garbage in (b"\0\0\0\0\n", b"[1]\n", b"{\n", b"\xff\xfe\n"):
        path.write_bytes(whole + garbage)
        assert written(path) == whole


def test_records_of_other_work_are_set_aside_and_come_back(tmp_path: Path) -> None:
    """A mistyped option must not cost hours of work."""
    path, old = tmp_path / "a.part.jsonl", tmp_path / "a.part.jsonl.old"
    first = written(path, *RECORDS)
    with Journal(path, {"a": 2}) as journal:
        assert journal.records == [] and journal.aside == old
        journal.append(RECORDS[0])
    second = path.read_bytes()
    assert old.read_bytes() == first
    with Journal(path, {"a": 1}) as journal:
        assert journal.records == RECORDS
    assert path.read_bytes() == first and old.read_bytes() == second
    with Journal(path, {"a": 1}, resume=False) as journal:
        assert journal.records == [] and journal.aside is None
    with Journal(path, {"a": 3}) as journal:  # nothing was kept that could be set aside
        assert journal.aside is None and old.read_bytes() == second


@pytest.mark.parametrize("content", [b"precious\n", b'[{"image_id": 1}]', b"\0"])
def test_a_file_that_is_no_journal_stays(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.part.jsonl"
    path.write_bytes(content)
    for resume in (True, False):
        with (
            pytest.raises(DataError, match="expected the journal of an unfinished run, got another file"),
            Journal(path, {}, resume=resume),
        ):
            pass
    assert path.read_bytes() == content


def test_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "a.part.jsonl"
    program = (
        "import sys; from pathlib import Path; from shape3d_amodal.files.journal import Journal\n"
        "with Journal(Path(sys.argv[1]), {'a': 1}):\n    print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(AmodalError, match="another process does the same work"), Journal(path, {"a": 1}):
            pass
        other.kill()
    with Journal(path, {"a": 1}):  # the lock died with its owner
        pass


def test_what_is_no_journal(tmp_path: Path) -> None:
    path = tmp_path / "results.part.jsonl"
    path.write_text(json.dumps([1]))
    with pytest.raises(DataError, match="expected a line with the fingerprint"):
        read_journal(path)
    with pytest.raises(DataError, match="cannot write the file"), Journal(tmp_path / "absent" / "a", {}):
        pass
