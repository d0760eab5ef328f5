from __future__ import annotations

import os
from pathlib import Path

import pytest
from boxes import PARTS, BoxMeshes, write_obj


def pytest_configure(config: pytest.Config) -> None:
    """Unless tests on a GPU are asked for (``-m gpu``) Triton's kernels run in its interpreter, on the CPU.

    It must be chosen before Triton is imported.
    """
    if "gpu" not in config.option.markexpr.replace("not gpu", ""):
        os.environ["TRITON_INTERPRET"] = "1"


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
