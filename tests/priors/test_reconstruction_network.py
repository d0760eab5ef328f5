from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from shape3d_amodal.geometry.templates import icosphere
from shape3d_amodal.priors.learned.reconstruction import ImageEncoder, MeshDecoder, ReconstructionConfig
from shape3d_amodal.structures import InstanceCrops

CONFIG = ReconstructionConfig(level=1, code_size=4, widths=(4, 4, 8, 8), features=16, embedding=4)
CATEGORIES = 3
N, S = 6, 32


@pytest.fixture
def decoder() -> MeshDecoder:
    """With random weights everywhere, as if it were trained."""
    torch.manual_seed(0)
    result = MeshDecoder(CONFIG, CATEGORIES)
    for layer in (result.offsets, result.stretch):
        nn.init.normal_(layer.weight, std=0.3)
        nn.init.normal_(layer.bias, std=0.3)
    nn.init.normal_(result.templates, std=0.3)
    return result


@pytest.fixture
def crops() -> InstanceCrops:
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(3, (N, S, S), generator=generator)
    category = torch.arange(N) % CATEGORIES
    rgb = torch.rand(N, 3, S, S, generator=generator)
    return InstanceCrops(rgb, (label == 1).float(), (label == 2).float(), category, torch.zeros(N, 4))


CATEGORY = torch.tensor([0, 0, 1, 1, 2, 2])


def test_an_untrained_decoder_gives_one_ellipsoid() -> None:
    mesh = MeshDecoder(CONFIG, CATEGORIES)(torch.randn(N, 4), CATEGORY)
    sphere = icosphere(1)
    expected = sphere.verts * torch.tensor([0.28, 0.28, 0.4])
    torch.testing.assert_close(mesh.verts, expected.expand(N, -1, -1))
    assert torch.equal(mesh.faces, sphere.faces)


def test_a_closed_gate_gives_the_category_its_template(decoder: MeshDecoder) -> None:
    verts = decoder(torch.randn(N, 4), CATEGORY, gate=0.0).verts
    assert torch.equal(verts[::2], verts[1::2])
    assert (verts[0] - verts[2]).abs().max() > 0.1
    torch.testing.assert_close(verts, decoder(torch.randn(N, 4), CATEGORY, gate=0.0).verts, rtol=0, atol=0)


def test_an_open_gate_gives_every_code_its_shape(decoder: MeshDecoder) -> None:
    code = torch.randn(N, 4)
    verts = decoder(code, CATEGORY).verts
    assert (verts[0] - verts[1]).abs().max() > 0.05
    assert decoder(code, CATEGORY).code is code
    template, half = decoder(code, CATEGORY, gate=0.0).verts, decoder(code, CATEGORY, gate=0.5).verts
    assert ((half - template).norm() < (verts - template).norm()).all()


@pytest.mark.parametrize("gate", [0.0, 0.3, 1.0])
def test_meshes_are_exactly_symmetric(decoder: MeshDecoder, gate: float) -> None:
    verts = decoder(torch.randn(N, 4), CATEGORY, gate).verts
    assert torch.equal(verts[:, decoder.mirror], verts * torch.tensor([-1.0, 1.0, 1.0]))


@pytest.mark.parametrize("gate", [0.0, 1.0])
def test_meshes_without_symmetry_are_free(decoder: MeshDecoder, gate: float) -> None:
    """The same weights, not averaged with their mirror image: their symmetric part is the symmetric mesh."""
    free = MeshDecoder(replace(CONFIG, symmetric=False), CATEGORIES)
    free.load_state_dict(decoder.state_dict())
    code = torch.randn(N, 4)
    verts = free(code, CATEGORY, gate).verts
    reflected = verts[:, decoder.mirror] * torch.tensor([-1.0, 1.0, 1.0])
    assert (verts - reflected).abs().max() > 0.1
    torch.testing.assert_close((verts + reflected) / 2, decoder(code, CATEGORY, gate).verts)


def test_stretch_is_bounded(decoder: MeshDecoder) -> None:
    """By exp(0.7) along each axis, whatever the code."""
    nn.init.zeros_(decoder.offsets.weight)
    nn.init.zeros_(decoder.offsets.bias)
    template = decoder(torch.zeros(N, 4), CATEGORY, gate=0.0).verts
    verts = decoder(torch.randn(N, 4) * 1e4, CATEGORY).verts
    ratio = verts.abs().amax(dim=1) / template.abs().amax(dim=1)
    assert ratio.log().abs().max() <= 0.7 + 1e-5
    assert ratio.log().abs().max() > 0.6


def test_buffers_are_not_saved(decoder: MeshDecoder) -> None:
    assert not {"faces", "mirror", "template"} & set(decoder.state_dict())


def test_gradients_reach_every_parameter(decoder: MeshDecoder) -> None:
    features = torch.randn(N, CONFIG.features + CONFIG.embedding)
    verts = decoder(decoder.encode(features), CATEGORY).verts
    (verts * torch.randn_like(verts)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in decoder.parameters())


@pytest.fixture
def encoder() -> ImageEncoder:
    torch.manual_seed(0)
    return ImageEncoder(CONFIG, CATEGORIES).eval()


def test_features(encoder: ImageEncoder, crops: InstanceCrops) -> None:
    features = encoder(crops)
    assert features.shape == (N, CONFIG.features + CONFIG.embedding)
    torch.testing.assert_close(encoder(crops[2:3]), features[2:3], rtol=1e-4, atol=1e-5)
    assert encoder(crops[:0]).shape == (0, CONFIG.features + CONFIG.embedding)


def test_colours_outside_the_visible_mask_are_not_seen(encoder: ImageEncoder, crops: InstanceCrops) -> None:
    """What covers the object, and what lies behind it, says nothing of its shape."""
    other = torch.where(crops.visible[:, None] > 0, crops.rgb, torch.rand_like(crops.rgb))
    assert torch.equal(encoder(replace(crops, rgb=other)), encoder(crops))
    inside = torch.where(crops.visible[:, None] > 0, torch.rand_like(crops.rgb), crops.rgb)
    assert not torch.equal(encoder(replace(crops, rgb=inside)), encoder(crops))


def test_masks_and_category_are_seen_and_the_window_is_not(encoder: ImageEncoder, crops: InstanceCrops) -> None:
    features = encoder(crops)
    assert not torch.equal(encoder(replace(crops, occluder=1 - crops.visible)), features)
    assert not torch.equal(encoder(replace(crops, category=(crops.category + 1) % CATEGORIES)), features)
    assert torch.equal(encoder(replace(crops, window=crops.window + 7)), features)


def test_masks_alone(crops: InstanceCrops) -> None:
    torch.manual_seed(0)
    encoder = ImageEncoder(replace(CONFIG, use_rgb=False), CATEGORIES).eval()
    assert torch.equal(encoder(replace(crops, rgb=torch.rand_like(crops.rgb))), encoder(crops))


@pytest.mark.parametrize("size", [16, 48, 64, 96])
def test_any_crop_size(encoder: ImageEncoder, size: int) -> None:
    zeros = torch.zeros(2, size, size)
    crops = InstanceCrops(
        torch.zeros(2, 3, size, size), zeros, zeros, torch.zeros(2, dtype=torch.int64), torch.zeros(2, 4)
    )
    assert encoder(crops).shape == (2, CONFIG.features + CONFIG.embedding)


def test_the_encoder_by_plain_convolutions(encoder: ImageEncoder, crops: InstanceCrops) -> None:
    """Four times a convolution that halves and one that does not, each with batch norm, then 4 x 4 means."""
    encoder.eval()
    state = encoder.state_dict()
    x = torch.cat([(crops.rgb - 0.5) * crops.visible[:, None], crops.visible[:, None], crops.occluder[:, None]], dim=1)
    for i in range(8):
        x = torch.nn.functional.conv2d(x, state[f"stages.{i}.0.weight"], stride=2 - i % 2, padding=1)
        mean, var, weight, bias = (
            state[f"stages.{i}.1.{name}"][:, None, None] for name in ("running_mean", "running_var", "weight", "bias")
        )
        x = ((x - mean) / (var + 1e-5).sqrt() * weight + bias).clamp(min=0)
    x = torch.nn.functional.adaptive_avg_pool2d(x, 4).flatten(1)
    x = (x @ state["project.0.weight"].T + state["project.0.bias"]).clamp(min=0)
    expected = torch.cat([x, state["embedding.weight"][crops.category]], dim=1)
    torch.testing.assert_close(encoder(crops), expected, rtol=1e-4, atol=1e-5)


def test_a_mesh_is_its_template_moved_mirrored_and_stretched(decoder: MeshDecoder) -> None:
    """By the formula: template + gate * offset, averaged with its mirror image, times exp(0.7 gate tanh(stretch))."""
    code, category, gate = torch.randn(2, decoder.to_code.out_features), torch.tensor([0, 1]), 0.6
    with torch.no_grad():
        hidden = decoder.hidden(torch.cat([code, decoder.embedding(category)], dim=1))
        moved = decoder.templates[category] + gate * decoder.offsets(hidden).view(2, -1, 3)
        mirrored = moved[:, decoder.mirror] * torch.tensor([-1.0, 1.0, 1.0])
        stretch = torch.exp(0.7 * gate * torch.tanh(decoder.stretch(hidden)))
        expected = (moved + mirrored) / 2 * stretch[:, None]
        torch.testing.assert_close(decoder(code, category, gate).verts, expected)
    assert (expected - decoder.templates[category]).abs().max() > 1e-3
