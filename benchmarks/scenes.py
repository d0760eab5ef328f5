"""Speed of the scene generator on one core, and of making shards: scenes a second, memory, and what a second run costs.

python benchmarks/scenes.py [--count 200] [--write]
python benchmarks/scenes.py --shards 10000 [--workers 2] [--write]

On a machine that does other work too, the processor time of all processes tells more than the clock: both are given.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from multiprocessing import active_children
from pathlib import Path

from report import machine, write_section

from shape3d_amodal.meshes.sources import open13
from shape3d_amodal.scenes.compose import SceneConfig, make_scene
from shape3d_amodal.scenes.shard_making import ShardsConfig, make_shards

TICKS = 100
"""Of /proc/<pid>/stat, a second."""


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


class Meter(threading.Thread):
    """Processor time and resident memory of this process and its children, taken every 0.2 s against the scenes made.

    Only scenes in finished shards count as made, so that memory is read late rather than early.
    """

    def __init__(self, folder: Path, size: int) -> None:
        super().__init__(daemon=True)
        self.samples: list[tuple[float, int, float, float]] = []  # clock s, scenes, processor s, MiB
        self._folder, self._size, self._stopped = folder, size, threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(0.2):
            self.take()

    def stop(self) -> None:
        self._stopped.set()
        self.join()

    def take(self) -> None:
        scenes = self._size * len(list(self._folder.glob("scenes-*.json")))
        processor = memory = 0.0
        for process in ("self", *(str(child.pid) for child in active_children())):
            try:
                stat = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
                pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
            except FileNotFoundError:  # it has just ended
                continue
            processor += (int(stat[11]) + int(stat[12])) / TICKS
            memory += pages * 4096 / 2**20
        self.samples.append((time.perf_counter(), scenes, processor, memory))


def shard_rows(count: int, workers: int) -> list[str]:
    """Rows of the table: ``count`` scenes of 128 x 128 of open13's training meshes in shards of 1,000."""
    config = ShardsConfig(meshes="open13:train", scenes=SceneConfig(image_size=128), count=count, shard_size=1000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        meter = Meter(folder, config.shard_size)
        meter.take()
        meter.start()
        make_shards(config, folder, workers=workers)
        meter.stop()
        size = sum(path.stat().st_size for path in folder.glob("*.tar"))
        start = time.perf_counter()
        make_shards(config, folder, workers=workers)
        again = time.perf_counter() - start
    begin = meter.samples[0]
    early = next(sample for sample in meter.samples if sample[1] >= 1000)
    late = next(sample for sample in meter.samples if sample[1] >= count - config.shard_size)
    end = max(meter.samples, key=lambda sample: sample[2])  # the last one with all processes alive
    clock, processor = meter.samples[-1][0] - begin[0], end[2] - begin[2]
    steady_clock, steady_processor = late[0] - early[0], late[2] - early[2]
    made = late[1] - early[1]
    return [
        "| what | figure |",
        "|---|---|",
        f"| scenes of 128 x 128, workers | {count:,}, {workers} |",
        f"| whole job by the clock, start included | {clock:.0f} s, {count / clock:.0f} scenes a second |",
        f"| from scene 1,000 on, by the clock | {made / steady_clock:.0f} scenes a second |",
        f"| from scene 1,000 on, by processor time | {made / steady_processor:.0f} scenes a second and core |",
        f"| processor time of the whole job, all processes | {processor:.0f} s |",
        f"| resident memory of all processes at scene 1,000 and at the end | {early[3]:.0f} MiB, {end[3]:.0f} MiB "
        f"({end[3] / early[3]:.2f} times) |",
        f"| on disk | {size / count / 1024:.1f} KiB a scene |",
        f"| the same command again: every shard verified and kept | {again:.1f} s |",
    ]


def speed_rows(count: int) -> list[str]:
    rows = ["| scenes | image | scenes a second, one core |", "|---|---|---|"]
    for kind, size, deform in (
        ("composed", 256, 0.0),
        ("composed", 256, 0.6),
        ("composed", 128, 0.0),
        ("bars", 256, 0.0),
    ):
        rate = scenes_per_second(SceneConfig(kind=kind, image_size=size, deform=deform), count)
        rows.append(f"| {kind}{', deformed meshes' if deform else ''} | {size} x {size} | {rate:.1f} |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="scenes of each kind, on one core")
    parser.add_argument("--shards", type=int, metavar="N", help="make N scenes in shards instead")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    arguments = parser.parse_args()
    if arguments.shards:
        rows = shard_rows(arguments.shards, arguments.workers)
        command = f"python benchmarks/scenes.py --shards {arguments.shards} --workers {arguments.workers} --write"
        section = ("shards", "Scenes in shards", command)
    else:
        rows = speed_rows(arguments.count)
        section = ("scenes", "Scenes", "python benchmarks/scenes.py --write")
    print("\n".join(rows))
    if arguments.write:
        write_section(*section, "\n".join(rows))
    print(machine())


if __name__ == "__main__":
    main()
