"""Bounded reading of archives: arrays in npz files, and files in uncompressed tar files.

Sizes that a header states are checked against the specification and the length of the file before memory is allocated.
No array is unpickled, and nothing is unpacked to disk.
"""

from __future__ import annotations

import io
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np

from shape3d_amodal.errors import DataError
from shape3d_amodal.files.atomic import atomic_file
from shape3d_amodal.files.safe_io import open_regular, reason

MAX_DIRECTORY_BYTES = 1024**2
"""Longest list of contents of a zip archive; parsing it takes about ten times as much memory."""
MAX_HEADER_BYTES = 10_000
"""Longest header of an array; NumPy's own limit."""
MAX_TAR_MEMBERS = 1_000_000
MAX_TAR_MEMBER_BYTES = 256 * 1024**2
BLOCK = 512
"""Bytes of a block of a tar file."""

ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, KeyError)
"""What zipfile and NumPy's header parser raise on damaged, encrypted or otherwise unusual archives."""


@dataclass(frozen=True)
class ArraySpec:
    """What an array in an npz file must be.

    Attributes:
        kinds: dtypes without byte order, such as ``u1``; those of several bytes must be little-endian.
        shape: lengths of its dimensions; None allows any length up to ``max_rows``.
        max_rows: largest length where ``shape`` has None.
    """

    kinds: tuple[str, ...]
    shape: tuple[int | None, ...]
    max_rows: int

    def check(self, shape: tuple[int, ...], dtype: np.dtype, column_major: bool, field: str) -> None:
        """Refuse an array whose header does not match.

        Raises:
            DataError: naming ``field``.
        """
        fits = len(shape) == len(self.shape) and all(
            length == wanted or wanted is None for length, wanted in zip(shape, self.shape, strict=True)
        )
        if not fits or column_major or dtype.str.lstrip("<|") not in self.kinds:
            wanted = ",".join("N" if length is None else str(length) for length in self.shape)
            got = f"{dtype.str[:20]} of shape {list(shape)[:8]}{' in column-major order' * column_major}"
            raise DataError(f"expected {' or '.join(self.kinds)} of shape [{wanted}], got {got}", field=field)
        if any(length > self.max_rows for length, wanted in zip(shape, self.shape, strict=True) if wanted is None):
            raise DataError(f"expected at most {self.max_rows} rows, got {max(shape)}; use a smaller file", field=field)


def npz_shape(path: str | Path, key: str, spec: ArraySpec) -> tuple[int, ...]:
    """The shape of array ``key`` of the npz file ``path``, from its header alone.

    Raises:
        DataError: it cannot be read, or is not what ``spec`` says.
    """
    with _entry(path, key, spec) as (_, shape, _):
        return shape


def npz_blocks(path: str | Path, key: str, spec: ArraySpec, rows: int) -> Iterator[np.ndarray]:
    """Array ``key`` of the npz file ``path`` in blocks of up to ``rows`` rows, in order, with
    memory for one block at a time.

    The checksum is verified after the last block.

    Raises:
        DataError: it cannot be read, is damaged, or is not what ``spec`` says.
    """
    with _entry(path, key, spec) as (entry, shape, dtype):
        done = 0
        while done < shape[0]:
            block = (min(rows, shape[0] - done), *shape[1:])
            content = _read(entry, math.prod(block) * dtype.itemsize, path, key)
            done += block[0]
            yield np.frombuffer(content, dtype).reshape(block)
        if _read(entry, 1, path, key, short=True):
            raise DataError(f"expected {shape[0]} rows as its header says, got more; replace it", file=path, field=key)


@contextmanager
def npz_writer(path: Path, key: str, shape: tuple[int, ...], dtype: type) -> Iterator[Callable[[np.ndarray], None]]:
    """An npz file of one array, written row by row: the yielded function takes the next row or rows.

    Equal arrays give equal bytes.

    Raises:
        DataError: the file cannot be written.
        ValueError: there were more or fewer rows than ``shape`` says.
    """
    entry = zipfile.ZipInfo(f"{key}.npy")  # its date is always 1980, so that equal arrays give equal bytes
    entry.compress_type = zipfile.ZIP_DEFLATED
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    left = math.prod(shape)
    with (
        atomic_file(path) as file,
        zipfile.ZipFile(file, "w") as archive,
        archive.open(entry, "w", force_zip64=True) as stream,
    ):
        np.lib.format.write_array_header_1_0(stream, header)

        def write(rows: np.ndarray) -> None:
            nonlocal left
            left -= rows.size
            stream.write(np.ascontiguousarray(rows, dtype).tobytes())

        yield write
        if left:
            raise ValueError(f"expected the values of {shape}, {left} are missing")


def check_zip(file: BinaryIO | io.BytesIO) -> None:
    """Refuse a zip archive with a long list of contents, before the list is parsed.

    Raises:
        DataError: it is too long, or there is none.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 65_557))  # a comment of up to 65,535 bytes may follow the end record
    tail = file.read()
    end = tail.rfind(b"PK\5\6")
    if end < 0 or len(tail) < end + 22:
        raise DataError("damaged archive (File is not a zip file); replace it")
    length = int.from_bytes(tail[end + 12 : end + 16], "little")
    if tail[max(0, end - 20) : end][:4] == b"PK\6\7":  # zip64: another record has the true length
        stated = int.from_bytes(tail[end - 12 : end - 4], "little")
        before = max(0, size - len(tail) + end - 76)  # zipfile looks there, whatever offset is stated
        for place in (stated, before):
            file.seek(min(place, size))
            length = max(length, int.from_bytes(file.read(56)[40:48], "little"))
    if length > MAX_DIRECTORY_BYTES:
        raise DataError(f"expected an archive of few files, its list of contents has {length} bytes; replace it")
    file.seek(0)


def read_npy_header(stream: IO[bytes], spec: ArraySpec, field: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype of the array whose .npy file starts in ``stream``, which is left at the first value.

    Raises:
        DataError: it is not what ``spec`` says.
        ValueError: there is no valid header.
    """
    old = np.lib.format.read_magic(stream) == (1, 0)
    length = stream.read(2 if old else 4)
    if (size := int.from_bytes(length, "little")) > MAX_HEADER_BYTES:
        raise DataError(f"expected a header of at most {MAX_HEADER_BYTES} bytes, got {size}; save it anew", field=field)
    header = io.BytesIO(length + stream.read(size))
    parse = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
    shape, column_major, dtype = parse(header)
    spec.check(shape, dtype, column_major, field)
    return shape, dtype


@contextmanager
def _entry(path: str | Path, key: str, spec: ArraySpec) -> Iterator[tuple[IO[bytes], tuple[int, ...], np.dtype]]:
    """Array ``key``, open at its first value, its shape and its dtype."""
    with open_regular(path) as file:
        try:
            check_zip(file)
            archive = zipfile.ZipFile(file)
            if f"{key}.npy" not in archive.namelist():
                raise DataError(f"expected an array {key}, there is none; see the format of the data set")
            if archive.getinfo(f"{key}.npy").compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise DataError("expected a stored or deflated array, got another compression; save it anew", field=key)
            entry = archive.open(f"{key}.npy")
            shape, dtype = read_npy_header(entry, spec, key)
        except DataError as error:
            raise DataError(error.problem, file=path, field=error.field) from error
        except ZIP_ERRORS as error:
            raise DataError(f"damaged .npz file ({reason(error)}); replace it", file=path) from error
        yield entry, shape, dtype


def _read(entry: IO[bytes], count: int, path: str | Path, key: str, *, short: bool = False) -> bytes:
    try:
        content = entry.read(count)
    except ZIP_ERRORS as error:
        raise DataError(f"damaged .npz file ({reason(error)}); replace it", file=path, field=key) from error
    if len(content) < count and not short:
        raise DataError("fewer values than its header says; replace the file", file=path, field=key)
    return content


@dataclass(frozen=True)
class TarMember:
    """A file in a tar file: its name, the place of its first byte and its length."""

    name: str
    offset: int
    size: int

    def read(self, file: BinaryIO) -> bytes:
        """Its content; ``file`` is the open tar file that it was listed from."""
        file.seek(self.offset)
        return file.read(self.size)


def tar_members(file: BinaryIO, path: str | Path) -> Iterator[TarMember]:
    """The files of the uncompressed tar file ``path``, open as ``file``, in order.

    Only plain files of the ustar format are accepted, as in shards: no links, devices, folders, sparse files or
    extended headers, and no name that is absolute, has ``..`` or occurs twice.

    Raises:
        DataError: naming ``path`` and the byte or member.
    """
    end = os.fstat(file.fileno()).st_size
    names: set[str] = set()
    offset = 0
    while True:
        file.seek(offset)
        header = file.read(BLOCK)
        place = f"byte {offset}"
        if header == bytes(BLOCK):
            return
        if len(header) < BLOCK:
            raise DataError("truncated tar file; make or copy it anew", file=path, field=place)
        name, size = _tar_header(header, path, place)
        if name in names or len(names) >= MAX_TAR_MEMBERS:
            problem = f"expected at most {MAX_TAR_MEMBERS} files of different names, got another {name[:80]!r}"
            raise DataError(f"{problem}; make it anew", file=path, field=place)
        if offset + BLOCK + size > end:
            raise DataError("truncated tar file; make or copy it anew", file=path, field=name)
        names.add(name)
        yield TarMember(name, offset + BLOCK, size)
        offset += BLOCK + -(-size // BLOCK) * BLOCK


def _tar_header(header: bytes, path: str | Path, place: str) -> tuple[str, int]:
    """Name and size of a member from its header [512]."""
    try:
        stated = int(header[148:156].rstrip(b" \0"), 8)
        size = int(header[124:136].rstrip(b" \0"), 8)
        name = "/".join(part.rstrip(b"\0").decode("ascii") for part in (header[345:500], header[:100]) if part[0])
    except ValueError as error:
        raise DataError("expected an uncompressed tar file, got something else", file=path, field=place) from error
    if header[257:262] != b"ustar" or stated != sum(header[:148]) + 8 * ord(" ") + sum(header[156:]):
        raise DataError("damaged header of a tar file; make or copy it anew", file=path, field=place)
    if header[156:157] not in (b"0", b"\0"):
        kind = header[156:157].decode("latin-1")
        problem = f"expected plain files alone, got one of type {kind!r} (a link, folder or extension)"
        raise DataError(f"{problem}; make it anew", file=path, field=place)
    if not name.isprintable() or name.startswith("/") or "\\" in name or ".." in name.split("/") or not name:
        raise DataError(f"expected relative names without .., got {name[:80]!r}; refuse it", file=path, field=place)
    if not 0 <= size <= MAX_TAR_MEMBER_BYTES:
        raise DataError(f"expected at most {MAX_TAR_MEMBER_BYTES} bytes, got {size}", file=path, field=place)
    return name, size
