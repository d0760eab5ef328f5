"""``shape3d-amodal meshes``: list the meshes of a source that can be used."""

from __future__ import annotations

from pathlib import Path

from shape3d_amodal.cli.shared.options import check_positive
from shape3d_amodal.errors import DataError, UsageError


def meshes(*, meshes: str, out: Path = Path("meshes.json"), workers: int = 1, strict: bool = False) -> None:
    """Read every mesh of a source once, and list what can be used and why the rest cannot.

    The list is a mesh source itself: pass it as `--meshes meshes.json` to use only the valid meshes. It also has notes
    about what of the files was left out. Exit status 3 where no mesh can be used.

    Args:
        meshes: mesh source: shapenet:FOLDER, shapenet13:FOLDER:train, any FOLDER of meshes by category, open13 (all of
            them) or open13:train.
        out: file for the list.
        workers: number of processes that read.
        strict: exit with status 3 if a mesh cannot be used; the list is written in any case.
    """
    import sys

    from shape3d_amodal.files.atomic import make_folder, write_json_atomic
    from shape3d_amodal.meshes.check import check_meshes

    check_positive(workers=workers)
    if out.suffix != ".json":
        raise UsageError(f"--out: expected a name that ends with .json, got {out.name!r}")
    make_folder(out.parent)

    def progress(done: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done} meshes read", end="", file=sys.stderr, flush=True)

    manifest = check_meshes(meshes, workers=workers, progress=progress)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    write_json_atomic(out, manifest)
    skipped, notes = manifest["skipped"], manifest["notes"]
    name = min(skipped, default="")
    if not manifest["usable"]:
        problem = f"none of {len(skipped)} meshes can be used, such as {name} ({skipped[name]}); see {out}"
        raise DataError(problem, file=meshes)
    usable = f"{manifest['usable']} meshes in {len(manifest['categories'])} categories"
    noted = f"; {len(notes)} read with notes" if notes else ""
    print(f"{usable}; {len(skipped)} cannot be used{noted}: {out}")
    if strict and skipped:
        raise DataError(f"{skipped[name]} ({len(skipped)} meshes cannot be used, see {out})", file=name)
