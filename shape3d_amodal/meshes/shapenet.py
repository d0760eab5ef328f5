"""ShapeNetCore as it is published: folders of models by synset, taxonomy.json and the official split in all.csv.

    <root>/<synset>/<model>/model.obj                     version 1
    <root>/<synset>/<model>/models/model_normalized.obj   version 2
    <root>/taxonomy.json    [{"synsetId", "name": "airplane,aeroplane,plane", "children", "numInstances"}]
    <root>/all.csv          id,synsetId,subSynsetId,modelId,split

Chang et al., ShapeNet: An Information-Rich 3D Model Repository, arXiv 1512.03012.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from shape3d_amodal.errors import DataError, counted
from shape3d_amodal.files import safe_io
from shape3d_amodal.meshes.folders import list_folder, why_unusable
from shape3d_amodal.meshes.mesh import SHAPENET_V1, SHAPENET_V2, Frame, MeshFile
from shape3d_amodal.meshes.other_formats import is_unread, why_not_read
from shape3d_amodal.meshes.parsers import PARSERS

SPLITS = ("train", "val", "test")
_LAYOUTS = (("models/model_normalized.obj", SHAPENET_V2), ("model.obj", SHAPENET_V1))
_SYNSET = re.compile(r"\d{8}")
_MAX_BYTES = 64 * 1024**2
"""Longest taxonomy.json or all.csv that is read."""


def is_shapenet(root: Path) -> bool:
    """Whether the folder looks like ShapeNetCore: folders named by synsets, with models in the layout of a version."""
    places = (place for folder in _synset_folders(root) for place in _within(folder)[0])
    return any(_mesh_of(place) is not None for place in places)


def find_models(
    root: Path, known: Mapping[str, str], *, splits: Collection[str] | None, only_known: bool
) -> tuple[dict[str, MeshFile], dict[str, str]]:
    """The models below ``root`` by their names, ``<synset>/<model>``, and the reasons why some cannot be used.

    Args:
        known: category names of synsets; others are named by taxonomy.json, or else by their number.
        splits: train, val or test, by the official all.csv; None for all models on disk.
        only_known: leave out synsets that are not in ``known``.

    Raises:
        DataError: the folder, its taxonomy or its split cannot be used, or no folder has a synset that is wanted.
    """
    names = {**_synset_names(root), **known}
    split_of = {} if splits is None else _official_split(root)
    wanted = [path for path in _synset_folders(root) if not only_known or path.name in known]
    beside = _beside_synsets(root, whole=splits is None and not only_known)
    skipped = {name: why for name, why in beside.items() if not only_known or name in known}
    if not wanted:
        left_out = f" ({min(skipped)}: {skipped[min(skipped)]})" if skipped else ""
        problem = f"expected folders named by synsets, such as 02691156; there are none{left_out}"
        raise DataError(problem, file=root)
    found: dict[str, MeshFile] = {}
    for folder in wanted:
        places, why = _within(folder)
        if why is not None:
            skipped[folder.name] = why
        for place in places:
            key, name, mesh = (folder.name, place.name), f"{folder.name}/{place.name}", _mesh_of(place)
            reason = None if mesh else _why_none(place)
            if splits is not None and key in split_of and split_of[key] not in splits:
                continue
            if splits is not None and key not in split_of and (mesh or reason):
                skipped[name] = "all.csv gives it no split"
            elif mesh is not None:
                found[name] = MeshFile(names.get(folder.name, folder.name), *mesh)
            elif reason is not None:
                skipped[name] = reason
    return found, skipped


def _beside_synsets(root: Path, *, whole: bool) -> dict[str, str]:
    """What in ``root`` may hold meshes and is no folder of a synset, with the reason why it is not read.

    Args:
        whole: also what has not the name of a synset.
    """
    skipped = {}
    for path in _within(root)[0]:
        if not whole and not _SYNSET.fullmatch(path.name):
            continue
        why = None
        if not path.is_dir():
            why = why_unusable(path) or _beside(path)
        elif not _SYNSET.fullmatch(path.name) and os.access(path, os.R_OK | os.X_OK):
            listing = list_folder(path, PARSERS, why_not_read)
            count = len(listing.files) + sum(map(is_unread, listing.skipped.values()))
            why = (
                f"its name is no synset; {counted(count, 'mesh file', 'mesh files')} in it left out" if count else None
            )
        if why:
            skipped[path.name] = why
    return skipped


def _why_none(place: Path) -> str | None:
    """Why there is no mesh in ``place``, a model's folder; None for a file that has nothing to do with meshes."""
    if not place.is_dir():
        return why_unusable(place) or _beside(place)
    for name in ("models", *(name for name, _ in _LAYOUTS)):
        try:
            (place / name).lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            return f"cannot read its folder ({error.strerror})"
        if why := why_unusable(place / name):
            return f"{name}: {why}"
    return "its folder has neither models/model_normalized.obj nor model.obj"


def _beside(file: Path) -> str | None:
    return "not in a folder <synset>/<model>" if file.suffix.lower() in PARSERS else why_not_read(file.name)


def _within(folder: Path) -> tuple[list[Path], str | None]:
    """What lies in ``folder``, sorted, or why that cannot be read."""
    try:
        return sorted(folder.iterdir()), None
    except OSError as error:
        return [], f"cannot read the folder ({error.strerror})"


def _synset_names(root: Path) -> dict[str, str]:
    """The first lemma of each synset, such as ``airplane``, from taxonomy.json; nothing where there is no such file."""
    path = root / "taxonomy.json"
    if not path.exists() and not path.is_symlink():  # a link that leads nowhere is refused below
        return {}
    entries = safe_io.read_json(path, limit=_MAX_BYTES)
    if type(entries) is not list:
        raise DataError("expected a list of synsets, got something else; get it anew", file=path)
    names = {}
    for i, entry in enumerate(entries):
        synset, name = (entry.get(key) if type(entry) is dict else None for key in ("synsetId", "name"))
        if not isinstance(synset, str) or not isinstance(name, str) or not name.strip():
            raise DataError("expected text synsetId and name; get it anew", file=path, field=f"[{i}]")
        names[synset] = name.partition(",")[0].strip()
    return names


def _official_split(root: Path) -> dict[tuple[str, str], str]:
    """(synset, model) -> train, val or test, from all.csv, whose synsets may have lost their leading zeros."""
    path = root / "all.csv"
    data = safe_io.read_bytes(path, _MAX_BYTES)
    try:
        rows = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        if missing := {"synsetId", "modelId", "split"} - set(rows.fieldnames or ()):
            raise DataError(f"expected columns {', '.join(sorted(missing))}; get it anew", file=path, field="line 1")
        found: dict[tuple[str, str], str] = {}
        for row in rows:
            key, split = ((row["synsetId"] or "").zfill(8), row["modelId"] or ""), row["split"]
            if split not in SPLITS or found.get(key, split) != split:
                problem = f"expected one split of {', '.join(SPLITS)} a model, got {str(split)[:20]!r}; get it anew"
                raise DataError(problem, file=path, field=f"line {rows.line_num}")
            found[key] = split
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"damaged table ({safe_io.reason(error)}); get it anew", file=path) from error
    return found


def _synset_folders(root: Path) -> list[Path]:
    if not root.is_dir():
        problem = "expected ShapeNetCore's folder (shapenet:FOLDER, or shapenet:FOLDER:SPLIT with train, val or test)"
        raise DataError(f"{problem}, there is none", file=root)
    return [path for path in _within(root)[0] if _SYNSET.fullmatch(path.name) and path.is_dir()]


def _mesh_of(folder: Path) -> tuple[Path, Frame] | None:
    found = ((folder / name, frame) for name, frame in _LAYOUTS if os.path.isfile(folder / name))  # noqa: PTH113
    return next(found, None)
