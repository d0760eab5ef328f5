"""C2F-Seg as a completion method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from shape3d_amodal import masks
from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.baselines.c2f_seg.model import C2FSeg, C2FSegConfig
from shape3d_amodal.baselines.c2f_seg.transformer import seeded
from shape3d_amodal.crops.cutting import instance_crops
from shape3d_amodal.geometry.windows import paste
from shape3d_amodal.masks.occlusion import known_order, occluders, with_something_visible
from shape3d_amodal.methods.networks import NetworkMethod
from shape3d_amodal.methods.results import completion_result
from shape3d_amodal.structures import OCCLUDER, AmodalImage

_BATCH = 32


class C2FSegMethod(NetworkMethod):
    """C2F-Seg as a completion method (``interface.CompletionMethod``).

    Args:
        network: the trained network.
        names: category names by id; instances of category ``occluder`` are not completed.
        background: leave out known background, where the object would be visible.
        seed: random seed, together with the ids of image and annotation.
    """

    name = "C2F-Seg"
    config_class, network_class = C2FSegConfig, C2FSeg

    def __init__(self, network: C2FSeg, names: Mapping[int, str], *, background: bool = True, seed: int = 0) -> None:
        super().__init__(network)
        self._bare = {key for key, name in names.items() if name == OCCLUDER}
        self._background = background
        self._seed = seed

    def complete(self, image: NDArray[np.uint8], record: AmodalImage, /) -> list[AmodalResult]:
        """See ``interface.CompletionMethod``. Instances of which nothing is visible have no result."""
        record = with_something_visible(record)
        instances = record.instances
        visible = [masks.decode(instance.visible) for instance in instances]
        hiding = occluders(visible, known_order(record))
        rows = [i for i, one in enumerate(instances) if one.category_id not in self._bare]
        own, before = [visible[i] for i in rows], [hiding[i] for i in rows]
        crops = instance_crops(image, own, before, [0] * len(rows), self._network.config.codebook.size)
        generators = [seeded(self._seed, record.id, instances[i].id) for i in rows]
        amodal = list(visible)
        for i, probability, window in zip(
            rows, self._predict(crops.rgb, crops.visible, generators), crops.window, strict=True
        ):
            amodal[i] = paste(probability, window, *visible[i].shape).numpy() > 0.5
            if self._background:
                amodal[i] &= hiding[i]
        return [completion_result(record, one, mask) for one, mask in zip(instances, amodal, strict=True)]

    def _predict(self, rgb: torch.Tensor, visible: torch.Tensor, generators: Sequence[torch.Generator]) -> torch.Tensor:
        """Amodal probabilities [N,S,S] of crops."""
        parts = [visible[:0]]
        for start in range(0, len(rgb), _BATCH):
            part = slice(start, start + _BATCH)
            given = rgb[part].to(self._device), visible[part].to(self._device)
            with torch.no_grad():
                parts.append(self._network.complete(*given, generators[part])[1].cpu())
        return torch.cat(parts)
