"""What a completion method is: image and visible masks in, amodal masks out.

A method is any object with ``name``, ``parameters`` and ``complete``. Whoever runs one shows it only what the protocol
allows (``ground_truth.shown``), so a method cannot score by looking at the ground truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.structures import AmodalImage


@runtime_checkable
class CompletionMethod(Protocol):
    """A method of the completion track."""

    name: str
    """Name in tables."""
    parameters: int
    """Numbers that were learned; 0 where nothing is."""

    def complete(self, image: NDArray[np.uint8], record: AmodalImage, /) -> Sequence[AmodalResult]:
        """One result for each instance of ``record``, in its order (``results.completion_result`` makes them).

        Args:
            image: [H,W,3] uint8, RGB.
            record: its instances with category, visible mask and, where known, depth order; no ground truth.
        """


@runtime_checkable
class ReconstructsMeshes(Protocol):
    """A method that can leave the meshes that it reconstructs."""

    meshes: Path | None
    """Folder that they are written to, for results to name them relative to its parent; None writes none."""


@runtime_checkable
class FindsObjects(Protocol):
    """A method of the instance track: it finds objects in an image by itself."""

    name: str
    parameters: int

    def find(self, image: NDArray[np.uint8], record: AmodalImage, /) -> Sequence[AmodalResult]:
        """Whatever it finds in ``image`` [H,W,3] uint8, RGB, with scores; ``record``, its id and size, is without
        instances."""
