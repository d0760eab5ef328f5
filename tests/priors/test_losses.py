"""What meshes and silhouettes are judged by, against numbers made by hand and PyTorch3D's losses."""

from __future__ import annotations

import math

import pytest
import torch
from pytorch3d.loss import mesh_laplacian_smoothing, mesh_normal_consistency
from pytorch3d.structures import Meshes

from shape3d_amodal.geometry.templates import Template, icosphere
from shape3d_amodal.priors.losses import certain_iou, flatness_energy, laplacian_energy
from shape3d_amodal.structures import InstanceCrops


def crops(visible, occluder) -> InstanceCrops:
    visible, occluder = torch.as_tensor(visible), torch.as_tensor(occluder)
    n, size, _ = visible.shape
    return InstanceCrops(
        torch.zeros(n, 3, size, size), visible, occluder, torch.zeros(n, dtype=torch.int64), torch.zeros(n, 4)
    )


@pytest.mark.parametrize(
    ("silhouette", "visible", "occluder", "expected"),
    [
        ([[1.0, 0], [0, 0]], [[1.0, 0], [0, 0]], [[0.0, 0], [0, 0]], 1.0),
        ([[0.0, 1], [0, 0]], [[1.0, 0], [0, 0]], [[0.0, 0], [0, 0]], 0.0),
        ([[1.0, 1], [0, 0]], [[1.0, 0], [0, 0]], [[0.0, 0], [0, 0]], 0.5),
        ([[1.0, 1], [0, 0]], [[1.0, 0], [0, 0]], [[0.0, 1], [0, 0]], 1.0),  # the excess is hidden
        ([[0.5, 1], [0.25, 0]], [[1.0, 0], [0, 0]], [[0.0, 1], [0, 0]], 0.5 / 1.25),
        # A pixel half visible, half background, covered by half: inter 1/4, union 1/2 + 1/2 - 1/4.
        ([[0.5, 0], [0, 0]], [[0.5, 0], [0, 0]], [[0.0, 0], [0, 0]], 1 / 3),
        # A pixel half visible, half occluder holds nothing outside: covering it whole is right.
        ([[1.0, 0], [0, 0]], [[0.5, 0], [0, 0]], [[0.5, 0], [0, 0]], 1.0),
        ([[0.0, 0], [0, 0]], [[0.0, 0], [0, 0]], [[0.0, 0], [0, 0]], 0.0),  # nothing at all: no division by zero
    ],
)
def test_certain_iou(silhouette, visible, occluder, expected: float) -> None:
    found = certain_iou(torch.tensor([silhouette]), crops([visible], [occluder]))
    assert found.tolist() == pytest.approx([expected])


def test_certain_iou_of_hard_masks_is_the_iou_of_the_certain_pixels() -> None:
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(3, (20, 8, 8), generator=generator)
    silhouette = torch.randint(2, (20, 8, 8), generator=generator).bool()
    found = certain_iou(silhouette.float(), crops((label == 1).float(), (label == 2).float()))
    for i in range(20):
        certain = label[i] != 2
        a, b = silhouette[i][certain], (label[i] == 1)[certain]
        assert found[i].item() == pytest.approx((a & b).sum().item() / (a | b).sum().item())


def test_unknown_pixels_change_neither_value_nor_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(3, (4, 8, 8), generator=generator)
    given = crops((label == 1).float(), (label == 2).float())
    silhouette = torch.rand(4, 8, 8, generator=generator).requires_grad_()
    value = certain_iou(silhouette, given)
    (gradient,) = torch.autograd.grad(value.sum(), silhouette)
    assert not gradient[label == 2].any()
    assert gradient[label != 2].abs().min() > 0
    changed = torch.where(label == 2, torch.rand(4, 8, 8, generator=generator), silhouette.detach()).requires_grad_()
    torch.testing.assert_close(certain_iou(changed, given), value, rtol=0, atol=0)
    assert torch.equal(torch.autograd.grad(certain_iou(changed, given).sum(), changed)[0], gradient)


def test_certain_iou_gradient() -> None:
    generator = torch.Generator().manual_seed(1)
    shares = torch.rand(2, 3, 4, 4, generator=generator, dtype=torch.float64).softmax(dim=1)
    given = crops(shares[:, 0], shares[:, 1])
    silhouette = torch.rand(2, 4, 4, generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: certain_iou(s, given), silhouette)


def random_verts(template: Template, count: int = 3) -> torch.Tensor:
    noise = torch.randn(count, len(template.verts), 3, generator=torch.Generator().manual_seed(0))
    return template.verts + 0.1 * noise


def test_laplacian_energy_is_pytorch3ds_laplacian_squared() -> None:
    template = icosphere(2)
    verts = random_verts(template)
    mesh = Meshes(verts, template.faces.expand(3, -1, -1))
    expected = (mesh.laplacian_packed() @ mesh.verts_packed()).pow(2).sum(dim=1).view(3, -1).sum(dim=1)
    torch.testing.assert_close(laplacian_energy(verts, template), expected)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_energies_are_exact_in_mixed_precision(device: str) -> None:
    template = icosphere(2)
    verts = template.verts[None] * torch.tensor([1.0, 0.6, 0.3])
    with torch.autocast(device, torch.bfloat16):
        found = [energy(verts.to(device), template).cpu() for energy in (laplacian_energy, flatness_energy)]
    expected = [energy(verts, template) for energy in (laplacian_energy, flatness_energy)]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=0)


def test_laplacian_energy_of_an_icosahedron() -> None:
    """All 12 vertices are alike; PyTorch3D's uniform smoothing loss is the mean length of what we square and sum."""
    template = icosphere(0)
    mesh = Meshes(template.verts[None], template.faces[None])
    length = float(mesh_laplacian_smoothing(mesh, method="uniform"))
    assert laplacian_energy(template.verts[None], template).tolist() == pytest.approx([12 * length**2], rel=1e-5)


def test_flatness_energy_is_pytorch3ds_normal_consistency_squared() -> None:
    """Edge by edge: a mesh of the two faces at one edge has one inner edge."""
    template = icosphere(0)
    verts = random_verts(template)
    expected = torch.zeros(3)
    for u, v, left, right in template.edge_faces.tolist():
        for i in range(3):
            pair = Meshes(verts[i : i + 1, [u, v, left, right]], torch.tensor([[[0, 1, 2], [1, 0, 3]]]))
            expected[i] += mesh_normal_consistency(pair) ** 2
    torch.testing.assert_close(flatness_energy(verts, template), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("angle", "expected"), [(0, 0), (60, 0.25), (90, 1), (180, 4), (-90, 1)])
def test_flatness_of_two_faces(angle: float, expected: float) -> None:
    """Two triangles at the edge between (0,0,0) and (0,1,0), the second folded by an angle: (1 - cos)^2."""
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    verts = torch.tensor([[[0, 0, 0], [0, 1, 0], [-1, 0.5, 0], [c, 0.5, s]]])
    book = Template(
        verts[0], torch.tensor([[0, 1, 2]]), torch.arange(4), torch.zeros(4, 4), torch.tensor([[0, 1, 2, 3]])
    )
    assert flatness_energy(verts, book).tolist() == pytest.approx([expected], abs=1e-6)


def test_energies_do_not_depend_on_place_or_company() -> None:
    template = icosphere(1)
    verts = random_verts(template)
    for energy in (laplacian_energy, flatness_energy):
        values = energy(verts, template)
        assert values.shape == (3,)
        torch.testing.assert_close(
            energy(verts + torch.tensor([0.3, -1.0, 2.0]), template), values, rtol=1e-4, atol=1e-5
        )
        torch.testing.assert_close(energy(verts[1:2], template), values[1:2])
    doubled = verts * 2
    torch.testing.assert_close(laplacian_energy(doubled, template), 4 * laplacian_energy(verts, template))
    torch.testing.assert_close(flatness_energy(doubled, template), flatness_energy(verts, template))
