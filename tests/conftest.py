from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from boxes import PARTS, BoxMeshes, write_obj
from hypothesis import settings

if TYPE_CHECKING:
    from shape3d_amodal.training.loop.interface import LoopConfig

# The same examples in every run, so that a failure is a change's own; HYPOTHESIS_PROFILE=search looks for new ones.
settings.register_profile("same", derandomize=True)
settings.register_profile("search", print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


def pytest_configure(config: pytest.Config) -> None:
    """Unless tests on a GPU are asked for (``-m gpu``) none is seen, so that tests are the same on all machines, and
    Triton's kernels run in its interpreter, on the CPU.

    It must be chosen before Triton is imported.
    """
    if "gpu" not in config.option.markexpr.replace("not gpu", ""):
        os.environ.update(TRITON_INTERPRET="1", CUDA_VISIBLE_DEVICES="")


def pytest_collection_finish(session: pytest.Session) -> None:
    """A test on a GPU must not run in the interpreter unnoticed."""
    kinds = {item.get_closest_marker("gpu") is not None for item in session.items}
    if True in kinds and (False in kinds or "TRITON_INTERPRET" in os.environ):
        raise pytest.UsageError("tests marked gpu need a run of their own: pytest -m gpu")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What banks keep is kept for this run alone, and not in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHAPE3D_AMODAL_CACHE", str(tmp_path_factory.mktemp("user_cache")))
        yield


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


@pytest.fixture
def quick() -> LoopConfig:
    """A training loop of a few steps."""
    from toy import QUICK

    from shape3d_amodal.training.loop.interface import LoopConfig

    return LoopConfig(**QUICK)
