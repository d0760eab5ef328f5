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
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from shape3d_amodal.errors import DataError
from shape3d_amodal.files import safe_io
from shape3d_amodal.meshes.mesh import SHAPENET_V1, SHAPENET_V2, Frame, MeshFile

SPLITS = ("train", "val", "test")
_LAYOUTS = (("models/model_normalized.obj", SHAPENET_V2), ("model.obj", SHAPENET_V1))
_MAX_BYTES = 64 * 1024**2
"""Longest taxonomy.json or all.csv that is read."""


def is_shapenet(root: Path) -> bool:
    """Whether the folder looks like ShapeNetCore: folders named by synsets, with models in the layout of a version."""
    return any(_mesh_of(place) is not None for folder in _synset_folders(root) for place in folder.iterdir())


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
    folders = [folder for folder in _synset_folders(root) if not only_known or folder.name in known]
    if not folders:
        raise DataError("expected folders named by synsets, such as 02691156; there are none", file=root)
    found: dict[str, MeshFile] = {}
    skipped: dict[str, str] = {}
    for place in (path for folder in folders for path in sorted(folder.iterdir()) if path.is_dir()):
        synset = place.parent.name
        name, split, mesh = f"{synset}/{place.name}", split_of.get((synset, place.name)), _mesh_of(place)
        if splits is not None and split is None:
            skipped[name] = "all.csv gives it no split"
        elif splits is not None and split not in splits:
            continue
        elif mesh is None:
            skipped[name] = "its folder has neither models/model_normalized.obj nor model.obj"
        else:
            found[name] = MeshFile(names.get(synset, synset), *mesh)
    return found, skipped


def _synset_names(root: Path) -> dict[str, str]:
    """The first lemma of each synset, such as ``airplane``, from taxonomy.json; nothing where there is no such file."""
    path = root / "taxonomy.json"
    if not path.exists():
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
    return sorted(path for path in root.iterdir() if re.fullmatch(r"\d{8}", path.name) and path.is_dir())


def _mesh_of(folder: Path) -> tuple[Path, Frame] | None:
    return next(((folder / name, frame) for name, frame in _LAYOUTS if (folder / name).is_file()), None)
