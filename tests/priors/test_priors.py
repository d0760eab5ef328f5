"""The two priors, as the pipeline knows them: the fit is never worse than none, and each is opened from its parts."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from boxes import BoxMeshes
from tiny import QUICK_BANK, tiny_model

from shape3d_amodal.errors import UsageError
from shape3d_amodal.geometry.cameras import project
from shape3d_amodal.priors.bank.deformation import DeformationConfig
from shape3d_amodal.priors.bank.prior import BankPrior
from shape3d_amodal.priors.bank.shapes import ShapeBank
from shape3d_amodal.priors.interface import Prior, no_estimate
from shape3d_amodal.priors.learned.fit import FitConfig, LearnedPrior
from shape3d_amodal.priors.losses import certain_iou
from shape3d_amodal.priors.optimization import FreeViewpoint
from shape3d_amodal.priors.registry import PriorParts, open_prior
from shape3d_amodal.rendering import blur_sigma, render_silhouettes
from shape3d_amodal.structures import InstanceCrops, Viewpoint

S, N = 64, 3


@pytest.fixture(scope="module")
def bank() -> BankPrior:
    return BankPrior(ShapeBank(BoxMeshes()), config=replace(QUICK_BANK, starts=2, fit_below=1.0))


@pytest.fixture(scope="module")
def crops(bank: BankPrior) -> InstanceCrops:
    """A wide dresser, a chair and a table that the bank does not hold quite like this, partly hidden."""
    names = ["dresser/box", "chair/four_legs", "table/one_leg"]
    viewpoint = Viewpoint(*torch.tensor([[0.6], [0.25], [0.0], [0.75]]), torch.tensor([[0.1, 0.0]]))
    wholes = []
    for name in names:
        mesh = BoxMeshes([name]).load(name)
        screen = project(torch.from_numpy(mesh.verts)[None] * torch.tensor([1.25, 0.85, 1.0]), viewpoint)
        wholes.append(render_silhouettes(screen, torch.from_numpy(mesh.faces)[None].long(), S, blur_sigma(0.3, S)))
    whole = torch.cat(wholes)
    occluder = torch.zeros(N, S, S)
    occluder[:, :, 42:] = 1
    category = torch.tensor([bank.categories.index(name.partition("/")[0]) for name in names])
    return InstanceCrops(torch.zeros(N, 3, S, S), whole * (1 - occluder), occluder, category, torch.zeros(N, 4))


def test_the_fit_explains_more_than_no_fit(bank: BankPrior, crops: InstanceCrops) -> None:
    rigid, fitted = bank.with_fit_steps(0).estimate(crops), bank.with_fit_steps(20).estimate(crops)
    assert fitted.fit.mean() > rigid.fit.mean() + 0.01 and fitted.fit.min() > 0.8
    torch.testing.assert_close(fitted.fit, certain_iou(fitted.silhouette, crops))


def tiny_prior(fit: FitConfig | None = None) -> LearnedPrior:
    model = tiny_model()
    return LearnedPrior(model.prior, model.config.categories, fit)


def awkward(crops: InstanceCrops, name: str) -> InstanceCrops:
    """Masks that no shape explains."""
    visible, occluder = torch.zeros(N, S, S), torch.zeros(N, S, S)
    if name == "noise":
        visible = (torch.rand(N, S, S, generator=torch.Generator().manual_seed(0)) > 0.8).float()
    elif name == "one pixel":
        visible[:, 30, 40] = 1
    elif name == "specks, all else hidden":
        visible[:, 5, 5] = visible[:, 58, 50] = 1
        occluder = 1 - visible
    elif name == "a cross at the border":
        visible[:, :, :5] = visible[:, 20:26] = 1
        occluder[:, :, 40:] = 1 - visible[:, :, 40:]
    else:
        return crops
    return replace(crops, visible=visible, occluder=occluder, category=torch.tensor([0, 1, 2]))


def slowly_fitted(bank: BankPrior) -> BankPrior:
    """One pose is fitted, in small steps, so that the mean of several may explain more."""
    deformation = DeformationConfig(learning_rate=0.01, lattice_rate=0.003)
    return BankPrior(bank.bank, config=replace(bank.config, starts=1, deformation=deformation))


@pytest.mark.parametrize("steps", [1, 3, 12])
@pytest.mark.parametrize("name", ["boxes", "noise", "one pixel", "specks, all else hidden", "a cross at the border"])
@pytest.mark.parametrize("kind", ["bank", "learned"])
def test_the_fit_is_never_worse_than_none(
    bank: BankPrior, crops: InstanceCrops, kind: str, name: str, steps: int
) -> None:
    """By the priors' own score, also where steps lead away."""
    prior: Prior = slowly_fitted(bank)
    if kind == "learned":
        prior = tiny_prior(FitConfig(learning_rate=0.5, code_rate=2.0))  # steps that lead away
    given = awkward(crops, name)
    with torch.no_grad():
        start, fitted = prior.with_fit_steps(0).estimate(given), prior.with_fit_steps(steps).estimate(given)
    assert (fitted.fit >= start.fit - 1e-6).all()
    torch.testing.assert_close(fitted.fit, certain_iou(fitted.silhouette, given))


def test_a_free_viewpoint_goes_no_further_than_straight_above() -> None:
    zero = torch.zeros(2)
    viewpoint = Viewpoint(zero, torch.tensor([1.5, -1.5]), zero + 3, zero + 1, torch.full((2, 2), 9.0))
    free = FreeViewpoint(viewpoint)
    free.clamp()
    assert torch.equal(free.value().elevation, viewpoint.elevation)
    with torch.no_grad():
        free.leaves[1].mul_(2)
    free.clamp()
    assert free.value().elevation.tolist() == pytest.approx([math.pi / 2, -math.pi / 2])
    for name in ("azimuth", "roll", "scale", "offset"):
        assert torch.equal(getattr(free.value(), name), getattr(viewpoint, name))


def test_both_priors_are_priors(bank: BankPrior, crops: InstanceCrops) -> None:
    priors: list[Prior] = [bank, tiny_prior()]
    small = InstanceCrops(crops.rgb, crops.visible, crops.occluder, torch.zeros(N).long(), crops.window)
    for prior in priors:
        for steps in (0, 1):
            with torch.no_grad():
                estimate = prior.with_fit_steps(steps).estimate(small)
            assert estimate.silhouette.shape == (N, S, S)
            assert estimate.faces.shape[::2] == (N, 3)


def test_a_learned_prior_fits_nothing_unless_it_is_asked_for(crops: InstanceCrops, box_folder: Path) -> None:
    prior = tiny_prior()
    with torch.no_grad():
        found, networks = prior.estimate(crops), prior.network.estimate(crops)
    assert torch.equal(found.verts, networks.verts) and torch.equal(found.silhouette, networks.silhouette)
    for name in ("azimuth", "elevation", "roll", "scale", "offset"):
        assert torch.equal(getattr(found.viewpoint, name), getattr(networks.viewpoint, name))
    parts = PriorParts(categories=prior.categories, device="cpu", network=prior.network, meshes=str(box_folder))
    learned, opened = open_prior("learned", parts), open_prior("bank", parts)
    assert isinstance(learned, LearnedPrior) and learned.fit.steps == 0 and learned.known == prior.categories
    assert isinstance(opened, BankPrior) and opened.config.fit_steps == 30
    assert learned.parameters == sum(one.numel() for one in prior.network.parameters()) > 0


def test_where_no_prior_is_asked(crops: InstanceCrops) -> None:
    count = len(crops)
    nothing = no_estimate(crops)
    assert nothing.verts.shape == nothing.faces.shape == (count, 1, 3)
    assert not nothing.verts.any() and not nothing.faces.any(), "padding alone: no mesh"
    assert nothing.silhouette.shape == crops.visible.shape and not nothing.silhouette.any()
    view = nothing.viewpoint
    assert view.scale.tolist() == [1] * count and view.offset.tolist() == [[0, 0]] * count
    assert [one.tolist() for one in (view.azimuth, view.elevation, view.roll, nothing.fit)] == [[0] * count] * 4


@pytest.mark.parametrize(
    ("name", "parts", "problem"),
    [
        ("bank", PriorParts(categories=None, device="cpu"), "priors: these weights know no bank"),
        ("learned", PriorParts(categories=None, device="cpu"), "priors: learned needs the networks"),
        ("learned", PriorParts(categories=("chair",), device="cpu"), "priors: learned needs the networks"),
        ("other", PriorParts(categories=None, device="cpu"), "priors: expected learned, bank, got 'other'"),
    ],
)
def test_priors_that_cannot_be_opened(name: str, parts: PriorParts, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        open_prior(name, parts)  # type: ignore[arg-type]


def test_a_bank_is_opened_from_its_meshes(box_folder: Path) -> None:
    parts = PriorParts(categories=None, device="cpu", meshes=str(box_folder), bank_fit_steps=4)
    opened = open_prior("bank", parts)
    assert isinstance(opened, BankPrior) and opened.config.fit_steps == 4 and "chair" in opened.known
