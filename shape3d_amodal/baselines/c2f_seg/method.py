"""C2F-Seg as a completion method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from shape3d_amodal import masks
from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.baselines.c2f_seg.model import C2FSeg, C2FSegConfig
from shape3d_amodal.baselines.c2f_seg.transformer import seeded
from shape3d_amodal.crops.cutting import instance_crops
from shape3d_amodal.device import torch_device
from shape3d_amodal.files.pretrained import load_network
from shape3d_amodal.geometry.windows import paste
from shape3d_amodal.masks.occlusion import known_order, occluders, with_something_visible
from shape3d_amodal.methods.results import completion_result
from shape3d_amodal.structures import OCCLUDER, AmodalImage

_BATCH = 32


class C2FSegMethod:
    """C2F-Seg beside others (``interface.CompletionMethod``).

    Args:
        network: what was trained, in evaluation mode.
        names: category names by id; instances of category ``occluder`` are not completed.
        background: leave out the pixels where the object would be seen if it were there.
        seed: of the random numbers, together with the ids of image and annotation.
    """

    name = "C2F-Seg"

    def __init__(self, network: C2FSeg, names: Mapping[int, str], *, background: bool = True, seed: int = 0) -> None:
        self.parameters = sum(parameter.numel() for parameter in network.parameters())
        self._network = network
        self._device = next(network.parameters()).device
        self._bare = {key for key, name in names.items() if name == OCCLUDER}
        self._background = background
        self._seed = seed

    @classmethod
    def from_pretrained(
        cls,
        weights: str | Path,
        names: Mapping[int, str],
        *,
        device: str = "cpu",
        background: bool = True,
        seed: int = 0,
    ) -> C2FSegMethod:
        """
        Raises:
            WeightsError: the weights are missing, damaged, or do not fit their own configuration.
            UsageError: they are of something else, or there is no such device.
            MissingBackendError: the device is not on this machine.
        """
        network, _ = load_network(weights, C2FSegConfig, C2FSeg)
        return cls(network.to(torch_device(device)), names, background=background, seed=seed)

    def complete(self, image: NDArray[np.uint8], record: AmodalImage, /) -> list[AmodalResult]:
        """See ``interface.CompletionMethod``. Instances of which nothing is visible have no result."""
        record = with_something_visible(record)
        instances = record.instances
        visible = [masks.decode(instance.visible) for instance in instances]
        hiding = occluders(visible, known_order(record))
        rows = [i for i, one in enumerate(instances) if one.category_id not in self._bare]
        seen, before = [visible[i] for i in rows], [hiding[i] for i in rows]
        crops = instance_crops(image, seen, before, [0] * len(rows), self._network.config.codebook.size)
        generators = [seeded(self._seed, record.id, instances[i].id) for i in rows]
        found = dict(zip(rows, self._predict(crops.rgb, crops.visible, generators), strict=True))
        results = []
        for i, instance in enumerate(instances):
            amodal = visible[i]
            if i in found:
                window = crops.window[rows.index(i)]
                amodal = paste(found[i], window, *amodal.shape).numpy() > 0.5
                if self._background:
                    amodal &= hiding[i]
            results.append(completion_result(record, instance, amodal))
        return results

    def _predict(self, rgb: torch.Tensor, visible: torch.Tensor, generators: Sequence[torch.Generator]) -> torch.Tensor:
        """Amodal probabilities [N,S,S] of crops."""
        parts = [visible[:0]]
        for start in range(0, len(rgb), _BATCH):
            part = slice(start, start + _BATCH)
            given = rgb[part].to(self._device), visible[part].to(self._device)
            with torch.no_grad():
                parts.append(self._network.complete(*given, generators[part])[1].cpu())
        return torch.cat(parts)
