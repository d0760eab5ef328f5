"""Matching finds the mesh and the camera that made a crop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from boxes import BoxMeshes
from shape3d_amodal.priors.bank.matching import MatchConfig, _regions, match

from shape3d_amodal.geometry.cameras import project
from shape3d_amodal.priors.bank.deformation import DeformationConfig, DeformedMeshes
from shape3d_amodal.priors.bank.shapes import BankConfig, BankShapes, ShapeBank
from shape3d_amodal.priors.losses import certain_iou
from shape3d_amodal.structures import InstanceCrops, Viewpoint

S = 64


@pytest.fixture(scope="module")
def shapes() -> BankShapes:
    return ShapeBank(BoxMeshes(), BankConfig(azimuths=12, elevations_deg=(10.0, 30.0))).shapes("chair")


def view(azimuth: float, elevation: float, scale: float, x: float, y: float) -> Viewpoint:
    one = [torch.tensor([np.radians(angle)], dtype=torch.float32) for angle in (azimuth, elevation, 0.0)]
    return Viewpoint(*one, torch.tensor([float(scale)]), torch.tensor([[float(x), float(y)]]))


def rendered(shapes: BankShapes, mesh: int, viewpoint: Viewpoint) -> torch.Tensor:
    verts, faces = (torch.from_numpy(part)[None] for part in shapes.meshes[mesh])
    with torch.no_grad():
        return DeformedMeshes(verts, faces, viewpoint, S, DeformationConfig()).silhouettes(0.3)


def crop_of(whole: torch.Tensor, hidden: slice) -> InstanceCrops:
    occluder = torch.zeros(1, S, S)
    occluder[:, :, hidden] = 1
    return InstanceCrops(
        torch.zeros(1, 3, S, S), whole * (1 - occluder), occluder, torch.zeros(1).long(), torch.zeros(1, 4)
    )


@pytest.mark.parametrize(
    ("mesh", "viewpoint"),
    [
        (0, view(30, 10, 0.8, 0.1, -0.1)),
        (1, view(150, 30, 0.7, -0.2, 0.15)),
        (1, view(300, 10, 0.9, 0.0, 0.0)),
    ],
)
def test_the_right_mesh_and_camera(shapes: BankShapes, mesh: int, viewpoint: Viewpoint) -> None:
    whole = rendered(shapes, mesh, viewpoint)
    matches = match(shapes, crop_of(whole, slice(0, 16)), 4, MatchConfig())
    assert (matches.score.diff() <= 0).all()
    assert matches.mesh[0] == mesh
    assert matches.viewpoint.azimuth[0] == pytest.approx(viewpoint.azimuth[0].item(), abs=1e-5)
    assert matches.viewpoint.elevation[0] == pytest.approx(viewpoint.elevation[0].item(), abs=1e-5)
    assert matches.viewpoint.scale[0] == pytest.approx(viewpoint.scale[0].item(), rel=0.06)
    torch.testing.assert_close(matches.viewpoint.offset[0], viewpoint.offset[0], rtol=0, atol=0.06)


def test_the_score_is_that_of_the_rendered_match(shapes: BankShapes) -> None:
    crop = crop_of(rendered(shapes, 0, view(40, 20, 0.8, 0, 0)), slice(40, 64))
    matches = match(shapes, crop, 3, MatchConfig())
    for i in range(3):
        found = rendered(shapes, int(matches.mesh[i]), matches.viewpoint[i : i + 1])
        assert certain_iou(found, crop).item() == pytest.approx(matches.score[i].item(), abs=0.08)


@pytest.mark.parametrize("pixels", [1, S])
def test_hardly_anything_to_see(shapes: BankShapes, pixels: int) -> None:
    """One pixel, or the whole crop: there is an answer, and it is finite."""
    visible = torch.zeros(1, S, S)
    visible[:, :pixels, :pixels] = 1
    crop = InstanceCrops(torch.zeros(1, 3, S, S), visible, 1 - visible, torch.zeros(1).long(), torch.zeros(1, 4))
    matches = match(shapes, crop, 4, MatchConfig())
    assert len(matches.score) >= 1
    for tensor in (matches.score, matches.viewpoint.scale, matches.viewpoint.offset):
        assert torch.isfinite(tensor).all()
    assert (matches.viewpoint.scale > 0).all()


def test_one_candidate_is_the_best_of_the_coarse_search(shapes: BankShapes) -> None:
    crop = crop_of(rendered(shapes, 1, view(150, 30, 0.7, -0.2, 0.15)), slice(0, 16))
    found = match(shapes, crop, 1, MatchConfig(candidates=1))
    assert found.mesh.tolist() == [1] and found.score.item() > 0.6
    assert found.viewpoint.azimuth.item() == pytest.approx(np.radians(150), abs=np.radians(31))


def test_the_regions_are_means_over_blocks() -> None:
    """Crop pixels become shares of 2 x 2 blocks: of what is visible, and of that and the occluder, at most 1."""
    visible, occluder = torch.zeros(2, 1, 4, 4)
    visible[0, 0, :3], visible[0, 1, 0] = 1, 0.5
    occluder[0, :2, 2:], occluder[0, 3] = 0.5, 1
    crop = InstanceCrops(torch.zeros(1, 3, 4, 4), visible, occluder, torch.zeros(1).long(), torch.zeros(1, 4))
    seen, possible = _regions(crop, 2)
    np.testing.assert_allclose(seen, [[2.5 / 4, 1 / 4], [0, 0]])
    np.testing.assert_allclose(possible, [[2.5 / 4, (1 + 0.5 + 0.5 + 0.5) / 4], [0.5, 0.5]])


def test_where_nothing_holds_what_is_visible_the_squarest_fills_the_crop(shapes: BankShapes) -> None:
    ones = torch.ones(1, S, S)
    crop = InstanceCrops(torch.zeros(1, 3, S, S), ones, 0 * ones, torch.zeros(1).long(), torch.zeros(1, 4))
    found = match(shapes, crop, 4, MatchConfig(largest=0.5))
    assert found.score.tolist() == [0]
    verts = torch.from_numpy(shapes.meshes[int(found.mesh[0])][0])[None]
    flat = project(verts, found.viewpoint)[0, :, :2]
    low, high = flat.amin(dim=0), flat.amax(dim=0)
    assert (high - low).max().item() == pytest.approx(2, rel=1e-4)
    torch.testing.assert_close((low + high) / 2, torch.zeros(2), rtol=0, atol=1e-4)
    sides = shapes.high - shapes.low
    best = (sides.min(axis=1) / sides.max(axis=1)).max()
    assert ((high - low).min() / (high - low).max()).item() == pytest.approx(best, rel=1e-4)


def test_meshes_that_are_left_out_are_not_found_unless_there_are_no_others(shapes: BankShapes) -> None:
    crop = crop_of(rendered(shapes, 1, view(150, 30, 0.7, -0.2, 0.15)), slice(0, 16))
    without = match(shapes, crop, 4, MatchConfig(), without=[shapes.names[1]])
    assert set(without.mesh.tolist()) == {0}
    everything, nothing = (match(shapes, crop, 4, MatchConfig(), without=names) for names in (shapes.names, ()))
    assert everything.mesh.tolist() == nothing.mesh.tolist() and everything.mesh[0] == 1


def test_sizes_go_from_the_smallest_to_the_largest(shapes: BankShapes) -> None:
    """Sizes 0.4 and 0.8 of the crop alone: what is 0.8 large is found at that size, and not if 0.79 is the limit."""
    whole = rendered(shapes, 0, view(30, 10, 1.0, 0, 0))
    rows, columns = (torch.nonzero(whole[0].amax(dim=axis) > 0.5)[:, 0] for axis in (1, 0))
    share = max(int(one.max() - one.min()) + 1 for one in (rows, columns)) / S
    crop = crop_of(whole, slice(0, 0))
    at = MatchConfig(smallest=share / 2, largest=share, ratio=2.0, candidates=4)
    low = replace(at, largest=share * 0.98)
    assert match(shapes, crop, 1, at).score.item() > match(shapes, crop, 1, low).score.item() + 0.1


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_the_finer_search_tries_sizes_half_a_ratio_down(shapes: BankShapes, steps: int) -> None:
    """The only coarse size is too large by 2 to a quarter or a half: the finer ones hold the right one."""
    scale, ratio = 0.7, 2.0
    at = int(np.flatnonzero((shapes.mesh == 1) & np.isclose(shapes.azimuth, np.radians(150)))[-1])
    whole = rendered(shapes, 1, view(150, 30, scale, 0, 0))
    share = float((shapes.high - shapes.low)[at].max()) * scale / 2
    coarse = share * ratio ** (steps / 4)
    config = MatchConfig(smallest=coarse, largest=coarse, ratio=ratio, candidates=len(shapes.mesh))
    found = match(shapes, crop_of(whole, slice(0, 0)), 1, config)
    assert found.viewpoint.scale.item() == pytest.approx(scale, rel=0.02)


def test_a_match_that_is_fitted_stays_where_objects_are_seen_from() -> None:
    """After a step beyond it the elevation comes back to straight above, as for every free viewpoint."""
    verts, zero = torch.zeros(1, 3, 3), torch.zeros(1)
    start = Viewpoint(zero, zero + 1.5, zero, zero + 1, torch.zeros(1, 2))
    subject = DeformedMeshes(verts, torch.zeros(1, 1, 3).long(), start, S, DeformationConfig())
    with torch.no_grad():
        subject.viewpoint.leaves[1].add_(1)
    subject.clamp()
    assert subject.viewpoint.value().elevation.item() == pytest.approx(np.pi / 2)
