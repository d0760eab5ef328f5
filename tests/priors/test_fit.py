"""The fit at test time: it finds back what was moved away, and is never worse than where it began."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from tiny import tiny_model
from torch import Tensor

from shape3d_amodal.priors.learned.fit import FitConfig, fit
from shape3d_amodal.priors.learned.fit import _CodeAndViewpoint as _Fitted
from shape3d_amodal.priors.learned.network import PriorOutput, ShapePrior
from shape3d_amodal.priors.learned.viewpoint import ViewpointConfig
from shape3d_amodal.priors.losses import certain_iou, laplacian_energy
from shape3d_amodal.structures import InstanceCrops, Viewpoint, ViewpointHypotheses

N, K, S = 4, 3, 32
CONFIG = FitConfig(steps=12, starts=2)


@pytest.fixture(scope="module")
def prior() -> ShapePrior:
    result = tiny_model().prior
    torch.manual_seed(0)  # the shapes do not hang on the sizes of other networks
    torch.nn.init.normal_(result.decoder.offsets.weight, std=0.05)
    return result


TRUTH = Viewpoint(
    azimuth=torch.tensor([0.5, 1.2, 2.5, 4.0]),
    elevation=torch.tensor([0.2, 0.4, 0.1, 0.5]),
    roll=torch.zeros(N),
    scale=torch.tensor([0.9, 1.1, 1.0, 0.8]),
    offset=torch.tensor([[0.0, 0.1], [0.2, 0.0], [-0.1, 0.1], [0.0, 0.0]]),
)
CODE = torch.tensor([[1.0, -1.0, 0.5, 2.0]]).expand(N, 4)
CATEGORY = torch.tensor([0, 3, 7, 12])


def seen(prior: ShapePrior, viewpoint: Viewpoint, blur_px: float | None = None) -> Tensor:
    with torch.no_grad():
        return prior.silhouettes(prior.decoder(CODE, CATEGORY).verts, viewpoint, S, blur_px)


@pytest.fixture(scope="module")
def crops(prior: ShapePrior) -> InstanceCrops:
    """What the true viewpoints show, with the lower left quarter hidden."""
    whole = (seen(prior, TRUTH) > 0.75).float()
    occluder = torch.zeros(N, S, S)
    occluder[:, S // 2 :, : S // 2] = 1
    return InstanceCrops(torch.zeros(N, 3, S, S), whole * (1 - occluder), occluder, CATEGORY, torch.zeros(N, 4))


@pytest.fixture(scope="module")
def output(prior: ShapePrior) -> PriorOutput:
    """Hypotheses off the truth: the second is the likeliest, the first next, the last one far away."""

    def moved(tensor: Tensor, *by: float) -> Tensor:
        return torch.stack([tensor + step for step in by], dim=1)

    viewpoint = Viewpoint(
        azimuth=moved(TRUTH.azimuth, 0.5, -0.3, 3.0),
        elevation=moved(TRUTH.elevation, 0.1, -0.1, 0.3),
        roll=moved(TRUTH.roll, 0.0, 0.0, 0.0),
        scale=moved(TRUTH.scale, 0.2, -0.2, 0.4),
        offset=moved(TRUTH.offset, 0.1, -0.1, 0.5),
    )
    logits = torch.tensor([1.0, 2.0, 0.0]).expand(N, K)
    mesh = prior.decoder(CODE, CATEGORY)
    return PriorOutput(mesh, ViewpointHypotheses(viewpoint, logits.softmax(dim=1)), logits)


def score(prior: ShapePrior, verts: Tensor, viewpoint: Viewpoint, crops: InstanceCrops) -> Tensor:
    with torch.no_grad():
        return certain_iou(prior.silhouettes(verts, viewpoint, S), crops)


def test_fit_finds_the_viewpoint_of_a_known_shape(prior: ShapePrior, output: PriorOutput, crops: InstanceCrops) -> None:
    start = score(prior, output.mesh.verts, output.hypotheses.best(), crops)
    verts, viewpoint = fit(prior, output, crops, FitConfig(steps=40, starts=2))
    found = score(prior, verts, viewpoint, crops)
    assert start.max() < 0.75
    assert found.min() > 0.9
    hidden = crops.occluder > 0.5
    whole = seen(prior, TRUTH) > 0.75
    completed = prior.silhouettes(verts, viewpoint, S).detach() > 0.75
    both, either = (whole & completed & hidden).sum(), ((whole | completed) & hidden).sum()
    assert both / either > 0.75  # what was hidden is found, too


@pytest.mark.parametrize("steps", [0, 1, 3, 12])
@pytest.mark.parametrize("seed", [0, 1])
def test_never_worse_than_the_start(
    prior: ShapePrior, output: PriorOutput, crops: InstanceCrops, steps: int, seed: int
) -> None:
    """Also on masks that no mesh explains, with steps so long that they lead away."""
    noise = torch.rand(N, S, S, generator=torch.Generator().manual_seed(seed))
    given = replace(crops, visible=(noise > 0.8).float() * (1 - crops.occluder)) if seed else crops
    config = FitConfig(steps=steps, starts=2, learning_rate=0.5, code_rate=2.0)
    verts, viewpoint = fit(prior, output, given, config)
    found = score(prior, verts, viewpoint, given)
    start = score(prior, output.mesh.verts, output.hypotheses.best(), given)
    assert (found >= start - 1e-6).all()


def test_no_steps_and_one_start_give_the_selected_hypothesis(
    prior: ShapePrior, output: PriorOutput, crops: InstanceCrops
) -> None:
    verts, viewpoint = fit(prior, output, crops, FitConfig(steps=0, starts=1))
    assert torch.equal(verts, output.mesh.verts)
    for name in Viewpoint.__dataclass_fields__:
        assert torch.equal(getattr(viewpoint, name), getattr(output.hypotheses.best(), name))


def test_more_starts_than_hypotheses(prior: ShapePrior, output: PriorOutput, crops: InstanceCrops) -> None:
    all_starts = fit(prior, output, crops, replace(CONFIG, starts=K))
    more = fit(prior, output, crops, replace(CONFIG, starts=99))
    assert torch.equal(all_starts[0], more[0])
    assert torch.equal(all_starts[1].offset, more[1].offset)


def test_the_best_start_wins_without_steps(prior: ShapePrior, output: PriorOutput, crops: InstanceCrops) -> None:
    _, viewpoint = fit(prior, output, crops, FitConfig(steps=0, starts=K))
    scores = torch.stack(
        [score(prior, output.mesh.verts, output.hypotheses.pick(torch.full((N,), k)), crops) for k in range(K)], dim=1
    )
    expected = output.hypotheses.pick(scores.argmax(dim=1))
    assert torch.equal(viewpoint.azimuth, expected.azimuth)
    assert torch.equal(viewpoint.offset, expected.offset)


def one(output: PriorOutput, i: int) -> PriorOutput:
    mesh = replace(output.mesh, verts=output.mesh.verts[i : i + 1], code=output.mesh.code[i : i + 1])
    return PriorOutput(mesh, output.hypotheses[i : i + 1], output.logits[i : i + 1])


def test_instances_are_fitted_each_for_itself(prior: ShapePrior, output: PriorOutput, crops: InstanceCrops) -> None:
    verts, viewpoint = fit(prior, output, crops, CONFIG)
    assert verts.shape == (N, 42, 3)
    for i in range(N):
        alone_verts, alone = fit(prior, one(output, i), crops[i : i + 1], CONFIG)
        assert alone_verts.shape == (1, 42, 3)
        torch.testing.assert_close(alone_verts[0], verts[i], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(alone.azimuth[0], viewpoint.azimuth[i], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("pixels", [1, 3])
@pytest.mark.parametrize("hidden", [True, False])
def test_few_visible_pixels(
    prior: ShapePrior, output: PriorOutput, crops: InstanceCrops, pixels: int, hidden: bool
) -> None:
    visible = torch.zeros(N, S, S)
    visible[:, 5, 5 : 5 + pixels] = 1
    given = replace(crops, visible=visible, occluder=1 - visible if hidden else torch.zeros(N, S, S))
    verts, viewpoint = fit(prior, output, given, CONFIG)
    assert torch.isfinite(verts).all()
    assert all(torch.isfinite(getattr(viewpoint, name)).all() for name in Viewpoint.__dataclass_fields__)
    assert (viewpoint.scale > 0).all()


def test_weights_and_their_gradients_are_left_alone(
    prior: ShapePrior, output: PriorOutput, crops: InstanceCrops
) -> None:
    before = {name: value.clone() for name, value in prior.state_dict().items()}
    prior.zero_grad(set_to_none=True)
    with torch.no_grad():  # as the pipeline calls it
        verts, viewpoint = fit(prior, output, crops, CONFIG)
    assert not verts.requires_grad
    assert not viewpoint.azimuth.requires_grad
    assert all(parameter.grad is None for parameter in prior.parameters())
    for name, value in prior.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_heavy_code_weight_keeps_the_shape(prior: ShapePrior, output: PriorOutput, crops: InstanceCrops) -> None:
    free, _ = fit(prior, output, crops, replace(CONFIG, code_weight=0.0))
    bound, _ = fit(prior, output, crops, replace(CONFIG, code_weight=1e3))
    start = output.mesh.verts
    assert (bound - start).abs().mean() < 0.2 * (free - start).abs().mean()


def within(prior: ShapePrior, config: ViewpointConfig) -> ShapePrior:
    """The same networks, with other bounds of the viewpoint."""
    result = copy.copy(prior)
    result.config = replace(prior.config, viewpoint=config)
    return result


@pytest.mark.parametrize(
    ("name", "truth", "narrow", "bound"),
    [
        ("roll", 0.4, {}, 0.0),
        ("roll", 0.4, {"max_roll_deg": 6.0}, math.radians(6)),
        ("roll", -0.4, {"max_roll_deg": 6.0}, -math.radians(6)),
        ("elevation", 1.0, {"max_elevation_deg": 30.0}, math.radians(30)),
        ("elevation", -0.5, {}, 0.0),
        ("scale", 0.6, {"max_log_scale": 0.2}, math.exp(-0.2)),
        ("scale", 1.7, {"mean_scale": 1.1, "max_log_scale": 0.2}, 1.1 * math.exp(0.2)),
        ("offset", 0.3, {"max_offset": 0.1}, 0.1),
        ("offset", -0.3, {"max_offset": 0.1}, -0.1),
    ],
)
def test_the_fit_stays_where_the_head_could_be(
    prior: ShapePrior, output: PriorOutput, crops: InstanceCrops, name: str, truth: float, narrow: dict, bound: float
) -> None:
    """A crop that shows what the head could not say: the fit goes as far as the bound; wider bounds let it pass."""
    start = replace(TRUTH, elevation=torch.full((N,), 0.3), scale=torch.ones(N), offset=torch.zeros(N, 2))
    target = replace(start, **{name: torch.full_like(getattr(start, name), truth)})
    given = replace(crops, visible=(seen(prior, target) > 0.5).float(), occluder=torch.zeros(N, S, S))
    alone = ViewpointHypotheses(start._map(lambda tensor: tensor[:, None]), torch.ones(N, 1))
    begin = replace(output, hypotheses=alone, logits=torch.ones(N, 1))
    config = FitConfig(steps=25, starts=1, code_rate=0.0)

    _, found = fit(within(prior, ViewpointConfig(**narrow)), begin, given, config)
    sign = 1 if truth > bound else -1
    beyond = sign * (getattr(found, name) - bound)
    assert beyond.max() <= 1e-6
    assert beyond.max() >= -1e-6, "the crop does tempt it"
    if name == "elevation" and bound == 0:
        return  # no head looks up from below
    _, free = fit(within(prior, ViewpointConfig(max_elevation_deg=80.0, max_roll_deg=40.0)), begin, given, config)
    assert (sign * (getattr(free, name) - bound)).max() > 0.02


def bumpy(prior: ShapePrior) -> InstanceCrops:
    """Crops of meshes with a bump on one side: no code says it, for all that the decoder makes is symmetric."""
    verts = prior.decoder(CODE, CATEGORY).verts.detach().clone()
    tip = verts[..., 0].argmax(dim=1)
    verts[torch.arange(N), tip, 0] += 0.25
    front = replace(TRUTH, azimuth=torch.zeros(N), elevation=torch.full((N,), 0.1))
    with torch.no_grad():
        visible = (prior.silhouettes(verts, front, S) > 0.5).float()
    return InstanceCrops(torch.zeros(N, 3, S, S), visible, torch.zeros(N, S, S), CATEGORY, torch.zeros(N, 4))


def from_the_front(output: PriorOutput) -> PriorOutput:
    front = replace(TRUTH, azimuth=torch.zeros(N), elevation=torch.full((N,), 0.1))
    alone = ViewpointHypotheses(front._map(lambda tensor: tensor[:, None]), torch.ones(N, 1))
    return replace(output, hypotheses=alone, logits=torch.ones(N, 1))


def test_vertex_offsets_find_what_no_code_says(prior: ShapePrior, output: PriorOutput) -> None:
    given, begin = bumpy(prior), from_the_front(output)
    config = FitConfig(steps=40, starts=1, vertex_weight=0.05)
    without = score(prior, *fit(prior, begin, given, config), given)
    verts, viewpoint = fit(prior, begin, given, replace(config, vertex_rate=0.01))
    assert (score(prior, verts, viewpoint, given) > without + 0.01).all()
    reflected = verts[:, prior.decoder.mirror] * torch.tensor([-1.0, 1.0, 1.0])
    assert ((verts - reflected).abs().amax(dim=(1, 2)) > 0.02).all(), "one side alone"


def test_a_heavy_vertex_weight_keeps_the_offsets_smooth(prior: ShapePrior, output: PriorOutput) -> None:
    given, begin = bumpy(prior), from_the_front(output)
    config = FitConfig(steps=20, starts=1, learning_rate=0.0, code_rate=0.0, vertex_rate=0.01)
    start = output.mesh.verts.detach()
    energies = []
    for weight in (0.0, 100.0):
        verts, _ = fit(prior, begin, given, replace(config, vertex_weight=weight))
        energies.append(laplacian_energy(verts - start, prior.decoder.template))
    assert (energies[1] < 0.2 * energies[0]).all()


@pytest.mark.parametrize("steps", [1, 3, 12])
@pytest.mark.parametrize("rate", [0.01, 0.5])
def test_never_worse_with_vertex_offsets(
    prior: ShapePrior, output: PriorOutput, crops: InstanceCrops, steps: int, rate: float
) -> None:
    verts, viewpoint = fit(prior, output, crops, FitConfig(steps=steps, vertex_rate=rate))
    start = score(prior, output.mesh.verts, output.hypotheses.best(), crops)
    assert (score(prior, verts, viewpoint, crops) >= start - 1e-6).all()


def test_without_a_rate_the_vertex_weight_says_nothing(
    prior: ShapePrior, output: PriorOutput, crops: InstanceCrops
) -> None:
    first, second = (fit(prior, output, crops, replace(CONFIG, vertex_weight=weight)) for weight in (0.0, 1e3))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1].azimuth, second[1].azimuth)


def test_gradients_reach_all_that_is_free(prior: ShapePrior, output: PriorOutput, crops: InstanceCrops) -> None:
    subject = _Fitted(prior, CODE, output.hypotheses.best(), crops, FitConfig(vertex_rate=0.01))
    leaves = [leaf for group in subject.groups() for leaf in group["params"]]
    assert len(leaves) == 7  # code, azimuth, elevation, roll, scale, offset, vertices
    loss = (1 - certain_iou(subject.silhouettes(1.0), crops)).sum()
    for gradient in torch.autograd.grad(loss, leaves):
        assert torch.isfinite(gradient).all()
        assert (gradient.view(N, -1).abs().sum(dim=1) > 0).all()
