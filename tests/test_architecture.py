"""Rules that hold for the whole package: layers, light imports, one door for foreign files, no pickle."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "shape3d_amodal"
FILES = sorted(PACKAGE.rglob("*.py"))

READERS = {
    "PIL.Image.open",
    "cv2.imread",
    "faster_coco_eval.COCO",
    "gzip.open",
    "json.load",
    "json.loads",
    "numpy.fromfile",
    "numpy.genfromtxt",
    "numpy.load",
    "numpy.loadtxt",
    "pycocotools.coco.COCO",
    "tarfile.open",
    "torchvision.io.read_image",
    "trimesh.load",
    "trimesh.load_mesh",
    "trimesh.load_path",
    "trimesh.load_scene",
    "zipfile.ZipFile",
}
"""Calls that open or parse files; files/safe_io.py makes them with caps and typed errors."""

OWN_FILES = {
    "files/archives.py": "reads what safe_io has opened",
    "meshes/formats/npz.py": "parses the bytes that safe_io has read",
    "training/loop/checkpoints.py": "its own checkpoints, checked by their SHA-256",
    "training/loop/logging.py": "its own log",
    "crops/pool.py": "its own crops, written in the same run",
    "crops/parts.py": "its own parts of crops, read without unpickling",
    "priors/bank/keeping.py": "what it keeps of meshes in the cache, read without unpickling",
    "cli/doctor.py": "what its own second process has printed",
}

UNSAFE = {
    "eval",
    "exec",
    "torch.load",
    "torch.jit.load",
    "yaml.full_load",
    "yaml.load",
    "yaml.load_all",
    "yaml.unsafe_load",
    "yaml.unsafe_load_all",
}
"""Calls that run code which a file holds."""

UNSAFE_MODULES = {"cloudpickle", "dill", "jsonpickle", "joblib", "marshal", "pickle", "shelve"}


def _imports(tree: ast.AST) -> dict[str, str]:
    """Local name -> full dotted name of everything that the file imports."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    return names


def _dotted(node: ast.expr) -> str:
    """``a.b.c`` for the expression of that form, else an empty string."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and _dotted(node.value):
        return f"{_dotted(node.value)}.{node.attr}"
    return ""


def _calls(source: str) -> Iterator[tuple[str, ast.Call]]:
    """Every call in a file with the full name of what is called, aliases of imports resolved."""
    tree = ast.parse(source)
    imports = _imports(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            first, dot, rest = _dotted(node.func).partition(".")
            yield f"{imports.get(first, first)}{dot}{rest}", node


def unsafe_uses(source: str) -> list[str]:
    """What the file imports or calls that could run code out of a file."""
    found = [name for name in _imports(ast.parse(source)).values() if name.partition(".")[0] in UNSAFE_MODULES]
    for name, call in _calls(source):
        pickles = any(
            word.arg == "allow_pickle" and not (isinstance(word.value, ast.Constant) and word.value.value is False)
            for word in call.keywords
        )
        if name in UNSAFE or pickles:
            found.append(name)
    return found


def readers(source: str) -> list[str]:
    """The calls of a file that open or parse other files."""
    return [name for name, _ in _calls(source) if name in READERS]


def test_rooms_import_only_from_the_rooms_below_them():
    script = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("module", ["shape3d_amodal", "shape3d_amodal.structures", "shape3d_amodal.errors"])
def test_importing_the_package_is_light_and_silent(module):
    code = f"import sys, {module}; print(*sorted({{'torch', 'pytorch3d', 'numba', 'kornia'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("\n", "")


def test_foreign_files_are_opened_by_safe_io_alone():
    users = {path.relative_to(PACKAGE).as_posix(): readers(path.read_text(encoding="utf-8")) for path in FILES}
    users = {name: calls for name, calls in users.items() if calls and name != "files/safe_io.py"}
    assert set(users) - set(OWN_FILES) == set(), users
    assert set(OWN_FILES) - set(users) == set(), "no longer needed in OWN_FILES"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_nothing_is_unpickled_or_evaluated(path):
    assert unsafe_uses(path.read_text(encoding="utf-8")) == []


def test_the_checks_see_what_they_look_for():
    assert readers("import numpy as np\nnp.load('a')") == ["numpy.load"]
    assert readers("from PIL import Image as I\nwith I.open('a'): pass") == ["PIL.Image.open"]
    assert readers("from json import loads\nloads('1')") == ["json.loads"]
    assert readers("import json\njson.dumps(1)") == []
    assert unsafe_uses("import torch\ntorch.load('a', weights_only=True)") == ["torch.load"]
    assert unsafe_uses("import yaml as y\ny.load('a', y.Loader)") == ["yaml.load"]
    assert unsafe_uses("from pickle import loads") == ["pickle.loads"]
    assert unsafe_uses("import numpy\nnumpy.load('a', allow_pickle=True)") == ["numpy.load"]
    assert unsafe_uses("import numpy\nnumpy.load('a', allow_pickle=False)") == []
    assert unsafe_uses("model.eval()") == []
