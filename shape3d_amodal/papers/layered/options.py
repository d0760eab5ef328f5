"""Layered embeddings as a method of a benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from shape3d_amodal.benchmarking.methods import TrainedOptions
from shape3d_amodal.config import configuration
from shape3d_amodal.methods.ground_truth import Given
from shape3d_amodal.methods.interface import FindsObjects


@configuration
class LayeredOptions(TrainedOptions):
    """Layered embeddings."""

    takes: ClassVar[tuple[Given, ...]] = ("image",)

    def build(self, names: Mapping[int, str], device: str) -> FindsObjects:
        from shape3d_amodal.papers.layered.method import LayeredEmbeddings

        return LayeredEmbeddings.from_pretrained(self.weights, names, device=device)
