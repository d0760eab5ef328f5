from __future__ import annotations

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
from drawn import CATEGORIES, instance, result

from shape3d_amodal.errors import AmodalError, DataError
from shape3d_amodal.evaluation.given_masks.completion import CompletionEvaluator
from shape3d_amodal.evaluation.tracks import TRACKS, TrackOptions
from shape3d_amodal.evaluation.workers import score
from shape3d_amodal.meshes.sources import mesh_source
from shape3d_amodal.structures import AmodalDataset, AmodalImage, Pose


def case(images: int = 9):
    """Three overlapping squares an image, the first in front, and results that know a part of what is hidden."""
    rng = np.random.default_rng(0)
    records, results = [], []
    for image in range(images):
        front = np.zeros((12, 12), bool)
        instances = []
        for place in range(3):
            amodal = np.zeros((12, 12), bool)
            y, x = rng.integers(0, 7, 2)
            amodal[y : y + 5, x : x + 5] = True
            visible = amodal & ~front
            front |= amodal
            number, category = 3 * image + place, CATEGORIES[place % 2].id
            one = instance(number, category, visible, amodal)
            pose = Pose((1, 0, 0, 0, 1, 0, 0, 0, 1), (0, 0, 9))
            known = {
                "viewpoint": {"azimuth_deg": float(rng.integers(360))},
                "pose": pose,
                "mesh": "chair/four_legs.obj",
            }
            instances.append(replace(one, **known))
            guess = result(number, category, visible | (amodal & (rng.random((12, 12)) < 0.7)), image)
            viewpoint = {"azimuth_deg": float(rng.integers(360))}
            moved = replace(pose, translation=(place / 10, 0, 9))
            guess = replace(guess, score=float(rng.random()), visible=one.visible, viewpoint=viewpoint, pose=moved)
            results.append(guess)
        size = {"width": 12, "height": 12, "intrinsics": (9.0, 9.0, 6.0, 6.0)}
        records.append(AmodalImage(id=image, file_name="a", instances=tuple(instances), **size))
    order = rng.permutation(len(results) - 2)  # two are missing
    return AmodalDataset(images=tuple(records), categories=CATEGORIES), [results[i] for i in order]


@pytest.mark.parametrize(
    "track", [track if track == "completion" else pytest.param(track, marks=pytest.mark.slow) for track in TRACKS]
)
def test_one_two_and_three_processes_give_the_identical_table(track, box_folder):
    data, results = case()
    options = TrackOptions(boundary=True, meshes=mesh_source(str(box_folder)) if track == "pose" else None)
    tables = [score(TRACKS[track].make(data, options), results, workers=workers) for workers in (1, 2, 3)]
    one, two, three = (table.to_dict(samples=20) for table in tables)
    assert one == two == three
    assert one["protocol"] == TRACKS[track].protocol
    elsewhere = {"held_out_azimuth_accuracy"}  # it needs turns that were found on other scenes
    assert set(one["overall"]) >= set(TRACKS[track].metrics) - elsewhere
    assert any(value is not None for name, value in one["overall"].items() if name in TRACKS[track].metrics)


def test_a_worker_names_the_place_in_the_file():
    data, results = case()
    results[17] = replace(results[17], annotation_id=999)
    with pytest.raises(DataError, match=r"r\.json: \[17\]\.annotation_id: 999 is not in") as caught:
        score(TRACKS["completion"].make(data, TrackOptions()), results, file="r.json", workers=2)
    assert caught.value.exit_status == 3


class Killed(CompletionEvaluator):
    def records(self):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_is_one_line():
    data, results = case()
    with pytest.raises(
        AmodalError, match=r"a worker process died, .*; run the same command again with fewer workers"
    ) as caught:
        score(Killed(data), results, workers=2)
    assert "\n" not in str(caught.value)
