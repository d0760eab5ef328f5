"""The tracks: what their options do by default, and which results they take."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from drawn import CATEGORIES, dataset, drawn, instance, result

from shape3d_amodal.errors import DataError
from shape3d_amodal.evaluation.tracks import TRACKS, TrackOptions
from shape3d_amodal.meshes.sources import mesh_source
from shape3d_amodal.structures import Pose

CHAIR, RIFLE, _ = (category.id for category in CATEGORIES)
LEFT = drawn("####....", "####....")
MIDDLE = drawn("..####..", "..####..")
SEEN = drawn("....##..", "....##..")
POSE = Pose((1, 0, 0, 0, 1, 0, 0, 0, 1), (0, 0, 9))


def truth():
    """A chair hides half of a rifle; both viewpoints and poses are known."""
    both = instance(1, CHAIR, LEFT, LEFT), instance(2, RIFLE, SEEN, MIDDLE)
    known = {"viewpoint": {"azimuth_deg": 10.0, "elevation_deg": 0.0}, "pose": POSE, "mesh": "chair/four_legs.obj"}
    return dataset(*(replace(one, **known) for one in both))


def options(track, folder):
    """Those that a track cannot do without."""
    return TrackOptions(meshes=mesh_source(str(folder))) if track == "pose" else TrackOptions()


def results(category=RIFLE):
    return [result(1, CHAIR, LEFT), result(2, category, MIDDLE)]


@pytest.mark.parametrize("name", TRACKS)
def test_results_need_annotation_ids_where_masks_are_given(name, box_folder):
    """Whoever is given the visible masks says which of them a result is for; from the image alone nobody can."""
    track = TRACKS[name]
    assert track.given_masks == (name != "instance")
    evaluator = track.make(truth(), options(name, box_folder))
    bare = [replace(one, annotation_id=None) for one in results()]
    if track.given_masks:
        with pytest.raises(DataError, match="annotation_id"):
            evaluator.process(bare)
    else:
        evaluator.process(bare)
        assert evaluator.evaluate().score["amodal_ap"] == 1


@pytest.mark.parametrize("name", TRACKS)
def test_what_reports_show_are_metrics_of_the_track(name):
    track = TRACKS[name]
    assert track.by_category and set(track.by_category) | set(track.by_level) <= set(track.metrics)
    assert {metric.protocol for metric in track.metrics.values()} == {track.protocol}


@pytest.mark.parametrize(("options", "number"), [({}, None), ({"boundary": False}, None), ({"boundary": True}, 1)])
def test_boundary_bands_are_compared_only_where_that_is_asked_for(options, number):
    evaluator = TRACKS["completion"].make(truth(), TrackOptions(**options))
    evaluator.process(results())
    score = evaluator.evaluate().score
    assert score["miou"] == 1 and score.values.get("boundary_miou") == number


@pytest.mark.parametrize(("options", "ap"), [({}, 1 / 2), ({"class_agnostic": True}, 1)])
def test_categories_matter_unless_that_is_asked_for(options, ap):
    evaluator = TRACKS["instance"].make(truth(), TrackOptions(**options))
    evaluator.process(results(CHAIR))  # a rifle taken for a chair, which is the second chair of one
    found = evaluator.evaluate().score["amodal_ap"]
    assert found == pytest.approx(ap) and not math.isnan(found)
