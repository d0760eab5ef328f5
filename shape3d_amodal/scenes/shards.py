"""Scenes in shards: plain tar files in WebDataset's layout, each with a manifest that is written last.

    scenes-000003.tar    000003000.png 000003000.json 000003001.png ...
    scenes-000003.json   {"format", "tar", "sha256", "bytes", "first", "count", "identity", "config", "categories",
                          "skipped", "notes"}

A sample's JSON holds ``images`` (one) and ``annotations`` in the format ``formats.coco_amodal``; the categories are in
the manifest. Headers have neither time nor owner, so that equal scenes give equal bytes. A shard is finished when its
manifest exists; ``identity`` is a hash of everything that its scenes depend on.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from shape3d_amodal.errors import DataError
from shape3d_amodal.files import archives, safe_io
from shape3d_amodal.files.atomic import atomic_file, remove_leftovers, write_json_atomic

FORMAT = "shape3d-amodal scene shard 1"
MAX_MANIFEST_BYTES = 64 * 1024**2


@dataclass(frozen=True)
class Sample:
    """A scene as the bytes of its files: image (PNG) and annotations (JSON)."""

    index: int
    png: bytes
    json: bytes

    @property
    def key(self) -> str:
        return f"{self.index:09d}"


@dataclass(frozen=True)
class Shard:
    """The scenes ``first`` to ``first + count - 1`` of a set, in ``folder``."""

    folder: Path
    number: int
    first: int
    count: int

    @property
    def tar(self) -> Path:
        return self.folder / f"scenes-{self.number:06d}.tar"

    @property
    def manifest(self) -> Path:
        return self.folder / f"scenes-{self.number:06d}.json"


def shards_of(folder: Path, count: int, shard_size: int) -> list[Shard]:
    """``count`` scenes divided into shards of ``shard_size``; the last one may have fewer."""
    firsts = range(0, count, shard_size)
    return [Shard(folder, i, first, min(shard_size, count - first)) for i, first in enumerate(firsts)]


def write_shard(shard: Shard, samples: Iterable[Sample], manifest: dict[str, Any]) -> None:
    """Write the tar file, then the manifest: ``manifest`` with the tar's name, length and SHA-256.

    ``manifest`` may still be filled while ``samples`` are made.

    Raises:
        DataError: a file cannot be written.
    """
    for path in (shard.tar, shard.manifest):
        remove_leftovers(path)
    shard.manifest.unlink(missing_ok=True)
    digest = hashlib.sha256()
    size = 0
    with atomic_file(shard.tar) as file:
        for sample in samples:
            for name, content in ((f"{sample.key}.png", sample.png), (f"{sample.key}.json", sample.json)):
                size += _write(file, digest, _member(name, content))
        size += _write(file, digest, bytes(2 * archives.BLOCK))
    own = {"format": FORMAT, "tar": shard.tar.name, "sha256": digest.hexdigest(), "bytes": size}
    write_json_atomic(shard.manifest, {**own, "first": shard.first, "count": shard.count, **manifest})


def is_finished(shard: Shard, identity: str, config: dict[str, Any]) -> bool:
    """Whether the shard, or a longer one, is there, whole and of the set ``identity``; its SHA-256 is computed.

    Args:
        config: what ``identity`` is a hash of, to say what differs.

    Raises:
        DataError: it is of another set, or its manifest cannot be used.
    """
    if not shard.manifest.exists():
        return False
    manifest = read_manifest(shard.manifest)
    if manifest["identity"] != identity:
        stored = manifest.get("config")
        differing = [key for key in config if type(stored) is dict and stored.get(key) != config[key]]
        problem = f"holds scenes of another set ({', '.join(differing) or 'categories'} differ)"
        raise DataError(f"{problem}; choose another folder or remove it", file=shard.manifest, field="identity")
    if manifest["first"] != shard.first or manifest["count"] < shard.count or not shard.tar.is_file():
        return False
    return safe_io.sha256(shard.tar) == manifest["sha256"]


def read_manifest(path: Path) -> dict[str, Any]:
    """A shard's manifest; a ``DataError`` where it cannot be read, or is none."""
    manifest = safe_io.read_json(path, limit=MAX_MANIFEST_BYTES)
    if type(manifest) is not dict or manifest.get("format") != FORMAT:
        raise DataError(f"expected the manifest of a shard ({FORMAT!r}), got something else", file=path)
    for key, kind in (("tar", str), ("sha256", str), ("identity", str), ("first", int), ("count", int)):
        if type(manifest.get(key)) is not kind:
            raise DataError(f"expected {kind.__name__}, got {type(manifest.get(key)).__name__}", file=path, field=key)
    names = manifest.get("categories")
    if type(names) is not list or not all(isinstance(name, str) for name in names):
        raise DataError("expected a list of names", file=path, field="categories")
    return manifest


def manifests(folder: Path) -> list[Path]:
    """The manifests of the finished shards in ``folder``, in order; a ``DataError`` where there is none."""
    found = sorted(folder.glob("scenes-*.json"))
    if not found:
        raise DataError("expected shards of scenes, found none; make them with `shape3d-amodal scenes`", file=folder)
    return found


def fingerprint(folder: Path) -> str:
    """A SHA-256 over ``manifests(folder)``: it changes when a shard is added, removed or made again."""
    digests = [safe_io.sha256(path) for path in manifests(folder)]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _member(name: str, content: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    return info.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % archives.BLOCK)


def _write(file: BinaryIO, digest: Any, data: bytes) -> int:
    digest.update(data)
    return file.write(data)
