"""Where commands may write, and what happens to links, devices, and inputs."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from shape3d_amodal.errors import DataError, UsageError
from shape3d_amodal.files.atomic import atomic_file, write_atomic, write_text_atomic
from shape3d_amodal.files.outputs import output_file, output_folder


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "file.json", tmp_path / "link.json"
    target.write_text("old")
    link.symlink_to(target)
    write_atomic(link, b"new")
    assert link.is_symlink() and target.read_text() == "new"
    assert [path.name for path in (tmp_path / "real").iterdir()] == ["file.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.json", "real"]


def test_a_link_to_nothing_makes_the_file_that_it_names(tmp_path: Path) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "new.json")
    write_atomic(link, b"content")
    assert link.is_symlink() and (tmp_path / "new.json").read_text() == "content"


def test_links_in_a_circle_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(DataError, match="cannot write the file"):
        write_atomic(tmp_path / "a", b"content")


def test_a_pipe_is_written_to_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_atomic(pipe, b"content")
    reader.join(timeout=10)
    assert read == [b"content"] and stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_device_stays_a_device(tmp_path: Path) -> None:
    link = tmp_path / "null"
    link.symlink_to("/dev/null")
    write_atomic(link, b"content")
    write_atomic("/dev/null", b"content")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode) and link.is_symlink()


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_standard_output(name: str, tmp_path: Path, monkeypatch, capfdbinary) -> None:
    monkeypatch.chdir(tmp_path)
    before = os.lstat("/dev/stdout").st_mode
    write_atomic(Path(name), b"content")
    assert capfdbinary.readouterr().out == b"content"
    assert list(tmp_path.iterdir()) == [] and os.lstat("/dev/stdout").st_mode == before


def test_a_full_device_is_one_line() -> None:
    with pytest.raises(DataError, match=r"/dev/full: cannot write the file \(No space left on device\)"):
        write_atomic("/dev/full", b"content")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected the name of a file to write, got a folder"):
        write_atomic(tmp_path, b"content")


def test_where_no_file_can_be_made_nobody_else_is_blamed() -> None:
    with pytest.raises(DataError, match="check folder and space") as caught:
        write_atomic("/proc/o.json", b"content")
    assert "another process" not in str(caught.value)


def test_who_removes_the_temporary_file_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="another process writes it"), atomic_file(tmp_path / "a") as file:
        file.write(b"content")
        next(tmp_path.glob(".a.*.tmp")).unlink()


@pytest.mark.parametrize("alias", ["same", "dotted", "hard", "symbolic"])
def test_an_input_is_no_output(tmp_path: Path, alias: str) -> None:
    given, other = tmp_path / "a.json", tmp_path / "b.json"
    given.write_text("content")
    (tmp_path / "sub").mkdir()
    if alias == "hard":
        other.hardlink_to(given)
    elif alias == "symbolic":
        other.symlink_to(given)
    name = {"same": given, "dotted": tmp_path / "sub" / ".." / "a.json"}.get(alias, other)
    with pytest.raises(UsageError, match=r"--out: .* would overwrite the input .*a\.json"):
        output_file(name, inputs=[None, tmp_path / "absent.json", given])
    assert output_file(tmp_path / "c.json", inputs=[given]) == tmp_path / "c.json"


def test_a_folder_must_not_write_over_inputs(tmp_path: Path) -> None:
    (tmp_path / "overlays").mkdir()
    picture, annotations = tmp_path / "overlays" / "1_a.png", tmp_path / "results.json"
    picture.write_text("picture")
    annotations.write_text("content")
    with pytest.raises(UsageError, match=r"overlays would overwrite the input .*1_a\.png"):
        output_folder(tmp_path, writes=["overlays"], inputs=[picture])
    with pytest.raises(UsageError, match=r"results\.json would overwrite the input"):
        output_folder(tmp_path, writes=["results.json"], inputs=[annotations])
    assert output_folder(tmp_path, writes=["report.html"], inputs=[annotations, picture]) == tmp_path


@pytest.mark.parametrize("name", ["", ".", "folder"])
def test_a_file_needs_a_name(tmp_path: Path, name: str, monkeypatch) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="expected the name of a file to write, got the folder"):
        output_file(Path(name))


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("content")
    for name, got in ((tmp_path / "a", "the file"), (Path("-"), "- .standard output"), (Path("/dev/null"), "the file")):
        with pytest.raises(UsageError, match=f"expected a folder to write to, got {got}"):
            output_folder(name)


def test_what_cannot_be_written_is_found_before_the_work() -> None:
    for check, name in ((output_file, "/proc/o.json"), (output_folder, "/proc"), (output_folder, "/proc/new")):
        with pytest.raises(DataError, match=r"cannot (write in|make) the folder"):
            check(Path(name))


def test_names_that_are_no_utf_8_are_made_printable_in_text(tmp_path: Path) -> None:
    """Bytes of a locale's name that are UTF-8 are read, others and lone surrogates are replaced."""
    ascii_name = "ä.jpg".encode().decode("ascii", "surrogateescape")
    write_text_atomic(tmp_path / "a.txt", f"caf\udce9, {ascii_name}, \ud800, ö")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "caf\ufffd, ä.jpg, \ufffd, ö"
