"""The loop: resumes to the bit, guards against NaN, logs what is true, writes nothing in a rehearsal."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch import nn
from toy import ToyTask

from shape3d_amodal.config import configuration, parse_config
from shape3d_amodal.errors import TrainingError, UsageError
from shape3d_amodal.training.loop.checkpoints import CheckpointFolder
from shape3d_amodal.training.loop.trainer import generator
from shape3d_amodal.training.loop.training import LoopConfig, train


def same(first, second):
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


@pytest.mark.parametrize("accumulate", [1, 2])
def test_resume_is_exact_to_the_bit(quick, tmp_path, accumulate):
    quick = replace(quick, accumulate=accumulate)
    straight = train(ToyTask(), quick, tmp_path / "straight")
    # Stopped by a lost machine after step 13, three steps after its last checkpoint: the poison raises before step 13.
    with pytest.raises(TrainingError):
        train(ToyTask(poison="loss", poisoned_step=13), quick, tmp_path / "halves")
    assert CheckpointFolder(tmp_path / "halves").steps() == [5, 10]
    torch.manual_seed(999)
    halves = train(ToyTask(), quick, tmp_path / "halves")
    same(straight.weights, halves.weights)
    assert straight.metrics == halves.metrics
    one, two = (CheckpointFolder(tmp_path / name).load_latest() for name in ("straight", "halves"))
    assert one.step == two.step == 20
    for part in ("model", "ema", "optimizer"):
        same(getattr(one, part), getattr(two, part))
    logs = [[json.loads(line) for line in (tmp_path / name / "log.jsonl").open()] for name in ("straight", "halves")]
    assert [record["step"] for record in logs[1]] == [5, 10, 15, 20, 20]
    for a, b in zip(*logs, strict=True):
        assert a.get("losses") == b.get("losses") and a.get("validation") == b.get("validation")


class Convolutions(ToyTask):
    """Weights that lie in memory in another order than their indices count, as convolutions on a CPU want them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        layers = [nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 4, 2, padding=1), nn.Conv2d(4, 2, 3), nn.Flatten()]
        self.net = nn.Sequential(*layers).to(memory_format=torch.channels_last)


def test_resume_keeps_moments_with_their_weights_whatever_the_memory_order(quick, tmp_path):
    straight = train(Convolutions(), quick, tmp_path / "straight")
    train(Convolutions(), replace(quick, max_minutes=1e-9), tmp_path / "halves")
    assert CheckpointFolder(tmp_path / "halves").steps()[-1] < quick.steps
    same(straight.weights, train(Convolutions(), quick, tmp_path / "halves").weights)


def test_training_learns_and_leaves_the_frozen_part_alone(quick, tmp_path):
    task = ToyTask(noisy=False)
    before = {name: tensor.clone() for name, tensor in task.net.state_dict().items()}
    first = train(ToyTask(noisy=False), replace(quick, steps=1), tmp_path / "one").metrics["error"]
    result = train(
        task, replace(quick, steps=300, learning_rate=0.02, ema_decay=0.9, checkpoint_every=100), tmp_path / "run"
    )
    assert result.metrics["error"] < 0.1 * first
    assert torch.equal(result.weights["frozen.weight"], before["frozen.weight"])
    assert not torch.equal(result.weights["0.weight"], before["0.weight"])
    assert task.modes == [(False, False)]


def test_a_finished_training_returns_its_weights(quick, tmp_path):
    first = train(ToyTask(), quick, tmp_path)
    same(first.weights, train(ToyTask(), quick, tmp_path).weights)


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        ("steps=0", "greater than or equal to 1"),
        ("batch_size=0", "greater than or equal to 1"),
        ("accumulate=0", "greater than or equal to 1"),
        ("log_every=0", "greater than or equal to 1"),
        ("keep_checkpoints=0", "greater than or equal to 1"),
        ("checkpoint_every=-1", "greater than or equal to 0"),
        ("warmup_steps=-1", "greater than or equal to 0"),
        ("ema_decay=1", "less than 1"),
        ("seed=-1", "greater than or equal to 0"),
        ("threads=-1", "greater than or equal to 0"),
        ("device=gpu", "match pattern"),
    ],
)
def test_options_out_of_range_are_one_line(option, problem):
    with pytest.raises(UsageError, match=rf"^x\.yaml: {option.partition('=')[0]}: .*{problem}") as caught:
        parse_config("{}", LoopConfig, source="x.yaml", overrides=[option])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("poison", ["loss", "divergence", "gradient"])
def test_not_finite_or_diverging_is_an_error_that_names_stage_term_and_samples(quick, tmp_path, poison):
    with pytest.raises(TrainingError, match=r"toy: step 3: .*loss term 'size'.* samples 3-0, 3-1, .*3-7; ") as caught:
        train(ToyTask(poison=poison), quick, tmp_path)
    assert "\n" not in str(caught.value)


def test_rehearsal_writes_nothing(quick, tmp_path):
    task = ToyTask()
    result = train(task, quick, tmp_path / "absent", dry_run=True)
    assert not (tmp_path / "absent").exists()
    assert result.step == 1 and "error" in result.metrics and len(task.modes) == 1


def test_resume_with_another_configuration_names_the_key(quick, tmp_path, caplog):
    train(ToyTask(), quick, tmp_path)
    with pytest.raises(UsageError, match=r"loop\.learning_rate is 0\.001 there and 0\.1 now") as caught:
        train(ToyTask(), replace(quick, learning_rate=0.1, steps=30), tmp_path)
    assert "loop.steps" not in str(caught.value)
    caplog.set_level("INFO")
    assert train(ToyTask(), replace(quick, steps=22), tmp_path).step == 22
    assert "loop.steps = 22, it was 20" in caplog.text


def test_refuses_to_start_over_in_a_used_folder(quick, tmp_path):
    train(ToyTask(), quick, tmp_path)
    with pytest.raises(UsageError, match="holds checkpoints"):
        train(ToyTask(), quick, tmp_path, resume=False)


def test_batch_that_does_not_divide_is_refused(quick, tmp_path):
    with pytest.raises(UsageError, match=r"loop\.batch_size: expected a multiple of 1 ranks x 3"):
        train(ToyTask(), replace(quick, accumulate=3), tmp_path)


def test_time_limit_saves_and_stops(quick, tmp_path):
    result = train(ToyTask(), replace(quick, steps=10**9, max_minutes=1e-3), tmp_path)
    assert 0 < result.step < 10**9
    assert CheckpointFolder(tmp_path).steps()[-1] == result.step


def test_an_option_that_came_later_has_its_default(quick, tmp_path):
    train(ToyTask(), replace(quick, steps=5), tmp_path)
    folder = CheckpointFolder(tmp_path)
    checkpoint = folder.load_latest()
    earlier = {key: value for key, value in checkpoint.settings.items() if key != "loop.sync_batchnorm"}
    folder.save(replace(checkpoint, settings=earlier))
    with pytest.raises(UsageError, match=r"loop\.sync_batchnorm is False there and True now"):
        train(ToyTask(), replace(quick, sync_batchnorm=True), tmp_path)
    assert train(ToyTask(), quick, tmp_path).step == 20


@configuration
class Model:
    width: int = 8
    """Width."""


@configuration
class Experiment:
    model: Model = Model()
    """Model."""
    loop: LoopConfig = LoopConfig()
    """Loop."""


def test_the_whole_experiment_is_remembered(quick, tmp_path):
    train(ToyTask(), quick, tmp_path, experiment=Experiment(loop=quick))
    longer = replace(quick, steps=21)
    train(ToyTask(), longer, tmp_path, experiment=Experiment(loop=longer))
    with pytest.raises(UsageError, match=r"step-00000021: cannot resume, model\.width is 8 there and 9 now"):
        train(ToyTask(), quick, tmp_path, experiment=Experiment(loop=quick, model=Model(width=9)))


def test_a_checkpoint_of_another_stage_or_model_is_refused(quick, tmp_path):
    train(ToyTask(), quick, tmp_path)
    task = ToyTask()
    task.name = "other"
    with pytest.raises(UsageError, match="stage is 'toy' there and 'other' now"):
        train(task, quick, tmp_path)
    with pytest.raises(
        TrainingError, match=r"model tensor '1\.bias' is \(8,\) in the checkpoint and None in this model"
    ):
        train(ToyTask(noisy=False), quick, tmp_path)


def test_accumulated_parts_have_the_gradient_of_the_whole(quick, tmp_path):
    first = []
    for accumulate in (1, 4):
        config = replace(quick, steps=1, clip_norm=0.0, accumulate=accumulate)
        train(ToyTask(noisy=False), config, tmp_path / str(accumulate))
        first.append(CheckpointFolder(tmp_path / str(accumulate)).load_latest().optimizer)
    for name, moment in first[0].items():
        assert torch.allclose(moment, first[1][name], rtol=0, atol=1e-7), name


@pytest.mark.parametrize(("precision", "cast"), [("float32", False), ("bf16", True)])
def test_precision(quick, tmp_path, precision, cast):
    class Spy(ToyTask):
        def losses(self, batch, step, progress):
            assert self.net(batch["x"]).dtype == (torch.bfloat16 if cast else torch.float32)
            return super().losses(batch, step, progress)

    weights = train(Spy(), replace(quick, steps=2, precision=precision), tmp_path).weights
    assert all(tensor.dtype != torch.bfloat16 for tensor in weights.values())


def test_clipping_bounds_the_gradient(quick, tmp_path):
    # AdamW's first moment after one step is 0.1 times the clipped gradient.
    train(ToyTask(), replace(quick, steps=1, clip_norm=0.01), tmp_path)
    moments = CheckpointFolder(tmp_path).load_latest().optimizer
    norm = torch.cat([tensor.flatten() for name, tensor in moments.items() if name.endswith("exp_avg")]).norm()
    assert norm == pytest.approx(0.001, rel=1e-3)


def test_stochastic_gradient_descent_is_resumed_bit_for_bit_and_steps_as_its_formula_says(quick, tmp_path):
    plain = replace(
        quick, optimizer="sgd", momentum=0.5, learning_rate=0.1, clip_norm=0, weight_decay=0, warmup_steps=0
    )
    one = replace(plain, steps=1, ema_decay=0)
    task, after = ToyTask(noisy=False), train(ToyTask(noisy=False), one, tmp_path / "one").weights["2.bias"]
    batch, _ = task.batch(0, generator(0, "train", 0), 8)
    sum(task.losses(batch, 0, 0.0).values()).backward()
    torch.testing.assert_close(after, task.net[2].bias - 0.1 * task.net[2].bias.grad)
    with pytest.raises(TrainingError):
        train(ToyTask(poison="loss", poisoned_step=13), plain, tmp_path / "halves")
    halves = train(ToyTask(), plain, tmp_path / "halves")
    same(halves.weights, train(ToyTask(), plain, tmp_path / "straight").weights)
