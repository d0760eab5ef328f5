"""A BOP data set of one picture that is counted by hand: a cube of which a plate in front hides the left half.

The camera looks along z at 40 x 30 pixels, its focal length is 100 pixels, and its principal point is the middle of the
picture: (19.5, 14.5) in BOP, whose pixel centres lie at whole numbers.

- The cube, object 1, has its front side at z = 11 mm, from -1 to 1 mm: 9.09 pixels to all sides of the middle. Centres
  of pixels lie at halves from there, so it covers 9 to each side: columns 11 to 28, rows 6 to 23, 324 pixels. With
  centres taken at halves of BOP's frame it would be 19 columns.
- The plate, object 2, has its front side at z = 5 mm, from -2 to 0 mm: columns 0 to 19, all 30 rows.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from boxes import _CORNERS, _FACES
from PIL import Image

IDENTITY = [1, 0, 0, 0, 1, 0, 0, 0, 1]
HEIGHT, WIDTH = 30, 40
CUBE, PLATE, CUBE_VISIBLE = (np.zeros((HEIGHT, WIDTH), bool) for _ in range(3))
CUBE[6:24, 11:29] = True
PLATE[:, :20] = True
CUBE_VISIBLE[6:24, 20:29] = True

OBJECTS = [
    {"obj_id": 1, "cam_R_m2c": IDENTITY, "cam_t_m2c": [0, 0, 12]},
    {"obj_id": 2, "cam_R_m2c": IDENTITY, "cam_t_m2c": [-1, 0, 6]},
]
INFO = [
    {"px_count_all": 324, "px_count_visib": 162, "bbox_obj": [11, 6, 17, 17]},
    {"px_count_all": 1521, "px_count_visib": 600, "bbox_obj": [-20, -5, 39, 39]},
]
MODELS_INFO = {
    "1": {"diameter": 12**0.5, "symmetries_discrete": [[-1, 0, 0, 0, 0, -1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]]},
    "2": {"diameter": 12**0.5},
}


def write_bop(root: Path, *, scene: int = 2, picture: int = 8) -> Path:
    """Write the set into ``root``; returns the split, ``root/test``, with the picture 8 of scene 2 by default."""
    (root / "models_eval").mkdir(parents=True)
    for number in (1, 2):
        write_ply(root / "models_eval" / f"obj_{number:06d}.ply")
    write(root / "models_eval" / "models_info.json", MODELS_INFO)
    write(root / "camera.json", {"width": WIDTH, "height": HEIGHT})
    folder = root / "test" / f"{scene:06d}"
    (folder / "rgb").mkdir(parents=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "rgb" / f"{picture:06d}.png")
    write(folder / "scene_gt.json", {str(picture): OBJECTS})
    write(folder / "scene_gt_info.json", {str(picture): INFO})
    camera = {"cam_K": [100, 0, 19.5, 0, 100, 14.5, 0, 0, 1], "depth_scale": 1.0}
    write(folder / "scene_camera.json", {str(picture): camera})
    return root / "test"


def write_ply(path: Path) -> None:
    """A cube from -1 to 1."""
    lines = ["ply", "format ascii 1.0", "element vertex 8", *(f"property float {axis}" for axis in "xyz")]
    lines += ["element face 12", "property list uchar int vertex_indices", "end_header"]
    lines += [" ".join(map(str, corner)) for corner in (2 * _CORNERS - 1).tolist()]
    lines += [f"3 {a} {b} {c}" for a, b, c in _FACES.tolist()]
    path.write_text("\n".join(lines) + "\n")


def write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))


def write_mask(split: Path, kind: str, index: int, mask: np.ndarray, *, place: str = "000002/{}/000008") -> None:
    """The mask file of the object ``index`` of the picture; ``kind`` is mask or mask_visib."""
    path = split / f"{place.format(kind)}_{index:06d}.png"
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)


def edit(path: Path, change: Any) -> None:
    """Let ``change`` work on the content of a JSON file."""
    content = json.loads(path.read_text())
    change(content)
    write(path, content)
