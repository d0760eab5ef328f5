"""The Triton backend in Triton's interpreter, on small meshes; with ``-m gpu`` the other backends' tests run on it."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import interpreter  # noqa: F401
import pytest
import test_edge_mode
import torch
from silhouette_cases import (
    CASES,
    SMALL,
    assert_gradients_agree,
    assert_images_agree,
    book,
    bumpy,
    overlapping,
    render_with_gradient,
    torus,
    triangle,
    with_bad_faces,
)

from shape3d_amodal.errors import MissingBackendError
from shape3d_amodal.rendering import gpu, render_silhouettes, silhouettes
from shape3d_amodal.rendering.gpu import binning, contour, edge, product
from shape3d_amodal.rendering.gpu.gather import incidence

pytestmark = pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")  # of NumPy, in the interpreter
MODES = ("product", "edge")
SIZE, SIGMA = 8, 1e-2  # one tile


@pytest.fixture
def large_blocks(monkeypatch):
    """Fewer programs of more faces or edges each: what a program costs in the interpreter hardly depends on that."""
    monkeypatch.setattr(product, "FACES_AT_ONCE", 32)
    monkeypatch.setattr(edge, "EDGES_AT_ONCE", 32)
    for module in (product, edge):
        monkeypatch.setattr(module, "WINDOW", (8, 8))


def draw(verts, faces, mode, size=SIZE, sigma=SIGMA):
    return render_with_gradient(verts, faces, size, sigma, mode, "gpu")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", SMALL)
def test_equals_float64_reference(name, mode):
    verts, faces = SMALL[name]()
    size = 12 if name == "bumpy" else SIZE  # four tiles, or one
    alpha, grad = draw(verts, faces, mode, size)
    expected, expected_grad = render_with_gradient(verts, faces, size, SIGMA, mode, "reference", torch.float64)
    assert_images_agree(alpha, expected)
    assert_gradients_agree(grad, expected_grad)
    assert (grad[..., 2] == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", CASES)
def test_equals_float64_reference_at_full_size(name, mode):
    verts, faces = CASES[name]()
    alpha, grad = draw(verts, faces, mode, 32, 1e-3)
    expected, expected_grad = render_with_gradient(verts, faces, 32, 1e-3, mode, "reference", torch.float64)
    assert_images_agree(alpha, expected)
    assert_gradients_agree(grad, expected_grad)


@pytest.mark.usefixtures("large_blocks")
@pytest.mark.parametrize("mode", MODES)
def test_equals_cpu_with_a_small_blur(mode):
    """Hidden edges, opaque tiles and pixels beyond every face's reach."""
    verts, faces = overlapping(0)
    alpha, grad = draw(verts, faces, mode, 20, 1e-4)
    expected, expected_grad = render_with_gradient(verts, faces, 20, 1e-4, mode, "cpu")
    assert_images_agree(alpha, expected)
    assert_gradients_agree(grad, expected_grad)


@pytest.mark.usefixtures("large_blocks")
@pytest.mark.parametrize("mode", MODES)
def test_tiles_without_room_for_their_list(mode, monkeypatch):
    """They go through all faces, those that do not count among them: slower, but the same image to the last bit."""
    verts, faces = with_bad_faces(*book())
    verts = torch.cat([verts, verts + torch.tensor([0.1, -0.05, 0.0])])
    alpha, grad = draw(verts, faces, mode)
    for room in (0, 8):  # for neither image, and for one of them
        monkeypatch.setattr(binning, "room", lambda *_, room=room: room)
        again, grad_again = draw(verts, faces, mode)
        assert torch.equal(again, alpha)
        assert torch.equal(grad_again, grad)


@pytest.mark.usefixtures("large_blocks")
@pytest.mark.parametrize("mode", MODES)
def test_faces_that_do_not_count(mode):
    good, faces = bumpy(1, level=0)
    alpha, grad = draw(*with_bad_faces(good, faces), mode)
    expected, expected_grad = draw(good, faces, mode)
    torch.testing.assert_close(alpha, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(grad[:, : good.shape[1]], expected_grad, rtol=1e-4, atol=1e-4)
    assert (grad[:, good.shape[1] :] == 0).all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("far", [1e4, 1e17, 3e38])
def test_far_vertices_leave_no_nan(mode, far):
    verts = torch.tensor([[[-far, -0.3, 1.0], [far, -0.2, 1.0], [0.1, 0.6, 1.0], [0.3, far, 1.0]]])
    alpha, grad = draw(verts, torch.tensor([[0, 1, 2], [2, 1, 3]]), mode, 9)
    assert ((alpha >= 0) & (alpha <= 1)).all()
    assert grad.isfinite().all()


@pytest.mark.parametrize("mode", MODES)
def test_ties_and_repetition(mode):
    """Pixels on edges and on bisectors: no jump, and the same bits in every run."""
    verts = torch.tensor([[[-0.5, -0.5, 1.0], [0.5, -0.5, 1.0], [0.5, 0.5, 1.0], [-0.5, 0.5, 1.0]]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    alpha, grad = draw(verts, faces, mode, 9)
    again, grad_again = draw(verts, faces, mode, 9)
    expected, _ = render_with_gradient(verts, faces, 9, SIGMA, mode, "reference", torch.float64)
    assert torch.equal(alpha, again)
    assert torch.equal(grad, grad_again)
    assert grad.isfinite().all()
    assert_images_agree(alpha, expected)


@pytest.mark.usefixtures("large_blocks")
@pytest.mark.parametrize("mode", MODES)
def test_faces_of_each_image(mode):
    """Two meshes with different numbers of edges and faces at them."""
    verts, faces = torus(6, 3)
    verts = torch.cat([verts, verts + torch.tensor([0.1, -0.05, 0.0])])
    each = torch.stack([faces, faces.flip(0)])
    each[1, :20] = each[1, 20]
    alpha, grad = draw(verts, each, mode)
    expected, expected_grad = render_with_gradient(verts, each, SIZE, SIGMA, mode, "cpu")
    assert_images_agree(alpha, expected)
    assert_gradients_agree(grad, expected_grad)


@pytest.mark.usefixtures("large_blocks")
@pytest.mark.parametrize("mode", MODES)
def test_nothing_to_draw(mode):
    verts, faces = bumpy(2, level=0)
    assert render_silhouettes(verts[:0], faces, 8, SIGMA, mode, "gpu").shape == (0, 8, 8)
    for points, triangles in ((verts, faces[:0]), (verts * torch.tensor([1.0, 1.0, -1.0]), faces)):
        alpha, grad = draw(points, triangles, mode, 8)
        assert alpha.shape == (2, 8, 8)
        assert (alpha == 0).all()
        assert (grad == 0).all()


@pytest.mark.parametrize("mode", MODES)
def test_faces_without_area(mode):
    """Of repeated vertices, and a needle to a place too far away for numbers."""
    verts = torch.tensor(
        [[[-0.91, 0.68, 1.0], [0.83, -0.77, 1.0], [0.0, 0.0, 1.0], [1e-23, 0.0, 1.0], [0.0, 1e17, 1.0]]]
    )
    alpha, grad = draw(verts, torch.tensor([[0, 1, 1], [0, 0, 1], [0, 1, 0], [2, 3, 4], [4, 3, 2]]), mode)
    assert (alpha == 0).all()
    assert (grad == 0).all()


def test_pixels_beside_the_contour():
    test_edge_mode.test_pixels_beside_the_contour("gpu")


@pytest.mark.usefixtures("large_blocks")
def test_layout_of_the_input():
    verts, faces = book()
    verts = torch.cat([verts, verts + torch.tensor([0.1, -0.05, 0.0])])
    expected, expected_grad = draw(verts, faces, "product")
    strided = verts.transpose(1, 2).contiguous().transpose(1, 2)
    for points, triangles in (
        (strided, faces), (verts, faces.t().contiguous().t()), (verts, faces.expand(2, -1, -1)),
    ):  # fmt: skip
        alpha, grad = draw(points, triangles, "product")
        assert torch.equal(alpha, expected)
        assert torch.equal(grad, expected_grad)


def test_automatic_backend(monkeypatch):
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert silhouettes.automatic_backend(cpu) == "cpu"
    assert silhouettes.automatic_backend(cuda) == "gpu"
    assert silhouettes.automatic_backend(cuda, torch.float64) == "reference"
    monkeypatch.setattr(silhouettes, "triton_version", lambda: None)
    assert silhouettes.automatic_backend(cuda) == "reference"


@pytest.mark.parametrize(("version", "expected"), [("3.3.1", "3.3.1"), ("4.0", "4.0"), ("3.2.0", None), (None, None)])
def test_triton_that_can_compile_the_kernels(version, expected, monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", version and SimpleNamespace(__version__=version))
    assert silhouettes.triton_version.__wrapped__() == expected


def test_other_devices_and_types_are_refused(monkeypatch):
    verts, faces = bumpy(1, level=0)
    with pytest.raises(ValueError, match=r"takes float32 vertices on a cpu device, got torch\.float64 on cpu; use"):
        render_silhouettes(verts.double(), faces, SIZE, SIGMA, backend="gpu")
    monkeypatch.setattr(gpu, "DEVICE", "cuda")  # as without the interpreter
    with pytest.raises(ValueError, match=r"on a cuda device, got torch\.float32 on cpu; use backend='auto'"):
        render_silhouettes(verts, faces, SIZE, SIGMA, backend="gpu")


def test_a_missing_library_is_named(monkeypatch):
    def refuse(name):
        raise ModuleNotFoundError(f"No module named 'triton' (for {name})")

    monkeypatch.setattr(silhouettes.importlib, "import_module", refuse)
    with pytest.raises(MissingBackendError, match="backend 'gpu' lacks a library: No module named 'triton'"):
        render_silhouettes(*bumpy(1, level=0), SIZE, SIGMA, backend="gpu")


def test_an_old_triton_is_told(monkeypatch):
    monkeypatch.setattr(silhouettes, "triton_version", lambda: None)
    with pytest.raises(MissingBackendError, match=r"backend 'gpu' needs Triton 3\.3 or later; use backend='auto'"):
        render_silhouettes(*bumpy(1, level=0), SIZE, SIGMA, backend="gpu")


def test_indices_are_looked_at_once_for_each_tensor_of_faces():
    """On a GPU looking waits for the device."""
    faces = torch.tensor([[0, 1, 2]])
    silhouettes._check_indices_once(faces, 3)
    with pytest.raises(ValueError, match=r"vertex indices in 0\.\.1, got 0\.\.2"):
        silhouettes._check_indices_once(faces, 2)
    faces[0, 0] = -1
    with pytest.raises(ValueError, match=r"in 0\.\.2, got -1\.\.2"):
        silhouettes._check_indices_once(faces, 3)


@pytest.mark.parametrize(("mode", "module"), [("product", product), ("edge", contour)])
def test_who_meets_whom_is_found_once_for_each_tensor_of_faces(mode, module, monkeypatch):
    """Forward and backward pass alike, for it takes sorting."""
    calls = []
    monkeypatch.setattr(module, "incidence", lambda *items: calls.append(items) or incidence(*items))
    verts, faces = triangle()
    for _ in range(2):
        draw(verts, faces, mode, 2)
    assert len(calls) == 1


@pytest.mark.gpu
@pytest.mark.parametrize("mode", MODES)
def test_repetition_on_a_gpu(mode):
    verts, faces = (tensor.cuda() for tensor in bumpy(16, level=3))
    weights = torch.randn(16, 128, 128, device="cuda")
    runs = []
    for _ in range(5):
        points = verts.clone().requires_grad_()
        alpha = render_silhouettes(points, faces, 128, 1e-4, mode)
        (grad,) = torch.autograd.grad(alpha, points, weights)
        runs.append((alpha.detach(), grad))
    assert type(alpha.grad_fn).__name__ == "_SilhouettesBackward"
    assert all(torch.equal(alpha, runs[0][0]) and torch.equal(grad, runs[0][1]) for alpha, grad in runs)


@pytest.mark.gpu
@pytest.mark.parametrize("mode", MODES)
def test_does_not_wait_for_the_gpu(mode):
    """Once the faces are known no call in either direction synchronises."""
    verts, faces = (tensor.cuda() for tensor in bumpy(4, level=2))
    verts.requires_grad_()
    render_silhouettes(verts, faces, 64, 1e-3, mode).sum().backward()
    torch.cuda.set_sync_debug_mode("error")
    try:
        render_silhouettes(verts, faces, 64, 1e-3, mode).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
