from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from shape3d_amodal.priors.learned.viewpoint import ViewpointConfig, ViewpointHead

FEATURES = 8
CONFIG = ViewpointConfig(max_roll_deg=15.0, mean_scale=0.8)


def head(config: ViewpointConfig, std: float = 0.3) -> ViewpointHead:
    torch.manual_seed(0)
    result = ViewpointHead(config, FEATURES)
    nn.init.normal_(result.parameters_of[-1].weight, std=std)
    return result


@pytest.mark.parametrize("K", [1, 2, 4, 7])
def test_shapes(K: int) -> None:
    hypotheses, logits = head(ViewpointConfig(hypotheses=K))(torch.randn(5, FEATURES))
    view = hypotheses.viewpoint
    for tensor in (view.azimuth, view.elevation, view.roll, view.scale, hypotheses.probability, logits):
        assert tensor.shape == (5, K)
    assert view.offset.shape == (5, K, 2)
    torch.testing.assert_close(hypotheses.probability.sum(dim=1), torch.ones(5))
    torch.testing.assert_close(hypotheses.probability, torch.softmax(logits, dim=1))


@pytest.mark.parametrize("K", [1, 4, 6])
def test_hypotheses_start_spread_over_the_circle(K: int) -> None:
    config = ViewpointConfig(hypotheses=K, mean_scale=0.8)
    view = head(config, std=0.0)(torch.randn(3, FEATURES))[0].viewpoint
    torch.testing.assert_close(view.azimuth, (torch.arange(K) * 2 * math.pi / K).expand(3, K))
    torch.testing.assert_close(view.elevation, torch.full((3, K), math.radians(20)))
    torch.testing.assert_close(view.scale, torch.full((3, K), 0.8))
    assert not view.roll.any()
    assert not view.offset.any()


def test_the_first_weights_are_a_hundredth_so_that_hypotheses_begin_close_to_their_centres() -> None:
    torch.manual_seed(0)
    made = ViewpointHead(ViewpointConfig(hypotheses=64), FEATURES)
    last = made.parameters_of[-1]
    assert last.weight.numel() == 128 * 6 * 64, "so many that the spread is known to a third of a percent"
    assert last.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert last.weight.mean().item() == pytest.approx(0, abs=1e-3) and not last.bias.any()


@pytest.mark.parametrize("size", [1.0, 1e3, 1e6])
def test_everything_is_bounded(size: float) -> None:
    view = head(CONFIG)(size * torch.randn(200, FEATURES))[0].viewpoint
    centre = torch.arange(4) * math.pi / 2
    assert (view.azimuth - centre).abs().max() <= 1.04 * math.pi / 4 + 1e-5
    assert view.elevation.min() >= 0
    assert view.elevation.max() <= math.radians(40) + 1e-6
    assert view.roll.abs().max() <= math.radians(15) + 1e-6
    assert (view.scale / 0.8).log().abs().max() <= 0.9 + 1e-5
    assert view.offset.abs().max() <= 0.9 + 1e-6


@pytest.mark.parametrize("K", [1, 4, 5])
def test_sectors_cover_the_circle_and_overlap_little(K: int) -> None:
    """From least to largest azimuth of each hypothesis: every direction is in one sector, or in two at a seam."""
    config = ViewpointConfig(hypotheses=K)
    network = head(config, std=0.0)
    ends = []
    for sign in (-1, 1):
        nn.init.constant_(network.parameters_of[-1].bias, sign * 1e3)
        ends.append(network(torch.zeros(1, FEATURES))[0].viewpoint.azimuth[0])
    low, high = ends
    directions = torch.linspace(0, 2 * math.pi, 1000)[:, None]
    turned = torch.stack([directions + 2 * math.pi * turn for turn in (-1, 0, 1)])
    count = ((turned >= low) & (turned <= high)).sum(dim=(0, 2))
    assert count.min() >= 1
    assert count.max() <= 2
    assert (count == 2).float().mean() < 0.06


def test_selection_does_not_shape_the_features() -> None:
    network = head(CONFIG)
    features = torch.randn(5, FEATURES, requires_grad=True)
    hypotheses, logits = network(features)
    (logits.pow(2).sum() + hypotheses.probability[:, 0].sum()).backward(retain_graph=True)
    assert features.grad is None
    assert network.select[0].weight.grad.abs().sum() > 0
    assert network.parameters_of[0].weight.grad is None
    hypotheses.viewpoint.azimuth.sum().backward()
    assert features.grad.abs().sum() > 0


def test_no_instances() -> None:
    hypotheses, logits = head(CONFIG)(torch.zeros(0, FEATURES))
    assert logits.shape == hypotheses.viewpoint.scale.shape == (0, 4)


def test_a_fixed_elevation() -> None:
    view = head(ViewpointConfig(max_elevation_deg=0.0))(torch.randn(5, FEATURES))[0].viewpoint
    assert not view.elevation.any()
    assert view.azimuth.isfinite().all()


def test_the_numbers_of_a_viewpoint_by_their_formulas() -> None:
    config = ViewpointConfig(hypotheses=3)
    made = head(config)
    features = torch.randn(4, made.select[0].in_features)
    with torch.no_grad():
        found = made(features)[0].viewpoint
        raw = (0.5 * made.parameters_of(features)).view(4, 6, 3)
    for row in range(4):
        for k in range(3):
            a, e, r, s, x, y = raw[row, :, k].tolist()
            azimuth = 2 * math.pi * k / 3 + math.tanh(a) * math.pi / 3 * config.overlap
            assert found.azimuth[row, k].item() == pytest.approx(azimuth, rel=1e-4, abs=1e-5)
            elevation = math.radians(config.max_elevation_deg) / (1 + math.exp(-e))
            assert found.elevation[row, k].item() == pytest.approx(elevation, rel=1e-4, abs=1e-5)
            roll = math.radians(config.max_roll_deg) * math.tanh(r)
            assert found.roll[row, k].item() == pytest.approx(roll, rel=1e-4, abs=1e-5)
            scale = config.mean_scale * math.exp(config.max_log_scale * math.tanh(s))
            assert found.scale[row, k].item() == pytest.approx(scale, rel=1e-4)
            offset = [config.max_offset * math.tanh(one) for one in (x, y)]
            assert found.offset[row, k].tolist() == pytest.approx(offset, rel=1e-4, abs=1e-5)
