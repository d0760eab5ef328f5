"""Speed of the scene generator on one core.

python benchmarks/scenes.py [--count 200] [--write]
"""

from __future__ import annotations

import argparse
import time

from report import machine, write_section

from shape3d_amodal.data.meshes import open13
from shape3d_amodal.data.scenes import SceneConfig, make_scene


def scenes_per_second(config: SceneConfig, count: int) -> float:
    """Composed and shaded scenes a second, meshes loaded and kernels compiled before."""
    meshes = open13("train")
    for index in range(20):
        make_scene(meshes, config, 0, index)
    for name in meshes.names:
        meshes.load(name)
    start = time.perf_counter()
    for index in range(count):
        make_scene(meshes, config, 1, index)
    return count / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    arguments = parser.parse_args()
    rows = ["| scenes | image | scenes a second, one core |", "|---|---|---|"]
    for kind, size, deform in (
        ("composed", 256, 0.0),
        ("composed", 256, 0.6),
        ("composed", 128, 0.0),
        ("bars", 256, 0.0),
    ):
        rate = scenes_per_second(SceneConfig(kind=kind, image_size=size, deform=deform), arguments.count)
        rows.append(f"| {kind}{', deformed meshes' if deform else ''} | {size} x {size} | {rate:.1f} |")
        print(rows[-1], flush=True)
    if arguments.write:
        write_section("scenes", "Scenes", "python benchmarks/scenes.py --write", "\n".join(rows))
    print(machine())


if __name__ == "__main__":
    main()
