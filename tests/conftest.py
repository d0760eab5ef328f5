from __future__ import annotations

from pathlib import Path

import pytest
from boxes import PARTS, BoxMeshes, write_obj


@pytest.fixture(scope="session")
def boxes() -> BoxMeshes:
    """A mesh source of six things made of boxes, in five categories."""
    return BoxMeshes()


@pytest.fixture(scope="session")
def box_folder(boxes: BoxMeshes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same meshes as files, ``<category>/<name>.obj``."""
    folder = tmp_path_factory.mktemp("meshes")
    for name in PARTS:
        write_obj(folder / f"{name}.obj", boxes.load(name))
    return folder
