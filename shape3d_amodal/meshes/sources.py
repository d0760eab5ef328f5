"""Mesh sources for scenes, renders and the shape bank. ``mesh_source`` opens each kind by its name."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from shape3d_amodal.errors import DataError, UsageError, check_path, meant
from shape3d_amodal.files import safe_io
from shape3d_amodal.files.assets import ASSETS
from shape3d_amodal.meshes import shapenet
from shape3d_amodal.meshes.folders import list_folder
from shape3d_amodal.meshes.mesh import OBJECT_FRAME, FileMeshes, Frame, MeshFile
from shape3d_amodal.meshes.other_formats import is_unread, told_unread, why_not_read

SYNSETS = {
    "airplane": "02691156",
    "bench": "02828884",
    "dresser": "02933112",
    "car": "02958343",
    "chair": "03001627",
    "display": "03211117",
    "lamp": "03636649",
    "speaker": "03691459",
    "rifle": "04090263",
    "sofa": "04256520",
    "table": "04379243",
    "phone": "04401088",
    "vessel": "04530566",
}
"""The 13 ShapeNet categories, in the order of the published tables, and their synsets."""
CATEGORIES = tuple(SYNSETS)
_SYNSET_NAMES = {synset: name for name, synset in SYNSETS.items()}

_SHAPENET = ("shapenet", "shapenet13")
MESH_SUFFIXES = (".obj", ".ply", ".off", ".glb", ".npz")
OPEN13 = ASSETS / "open13"


def open13(split: str, folder: Path = OPEN13, *, strict: bool = False, spec: str = "") -> FileMeshes:
    """The meshes of Open13's ``split``: train, val, test, or several joined by ``+``.

    Raises:
        DataError: the folder has no index.
    """
    index = folder / "index.tsv"
    if not index.is_file():
        problem = "no such file; the meshes come with the package: install it again, or clone the repository"
        raise DataError(problem, file=index)
    wanted = _splits(split, index)
    with index.open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines, delimiter="\t") if row["split"] in wanted]
    entries = {
        f"{row['category']}/{row['name']}": MeshFile(row["category"], folder / row["path"], cluster=row.get("cluster"))
        for row in rows
    }
    return FileMeshes(entries, spec=spec or f"open13:{split}", strict=strict)


def mesh_folder(folder: Path, *, frame: Frame = OBJECT_FRAME, strict: bool = False, spec: str = "") -> FileMeshes:
    """Any folder of meshes, ``<category>/.../<file>``; the category of files directly in it is the folder's own name.

    A folder named by one of ``SYNSETS`` (ShapeNet) stands for the synset's category. Links are followed; what lies in
    the folder and cannot be read, such as a link that leads nowhere or a mesh of another format, is in ``skipped``.

    Raises:
        DataError: the folder is missing or holds no mesh.
    """
    if not folder.is_dir():
        hint = meant(spec or str(folder), ("open13", *(f"open13:{split}" for split in shapenet.SPLITS)))
        raise DataError(f"expected a folder of meshes, there is none{hint}", file=folder)
    try:
        listing = list_folder(folder, MESH_SUFFIXES, why_not_read)
    except OSError as error:
        raise DataError(f"cannot read the folder ({error.strerror}); check its rights", file=folder) from error
    entries: dict[str, MeshFile] = {}
    for name, path in listing.files.items():
        first, slash, _ = name.partition("/")
        category = first if slash else folder.resolve().name
        entries[name] = MeshFile(_SYNSET_NAMES.get(category, category), path, frame)
    if not entries:
        problem = f"expected mesh files ({', '.join(MESH_SUFFIXES)}), found none{_and_passed_over(listing.skipped)}"
        raise DataError(problem, file=folder)
    return FileMeshes(entries, spec=spec or str(folder), strict=strict, skipped=listing.skipped)


def _and_passed_over(skipped: dict[str, str]) -> str:
    """For a message: the meshes that are not read, how many other places were passed over, and why the first was."""
    unread = told_unread(skipped)
    if not (others := {name: why for name, why in skipped.items() if not is_unread(why)}):
        return unread
    name, why = next(iter(others.items()))
    return f"{unread}; {len(others)} passed over, such as {name[:200]}: {why}"


def shapenet_core(
    root: Path, split: str | None = None, *, only_13: bool = False, strict: bool = False, spec: str = ""
) -> FileMeshes:
    """ShapeNetCore of either version (see ``meshes.shapenet``), turned from its own frame into the object frame.

    Args:
        root: its folder.
        split: train, val, test or several joined by ``+``, as in the official all.csv; None for all models on disk.
        only_13: leave out models of other categories than ``CATEGORIES``.

    Raises:
        DataError: the folder, its taxonomy or its split cannot be used, or nothing is left.
    """
    wanted = None if split is None else _splits(split, root / "all.csv")
    entries, skipped = shapenet.find_models(root, _SYNSET_NAMES, splits=wanted, only_known=only_13)
    if not entries:
        raise DataError(f"expected models of the split {split or 'all'}, found none", file=root)
    return FileMeshes(entries, spec=spec or f"shapenet:{root}", strict=strict, skipped=skipped)


def mesh_source(spec: str | Path, *, strict: bool = False) -> FileMeshes:
    """The source that ``spec`` names.

    - ``open13:train`` (val, test, train+val): the meshes that come with the package; ``open13`` all of them;
    - ``shapenet:FOLDER`` or ``shapenet:FOLDER:train``: ShapeNetCore v1 or v2, all or one official split;
      ``shapenet13:...`` its 13 published categories alone;
    - ``FILE.json``: a source that ``shape3d-amodal meshes`` has checked, without the meshes that cannot be used;
    - ``FOLDER``: any folder of meshes by category, y up and front +z; ``FOLDER?up=+z&front=-y`` for other axes. A
      folder in the layout of ShapeNetCore is opened as ShapeNet.

    Raises:
        DataError, UsageError: there is no such source.
    """
    if not spec:
        raise UsageError("meshes: expected a source, such as open13:train or a folder of meshes, got none")
    check_path("meshes", spec)
    spec = str(spec)
    kind, _, rest = spec.partition(":")
    if spec == "open13":
        return open13("+".join(shapenet.SPLITS), strict=strict, spec=spec)
    if kind == "open13":
        return open13(rest, strict=strict)
    if kind in _SHAPENET:
        root, split = _shapenet_root(rest)
        return shapenet_core(root, split, only_13=kind == "shapenet13", strict=strict, spec=spec)
    if spec.endswith(".json"):
        return _checked_source(Path(spec), strict=strict)
    name, _, options = spec.partition("?")
    if not options and Path(name).is_dir() and shapenet.is_shapenet(Path(name)):
        return shapenet_core(Path(name), strict=strict, spec=f"shapenet:{name}")
    return mesh_folder(Path(name), frame=_frame(options), strict=strict, spec=spec)


def source_paths(spec: str) -> list[Path]:
    """The folder of meshes that ``spec`` names, and the list that names it, if there is one; whether there or not.

    Meshes that come with the package have none.

    Raises:
        DataError: a list cannot be read.
    """
    kind, _, rest = spec.partition(":")
    if kind == "open13":
        return []
    if kind in _SHAPENET:
        return [_shapenet_root(rest)[0]]
    if spec.endswith(".json"):
        return [Path(spec), *source_paths(_checked_manifest(Path(spec))["source"])]
    return [Path(spec.partition("?")[0])]


def _shapenet_root(rest: str) -> tuple[Path, str | None]:
    """The folder and the split of ``FOLDER`` or ``FOLDER:SPLIT``."""
    folder, _, last = rest.rpartition(":")
    if folder and set(last.split("+")) <= set(shapenet.SPLITS):
        return Path(folder), last
    return Path(rest), None


def _checked_source(path: Path, *, strict: bool) -> FileMeshes:
    """The source listed in a manifest that ``meshes.check`` wrote."""
    manifest = _checked_manifest(path)
    spec = manifest["source"]
    source = mesh_source(spec, strict=strict)
    if source.listing_sha256() != manifest.get("listing_sha256"):
        raise DataError(f"{spec} has changed since it was checked; run `shape3d-amodal meshes` again", file=path)
    return source.without({str(name): str(why) for name, why in manifest["skipped"].items()})


def _checked_manifest(path: Path) -> dict[str, Any]:
    """What the list ``path`` says."""
    manifest = safe_io.read_json(path, limit=256 * 1024**2)
    spec, skipped = (manifest.get(key) if type(manifest) is dict else None for key in ("source", "skipped"))
    if not isinstance(spec, str) or spec.endswith(".json") or type(skipped) is not dict:
        raise DataError("expected what `shape3d-amodal meshes` writes, got other JSON", file=path)
    return manifest


def _frame(options: str) -> Frame:
    values = dict(parse_qsl(options.replace("+", "%2B"), keep_blank_values=True))
    if unknown := set(values) - {"up", "front"}:
        raise UsageError(f"meshes: unknown option {min(unknown)!r}; expected FOLDER?up=+z&front=-y")
    return Frame(**{name: axis if axis[:1] in ("+", "-") else f"+{axis}" for name, axis in values.items()})


def _splits(split: str, file: Path) -> set[str]:
    wanted = set(split.split("+"))
    if not wanted <= set(shapenet.SPLITS):
        raise DataError(f"expected train, val, test or a sum of them, got {split!r}", file=file, field="split")
    return wanted
