"""The two priors: the fit explains more than the match, batches do not matter, meshes may differ in size."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from boxes import BoxMeshes
from shape3d_amodal.priors.bank.matching import MatchConfig
from tiny import tiny_model

from shape3d_amodal.errors import UsageError
from shape3d_amodal.priors.bank.deformation import DeformationConfig, DeformedMeshes
from shape3d_amodal.priors.bank.prior import BankPrior, BankPriorConfig
from shape3d_amodal.priors.bank.shapes import BankConfig, ShapeBank
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
    shapes = ShapeBank(BoxMeshes(), BankConfig(azimuths=8, elevations_deg=(20.0,)))
    return BankPrior(shapes, config=BankPriorConfig(matches=4, starts=2))


@pytest.fixture(scope="module")
def crops(bank: BankPrior) -> InstanceCrops:
    """A wide dresser, a chair and a table that the bank does not hold quite like this, partly hidden."""
    names = ["dresser", "chair", "table"]
    wholes = []
    for name in names:
        verts, faces = (torch.from_numpy(part)[None] for part in bank.bank.shapes(name).meshes[0])
        verts = verts * torch.tensor([1.25, 0.85, 1.0])
        viewpoint = Viewpoint(*torch.tensor([[0.6], [0.25], [0.0], [0.75]]), torch.tensor([[0.1, 0.0]]))
        subject = DeformedMeshes(verts, faces, viewpoint, S, DeformationConfig())
        wholes.append(subject.silhouettes(0.3).detach())
    whole = torch.cat(wholes)
    occluder = torch.zeros(N, S, S)
    occluder[:, :, 42:] = 1
    category = torch.tensor([bank.categories.index(name) for name in names])
    return InstanceCrops(torch.zeros(N, 3, S, S), whole * (1 - occluder), occluder, category, torch.zeros(N, 4))


def test_the_fit_explains_more_than_the_match(bank: BankPrior, crops: InstanceCrops) -> None:
    rigid, fitted = bank.with_fit_steps(0).estimate(crops), bank.with_fit_steps(30).estimate(crops)
    assert (fitted.fit > rigid.fit).all()
    assert fitted.fit.min() > 0.8
    assert fitted.fit.mean() > rigid.fit.mean() + 0.05
    torch.testing.assert_close(fitted.fit, certain_iou(fitted.silhouette, crops))


def test_shapes_of_an_estimate(bank: BankPrior, crops: InstanceCrops) -> None:
    estimate = bank.with_fit_steps(2).estimate(crops)
    assert estimate.silhouette.shape == (N, S, S)
    assert estimate.verts.shape[0] == estimate.faces.shape[0] == N
    assert estimate.viewpoint.azimuth.shape == (N,)
    assert not estimate.silhouette.requires_grad
    assert not estimate.verts.requires_grad
    assert 0 <= estimate.silhouette.min() <= estimate.silhouette.max() <= 1 + 1e-6


def test_instances_are_each_for_themselves(bank: BankPrior, crops: InstanceCrops) -> None:
    together = bank.with_fit_steps(3).estimate(crops)
    for i in range(N):
        alone = bank.with_fit_steps(3).estimate(crops[i : i + 1])
        torch.testing.assert_close(alone.silhouette[0], together.silhouette[i], rtol=1e-3, atol=1e-3)


def test_one_match_is_the_mesh_as_it_is_seen(bank: BankPrior, crops: InstanceCrops) -> None:
    """With a single start the silhouette is that of the returned mesh and viewpoint."""
    single = BankPrior(bank.bank, config=BankPriorConfig(matches=1, starts=1))
    for steps in (0, 4):
        estimate = single.with_fit_steps(steps).estimate(crops)
        from shape3d_amodal.geometry.cameras import project

        expected = render_silhouettes(
            project(estimate.verts, estimate.viewpoint), estimate.faces, S, blur_sigma(0.3, S)
        )
        torch.testing.assert_close(estimate.silhouette, expected, rtol=1e-4, atol=1e-4)


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


def coarsely_searched(bank: BankPrior) -> BankPrior:
    """One of 16 matches is fitted, and slowly."""
    config = BankPriorConfig(
        search=MatchConfig(coarse_px=8, fine_px=8),
        starts=1,
        temperature=0.003,
        deformation=DeformationConfig(learning_rate=0.01, lattice_rate=0.003),
    )
    return BankPrior(bank.bank, config=config)


@pytest.mark.parametrize("steps", [1, 3, 12])
@pytest.mark.parametrize("name", ["boxes", "noise", "one pixel", "specks, all else hidden", "a cross at the border"])
@pytest.mark.parametrize("kind", ["bank", "learned"])
def test_the_fit_is_never_worse_than_none(
    bank: BankPrior, crops: InstanceCrops, kind: str, name: str, steps: int
) -> None:
    """By the priors' own score; the bank is searched so coarsely that the match which is fitted is not the best."""
    prior: Prior = coarsely_searched(bank)
    if kind == "learned":
        prior = tiny_prior(FitConfig(learning_rate=0.5, code_rate=2.0))  # steps that lead away
    given = awkward(crops, name)
    with torch.no_grad():
        start, fitted = prior.with_fit_steps(0).estimate(given), prior.with_fit_steps(steps).estimate(given)
    assert (fitted.fit >= start.fit - 1e-6).all()
    torch.testing.assert_close(fitted.fit, certain_iou(fitted.silhouette, given))


def test_where_the_fit_explains_less_the_estimate_is_the_match(bank: BankPrior, crops: InstanceCrops) -> None:
    """Silhouette, mesh and viewpoint are then all of them the match's; elsewhere all of them the fit's."""
    prior = coarsely_searched(bank)
    start, fitted = prior.with_fit_steps(0).estimate(crops), prior.with_fit_steps(1).estimate(crops)
    better = fitted.fit > start.fit
    assert better.any() and not better.all()
    for i, fit_won in enumerate(better.tolist()):
        same = [
            torch.equal(fitted.silhouette[i], start.silhouette[i]),
            torch.equal(fitted.viewpoint.offset[i], start.viewpoint.offset[i]),
            torch.equal(*(one.verts[i, one.faces[i]] for one in (fitted, start))),
        ]
        assert same == [not fit_won] * 3


def test_a_known_mesh_is_seen_from_no_further_than_straight_above() -> None:
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


def test_known_categories(bank: BankPrior) -> None:
    other = BankPrior(bank.bank, ("car", "chair"))
    assert other.categories == ("car", "chair")
    assert other.known == ("chair",)
    assert bank.known == bank.categories == bank.bank.categories


def test_both_priors_are_priors(bank: BankPrior, crops: InstanceCrops) -> None:
    priors: list[Prior] = [bank, tiny_prior()]
    small = InstanceCrops(crops.rgb, crops.visible, crops.occluder, torch.zeros(N).long(), crops.window)
    for prior in priors:
        for steps in (0, 1):
            with torch.no_grad():
                estimate = prior.with_fit_steps(steps).estimate(small)
            assert estimate.silhouette.shape == (N, S, S)
            assert estimate.faces.shape[::2] == (N, 3)


def test_the_lattice_moves_what_lies_in_it() -> None:
    """One corner node moved: the vertex in that corner follows fully, the opposite one stays, the middle by 1/8."""
    verts = torch.tensor([[[0.5, 0.5, 0.5], [-0.5, -0.5, -0.5], [0.0, 0.0, 0.0]]])
    zero = torch.zeros(1)
    viewpoint = Viewpoint(zero, zero, zero, zero + 1, torch.zeros(1, 2))
    subject = DeformedMeshes(verts, torch.zeros(1, 1, 3).long(), viewpoint, 8, DeformationConfig(lattice=2))
    lattice = subject.groups()[1]["params"][0]
    with torch.no_grad():
        lattice[0, :, 1, 1, 1] = torch.tensor([0.1, 0.2, 0.3])
    moved = (subject.verts() - verts)[0].detach().numpy()
    np.testing.assert_allclose(moved, [[0.1, 0.2, 0.3], [0, 0, 0], [0.0125, 0.025, 0.0375]], atol=1e-6)
    with torch.no_grad():
        lattice.zero_()
        lattice[0, 0, 0, 0, 1] = 0.1  # the node at +x alone (axes are z, y, x): it moves no corner of the three
    np.testing.assert_allclose((subject.verts() - verts)[0].detach().numpy()[:2], 0, atol=1e-6)


def test_a_bank_has_no_trained_numbers(bank: BankPrior) -> None:
    assert bank.parameters == bank.with_fit_steps(3).parameters == 0


def test_nothing_is_fitted_unless_it_is_asked_for(crops: InstanceCrops, box_folder: Path) -> None:
    prior = tiny_prior()
    with torch.no_grad():
        found, networks = prior.estimate(crops), prior.network.estimate(crops)
    assert torch.equal(found.verts, networks.verts) and torch.equal(found.silhouette, networks.silhouette)
    for name in ("azimuth", "elevation", "roll", "scale", "offset"):
        assert torch.equal(getattr(found.viewpoint, name), getattr(networks.viewpoint, name))
    parts = PriorParts(categories=prior.categories, device="cpu", network=prior.network, meshes=str(box_folder))
    learned, opened = open_prior("learned", parts), open_prior("bank", parts)
    assert isinstance(learned, LearnedPrior) and learned.fit.steps == 0 and learned.known == prior.categories
    assert isinstance(opened, BankPrior) and opened.config.fit_steps == 0
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
