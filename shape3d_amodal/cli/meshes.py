"""``shape3d-amodal meshes``: list the meshes of a source that can be used."""

from __future__ import annotations

from pathlib import Path

from shape3d_amodal.cli.shared.inputs import mesh_list
from shape3d_amodal.cli.shared.options import check_positive
from shape3d_amodal.errors import DataError, UsageError, counted


def meshes(*, meshes: str, out: Path = Path("meshes.json"), workers: int = 1, strict: bool = False) -> None:
    """Read every mesh of a source once, and list what can be used and why the rest cannot.

    The list is a mesh source itself: pass it as `--meshes meshes.json` to use only the valid meshes. It also has notes
    about what of the files was left out. Exit status 3 where no mesh can be used.

    Args:
        meshes: mesh source: shapenet:FOLDER, shapenet13:FOLDER:train, any FOLDER of meshes by category, open13 (all of
            them) or open13:train.
        out: file for the list.
        workers: number of processes that read.
        strict: exit with status 3 if a mesh cannot be used or a link was passed over; the list is written in any case.
    """
    import os
    import sys

    from shape3d_amodal.files.atomic import make_folder, write_json_atomic
    from shape3d_amodal.files.outputs import output_file
    from shape3d_amodal.meshes.check import check_meshes
    from shape3d_amodal.meshes.other_formats import is_unread

    check_positive(workers=workers)
    if os.path.realpath(out).rpartition(".")[2] != "json":  # the list of a link goes where that leads
        raise UsageError(f"--out: expected a name that ends with .json, got {out.name!r}")
    output_file(out, inputs=mesh_list(meshes))
    make_folder(out.parent)

    def progress(done: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{counted(done, 'mesh', 'meshes')} read", end="", file=sys.stderr, flush=True)

    manifest = check_meshes(meshes, workers=workers, progress=progress)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    write_json_atomic(out, manifest)
    skipped, unusable, notes = manifest["skipped"], manifest["unusable"], manifest["notes"]
    name = min(unusable or skipped, default="")
    if not manifest["usable"]:
        every = counted(len(unusable), "mesh", "meshes")
        raise DataError(f"none of {every} can be used, such as {name} ({skipped[name]}); see {out}", file=meshes)
    usable = counted(manifest["usable"], "mesh", "meshes")
    categories = counted(len(manifest["categories"]), "category", "categories")
    left_out = f"{len(unusable)} cannot be used"
    if unread := sum(map(is_unread, skipped.values())):
        left_out += f"; {counted(unread, 'mesh', 'meshes')} of other formats not read"
    if others := len(skipped) - len(unusable) - unread:
        left_out += f"; {counted(others, 'link or other entry', 'links or other entries')} passed over"
    noted = f"; {len(notes)} read with notes" if notes else ""
    print(f"{usable} in {categories}; {left_out}{noted}: {out}")
    if strict and skipped:
        raise DataError(f"{skipped[name]} ({left_out}; see {out})", file=name)
