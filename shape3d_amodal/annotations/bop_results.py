"""Pose results in the file that the BOP challenge takes: one line for each estimated pose.

scene_id,im_id,obj_id,score,R,t,time
2,8,1,0.9,0.8 0.6 0.0 -0.6 0.8 0.0 0.0 0.0 1.0,-24.9 -15.6 1097.2,-1
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from shape3d_amodal.annotations.formats.bop_scenes import PICTURE_FOLDERS
from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.errors import DataError
from shape3d_amodal.files.atomic import write_text_atomic
from shape3d_amodal.structures import AmodalDataset

HEAD = "scene_id,im_id,obj_id,score,R,t,time"

_FILE_NAME = re.compile(rf"([0-9]+)/(?:{'|'.join(PICTURE_FOLDERS)})/([0-9]+)[.][a-z]+")


def write_bop_csv(path: str | Path, dataset: AmodalDataset, results: Iterable[AmodalResult]) -> int:
    """Write the poses of ``results`` to ``path`` atomically; returns their number.

    Scene and picture are those of the images' file names, such as 000002/rgb/000008.png; the number of an object is its
    category id. Results without a pose are left out. The time, which is that of a whole picture, is -1: not known.

    Args:
        dataset: the images that the results are of.

    Raises:
        DataError: no result has a pose, an image is unknown or has no file name of BOP, or ``path`` cannot be written.
    """
    names = {image.id: image.file_name for image in dataset.images}
    lines = [HEAD]
    for result in results:
        if result.pose is None:
            continue
        if result.image_id not in names:
            problem = f"image id {result.image_id} is not in the annotations; give those that the results were made for"
            raise DataError(problem, file=path)
        numbers = (" ".join(map(repr, map(float, one))) for one in (result.pose.rotation, result.pose.translation))
        place = _place(names[result.image_id], result.image_id)
        lines.append(",".join([*place, str(result.category_id), repr(float(result.score)), *numbers, "-1"]))
    if len(lines) == 1:
        raise DataError("expected results with poses (cam_R_m2c and cam_t_m2c), none has one", file=path)
    write_text_atomic(path, "\n".join(lines) + "\n")
    return len(lines) - 1


def _place(file_name: str, image_id: int) -> tuple[str, str]:
    """The numbers of scene and picture in a file name."""
    match = _FILE_NAME.fullmatch(file_name)
    if match is None:
        problem = f"expected a file name of BOP, such as 000002/rgb/000008.png, got {file_name[:80]!r}"
        raise DataError(f"{problem}; make the annotations by data convert --from bop", field=f"images[id={image_id}]")
    return match[1].lstrip("0") or "0", match[2].lstrip("0") or "0"
