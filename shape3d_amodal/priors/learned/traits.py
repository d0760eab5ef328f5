"""What the learned prior is told of its categories: which of them share a template, and how each may look."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from typing_extensions import Self


@dataclass(frozen=True)
class CategoryTraits:
    """Traits of C categories.

    Attributes:
        group: of each category the number of its template and embeddings, counted from 0.
        symmetric: of each, whether its shapes are mirrored exactly where the prior's are.
        azimuth: of each, the range of the azimuth in radians, about 0 (the front); 2 pi is the full circle.
    """

    group: tuple[int, ...]
    symmetric: tuple[bool, ...]
    azimuth: tuple[float, ...]

    @classmethod
    def of(
        cls,
        categories: Sequence[str],
        parents: Mapping[str, str],
        asymmetric: Sequence[str],
        azimuth_deg: Mapping[str, float],
    ) -> Self:
        """The traits of categories by name; those without a parent class are a class of their own."""
        classes = [parents.get(name, name) for name in categories]
        numbers = {name: number for number, name in enumerate(dict.fromkeys(classes))}
        return cls(
            group=tuple(numbers[name] for name in classes),
            symmetric=tuple(name not in asymmetric for name in categories),
            azimuth=tuple(math.radians(azimuth_deg.get(name, 360)) for name in categories),
        )

    @property
    def groups(self) -> int:
        return max(self.group) + 1

    @property
    def are_plain(self) -> bool:
        """Whether nothing is told of any category."""
        everywhere = all(angle >= 2 * math.pi for angle in self.azimuth)
        return self.groups == len(self.group) and all(self.symmetric) and everywhere
