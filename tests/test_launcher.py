"""What torchrun and SLURM say to the processes that they start."""

from __future__ import annotations

import pytest

from shape3d_amodal.errors import UsageError
from shape3d_amodal.launcher import Place, meeting_point, place_of, share_of

SRUN = {
    "SLURM_JOB_ID": "1234567",
    "SLURM_NTASKS": "11",
    "SLURM_STEP_NUM_TASKS": "11",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2),3",
    "SLURM_PROCID": "9",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "2",
}
"""As in the second task of the third machine of a step ``srun --ntasks=11``."""
TORCHRUN = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({}, Place(0, 1, 0, 1)),
        (TORCHRUN, Place(5, 8, 1, 4)),
        ({"RANK": "2", "WORLD_SIZE": "3"}, Place(2, 3, 0, 1)),  # one process a machine, started by hand
        (SRUN, Place(9, 11, 1, 3, bound=True)),
        ({**SRUN, "SLURM_NODEID": "1", "SLURM_PROCID": "7", "SLURM_LOCALID": "3"}, Place(7, 11, 3, 4, bound=True)),
        ({**SRUN, **TORCHRUN}, Place(5, 8, 1, 4)),  # torchrun as the task of a step
        ({**SRUN, "SLURM_STEP_NUM_TASKS": "1"}, Place()),
        (
            {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": "11", "MASTER_ADDR": "a"},
            Place(),
        ),  # sbatch's script
    ],
)
def test_places(environment: dict[str, str], place: Place) -> None:
    assert place_of(environment) == place
    assert place.first is (place.rank == 0)


def test_where_the_tasks_of_a_step_meet() -> None:
    assert meeting_point({**SRUN, "MASTER_ADDR": "node1"}) == "tcp://node1:19567"
    assert meeting_point({**SRUN, "MASTER_ADDR": "node1", "MASTER_PORT": "77"}) == "tcp://node1:77"
    with pytest.raises(
        UsageError, match=r"^MASTER_ADDR: srun has started 11 tasks .*; export MASTER_ADDR=.* before srun"
    ):
        meeting_point(SRUN)


@pytest.mark.parametrize(
    ("environment", "share"),
    [
        (SRUN, (9, 11)),
        ({**SRUN, "SLURM_ARRAY_TASK_ID": "6", "SLURM_ARRAY_TASK_MIN": "5", "SLURM_ARRAY_TASK_COUNT": "3"}, (20, 33)),
        ({**TORCHRUN, "SLURM_ARRAY_TASK_ID": "6", "SLURM_ARRAY_TASK_COUNT": "3"}, (5, 8)),
    ],
)
def test_shares_of_a_step_and_of_an_array_whose_tasks_are_steps(
    environment: dict[str, str], share: tuple[int, int]
) -> None:
    assert share_of(None, environment) == share
    assert share_of("1/2", environment) == (1, 2)


def test_every_part_is_of_one_process() -> None:
    """Of an array of 3 whose tasks start 4 processes each."""
    parts = list(range(50))
    seen: list[int] = []
    for task in range(3):
        for rank in range(4):
            step = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)}
            array = {"SLURM_ARRAY_TASK_ID": str(task), "SLURM_ARRAY_TASK_COUNT": "3"}
            index, count = share_of(None, {**step, **array})
            seen += parts[index::count]
    assert sorted(seen) == parts
