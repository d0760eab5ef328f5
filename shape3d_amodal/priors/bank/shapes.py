"""Stage 2 without training: a bank of known shapes, each with its silhouettes over the viewpoints.

Any mesh source serves: open13's training meshes, ShapeNet, a user's own CAD folder. A bank has the legs and holes that
a deformed sphere cannot have, and it knows the shapes that it was given, and no others.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from shape3d_amodal.array_fields import ArrayFields
from shape3d_amodal.config import configuration
from shape3d_amodal.errors import DataError
from shape3d_amodal.meshes.mesh import MeshSource, UnusableMeshError
from shape3d_amodal.meshes.simplify import reduce_faces
from shape3d_amodal.meshes.symmetries import Motions
from shape3d_amodal.priors.bank.distinct import kept_symmetries
from shape3d_amodal.priors.bank.templates import Templates, kept_templates
from shape3d_amodal.priors.interface import ViewsName

log = logging.getLogger(__name__)

_Surface = tuple[NDArray[np.float32], NDArray[np.int64]]


@configuration
class BankConfig:
    """Which shapes a bank holds, and how finely."""

    faces: Annotated[int, Field(ge=4)] = 1500
    """Meshes of more faces are simplified to about this many for templates and for fits on coarse pixels."""
    fine_faces: Annotated[int, Field(ge=4)] = 8000
    """The same for fits on the image's own pixels, and for silhouettes."""
    meshes: int = 1000
    """Meshes of a category, at most; of more, an even selection in the source's order is taken."""


@dataclass(frozen=True, eq=False, repr=False)
class BankShapes(ArrayFields):
    """The M shapes of one category: their names in their source, their templates, and simplified meshes."""

    names: tuple[str, ...]
    templates: list[Templates]
    surfaces: list[_Surface]
    source: MeshSource
    config: BankConfig
    cache: Path | None = None
    reduced: dict[int, _Surface] = field(default_factory=dict)
    known_symmetries: dict[int, Motions] = field(default_factory=dict)

    def coarse(self, index: int) -> _Surface:
        """Vertices [V,3] float32 and faces [F,3] int64 of a mesh, few."""
        return self.surfaces[index]

    def fine(self, index: int) -> _Surface:
        """The same with all faces, or nearly."""
        if index not in self.reduced:
            mesh = self.source.load(self.names[index])
            if len(mesh.faces) <= self.config.fine_faces:
                return mesh.verts, mesh.faces.astype(np.int64)
            self.reduced[index] = reduce_faces(mesh.verts, mesh.faces, self.config.fine_faces)
        return self.reduced[index]

    def symmetries(self, index: int) -> Motions:
        """Those of a mesh."""
        if index not in self.known_symmetries:
            self.known_symmetries[index] = kept_symmetries(*self.coarse(index), self.cache)
        return self.known_symmetries[index]


class ShapeBank:
    """Known shapes by category; a category's templates are drawn when it is first asked for.

    Args:
        source: the meshes.
        config: how finely.
        cache: folder that keeps what was drawn, by the hash of each mesh; None keeps nothing.
    """

    def __init__(self, source: MeshSource, config: BankConfig | None = None, cache: Path | None = None) -> None:
        self.config = config or BankConfig()
        self._source, self._cache = source, cache
        self._names: dict[str, list[str]] = {}
        for name in source.names:
            self._names.setdefault(source.category(name), []).append(name)
        self._shapes: dict[tuple[str, ViewsName], BankShapes] = {}

    @property
    def categories(self) -> tuple[str, ...]:
        return tuple(sorted(self._names))

    def shapes(self, category: str, views: ViewsName) -> BankShapes:
        """The shapes of ``category``, seen from ``views``.

        Meshes that cannot be used are left out; their source tells of them.

        Raises:
            DataError: the source has no mesh of it, or none that can be used.
        """
        if (category, views) not in self._shapes:
            if category not in self._names:
                raise DataError(f"no mesh of category {category!r}; the bank knows {', '.join(self.categories)}")
            names, most = self._names[category], self.config.meshes
            if len(names) > most:
                log.warning("%s: the bank takes %d of %d meshes", category, most, len(names))
                names = [names[i * len(names) // most] for i in range(most)]
            self._shapes[category, views] = self._draw(names, views)
        return self._shapes[category, views]

    def _draw(self, names: list[str], views: ViewsName) -> BankShapes:
        surfaces, templates, used = [], [], []
        for name in names:
            try:
                mesh = self._source.load(name)
            except UnusableMeshError as error:
                last = error
                continue
            used.append(name)
            surfaces.append(reduce_faces(mesh.verts, mesh.faces, self.config.faces))
            templates.append(kept_templates(*surfaces[-1], views, self._cache))
        if not used:
            raise DataError(
                f"{last.problem} (none of {len(names)} meshes can be used)", file=last.file, field=last.field
            )
        return BankShapes(tuple(used), templates, surfaces, self._source, self.config, self._cache)
