"""Folders sealed by checksums, for weights and training checkpoints.

A sealed folder appears whole or not at all. Its file ``sha256`` has the format of the command ``sha256sum``, so that
``sha256sum -c sha256`` checks the folder, too. Tensors are stored as safetensors; nothing is unpickled.

Weights that share most tensors with other weights, such as a detector with a new head, may leave these tensors out and
refer to the other weights: see ``save_weights``.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from shape3d_amodal.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

MANIFEST = "sha256"
TEMPORARY = ".partial-"
"""Prefix of folders that are being written or removed; what has it may be deleted while no process writes."""

CONFIG_FILE = "config.yaml"
TENSOR_FILE = "model.safetensors"
BASE_FILE = "base"
"""Optional file that refers to the folder with the tensors that are missing here. Its first line has the SHA-256 of
that folder's manifest and the path to it from here, as in a manifest; each further line names a missing tensor."""


def save_weights(
    folder: str | Path, config_yaml: str, state: Mapping[str, Tensor], *, base: str | Path | None = None
) -> None:
    """Write shipped weights: ``config.yaml``, ``model.safetensors`` and ``sha256``, replacing older ones.

    Args:
        folder: created with its parents.
        config_yaml: YAML text; ``load_weights`` returns it unchanged.
        state: tensors of any shape, dtype and device.
        base: folder of other weights: tensors that are equal there are left out, and the file ``base`` refers to them.
            The relative path between the two folders must then stay the same.

    Raises:
        OSError: the disk is full or not writable; no half-written folder is left.
        WeightsError: ``folder`` holds files other than these, or ``base`` cannot be used.
    """
    folder, note = Path(folder), {}
    if base is not None:
        _, theirs = load_weights(base)
        shared = [name for name, tensor in state.items() if name in theirs and _same(tensor, theirs[name])]
        path = os.path.relpath(Path(base).resolve(), folder.resolve())
        lines = (f"{_manifest_hash(Path(base))}  {path}", *shared)
        note[BASE_FILE] = "".join(f"{line}\n" for line in lines).encode()
        state = {name: tensor for name, tensor in state.items() if name not in set(shared)}
    write_sealed(folder, {CONFIG_FILE: config_yaml.encode(), TENSOR_FILE: pack_tensors(state), **note})


def load_weights(folder: str | Path) -> tuple[str, dict[str, Tensor]]:
    """The configuration text and the tensors (on the CPU) of a folder that ``save_weights`` wrote.

    Raises:
        WeightsError: a file is missing, unreadable or changed since it was sealed; the error names it.
    """
    folder = Path(folder)
    more = (BASE_FILE,) if BASE_FILE in read_manifest(folder) else ()
    files = read_sealed(folder, (CONFIG_FILE, TENSOR_FILE, *more))
    tensors = unpack_tensors(files[TENSOR_FILE], folder / TENSOR_FILE)
    if more:
        tensors |= _from_base(folder, files[BASE_FILE].decode())
    return files[CONFIG_FILE].decode(), tensors


def _from_base(folder: Path, note: str) -> dict[str, Tensor]:
    """The tensors in another folder that ``note``, the content of the file ``base``, refers to."""
    head, *names = note.splitlines()
    digest, _, path = head.partition("  ")
    if _manifest_hash(folder / path) != digest:
        problem = "these are not the weights that those in {} were made on; get both again"
        raise WeightsError(problem.format(folder), file=folder / path)
    _, theirs = load_weights(folder / path)
    return {name: theirs[name] for name in names}


def _manifest_hash(folder: Path) -> str:
    return hashlib.sha256(_read(folder / MANIFEST)).hexdigest()


def _same(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and bool((one.cpu() == other).all())


def pack_tensors(tensors: Mapping[str, Tensor]) -> bytes:
    """The tensors as the bytes of a safetensors file. Tensors that share memory are stored separately."""
    from safetensors.torch import save

    return save({name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()})


def unpack_tensors(content: bytes, file: Path) -> dict[str, Tensor]:
    """The tensors that ``pack_tensors`` packed. Other bytes raise a ``WeightsError`` that names ``file``."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(content)
    except SafetensorError as error:
        raise WeightsError(f"expected a safetensors file, got something else ({error})", file=file) from error


def write_sealed(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write ``files`` and their manifest into a temporary folder, fsync each, then rename the folder to ``folder``.

    An older folder of the same files is replaced. After a kill ``folder`` is complete, as it was before, or (only when
    an older one is replaced) absent; a folder named ``.partial-*`` may be left beside it.

    Raises:
        OSError: the disk is full or not writable; the temporary folder is removed, an older ``folder`` is kept.
        WeightsError: ``folder`` holds other files, which are not removed.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f"{TEMPORARY}{folder.name}-{os.getpid()}")
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items()]
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        for name, content in {**files, MANIFEST: "".join(lines).encode()}.items():
            with (temporary / name).open("xb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        _sync_folder(temporary)
        if folder.exists():
            _check_replaceable(folder, {*files, MANIFEST})
            discard(folder)
        temporary.replace(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _sync_folder(folder.parent)


def read_sealed(folder: Path, names: Iterable[str]) -> dict[str, bytes]:
    """The bytes of the files ``names``, each checked against the manifest of ``folder``.

    Raises:
        WeightsError: the manifest or a file is missing, unreadable or damaged; the error names the file.
    """
    sums = read_manifest(folder)
    files = {}
    for name in names:
        if name not in sums:
            raise WeightsError(f"expected a line for {name}, found none; get the folder again", file=folder / MANIFEST)
        files[name] = _read(folder / name)
        found = hashlib.sha256(files[name]).hexdigest()
        if found != sums[name]:
            problem = f"the file is damaged: expected SHA-256 {sums[name][:12]}…, got {found[:12]}…; get it again"
            raise WeightsError(problem, file=folder / name)
    return files


def read_manifest(folder: Path) -> dict[str, str]:
    """File name -> SHA-256 in lower-case hexadecimal, from the manifest of ``folder``."""
    # Not splitlines(): it also splits at other control characters, which a flipped bit can turn a newline into.
    lines = _read(folder / MANIFEST).decode("latin-1").split("\n")
    matches = [re.fullmatch(r"([0-9a-f]{64})  ([\w.-]+)", line) for line in lines[:-1]]
    if lines[-1] or not all(matches):
        raise WeightsError("expected lines of a SHA-256 and a file name; get the folder again", file=folder / MANIFEST)
    return {match[2]: match[1] for match in matches if match}


def discard(folder: Path) -> None:
    """Rename ``folder``, then remove it, so that a kill cannot leave half of it under its name."""
    doomed = folder.with_name(f"{TEMPORARY}{folder.name}-{os.getpid()}-old")
    shutil.rmtree(doomed, ignore_errors=True)
    folder.replace(doomed)
    shutil.rmtree(doomed)


def _check_replaceable(folder: Path, names: set[str]) -> None:
    strangers = sorted({path.name for path in folder.iterdir()} - names)
    if strangers:
        problem = f"expected a new folder, or one with nothing but {', '.join(sorted(names))}, found {strangers[0]}"
        raise WeightsError(f"{problem}; choose another folder or remove what it holds", file=folder)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise WeightsError(f"cannot read the file: {error.strerror}; is the folder complete?", file=file) from error


def _sync_folder(folder: Path) -> None:
    """Write the names in ``folder`` to the disk: a rename changes the folder, not the file."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
