"""What a command reads besides the files that its options name, so that it is not written over: meshes, weights, and
what configurations name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any


def mesh_list(meshes: str | None) -> list[Path]:
    """The list of meshes that a mesh source names by its file, if it is one; None is no source."""
    return [Path(meshes)] if meshes is not None and meshes.endswith(".json") else []


def refuse_within_meshes(output: Path, meshes: str | None, *, option: str = "--out") -> None:
    """Refuse an output inside the folder of a mesh source, where meshes of any names lie; None is none.

    Raises:
        UsageError: naming both.
        DataError: a list of meshes cannot be read.
    """
    from shape3d_amodal.files.outputs import refuse_within
    from shape3d_amodal.meshes.sources import source_paths

    for place in [] if meshes is None else source_paths(meshes):
        refuse_within(output, place, option=option)


def refuse_mesh(output: Path, meshes: str | None) -> None:
    """Refuse to write over a mesh of a source; other files may lie beside its meshes.

    Raises:
        UsageError, DataError: as by ``refuse_within_meshes``.
    """
    from shape3d_amodal.meshes.sources import MESH_SUFFIXES

    if output.resolve().suffix.lower() in MESH_SUFFIXES and output.exists():
        refuse_within_meshes(output, meshes)


def weights_files(weights: str | Path | None) -> list[Path]:
    """The files of a folder of weights; None, and the name of shipped weights, have none that could be written over."""
    return [] if weights is None else sorted(Path(weights).glob("*"))


def refuse_configured(
    folder: Path,
    *,
    writes: Iterable[str],
    files: Iterable[Path | None],
    configs: Iterable[Any] = (),
    option: str = "--out",
) -> None:
    """Refuse to write over configurations or what they name, or among their meshes.

    Args:
        folder: where is written.
        writes: what is written there: names of files and of folders.
        files: files of configurations, each of which may have a base; None stands for one that is not given.
        configs: the configurations themselves, as ``load_config`` returns them.

    Raises:
        UsageError: naming the input.
        DataError: a list of meshes cannot be read.
    """
    from shape3d_amodal.config import config_files, texts_of
    from shape3d_amodal.files.assets import find_config
    from shape3d_amodal.files.outputs import refuse_inputs

    texts = list(chain.from_iterable(texts_of(config) for config in configs))
    own = chain.from_iterable(config_files(find_config(file)) for file in files if file is not None)
    refuse_inputs([folder / name for name in writes], chain(own, _named(text for _, text in texts)), option=option)
    for meshes in dict.fromkeys(text for name, text in texts if name == "meshes"):
        refuse_within_meshes(folder, meshes, option=option)


def _named(texts: Iterable[str]) -> Iterator[Path]:
    """The files and folders among ``texts``, and what lies in those folders."""
    for name in filter(os.path.exists, dict.fromkeys(texts)):
        yield Path(name)
        yield from Path(name).glob("*")
