"""What ``archives`` reads and writes when the files are good; bad ones are in tests/attacks."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from shape3d_amodal.files import safe_io
from shape3d_amodal.files.archives import ArraySpec, npz_blocks, npz_shape, npz_writer, tar_members
from shape3d_amodal.files.atomic import atomic_file, remove_leftovers

SPEC = ArraySpec(("u1",), (None, 2, 3), max_rows=100)
ARRAY = np.arange(60, dtype=np.uint8).reshape(10, 2, 3)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("rows", [1, 3, 10, 99])
def test_arrays_of_numpy(save, rows: int, tmp_path: Path) -> None:
    save(tmp_path / "a.npz", ARRAY, other=np.zeros(3))
    assert npz_shape(tmp_path / "a.npz", "arr_0", SPEC) == ARRAY.shape
    blocks = list(npz_blocks(tmp_path / "a.npz", "arr_0", SPEC, rows))
    assert max(len(block) for block in blocks) == min(rows, 10)
    np.testing.assert_array_equal(np.concatenate(blocks), ARRAY)


def test_no_rows(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", ARRAY[:0])
    assert list(npz_blocks(tmp_path / "a.npz", "arr_0", SPEC, 5)) == []


def test_zip64_as_archives_beyond_4_gb_have_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)
    np.savez(tmp_path / "a.npz", ARRAY)
    assert b"PK\6\7" in (tmp_path / "a.npz").read_bytes()
    np.testing.assert_array_equal(next(npz_blocks(tmp_path / "a.npz", "arr_0", SPEC, 10)), ARRAY)


def test_what_is_written_row_by_row_is_what_numpy_reads(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        with npz_writer(tmp_path / name, "arr_0", ARRAY.shape, np.uint8) as write:
            for row in ARRAY:
                write(row)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["arr_0"], ARRAY)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize("rows", [9, 11])
def test_another_number_of_rows_leaves_nothing(rows: int, tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="expected the values of"),
        npz_writer(tmp_path / "a.npz", "arr_0", ARRAY.shape, np.uint8) as write,
    ):
        for _ in range(rows):
            write(ARRAY[0])
    assert not list(tmp_path.iterdir())


def test_tar_files_of_python(tmp_path: Path) -> None:
    files = {"a.png": b"x" * 513, "b/c.json": b"", "d" * 120 + "/e.json": b"y" * 512}
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    with safe_io.open_regular(tmp_path / "a.tar") as file:
        assert {member.name: member.read(file) for member in tar_members(file, tmp_path / "a.tar")} == files


def test_leftovers_of_the_killed_are_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in (".a.tar.0123456789ab.tmp", ".a.tar.x.tmp", ".b.tar.0.tmp", "a.tar"):
        (tmp_path / name).write_bytes(b"")
    remove_leftovers(tmp_path / "a.tar")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".b.tar.0.tmp", "a.tar"]


def test_a_block_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), atomic_file(tmp_path / "a") as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
