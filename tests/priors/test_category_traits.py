"""What the prior may be told of categories: shared templates, no symmetry, a smaller range of the azimuth."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from tiny import tiny_config

from shape3d_amodal.errors import UsageError
from shape3d_amodal.model import AmodalModel, AmodalModelConfig
from shape3d_amodal.priors.learned.network import ShapePrior
from shape3d_amodal.structures import InstanceCrops

NAMES = ("car", "cyclist", "pedestrian", "van")


def config_of(**changes: object) -> AmodalModelConfig:
    return replace(tiny_config(), categories=NAMES, **changes)


def prior_of(**changes: object) -> ShapePrior:
    torch.manual_seed(0)
    return AmodalModel(config_of(**changes)).eval().prior


def crops_of(category: list[int]) -> InstanceCrops:
    generator = torch.Generator().manual_seed(1)
    count = len(category)
    masks = (torch.rand(2, 1, 32, 32, generator=generator) > 0.5).float().expand(-1, count, -1, -1)
    rgb = torch.rand(1, 3, 32, 32, generator=generator).expand(count, -1, -1, -1)
    return InstanceCrops(rgb, masks[0], masks[1] * (1 - masks[0]), torch.tensor(category), torch.zeros(count, 4))


def test_nothing_told_changes_nothing() -> None:
    """The tensors, their names and what comes out are those of a prior that is told nothing."""
    plain = prior_of()
    torch.manual_seed(0)
    bare = ShapePrior(config_of().prior, len(NAMES)).eval()
    assert plain.state_dict().keys() == bare.state_dict().keys()
    told = prior_of(asymmetric=("car",), azimuth_range_deg={"van": 90})
    assert told.state_dict().keys() == bare.state_dict().keys()
    for name, tensor in bare.state_dict().items():
        assert torch.equal(tensor, plain.state_dict()[name]) and torch.equal(tensor, told.state_dict()[name]), name
    crops = crops_of([0, 1, 2, 3])
    one, other = plain(crops), bare(crops)
    assert torch.equal(one.mesh.verts, other.mesh.verts) and torch.equal(one.logits, other.logits)


def test_categories_of_one_class_share_template_and_embedding() -> None:
    prior = prior_of(parents={"cyclist": "person", "pedestrian": "person"})
    assert len(prior.decoder.templates) == len(prior.encoder.embedding.weight) == 3
    output = prior(crops_of([0, 1, 2, 3]))
    assert torch.equal(output.mesh.verts[1], output.mesh.verts[2])
    with torch.no_grad():
        prior.decoder.templates[2] += 1.0  # car, person, van
    moved = prior(crops_of([0, 1, 2, 3])).mesh.verts - output.mesh.verts
    assert [bool(one.abs().max() > 0.1) for one in moved] == [False, False, False, True]
    own = config_of(parents={"cyclist": "pedestrian"})
    assert own.traits.group == (0, 1, 1, 2), "a category may be the class of another one"
    assert len(AmodalModel(own).refinement.embedding.weight) == 4, "stage 5 tells them apart"


def test_asymmetric_categories_are_free() -> None:
    prior = prior_of(asymmetric=("pedestrian",))
    with torch.no_grad():
        torch.nn.init.normal_(prior.decoder.offsets.weight, std=0.1)
    verts = prior(crops_of([0, 1, 2, 3])).mesh.verts
    reflected = verts[:, prior.decoder.mirror] * torch.tensor([-1.0, 1.0, 1.0])
    apart = (verts - reflected).abs().amax(dim=(1, 2))
    assert apart[2] > 0.01
    assert (apart[[0, 1, 3]] < 1e-6).all()


@pytest.mark.parametrize("hypotheses", [1, 3, 4])
def test_hypotheses_divide_the_range_of_the_azimuth(hypotheses: int) -> None:
    config = config_of(azimuth_range_deg={"pedestrian": 180, "van": 90})
    viewpoint = replace(config.prior.viewpoint, hypotheses=hypotheses, overlap=1.0)
    model = AmodalModel(replace(config, prior=replace(config.prior, viewpoint=viewpoint))).eval()
    head = model.prior.viewpoint
    ends = []
    for push in (-50.0, 0.0, 50.0):  # the ends of tanh, and its middle
        with torch.no_grad():
            head.parameters_of[-1].weight.zero_()
            head.parameters_of[-1].bias.fill_(push)
            ends.append(model.prior(crops_of([0, 2, 3])).hypotheses.viewpoint.azimuth.rad2deg())
    low, middle, high = ends
    for row, whole in enumerate((360, 180, 90)):
        width = whole / hypotheses
        start = -whole / 2 if whole < 360 else -width / 2  # the full circle begins around the front
        expected = start + width * torch.arange(hypotheses)
        torch.testing.assert_close(low[row], expected, atol=1e-3, rtol=0)
        torch.testing.assert_close(middle[row], expected + width / 2, atol=1e-3, rtol=0)
        torch.testing.assert_close(high[row], expected + width, atol=1e-3, rtol=0)
    assert math.isclose(float(high[2, -1] - low[2, 0]), 90, abs_tol=1e-3)


@pytest.mark.parametrize(
    "options", [{"parents": {"dog": "animal"}}, {"asymmetric": ("dog",)}, {"azimuth_range_deg": {"dog": 90}}]
)
def test_names_that_the_model_lacks_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=rf"^model\.{next(iter(options))}: expected names among .*, got dog"):
        AmodalModel(config_of(**options))
