"""The lower bound of the completion track: the amodal mask is the visible mask."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal import masks
from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.methods.results import completion_result
from shape3d_amodal.structures import AmodalImage


class VisibleOnly:
    """Completes nothing. Its occluded IoU is 0 by definition."""

    name = "visible only"
    parameters = 0

    def complete(self, _image: NDArray[np.uint8], record: AmodalImage, /) -> list[AmodalResult]:
        """See ``interface.CompletionMethod``; the image is not used."""
        return [completion_result(record, instance, masks.decode(instance.visible)) for instance in record.instances]
