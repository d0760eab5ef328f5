"""AISFormer: masks as products, the hidden mask's origin, attention with positions, and the weights of its losses."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from rcnn_small import SHAPE, random_rois, random_targets

from shape3d_amodal.baselines.rcnn.aisformer import (
    NAMES,
    AisformerConfig,
    AisformerHead,
    DecoderLayer,
    EncoderLayer,
    masks_of,
)


def head(**options: object) -> AisformerHead:
    torch.manual_seed(0)
    made = AisformerConfig(**{"feedforward": 16, **options}).mask_head(SHAPE)
    assert isinstance(made, AisformerHead)
    return made


def test_masks_are_products_of_embeddings_and_pixels() -> None:
    torch.manual_seed(0)
    embeddings, pixels = torch.randn(2, 3, 4), torch.randn(2, 784, 4)
    masks = masks_of(embeddings, pixels)
    assert masks.shape == (2, 3, 28, 28)
    for region, query, row, column in ((0, 0, 0, 0), (1, 2, 3, 5), (0, 1, 27, 13)):
        expected = sum(embeddings[region, query, c] * pixels[region, 28 * row + column, c] for c in range(4))
        assert masks[region, query, row, column].item() == pytest.approx(expected.item(), abs=1e-5)


def test_positions_are_those_of_the_columns_and_of_the_rows() -> None:
    made = head()
    places = made.places()
    assert places.shape == (784, 8)
    assert torch.equal(places[28 * 3 + 5], torch.cat([made.columns[5], made.rows[3]]))


def test_the_encoder_compares_placed_tokens_but_carries_bare_ones_over() -> None:
    torch.manual_seed(0)
    layer = EncoderLayer(4, 1, 8, 0.0).eval()
    tokens, places = torch.randn(1, 5, 4), torch.randn(5, 4)
    weights, biases = layer.attend.in_proj_weight, layer.attend.in_proj_bias
    query, key, value = (
        x @ weight.T + bias
        for x, weight, bias in zip(
            (tokens[0] + places, tokens[0] + places, tokens[0]), weights.split(4), biases.split(4), strict=True
        )
    )
    seen = ((query @ key.T / 2).softmax(dim=1) @ value) @ layer.attend.out_proj.weight.T + layer.attend.out_proj.bias
    normed = torch.nn.functional.layer_norm(tokens[0] + seen, (4,))
    first, last = layer.feed.layers[0], layer.feed.layers[3]
    fed = (normed @ first.weight.T + first.bias).relu() @ last.weight.T + last.bias
    expected = torch.nn.functional.layer_norm(normed + fed, (4,))
    assert torch.allclose(layer(tokens, places)[0], expected, atol=1e-5)


def attended(asked: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, layer: torch.nn.Module) -> torch.Tensor:
    """What each of ``asked`` [Q,4] takes from ``values`` [P,4] by how alike it is to ``keys`` [P,4], with one head."""
    (q, k, v), (a, b, c) = layer.in_proj_weight.split(4), layer.in_proj_bias.split(4)
    scores = (asked @ q.T + a) @ (keys @ k.T + b).T / math.sqrt(4)
    weights = scores.exp() / scores.exp().sum(dim=1, keepdim=True)
    return (weights @ (values @ v.T + c)) @ layer.out_proj.weight.T + layer.out_proj.bias


def normed(x: torch.Tensor) -> torch.Tensor:
    centred = x - x.mean(dim=1, keepdim=True)
    return centred / (centred.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()


def test_the_decoder_asks_with_queries_and_compares_with_placed_tokens() -> None:
    """Queries are added to what asks and to what own answers are compared with, places to the tokens' alone."""
    torch.manual_seed(0)
    layer = DecoderLayer(4, 1, 8, 0.0).eval()
    found, queries, tokens, places = torch.randn(1, 3, 4), torch.randn(3, 4), torch.randn(1, 5, 4), torch.randn(5, 4)
    first = normed(found[0] + attended(found[0] + queries, found[0] + queries, found[0], layer.attend_own))
    second = normed(first + attended(first + queries, tokens[0] + places, tokens[0], layer.attend))
    inner, outer = layer.feed.layers[0], layer.feed.layers[3]
    fed = (second @ inner.weight.T + inner.bias).relu() @ outer.weight.T + outer.bias
    assert torch.allclose(layer(found, queries, tokens, places)[0], normed(second + fed), atol=1e-5)


def test_the_head_goes_from_tokens_to_masks_with_a_shortcut_around_the_encoder() -> None:
    made, rois = head(layers=2).eval(), random_rois(2)
    torch.nn.init.normal_(made.embed_pixels.weight)
    local = made.up(made.convs(rois.features)).flatten(2).transpose(1, 2)
    tokens = made.encoder[1](made.encoder[0](local, made.places()), made.places())
    found = torch.zeros(2, 4, 8)
    for layer in made.decoder:
        found = layer(found, made.queries, tokens, made.places())
    pixels = made.embed_pixels(normed((tokens + local).flatten(0, 1)).view_as(local))
    embedded = made.embeddings(found)
    for number, (name, logits) in enumerate(made(rois).items()):
        assert name == NAMES[number]
        for row, column in ((0, 0), (3, 5), (27, 13)):
            expected = (embedded[:, number] * pixels[:, 28 * row + column]).sum(dim=1)
            assert torch.allclose(logits[:, row, column], expected, atol=1e-4)


def test_the_hidden_mask_comes_from_the_amodal_and_the_visible_one() -> None:
    made, found = head(), torch.randn(2, 4, 8)
    embedded = made.embed_masks(found)
    result = made.embeddings(found)
    assert made.relate is not None
    expected = made.relate(torch.cat([embedded[:, 2], embedded[:, 0]], dim=1))  # amodal, then visible
    assert torch.allclose(result[:, 3], expected)
    assert torch.allclose(result[:, :3], embedded[:, :3])
    own = head(hidden="query")
    assert own.relate is None
    assert torch.equal(own.embeddings(found), own.embed_masks(found))


def test_every_mask_is_a_map_of_the_region() -> None:
    logits = head(convs=2, layers=2)(random_rois(3))
    assert tuple(logits) == NAMES
    assert all(one.shape == (3, 28, 28) and one.dtype == torch.float32 for one in logits.values())


def test_losses_have_the_weights_of_the_paper() -> None:
    made = head().eval()
    torch.nn.init.zeros_(made.embed_pixels.weight)  # all logits are 0, all cross-entropies log 2
    losses = made.losses(random_rois(3), random_targets(3))
    weights = {"mask_amodal": 1, "mask_visible": 1, "mask_occluder": 0.25, "mask_hidden": 0.25}
    assert {name: loss.item() for name, loss in losses.items()} == pytest.approx(
        {name: weight * math.log(2) for name, weight in weights.items()}
    )


def test_each_mask_has_its_own_target() -> None:
    made = head().eval()
    targets = random_targets(2)
    logits = {name: one.detach() for name, one in made(random_rois(2)).items()}
    hidden = targets.amodal * (1 - targets.visible)
    true = {"amodal": targets.amodal, "visible": targets.visible, "occluder": targets.occluder, "hidden": hidden}
    weights = {"amodal": 1, "visible": 1, "occluder": 0.25, "hidden": 0.25}
    losses = made.losses(random_rois(2), targets)
    for name, target in true.items():
        right = torch.where(target > 0, logits[name].sigmoid(), 1 - logits[name].sigmoid())
        assert losses[f"mask_{name}"].item() == pytest.approx(-weights[name] * right.log().mean().item(), abs=1e-5)


def test_occluders_are_learned_where_there_is_one() -> None:
    made, rois, targets = head().eval(), random_rois(2), random_targets(2)
    occluder = targets.occluder.clone()
    occluder[0] = 0
    assert occluder[1].any()
    loss = made.losses(rois, replace(targets, occluder=occluder))["mask_occluder"].item()
    probability = made(rois)["occluder"][1].detach().sigmoid()
    right = torch.where(occluder[1] > 0, probability, 1 - probability)
    assert loss == pytest.approx(-0.25 * right.log().mean().item(), abs=1e-6)
    assert made.losses(rois, replace(targets, occluder=torch.zeros_like(occluder)))["mask_occluder"].item() == 0


def test_predictions_are_the_amodal_and_the_visible_mask() -> None:
    made, rois = head().eval(), random_rois(2)
    prediction, logits = made.predict(rois), made(rois)
    assert torch.equal(prediction.amodal, logits["amodal"].sigmoid())
    assert prediction.visible is not None
    assert torch.equal(prediction.visible, logits["visible"].sigmoid())


@pytest.mark.parametrize("hidden", ["relation", "query"])
def test_gradients_reach_everything_and_of_nothing_are_zero(hidden: str) -> None:
    made = head(hidden=hidden)
    sum(made.losses(random_rois(3), random_targets(3)).values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in made.parameters())
    losses = made.losses(random_rois(0), random_targets(0))
    assert sum(losses.values()) == 0


def test_channels_of_the_pyramid_may_differ_from_those_of_the_head() -> None:
    shape = replace(SHAPE, channels=12)
    assert AisformerConfig(feedforward=16).mask_head(shape)(random_rois(2, shape))["amodal"].shape == (2, 28, 28)
