"""What ``import shape3d_amodal`` offers: all names, found where they are looked for, and imported late."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import shape3d_amodal

HEAVY = ("torch", "numba", "scipy", "kornia", "trimesh", "torchvision", "detectron2", "matplotlib", "PIL")


def loaded(code: str) -> set[str]:
    """Which heavy libraries are there after ``code`` has run in a new Python."""
    code += f"\nimport sys; print(*sorted(set({HEAVY}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return set(done.stdout.split())


def test_names_are_listed_and_lead_somewhere() -> None:
    assert set(shape3d_amodal.__all__) <= set(dir(shape3d_amodal))
    for name in shape3d_amodal.__all__:
        assert getattr(shape3d_amodal, name) is not None
        text = str(getattr(shape3d_amodal, name).__doc__)
        assert len(text.splitlines()[0]) > 20, f"help({name}) says nothing"
    for name in ("ShapePriorPipeline", "ImagePredictor", "Detector"):
        assert getattr(shape3d_amodal, name).__module__.startswith("shape3d_amodal.")
    with pytest.raises(AttributeError, match="has no attribute 'Pipeline'"):
        shape3d_amodal.Pipeline  # noqa: B018


def test_the_package_is_typed() -> None:
    assert (Path(shape3d_amodal.__file__).parent / "py.typed").is_file()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import shape3d_amodal; dir(shape3d_amodal)", set()),
        ("import shape3d_amodal.cli", set()),
        ("from shape3d_amodal import ShapePriorPipeline", {"torch"}),
        ("from shape3d_amodal import ImagePredictor, CompletedObject, PredictedObject", {"torch", "PIL"}),
        ("from shape3d_amodal.device import check_device_name", set()),
        ("from shape3d_amodal.files.pretrained import weights_folder", set()),
    ],
)
def test_what_an_import_brings_along(code: str, expected: set[str]) -> None:
    """torch alone takes most of the time and memory that the pipeline's import takes."""
    assert loaded(code) == expected


@pytest.mark.parametrize(
    "wrong",
    [
        ("--gap-px", "-1"),
        ("--weights", "nothing"),
        ("--prior", "bank"),
        ("--device", "toaster"),
        ("--fit-steps", "-1"),
        ("--annotations", "missing.json"),
        ("--images", "missing"),
    ],
)
@pytest.mark.parametrize("command", ["complete", "render", "predict"])
def test_what_is_wrong_is_answered_before_torch_is_imported(
    tmp_path: Path, command: str, wrong: tuple[str, str]
) -> None:
    (tmp_path / "a.json").write_text("[]")
    files = ("--images", str(tmp_path), "--annotations", str(tmp_path / "a.json"), "--out", str(tmp_path / "out"))
    if command == "predict":
        picture = "missing" if wrong[0] == "--images" else str(tmp_path)
        files, wrong = (picture, *files[2:]), wrong if wrong[0] != "--images" else ()
    code = f"""
import io, sys
from shape3d_amodal.cli import main
sys.stderr = io.StringIO()
status = main({[command, *files, *wrong]})
line, sys.stderr = sys.stderr.getvalue(), sys.__stderr__
assert status in (2, 3) and line.startswith("error: ") and line.count("\\n") == 1, line
"""
    assert loaded(code) == set()
