"""``shape3d-amodal nmr``: renders of any meshes by the protocol of NMR and SoftRas."""

from __future__ import annotations

from pathlib import Path

from shape3d_amodal.cli.shared.inputs import mesh_list, refuse_within_meshes
from shape3d_amodal.cli.shared.options import check_positive
from shape3d_amodal.cli.shared.stopping import keeps
from shape3d_amodal.errors import UsageError, counted


def nmr(*, meshes: str, out: Path, split: str | None = None, workers: int = 1) -> None:
    """Render 24 views of 64 x 64 pixels and 32 x 32 x 32 voxels of every mesh, as NMR's and SoftRas' data set has them.

    Written are <synset>_<split>_images.npz, <synset>_<split>_voxels.npz and, last, <synset>_<split>.json with names.
    What is finished is kept, so that the same command goes on after a crash.

    Args:
        meshes: mesh source, such as open13:test, shapenet13:FOLDER:train or any FOLDER of meshes by category.
        out: folder to write to.
        split: train, val or test, for the names of the files; by default the source's.
        workers: processes that render; the result does not depend on it.
    """
    from shape3d_amodal.files.outputs import output_folder
    from shape3d_amodal.meshes.shapenet import SPLITS

    chosen = split or meshes.rpartition(":")[2]
    if chosen not in SPLITS:
        got = "none, and the source names none" if split is None else repr(split)
        raise UsageError(f"--split: expected one of {', '.join(SPLITS)}, got {got}")
    check_positive(workers=workers)
    refuse_within_meshes(out, meshes)
    output_folder(out, writes=(one.name for one in out.glob(f"*_{chosen}*")), inputs=mesh_list(meshes))

    from shape3d_amodal.papers.nmr.rendering import write_nmr

    def progress(synset: str, objects: int) -> None:
        print(f"{synset}_{chosen}: {counted(objects, 'object')}", flush=True)

    with keeps(f"finished categories are kept in {out}"):
        write_nmr(meshes, out, chosen, workers=workers, progress=progress)
