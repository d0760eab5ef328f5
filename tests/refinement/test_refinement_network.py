from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from tiny import tiny_config, tiny_model
from torch import nn
from torch.nn.functional import conv2d

from shape3d_amodal.model import AmodalModel
from shape3d_amodal.priors.losses import certain_iou
from shape3d_amodal.refinement.network import PriorName, RefinementConfig, RefinementNetwork
from shape3d_amodal.structures import InstanceCrops

CONFIG = RefinementConfig(widths=(4, 8, 8), embedding=4)
N, S = 3, 16


def crops(size: int = S, count: int = N) -> InstanceCrops:
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(3, (count, size, size), generator=generator)
    rgb = torch.rand(count, 3, size, size, generator=generator)
    category = torch.arange(count)
    return InstanceCrops(rgb, (label == 1).float(), (label == 2).float(), category, torch.zeros(count, 4))


def trained(config: RefinementConfig = CONFIG, seed: int = 0) -> RefinementNetwork:
    """With random modulation, as if it were trained."""
    torch.manual_seed(seed)
    network = RefinementNetwork(config, 5).eval()
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.3)
    return network


SILHOUETTE, FIT = [torch.rand(N, S, S)], [torch.tensor([0.5, 0.9, 0.2])]
OTHER_FIT = [FIT[0].flip(0)]
NOTHING = [torch.zeros(N)]


@pytest.mark.parametrize("priors", [(), ("learned",), ("bank", "learned")])
@pytest.mark.parametrize(
    ("size", "patch", "widths"), [(16, 2, (4,)), (16, 1, (4, 8)), (32, 4, (4, 8, 8, 8)), (32, 2, (4, 4, 4, 4, 4))]
)
def test_shapes(size: int, patch: int, widths: tuple[int, ...], priors: tuple[PriorName, ...]) -> None:
    network = trained(replace(CONFIG, widths=widths, patch=patch, priors=priors))
    shown = [torch.rand(N, size, size) for _ in priors]
    logits = network(crops(size), shown, [FIT[0] for _ in priors])
    assert logits.shape == (N, size, size)
    assert logits.dtype == torch.float32
    nobody = [torch.zeros(0, size, size) for _ in priors]
    assert network(crops(size, 0), nobody, [torch.zeros(0) for _ in priors]).shape == (0, size, size)


def test_the_gate_adds_the_logits_of_silhouettes_that_there_are() -> None:
    """With a U-Net that says nothing, the result is each gate times its silhouette's logits."""
    network = trained(replace(CONFIG, priors=("learned", "bank")))
    nn.init.zeros_(network.head.weight)
    nn.init.zeros_(network.head.bias)
    nn.init.zeros_(network.gate.weight)
    network.gate.bias.data = torch.tensor([2.0, -0.5])
    first, second = torch.full((N, S, S), 0.75), torch.full((N, S, S), 1.0)
    logits = network(crops(), [first, second], [torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.9, 0.0, 0.0])])
    expected = torch.tensor([2 * math.log(3) - 0.5 * math.log(49), 2 * math.log(3), 0.0])  # 0.98 : 0.02 at the most
    torch.testing.assert_close(logits, expected[:, None, None].expand(N, S, S), rtol=1e-5, atol=1e-5)


def by_hand(state: dict, config: RefinementConfig, given: InstanceCrops, shown: list, fits: list) -> torch.Tensor:
    """The network as its documentation has it: by reshaping, convolutions and the formula of batch norm."""
    patch, levels = config.patch, len(config.widths)
    n, size = given.visible.shape[0], given.visible.shape[1] // patch
    fit = torch.stack(fits, dim=1)
    known = (fit > 0).float()
    vector = torch.cat([state["embedding.weight"][given.category], fit, known], dim=1)
    vector = (vector @ state["condition.0.weight"].T + state["condition.0.bias"]).clamp(min=0)

    def normalised(x: torch.Tensor, name: str) -> torch.Tensor:
        mean, var, weight, bias = (
            state[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    def block(x: torch.Tensor, name: str) -> torch.Tensor:
        both = vector @ state[f"{name}.modulate.weight"].T + state[f"{name}.modulate.bias"]
        scale, shift = (
            half[:, :, None, None] for half in (both[:, : both.shape[1] // 2], both[:, both.shape[1] // 2 :])
        )
        x = normalised(conv2d(x, state[f"{name}.first.weight"], padding=1), f"{name}.first_norm")
        x = (x + x * scale + shift).clamp(min=0)
        return normalised(conv2d(x, state[f"{name}.second.weight"], padding=1), f"{name}.second_norm").clamp(min=0)

    masks = [given.visible[:, None], given.occluder[:, None], *(one[:, None] for one in shown)]
    x = torch.cat([given.rgb - 0.5 if config.use_rgb else given.rgb * 0, *masks], dim=1)
    x = x.view(n, -1, size, patch, size, patch).permute(0, 1, 3, 5, 2, 4).reshape(n, -1, size, size)
    skips = []
    for level in range(levels):
        if level:
            x = x.view(n, -1, x.shape[2] // 2, 2, x.shape[3] // 2, 2).amax(dim=(3, 5))
        x = block(x, f"down.{level}")
        skips.append(x)
    for level in range(levels - 1):
        x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        x = block(torch.cat([x, skips[levels - 2 - level]], dim=1), f"up.{level}")
    x = conv2d(x, state["head.weight"], state["head.bias"])
    logits = x.view(n, patch, patch, size, size).permute(0, 3, 1, 4, 2).reshape(n, size * patch, size * patch)
    if config.gate and fits:
        gates = (vector @ state["gate.weight"].T + state["gate.bias"]) * known
        for i, one in enumerate(shown):
            share = one.clamp(0.02, 0.98)
            logits = logits + gates[:, i, None, None] * (share / (1 - share)).log()
    return logits


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        replace(CONFIG, patch=1, widths=(4, 8), gate=False),
        replace(CONFIG, patch=4, widths=(4, 6), use_rgb=False, priors=("learned", "bank")),
    ],
    ids=["one prior", "no gate", "two priors, no colours"],
)
def test_it_is_the_network_of_its_documentation(config: RefinementConfig) -> None:
    network = trained(config)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.bias.data):
                nn.init.normal_(tensor, std=0.3)
            for tensor in (module.running_var, module.weight.data):
                nn.init.uniform_(tensor, 0.5, 2)
    generator = torch.Generator().manual_seed(1)
    shown = [torch.rand(N, S, S, generator=generator) for _ in config.priors]
    fits = [torch.tensor([0.5, 0.0, 0.2]), torch.tensor([0.0, 0.3, 0.9])][: len(config.priors)]
    with torch.no_grad():
        expected = by_hand(network.state_dict(), config, crops(), shown, fits)
        torch.testing.assert_close(network(crops(), shown, fits), expected, rtol=1e-4, atol=1e-4)


def test_without_crops_the_logits_have_the_shape_of_crops() -> None:
    assert trained()(crops(count=0), [torch.zeros(0, S, S)], [torch.zeros(0)]).shape == (0, S, S)


def test_a_new_network_gates_nothing_and_modulates_nothing() -> None:
    network = RefinementNetwork(CONFIG, 5)
    zero = [network.gate.weight, network.gate.bias]
    zero += [one for name, one in network.named_parameters() if ".modulate." in name]
    assert len(zero) == 2 + 2 * (3 + 2) and not any(one.any() for one in zero)


def test_it_does_without_a_prior_that_is_not_shown() -> None:
    model = tiny_model()
    given = crops(32)
    with torch.no_grad():
        coarse = model.prior.estimate(given)
        bare, shown = model.refine(given, {}), model.refine(given, {"learned": coarse.evidence})
        other = model.refine(given, {"bank": coarse.evidence})
        nothing = model.refinement(given, [torch.zeros(N, 32, 32)], NOTHING)
    assert torch.equal(bare, nothing) and torch.equal(other, nothing)
    assert not torch.equal(shown, nothing)


def test_it_weighs_the_prior_by_its_fit_and_category() -> None:
    network = trained()
    logits = network(crops(), SILHOUETTE, FIT)
    assert (network(crops(), SILHOUETTE, OTHER_FIT) - logits).abs().amax(dim=(1, 2))[0] > 1e-4
    assert torch.equal(network(crops(), SILHOUETTE, OTHER_FIT)[1], logits[1])
    other = replace(crops(), category=torch.tensor([0, 4, 2]))
    changed = (network(other, SILHOUETTE, FIT) - logits).abs().amax(dim=(1, 2)) > 1e-4
    assert changed.tolist() == [False, True, False]


def test_both_ways_a_mirrored_crop_gets_the_mirrored_mask() -> None:
    model = tiny_model()
    given = crops(32)
    with torch.no_grad():
        shown = {"learned": model.prior.estimate(given).evidence}
        mirrored = {"learned": (shown["learned"][0].flip(-1), shown["learned"][1])}
        first, second = model.refine_both_ways(given, shown), model.refine_both_ways(given.mirrored(), mirrored)
        once, other = model.refine(given, shown), model.refine(given.mirrored(), mirrored)
    torch.testing.assert_close(first, second.flip(-1), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(once, other.flip(-1), atol=1e-4), "the network alone is not symmetric"
    assert torch.equal(given.mirrored().rgb[:, :, :, 0], given.rgb[:, :, :, -1])


def test_no_prior_differs_from_a_prior_that_fits_badly() -> None:
    network = trained()
    none, bad = NOTHING, [torch.full((N,), 1e-6)]
    assert (network(crops(), SILHOUETTE, none) - network(crops(), SILHOUETTE, bad)).abs().max() > 1e-3


def test_modulation_starts_neutral() -> None:
    torch.manual_seed(0)
    network = RefinementNetwork(CONFIG, 5).eval()
    logits = network(crops(), SILHOUETTE, FIT)
    assert torch.equal(network(crops(), SILHOUETTE, [1 - FIT[0]]), logits)


def test_masks_alone() -> None:
    network = trained(replace(CONFIG, use_rgb=False))
    given = crops()
    black = replace(given, rgb=torch.zeros_like(given.rgb))
    assert torch.equal(network(given, SILHOUETTE, FIT), network(black, SILHOUETTE, FIT))
    assert not torch.equal(trained()(given, SILHOUETTE, FIT), trained()(black, SILHOUETTE, FIT))


def test_instances_do_not_see_each_other() -> None:
    network = trained()
    together = network(crops(), SILHOUETTE, FIT)
    for i in range(N):
        alone = network(crops()[i : i + 1], [SILHOUETTE[0][i : i + 1]], [FIT[0][i : i + 1]])
        torch.testing.assert_close(alone, together[i : i + 1], rtol=1e-4, atol=1e-5)


def test_gradients_reach_every_parameter() -> None:
    network = trained().train()
    silhouette = SILHOUETTE[0].clone().requires_grad_()
    network(crops(), [silhouette], FIT).pow(2).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
    assert silhouette.grad.abs().sum() > 0


def test_coarse_estimate_is_the_selected_hypothesis() -> None:
    model = tiny_model()
    given = crops(32)
    with torch.no_grad():
        coarse = model.prior.estimate(given)
        output = model.prior(given)
    best = output.logits.argmax(dim=1)
    for i, k in enumerate(best.tolist()):
        assert coarse.viewpoint.azimuth[i] == output.hypotheses.viewpoint.azimuth[i, k]
    assert torch.equal(coarse.verts, output.mesh.verts)
    expected = model.prior.silhouettes(output.mesh.verts, output.hypotheses.best(), 32)
    assert torch.equal(coarse.silhouette, expected)
    assert torch.equal(coarse.fit, certain_iou(expected, given))


def test_the_model_is_what_its_configuration_says() -> None:
    config = tiny_config()
    model = AmodalModel(config)
    assert {name.partition(".")[0] for name in model.state_dict()} == {"prior", "refinement"}
    assert model.prior.decoder.templates.shape == (len(config.categories), 42, 3)
    assert model.refinement.embedding.num_embeddings == len(config.categories)
    again = AmodalModel(config)
    again.load_state_dict(model.state_dict())
    given = crops(32)
    assert torch.equal(again.eval().prior.estimate(given).silhouette, model.eval().prior.estimate(given).silhouette)
