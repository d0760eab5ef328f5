"""What shape and viewpoint learn from: against losses computed by hand, and that no label reaches it unasked."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import tiny_config, tiny_model
from torch.nn.functional import avg_pool2d

from shape3d_amodal.crops.scenes import CropArrays
from shape3d_amodal.geometry.templates import icosphere
from shape3d_amodal.priors.learned.criterion import PriorCriterion, PriorLossConfig, pairs_of
from shape3d_amodal.priors.learned.network import PriorOutput, ShapePrior
from shape3d_amodal.priors.losses import certain_iou
from shape3d_amodal.structures import InstanceCrops, MeshEstimate, Viewpoint, ViewpointHypotheses
from shape3d_amodal.training.tasks.stages import StageConfig, build_task

N, K, S = 3, 4, 8
SILENT = PriorLossConfig(explore=0.0, choose_px=S)


class ConstantSilhouettes:
    """Stands in for the prior: every silhouette has one value everywhere, the viewpoint's scale."""

    def __init__(self, scale: torch.Tensor, offset: torch.Tensor, logits: torch.Tensor) -> None:
        verts = icosphere(1).verts.expand(len(scale), -1, -1)
        view = Viewpoint(*(torch.zeros_like(scale) for _ in range(3)), scale, offset)
        mesh = MeshEstimate(verts, icosphere(1).faces, torch.zeros(len(scale), 4))
        self.output = PriorOutput(mesh, ViewpointHypotheses(view, logits.softmax(dim=1)), logits)
        self.gates: list[float] = []
        self.blurs: list[tuple[int, float]] = []

    def __call__(self, crops: InstanceCrops, gate: float = 1.0) -> PriorOutput:  # noqa: ARG002
        self.gates.append(gate)
        return self.output

    def silhouettes(self, verts: torch.Tensor, view: Viewpoint, size: int, blur_px: float) -> torch.Tensor:
        assert len(verts) == len(view.scale)
        self.blurs.append((size, blur_px))
        return view.scale[:, None, None].expand(-1, size, size)


def half_visible(size: int = S) -> InstanceCrops:
    visible = torch.zeros(N, size, size)
    visible[:, : size // 2] = 1
    rgb = torch.zeros(N, 3, size, size)
    return InstanceCrops(rgb, visible, torch.zeros(N, size, size), torch.zeros(N, dtype=torch.int64), torch.zeros(N, 4))


SCALE = torch.tensor([[0.1, 0.9, 0.5, 0.3], [0.8, 0.2, 0.1, 0.0], [0.2, 0.4, 0.6, 1.0]])
BEST = [1, 0, 3]
LOGITS = torch.tensor([[0.0, 1.0, 2.0, 0.5], [3.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])


def constant_prior() -> ConstantSilhouettes:
    return ConstantSilhouettes(SCALE, torch.stack([SCALE, 2 * SCALE], dim=-1), LOGITS)


def test_losses_by_hand() -> None:
    """A silhouette of value s everywhere over a half visible crop: intersection s/2, union 1/2 + s - s/2."""
    config = replace(SILENT, laplacian=2.0, flatness=3.0, select=0.1, uniform=0.02, offset=0.02)
    losses = PriorCriterion(config, level=1)(constant_prior(), half_visible(), 1.0)
    scores = [0.9, 0.8, 1.0]
    assert losses["silhouette"].item() == pytest.approx(np.mean([1 - s / (1 + s) for s in scores]))
    assert losses["offset"].item() == pytest.approx(0.02 * np.mean([s**2 + (2 * s) ** 2 for s in scores]))
    probability = np.exp(LOGITS.numpy()) / np.exp(LOGITS.numpy()).sum(axis=1, keepdims=True)
    expected = 0.1 * -np.log([probability[i, k] for i, k in enumerate(BEST)]).mean()
    assert losses["select"].item() == pytest.approx(expected, rel=1e-5)
    usage = probability.mean(axis=0)
    assert losses["uniform"].item() == pytest.approx(0.02 * np.abs(4 * usage - 1).mean(), rel=1e-5)
    # The vertices of a sphere, of which Laplacian and folds are known from the template itself.
    sphere = icosphere(1)
    assert losses["laplacian"].item() == pytest.approx(
        2 * float((sphere.laplacian @ sphere.verts).pow(2).sum()), rel=1e-4
    )
    normals = torch.linalg.cross(*(sphere.verts[sphere.faces][:, i] - sphere.verts[sphere.faces][:, 0] for i in (1, 2)))
    normals = dict(zip(map(frozenset, sphere.faces.tolist()), normals / normals.norm(dim=1, keepdim=True), strict=True))
    folds = [
        (1 - float(normals[frozenset((u, v, a))] @ normals[frozenset((u, v, b))])) ** 2
        for u, v, a, b in sphere.edge_faces.tolist()
    ]
    assert losses["flatness"].item() == pytest.approx(3 * sum(folds), rel=1e-3)
    assert set(losses) == {"silhouette", "laplacian", "flatness", "select", "uniform", "offset"}


def test_flatness_waits_for_the_gate() -> None:
    criterion = PriorCriterion(SILENT, level=1)
    assert "flatness" not in criterion(constant_prior(), half_visible(), 0.1)
    half_open = criterion(constant_prior(), half_visible(), 0.17)["flatness"]
    torch.testing.assert_close(2 * half_open, criterion(constant_prior(), half_visible(), 1.0)["flatness"])


@pytest.mark.parametrize(
    ("progress", "gate", "blur"),
    [
        (0.0, 0.0, 0.8),
        (0.12, 0.0, 0.8 * (0.25 / 0.8) ** (0.12 / 0.7)),
        (0.17, 0.5, 0.8 * (0.25 / 0.8) ** (0.17 / 0.7)),
        (0.22, 1.0, 0.8 * (0.25 / 0.8) ** (0.22 / 0.7)),
        (0.35, 1.0, math.sqrt(0.8 * 0.25)),
        (0.7, 1.0, 0.25),
        (1.0, 1.0, 0.25),
    ],
)
def test_schedules(progress: float, gate: float, blur: float) -> None:
    criterion = PriorCriterion(PriorLossConfig(choose_px=4), level=1)
    assert criterion.gate(progress) == pytest.approx(gate)
    assert criterion.blur_px(progress) == pytest.approx(blur)
    prior = constant_prior()
    criterion(prior, half_visible(), progress)
    assert prior.gates == [pytest.approx(gate)]
    # Hypotheses are compared at half the resolution, blurred by as much of the object; never less than 0.25 px.
    assert prior.blurs == [(4, pytest.approx(max(blur / 2, 0.25))), (S, pytest.approx(blur))]


def test_schedules_that_jump() -> None:
    criterion = PriorCriterion(PriorLossConfig(gate_start=0.0, gate_end=0.0, blur_until=0.0), level=1)
    assert criterion.gate(0.01) == 1
    assert criterion.blur_px(0.01) == pytest.approx(0.25)


@pytest.mark.parametrize(("size", "choose"), [(8, 8), (8, 4), (8, 32), (12, 8), (16, 4)])
def test_scores_of_hypotheses(size: int, choose: int) -> None:
    criterion = PriorCriterion(replace(SILENT, choose_px=choose), level=1)
    prior = constant_prior()
    scores = criterion.hypothesis_scores(prior, prior.output, half_visible(size), 0.5)
    torch.testing.assert_close(scores, SCALE / (1 + SCALE))
    assert not scores.requires_grad


def real(seed: int = 0) -> tuple[ShapePrior, InstanceCrops]:
    """A small prior with random weights, and crops of 32 pixels that show what one of its hypotheses sees."""
    prior = tiny_model(seed).prior
    torch.nn.init.normal_(prior.viewpoint.parameters_of[-1].weight, std=0.3)
    generator = torch.Generator().manual_seed(seed)
    size, count = 32, 6
    rgb = torch.rand(count, 3, size, size, generator=generator)
    zeros = torch.zeros(count, size, size)
    return prior, InstanceCrops(rgb, zeros, zeros, torch.arange(count), torch.zeros(count, 4))


def test_hard_min_picks_the_hypothesis_that_fits() -> None:
    prior, crops = real()
    output = prior(crops)
    truth = torch.tensor([0, 1, 2, 3, 2, 1])
    with torch.no_grad():
        seen = prior.silhouettes(output.mesh.verts, output.hypotheses.pick(truth), 32, 0.25)
    crops = replace(crops, visible=(seen > 0.75).float())
    criterion = PriorCriterion(PriorLossConfig(choose_px=16), level=1)
    scores = criterion.hypothesis_scores(prior, output, crops, 0.25)
    assert scores.argmax(dim=1).tolist() == truth.tolist()
    # One by one, the long way.
    small = replace(
        crops,
        visible=avg_pool2d(crops.visible[:, None], 2)[:, 0],
        occluder=avg_pool2d(crops.occluder[:, None], 2)[:, 0],
    )
    for k in range(K):
        view = output.hypotheses.pick(torch.full((6,), k))
        expected = certain_iou(prior.silhouettes(output.mesh.verts, view, 16, 0.25), small)
        torch.testing.assert_close(scores[:, k], expected, rtol=1e-4, atol=1e-5)


def test_only_the_best_hypothesis_learns() -> None:
    prior, crops = real()
    visible = torch.zeros(6, 32, 32)
    visible[:, 8:20, 10:30] = 1
    crops = replace(crops, visible=visible)
    criterion = PriorCriterion(replace(SILENT, choose_px=32), level=1)
    for i in range(6):
        one = crops[i : i + 1]
        best = int(criterion.hypothesis_scores(prior, prior(one), one, criterion.blur_px(0.0)).argmax())
        prior.zero_grad()
        losses = criterion(prior, one, 0.0)
        (losses["silhouette"] + losses["offset"]).backward()
        bias = prior.viewpoint.parameters_of[-1].bias.grad.view(6, K)
        assert bias[:, best].abs().max() > 0
        others = [k for k in range(K) if k != best]
        assert bias[:, others].abs().max() == 0


@pytest.mark.parametrize(("progress", "chance"), [(0.0, 0.4), (0.25, 0.2), (0.5, 0.0), (1.0, 0.0)])
def test_exploration(progress: float, chance: float) -> None:
    """With this probability a random hypothesis takes the best one's place; it may be the best one."""
    torch.manual_seed(0)
    criterion = PriorCriterion(PriorLossConfig(explore=0.4), level=1)
    best = torch.randint(K, (20_000,))
    chosen = criterion._explore(best, K, progress)
    assert (chosen != best).float().mean().item() == pytest.approx(chance * (K - 1) / K, abs=0.015)
    assert ((chosen - best) % K).unique().tolist() == (list(range(K)) if chance else [0])


def test_the_selection_learns_the_best_even_when_another_is_explored() -> None:
    torch.manual_seed(0)
    criterion = PriorCriterion(replace(SILENT, explore=1.0), level=1)
    losses = [criterion(constant_prior(), half_visible(), 0.0) for _ in range(8)]
    assert len({loss["select"].item() for loss in losses}) == 1
    assert len({loss["silhouette"].item() for loss in losses}) > 1


def test_all_hypotheses_learn_by_their_probabilities() -> None:
    config = replace(SILENT, assignment="mean", offset=0.02)
    losses = PriorCriterion(config, level=1)(constant_prior(), half_visible(), 0.0)
    silhouette = offset = 0.0
    for i in range(N):
        total = sum(math.exp(logit) for logit in LOGITS[i].tolist())
        for k in range(K):
            p, s = math.exp(LOGITS[i, k].item()) / total, SCALE[i, k].item()
            silhouette += p * (1 - s / (1 + s)) / N
            offset += p * 0.02 * (s**2 + (2 * s) ** 2) / N
    assert losses["silhouette"].item() == pytest.approx(silhouette, rel=1e-5)
    assert losses["offset"].item() == pytest.approx(offset, rel=1e-5)


def test_all_hypotheses_get_a_gradient_from_the_mean() -> None:
    prior, crops = real()
    visible = torch.zeros(6, 32, 32)
    visible[:, 8:20, 10:30] = 1
    criterion = PriorCriterion(replace(SILENT, assignment="mean", choose_px=16), level=1)
    criterion(prior, replace(crops, visible=visible), 0.0)["silhouette"].backward()
    assert (prior.viewpoint.parameters_of[-1].bias.grad.view(6, K).abs().amax(dim=0) > 0).all()
    assert prior.viewpoint.select[-1].bias.grad.abs().max() > 0


def occluded() -> InstanceCrops:
    """Crop i: 8 (i + 1) visible pixels above, 16 occluder pixels below, and known background between."""
    crops = half_visible()
    visible, occluder = torch.zeros(N, S, S), torch.zeros(N, S, S)
    for i in range(N):
        visible[i, : i + 1] = 1
    occluder[:, 6:] = 1
    return replace(crops, visible=visible, occluder=occluder)


@pytest.mark.parametrize(("certain", "judged"), [(True, 48), (False, 64)])
def test_occluders_taken_for_background(certain: bool, judged: int) -> None:
    """``judged`` pixels count: a silhouette of value s everywhere covers s of each."""
    losses = PriorCriterion(replace(SILENT, certain=certain), level=1)(constant_prior(), occluded(), 1.0)
    best = [max(row) for row in SCALE.tolist()]
    expected = [8 * (i + 1) * s / (8 * (i + 1) + s * (judged - 8 * (i + 1))) for i, s in enumerate(best)]
    assert losses["silhouette"].item() == pytest.approx(np.mean([1 - iou for iou in expected]), rel=1e-5)


class ShapeTimesView(ConstantSilhouettes):
    """Every silhouette has one value everywhere: a number of the mesh times the viewpoint's scale."""

    def silhouettes(self, verts: torch.Tensor, view: Viewpoint, size: int, blur_px: float) -> torch.Tensor:  # noqa: ARG002
        return (verts[:, 0, 0] * view.scale)[:, None, None].expand(-1, size, size)


def test_pairs_by_hand() -> None:
    """The shape of one crop from the viewpoint of another one of the same shape, against that one's pixels."""
    prior = ShapeTimesView(SCALE, torch.zeros(N, K, 2), LOGITS)
    number = [0.5, 0.7, 0.9]
    verts = prior.output.mesh.verts.clone()
    verts[:, 0, 0] = torch.tensor(number)
    prior.output = replace(prior.output, mesh=replace(prior.output.mesh, verts=verts))
    crops = occluded()
    losses = PriorCriterion(replace(SILENT, pairs=2.0), level=1)(prior, crops, 1.0, shape=torch.tensor([4, 9, 4]))
    expected = 0.0
    for shape, seen in ((0, 2), (2, 0)):
        # With silhouettes of one value the largest scale fits best; crop 1 has no partner.
        value = number[shape] * max(SCALE[seen].tolist())
        inter = union = 0.0
        for row in range(S):
            for column in range(S):
                inside = crops.visible[seen, row, column].item()
                certain = 1 - crops.occluder[seen, row, column].item()
                inter += value * inside
                union += inside + certain * value - value * inside
        expected += 2.0 * (1 - inter / union) / N
    assert losses["pairs"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("shape", "partners"),
    [
        ([1, 1], {0: 1, 1: 0}),
        ([3, 5, 3, 3], {0: 2, 2: 3, 3: 0}),
        ([1, 2, 3], {}),
        ([7], {}),
    ],
)
def test_partners(shape: list[int], partners: dict[int, int]) -> None:
    rows, partner = pairs_of(torch.tensor(shape))
    assert dict(zip(rows.tolist(), partner.tolist(), strict=True)) == partners


def test_without_a_pair_the_loss_of_pairs_is_zero() -> None:
    prior, crops = real()
    crops = replace(crops, visible=torch.ones(6, 32, 32))
    losses = PriorCriterion(replace(SILENT, pairs=1.0), level=1)(prior, crops, 0.5, shape=torch.arange(6))
    assert losses["pairs"].item() == 0
    sum(losses.values()).backward()


def test_a_target_takes_the_place_of_the_crops_own_pixels() -> None:
    crops = half_visible()
    target = replace(crops, visible=torch.ones(N, S, S))
    prior = constant_prior()
    losses = PriorCriterion(SILENT, level=1)(prior, crops, 1.0, target=target)
    assert losses["silhouette"].item() == pytest.approx(np.mean([1 - s for s in (0.9, 0.8, 1.0)]))


def random_pool(count: int = 8, size: int = 32) -> CropArrays:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, (count, size, size))
    return CropArrays(
        rgb=rng.integers(0, 256, (count, 3, size, size), dtype=np.uint8),
        visible=(255 * (label == 1)).astype(np.uint8),
        occluder=(255 * (label == 2)).astype(np.uint8),
        amodal=(255 * (label > 0)).astype(np.uint8),
        category=np.arange(count),
        window=np.zeros((count, 4), np.float32),
        hidden=np.full(count, 0.5, np.float32),
        scene=np.arange(count),
        mesh=np.full(count, "a mesh"),
    )


@pytest.mark.parametrize("supervision", [None, "visible"])
@pytest.mark.parametrize("stage", ["prior", "reconstruction", "viewpoint"])
def test_amodal_masks_change_nothing(stage: str, supervision: str | None) -> None:
    pool = random_pool()
    other = replace(pool, amodal=255 - pool.amodal, hidden=1 - pool.hidden)
    loss = replace(SILENT, choose_px=16)
    config = StageConfig(stage=stage, model=tiny_config(), prior_loss=loss, supervision=supervision)
    results = []
    for arrays in (pool, other):
        model = tiny_model()
        task = build_task(config, model, arrays, arrays)
        torch.manual_seed(0)
        batch, _ = task.batch(0, np.random.default_rng(0), 6)
        losses = task.losses(batch, 0, 0.5)
        sum(losses.values()).backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        results.append(([loss.item() for loss in losses.values()], gradients))
    assert results[0][0] == results[1][0]
    assert len(results[0][1]) > 3
    assert all(torch.equal(a, b) for a, b in zip(results[0][1], results[1][1], strict=True))


def test_what_the_occluder_looks_like_changes_nothing() -> None:
    prior, crops = real()
    label = torch.randint(3, (6, 32, 32), generator=torch.Generator().manual_seed(3))
    crops = replace(crops, visible=(label == 1).float(), occluder=(label == 2).float())
    other = replace(crops, rgb=torch.where(label[:, None] == 2, 1 - crops.rgb, crops.rgb))
    criterion = PriorCriterion(replace(SILENT, choose_px=16), level=1)
    for name, value in criterion(prior, crops, 0.5).items():
        assert torch.equal(value, criterion(prior, other, 0.5)[name]), name


def test_terms_without_weight_are_not_there() -> None:
    prior, crops = real()
    crops = replace(crops, visible=torch.ones(6, 32, 32))
    criterion = PriorCriterion(replace(SILENT, pairs=0.0, flatness=0.0), level=1)
    losses = criterion(prior, crops, 1.0, shape=torch.zeros(6, dtype=torch.int64))
    assert not {"pairs", "flatness"} & losses.keys()


@pytest.mark.parametrize("count", [1, 2, 9])
def test_any_hypothesis_may_be_explored_however_many_crops_there_are(count: int) -> None:
    """Of four hypotheses, told apart by their azimuths, hundreds of draws take each one, and no other."""
    numbers = torch.arange(4.0).expand(count, 4)
    views = Viewpoint(numbers, numbers, numbers, numbers, torch.zeros(count, 4, 2))
    mesh = MeshEstimate(torch.zeros(count, 3, 3), torch.tensor([[0, 1, 2]]), torch.zeros(count, 1))
    output = PriorOutput(mesh, ViewpointHypotheses(views, torch.full((count, 4), 0.25)), torch.zeros(count, 4))
    criterion = PriorCriterion(replace(SILENT, explore=1.0), level=1)
    torch.manual_seed(0)
    drawn = [criterion._assigned(output, torch.zeros(count).long(), 0.0)[0].azimuth for _ in range(200)]
    assert set(torch.cat(drawn).flatten().tolist()) == {0.0, 1.0, 2.0, 3.0}
