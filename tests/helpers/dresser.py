"""An image of 64 pixels with the visible part of a dresser, above a bar that may hide the rest of it."""

from __future__ import annotations

import numpy as np

from shape3d_amodal import masks
from shape3d_amodal.structures import AmodalImage, AmodalInstance

VISIBLE, BAR = np.zeros((64, 64), bool), np.zeros((64, 64), bool)
VISIBLE[10:34, 20:44] = True
BAR[34:60, 10:60] = True
RECORD = AmodalImage(
    id=3,
    file_name="a.png",
    width=64,
    height=64,
    instances=(
        AmodalInstance(id=1, category_id=1, visible=masks.encode(VISIBLE)),
        AmodalInstance(id=2, category_id=2, visible=masks.encode(BAR)),
    ),
)
PICTURE = np.zeros((64, 64, 3), np.uint8)
