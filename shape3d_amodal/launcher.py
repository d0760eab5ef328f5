"""Which of several processes this one is, as what started it says: torchrun, srun, or a SLURM array."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shape3d_amodal.errors import UsageError

_ARRAY = {"MIN": "0", "STEP": "1"}
"""First index and step of a SLURM array where they are not stated."""


@dataclass(frozen=True)
class Place:
    """One process among those that were started together.

    Attributes:
        rank, count: its number, from 0, and how many they are.
        local_rank, local_count: the same among those of this machine.
        bound: whether it may see only the GPUs that are its own; the one that it sees is then not that of others.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1
    bound: bool = False

    @property
    def first(self) -> bool:
        return self.rank == 0


def place_of(environment: Mapping[str, str]) -> Place:
    """The place that torchrun (RANK, WORLD_SIZE) or srun gives to this process; the only one without them.

    Of srun's variables, SLURM_NTASKS stands in the environment of the batch script, too, which is one process: only a
    step has SLURM_STEP_NUM_TASKS.
    """
    if "RANK" in environment and "WORLD_SIZE" in environment:
        local_rank, local_count = (environment.get(f"LOCAL_{name}") for name in ("RANK", "WORLD_SIZE"))
        return Place(
            int(environment["RANK"]), int(environment["WORLD_SIZE"]), int(local_rank or 0), int(local_count or 1)
        )
    count = int(environment.get("SLURM_STEP_NUM_TASKS", "1"))
    if count == 1:
        return Place()
    tasks = _tasks_of_machines(environment.get("SLURM_STEP_TASKS_PER_NODE", str(count)))
    here = tasks[int(environment.get("SLURM_NODEID", "0"))]
    return Place(int(environment["SLURM_PROCID"]), count, int(environment["SLURM_LOCALID"]), here, bound=True)


def meeting_point(environment: Mapping[str, str]) -> str:
    """Where the processes that srun has started meet: ``tcp://HOST:PORT``. torchrun sees to this by itself.

    Raises:
        UsageError: MASTER_ADDR is not set.
    """
    if "MASTER_ADDR" not in environment:
        problem = f"srun has started {environment['SLURM_STEP_NUM_TASKS']} tasks that do not know where to meet"
        remedy = 'export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1) before srun'
        raise UsageError(f"MASTER_ADDR: {problem}; {remedy}")
    job = int(environment.get("SLURM_JOB_ID", "0"))  # jobs on one machine should not meet each other
    return f"tcp://{environment['MASTER_ADDR']}:{environment.get('MASTER_PORT', 15_000 + job % 10_000)}"


def share_of(text: str | None, environment: Mapping[str, str]) -> tuple[int, int]:
    """The share (i, n) of this process, i from 0 to n - 1, of work whose parts do not need each other.

    Args:
        text: ``i/n`` as given by the user; without it the launcher counts: torchrun, or srun and a SLURM array
            (SLURM_ARRAY_TASK_ID, _MIN, _STEP and _COUNT), whose every task may have started several; else (0, 1).

    Raises:
        UsageError: no such share.
    """
    if text is None:
        place = place_of(environment)
        index, count = place.rank, place.count
        if "SLURM_ARRAY_TASK_ID" in environment and "RANK" not in environment:
            task, tasks = _array_task(environment)
            index, count = task * count + index, tasks * count
        text = f"{index}/{count}"
    index_text, slash, count_text = text.partition("/")
    numbers = slash and index_text.isdecimal() and count_text.isdecimal()
    if not (numbers and int(index_text) < int(count_text)):
        raise UsageError(f"--shard: expected i/n with i from 0 to n - 1, such as 0/4, got {text!r}")
    return int(index_text), int(count_text)


def _array_task(environment: Mapping[str, str]) -> tuple[int, int]:
    first, step = (int(environment.get(f"SLURM_ARRAY_TASK_{name}", default)) for name, default in _ARRAY.items())
    number = (int(environment["SLURM_ARRAY_TASK_ID"]) - first) // step
    return number, int(environment.get("SLURM_ARRAY_TASK_COUNT", "0"))


def _tasks_of_machines(text: str) -> list[int]:
    """The tasks of each machine, which SLURM writes as ``4(x2),3`` for [4, 4, 3]."""
    found: list[int] = []
    for part in text.split(","):
        tasks, _, times = part.rstrip(")").partition("(x")
        found += [int(tasks)] * int(times or 1)
    return found
