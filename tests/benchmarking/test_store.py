"""What is kept of a method's answers, and when."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shape3d_amodal import masks
from shape3d_amodal.annotations.results import AmodalResult, read_results
from shape3d_amodal.benchmarking.store import Answer, ResultFiles, RunRecord

RECORD = RunRecord(
    seconds=0.25, parameters=7, instances=3, commit="c", versions="v", machine="m", threads=1, device="cpu", processes=1
)
FINGERPRINT = {"kind": "A", "data": "1"}


def answer(image_id: int) -> Answer:
    mask = np.zeros((4, 5), bool)
    mask[1:3, : image_id % 5] = True
    result = AmodalResult(
        image_id=image_id,
        category_id=1,
        score=0.1 * image_id,
        segmentation=masks.encode(mask),
        annotation_id=10 * image_id,
        visible=masks.encode(mask),
        viewpoint={"azimuth_deg": 1.5, "offset": [0.0, 1.0]},
    )
    return Answer(image_id, 0.1 + image_id, (result,))


ANSWERS = [answer(i) for i in (1, 2, 3)]


def test_finished_results_are_found_again(tmp_path):
    files = ResultFiles(tmp_path, "m", FINGERPRINT)
    assert files.finished() is None
    with files.recording() as record:
        record(ANSWERS[0])
    files.finish(ANSWERS, RECORD)
    assert ResultFiles(tmp_path, "m", FINGERPRINT).finished() == RECORD
    assert read_results(files.results) == [result for one in ANSWERS for result in one.results]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.json", "m.run.json"]


def test_another_fingerprint_is_another_result(tmp_path):
    ResultFiles(tmp_path, "m", FINGERPRINT).finish(ANSWERS, RECORD)
    assert ResultFiles(tmp_path, "m", {**FINGERPRINT, "data": "2"}).finished() is None


@pytest.mark.parametrize("name", ["m.json", "m.run.json"])
@pytest.mark.parametrize("content", [None, b"", b"[]", b"{}", b"\xff"])
def test_damaged_results_are_made_again(tmp_path, name, content):
    files = ResultFiles(tmp_path, "m", FINGERPRINT)
    files.finish(ANSWERS, RECORD)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    assert files.finished() is None


def test_answers_of_a_broken_run_are_kept(tmp_path):
    files = ResultFiles(tmp_path, "m", FINGERPRINT)
    assert files.answers() == {}
    with files.recording() as record:
        record(ANSWERS[0])
        record(ANSWERS[1])
    part = tmp_path / "m.part.jsonl"
    part.write_bytes(part.read_bytes()[:-20])  # a kill cuts the last line short
    files = ResultFiles(tmp_path, "m", FINGERPRINT)
    assert files.answers() == {1: ANSWERS[0]}
    with files.recording() as record:
        record(ANSWERS[2])
    assert files.answers() == {1: ANSWERS[0], 3: ANSWERS[2]}
    assert ResultFiles(tmp_path, "m", {**FINGERPRINT, "data": "2"}).answers() == {}


def test_every_cut_of_the_shard_leaves_whole_answers(tmp_path):
    files = ResultFiles(tmp_path, "m", FINGERPRINT)
    with files.recording() as record:
        for answer in ANSWERS:
            record(answer)
    part = tmp_path / "m.part.jsonl"
    whole, counts = part.read_bytes(), []
    for length in range(0, len(whole) + 1, 7):
        part.write_bytes(whole[:length])
        found = files.answers()
        assert list(found.values()) == ANSWERS[: len(found)]
        counts.append(len(found))
    assert counts == sorted(counts) and {0, 1, 2} <= set(counts)
    part.write_bytes(whole)
    assert len(files.answers()) == 3


def test_numbers_survive_to_the_bit(tmp_path):
    odd = replace(ANSWERS[0], seconds=0.1 + 0.2)
    files = ResultFiles(tmp_path, "m", FINGERPRINT)
    with files.recording() as record:
        record(odd)
    assert files.answers() == {1: odd}
