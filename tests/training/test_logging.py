"""What the log says is what happened."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from toy import ToyTask

from shape3d_amodal.errors import TrainingError
from shape3d_amodal.training.loop.distributed import Ranks
from shape3d_amodal.training.loop.logging import Meter, ProgressLine, TrainingLog, clock
from shape3d_amodal.training.loop.trainer import generator
from shape3d_amodal.training.loop.training import train

ALONE = Ranks(0, 1, torch.device("cpu"))


def records(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").open()]


def test_meter_means_by_hand(quick, monkeypatch):
    now = iter([100.0, 104.0, 104.0])
    monkeypatch.setattr("time.monotonic", lambda: next(now))
    meter = Meter(10)
    meter.add({"fit": 1.0, "gradient_norm": 3.0})
    meter.add({"fit": 2.0, "late": 0.5, "gradient_norm": 5.0})
    # 2 steps in 4 s with 8 samples each; step 12 (0-based 11) of 20 with 2 of warm-up is 9/17 through the cosine.
    record = meter.record(12, quick, ALONE, seconds=7.0)
    assert record.pop("learning_rate") == pytest.approx(1e-3 * (0.01 + 0.99 * (0.5 + 0.5 * np.cos(np.pi * 9 / 17))))
    assert record == {
        "losses": {"fit": 1.5, "late": 0.5, "total": 2.0},
        "gradient_norm": 4.0,
        "steps_per_second": 0.5,
        "samples_per_second": 4.0,
        "seconds": 7.0,
    }
    assert meter.sums == {}


def test_a_training_logs_what_it_did(quick, tmp_path, capsys):
    train(ToyTask(noisy=False), replace(quick, steps=6, validate_every=4, sample_every=6, weight_decay=0.0), tmp_path)
    lines = records(tmp_path)
    assert [(line["step"], *sorted(line.keys() & {"losses", "validation"})) for line in lines] == [
        (4, "validation"),
        (5, "losses"),
        (6, "losses"),
        (6, "validation"),
    ]
    for line in (lines[1], lines[2]):
        assert line["losses"]["total"] == pytest.approx(line["losses"]["fit"] + line["losses"]["size"])
    said = capsys.readouterr().err
    assert f"toy: step 5/6, loss {lines[1]['losses']['total']:.4g}, " in said and "0:00:00 left" in said


def test_the_first_loss_is_the_untrained_networks(quick, tmp_path):
    task = ToyTask(noisy=False)
    batch, _ = task.batch(0, generator(0, "train", 0), 8)
    expected = {name: term.item() for name, term in task.losses(batch, 0, 0.0).items()}
    train(ToyTask(noisy=False), replace(quick, steps=1), tmp_path)
    losses = records(tmp_path)[0]["losses"]
    assert losses == pytest.approx({**expected, "total": sum(expected.values())}, abs=1e-6)


def test_tensorboard_has_the_scalars_and_pictures(quick, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(ToyTask(), replace(quick, steps=10), tmp_path)
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert [event.step for event in board.Scalars("losses/fit")] == [5, 10]
    logged = [line["losses"]["fit"] for line in records(tmp_path) if "losses" in line]
    assert [event.value for event in board.Scalars("losses/fit")] == pytest.approx(logged)
    assert {"validation/error", "learning_rate", "gradient_norm"} <= set(board.Tags()["scalars"])
    (picture,) = board.Images("grey")
    assert (picture.step, picture.width, picture.height) == (10, 8, 8)


def test_pictures_are_files_too(quick, tmp_path):
    train(ToyTask(), replace(quick, steps=10, sample_every=5), tmp_path)
    names = [path.name for path in sorted((tmp_path / "samples").iterdir())]
    assert names == ["00000005-grey.png", "00000010-grey.png"]
    picture = np.asarray(Image.open(tmp_path / "samples" / names[0]))
    assert picture.shape == (8, 8, 3) and (picture == 5).all()


def test_records_of_a_lost_run_are_dropped(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 5}\n{"step": 10}\n{"step": 15}\n{"step": 20, "los')
    with TrainingLog(tmp_path, 10) as log:
        log.write(15, {"again": 1.0})
    assert records(tmp_path) == [{"step": 5}, {"step": 10}, {"step": 15, "again": 1.0}]


def test_a_log_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="cannot write the log: Not a directory"):
        TrainingLog(tmp_path / "file" / "run", 0)


def test_progress_line(capsys):
    with ProgressLine("stage", 100, 0, shown=True) as line:
        line.report(40, 0.12345678, 2.0)
    with ProgressLine("stage", 100, 0, shown=False) as line:
        line.report(40, 0.1, 2.0)
    assert capsys.readouterr().err == "stage: step 40/100, loss 0.1235, 2 steps/s, 0:00:30 left\n"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00:00"), (59.6, "0:01:00"), (3661, "1:01:01"), (90000, "25:00:00")]
)
def test_clock(seconds, text):
    assert clock(seconds) == text
