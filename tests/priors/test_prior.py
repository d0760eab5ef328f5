from __future__ import annotations

import math

import pytest
import torch
from pytorch3d.renderer import MeshRasterizer, RasterizationSettings
from pytorch3d.structures import Meshes
from pytorch3d_cameras import to_pytorch3d
from tiny import tiny_config
from torch import nn

from shape3d_amodal.priors.learned.network import ShapePrior
from shape3d_amodal.structures import InstanceCrops, Viewpoint

N, S, K = 3, 32, 4


@pytest.fixture
def prior() -> ShapePrior:
    torch.manual_seed(0)
    result = ShapePrior(tiny_config().prior, 13).eval()
    nn.init.normal_(result.decoder.offsets.weight, std=0.02)
    return result


@pytest.fixture
def crops() -> InstanceCrops:
    label = torch.randint(3, (N, S, S), generator=torch.Generator().manual_seed(0))
    rgb = torch.rand(N, 3, S, S)
    return InstanceCrops(rgb, (label == 1).float(), (label == 2).float(), torch.tensor([0, 4, 12]), torch.zeros(N, 4))


def test_outputs(prior: ShapePrior, crops: InstanceCrops) -> None:
    output = prior(crops)
    assert output.mesh.verts.shape == (N, 42, 3)
    assert output.mesh.code.shape == (N, 4)
    assert output.logits.shape == output.hypotheses.viewpoint.azimuth.shape == (N, K)
    silhouette = prior.silhouettes(output.mesh.verts, output.hypotheses.best(), S)
    assert silhouette.shape == (N, S, S)
    assert 0 <= silhouette.min() <= silhouette.max() <= 1
    assert silhouette.amax(dim=(1, 2)).min() > 0.9


def test_gate(prior: ShapePrior, crops: InstanceCrops) -> None:
    verts = prior(crops, gate=0.0).mesh.verts
    assert torch.equal(verts, prior.decoder.templates[crops.category])
    assert (prior(crops).mesh.verts - verts).abs().max() > 1e-3


def test_by_default_every_instance_has_its_whole_shape_and_half_the_gate_half_of_it(
    prior: ShapePrior, crops: InstanceCrops
) -> None:
    """Offsets alone (no stretch): the templates and what the last layer adds, times the gate."""
    with torch.no_grad():
        code = prior.decoder.encode(prior.encoder(crops))
        hidden = prior.decoder.hidden(torch.cat([code, prior.decoder.embedding(crops.category)], dim=1))
        offsets = prior.decoder.offsets(hidden).view(N, -1, 3)
        mirrored = offsets[:, prior.decoder.mirror] * torch.tensor([-1.0, 1.0, 1.0])
        template = prior.decoder.templates[crops.category]
        moved = (offsets + mirrored) / 2
        assert moved.abs().max() > 0.01
        torch.testing.assert_close(prior(crops).mesh.verts, template + moved)
        torch.testing.assert_close(prior.estimate(crops).verts, template + moved)
        torch.testing.assert_close(prior.decoder(code, crops.category).verts, template + moved)
        torch.testing.assert_close(prior(crops, gate=0.5).mesh.verts, template + moved / 2)


def test_geometry_stays_in_single_precision(prior: ShapePrior, crops: InstanceCrops) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = prior(crops)
        silhouette = prior.silhouettes(output.mesh.verts, output.hypotheses.best(), S)
    assert output.mesh.verts.dtype == output.logits.dtype == silhouette.dtype == torch.float32


def test_silhouettes_equal_pytorch3ds_rasterizer_and_cameras(prior: ShapePrior, crops: InstanceCrops) -> None:
    """From vertices in the object frame to the crop's pixels: where PyTorch3D's camera sees the mesh we have 0.75."""
    size = 96
    viewpoint = Viewpoint(
        azimuth=torch.tensor([0.4, 2.0, 5.0]),
        elevation=torch.tensor([0.1, 0.5, 0.3]),
        roll=torch.tensor([0.0, 0.3, -0.2]),
        scale=torch.tensor([1.0, 0.7, 1.4]),
        offset=torch.tensor([[0.0, 0.0], [0.4, -0.3], [-0.2, 0.1]]),
    )
    verts = prior(crops).mesh.verts.detach() + torch.tensor([0.1, 0.0, 0.05])  # neither mirror symmetric nor centred
    faces = prior.decoder.faces
    soft = prior.silhouettes(verts, viewpoint, size, blur_px=0.3)
    rasterizer = MeshRasterizer(
        cameras=to_pytorch3d(viewpoint), raster_settings=RasterizationSettings(image_size=size, bin_size=0)
    )
    hard = rasterizer(Meshes(verts, faces.expand(N, -1, -1))).pix_to_face[..., 0] >= 0
    found = soft > 0.75
    assert (hard & found).sum() / (hard | found).sum() > 0.985
    flipped = hard.flip(-1)
    assert (flipped & found).sum() / (flipped | found).sum() < 0.9


def test_blur_defaults_to_the_configuration(prior: ShapePrior, crops: InstanceCrops) -> None:
    output = prior(crops)
    view = output.hypotheses.best()
    default = prior.silhouettes(output.mesh.verts, view, S)
    assert torch.equal(default, prior.silhouettes(output.mesh.verts, view, S, prior.config.blur_px))
    blurred = prior.silhouettes(output.mesh.verts, view, S, 2.0)
    assert (blurred * (1 - blurred)).sum() > (default * (1 - default)).sum()


def test_azimuth_shows_in_an_untrained_silhouette() -> None:
    """The first template is longer than wide, or no gradient would ever turn it."""
    prior = ShapePrior(tiny_config().prior, 1)
    zero = torch.zeros(2)
    view = Viewpoint(torch.tensor([0.0, math.pi / 2]), zero, zero, zero + 1, torch.zeros(2, 2))
    verts = prior.decoder(torch.zeros(2, 4), torch.zeros(2, dtype=torch.int64)).verts
    front, side = prior.silhouettes(verts, view, S).sum(dim=(1, 2))
    assert side > 1.2 * front
