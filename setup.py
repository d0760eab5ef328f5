"""What pyproject.toml cannot say: a wheel carries weights, meshes and configurations inside the package.

In a checkout they lie in ``assets`` and ``configs``; ``shape3d_amodal/files/assets.py`` finds them in both places.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

DATA = ("assets/checkpoints", "assets/open13", "configs")


class BuildWithData(build_py):
    """Copies DATA to ``shape3d_amodal/_data`` in the build folder; an editable install reads it where it is."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "shape3d_amodal" / "_data"
        shutil.rmtree(target, ignore_errors=True)  # an earlier build may have left files that are gone now
        for folder in DATA:
            shutil.copytree(folder, target / folder, ignore=shutil.ignore_patterns(".*", "__pycache__"))


setup(cmdclass={"build_py": BuildWithData})
