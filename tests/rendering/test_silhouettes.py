"""The public function: its checks, the equality of its backends, and what must not upset it."""

from __future__ import annotations

import math
import multiprocessing

import numpy as np
import pytest
import torch
from silhouette_cases import (
    BACKENDS,
    CASES,
    GPU,
    assert_gradients_agree,
    assert_images_agree,
    bumpy,
    render,
    render_with_gradient,
    soup,
    sphere,
    triangle,
    with_bad_faces,
)

from shape3d_amodal.rendering import blur_sigma, render_silhouettes

MODES = ("product", "edge")


@pytest.fixture
def restored_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("size", "sigma"), [(32, 1e-3), (41, 4e-3)])
@pytest.mark.parametrize("backend", ["cpu", GPU])
def test_equals_float64_reference(name, mode, size, sigma, backend):
    verts, faces = CASES[name]()
    alpha, grad = render_with_gradient(verts, faces, size, sigma, mode, backend)
    expected, expected_grad = render_with_gradient(verts, faces, size, sigma, mode, "reference", torch.float64)
    assert_images_agree(alpha, expected)
    assert_gradients_agree(grad, expected_grad)


@pytest.mark.parametrize("backend", ["cpu", GPU])
def test_equals_reference_with_20k_faces(backend):
    verts, faces = bumpy(1, level=5)
    alpha, grad = render_with_gradient(verts, faces, 64, 1e-4, "product", backend)
    expected, expected_grad = render_with_gradient(verts, faces, 64, 1e-4, "product", "reference")
    assert_images_agree(alpha, expected)
    assert_gradients_agree(grad, expected_grad)


@pytest.mark.parametrize("backend", ["cpu", GPU])
def test_edge_mode_with_20k_faces(backend):
    verts, faces = sphere(5)
    verts[..., :2] += 0.01 * torch.sin(20 * verts[..., [1, 0]])
    alpha, grad = render_with_gradient(verts, faces, 24, 1e-3, "edge", backend)
    expected, expected_grad = render_with_gradient(verts, faces, 24, 1e-3, "edge", "reference")
    assert_images_agree(alpha, expected)
    # A vertex of the rim lies behind another one of the symmetric sphere: compare what moves the whole.
    torch.testing.assert_close(grad.sum(1), expected_grad.sum(1), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("size", [24, 32])
@pytest.mark.parametrize("backend", BACKENDS)
def test_product_equals_pytorch3d(size, backend):
    verts, faces = bumpy(2, level=1)
    alpha, grad = render_with_gradient(verts, faces, size, 1e-3, "product", backend)
    expected, expected_grad = render_with_gradient(verts, faces, size, 1e-3, "product", "pytorch3d")
    assert_images_agree(alpha, expected, tolerance=1e-4)
    assert_gradients_agree(grad, expected_grad, relative=1e-3)


@pytest.mark.parametrize("backend", [*BACKENDS, "pytorch3d"])
def test_one_triangle_by_brute_force(backend):
    """Distance to the boundary by sampling it densely, inside by half planes: alpha = sigmoid(+-d^2 / sigma)."""
    verts, faces = triangle()
    size, sigma = 24, 5e-3
    corners = verts[0, :, :2].double().numpy()
    shares = np.linspace(0, 1, 4001)[:, None]
    boundary = np.concatenate([corners[k] * (1 - shares) + corners[(k + 1) % 3] * shares for k in range(3)])
    centre = 1 - (2 * np.arange(size) + 1) / size  # x falls with the column, y with the row
    p = np.stack(np.meshgrid(centre, centre), axis=-1).reshape(-1, 2)
    squared = ((p[:, None] - boundary[None]) ** 2).sum(-1).min(1)
    edges = np.roll(corners, -1, axis=0) - corners
    to_p = p[:, None] - corners
    inside = (edges[:, 0] * to_p[..., 1] - edges[:, 1] * to_p[..., 0] > 0).all(1)
    expected = 1 / (1 + np.exp(np.where(inside, -squared, squared) / sigma))
    expected[~inside & (squared >= math.log(9999) * sigma)] = 0
    expected = torch.from_numpy(expected.reshape(1, size, size))
    product = render(verts, faces, size, sigma, "product", backend).double()
    torch.testing.assert_close(product, expected, rtol=0, atol=2e-5)
    if backend == "pytorch3d":
        return
    edge = render(verts, faces, size, sigma, "edge", backend).double()
    near = torch.from_numpy(squared.reshape(1, size, size)) < math.log(9999) * sigma
    torch.testing.assert_close(edge[near], expected[near], rtol=0, atol=2e-5)
    torch.testing.assert_close(edge[~near], expected[~near].round(), rtol=0, atol=0)


def test_axes():
    """x points left and y up: a triangle at positive x and y is drawn at the upper left."""
    verts = torch.tensor([[[0.3, 0.3, 1.0], [0.9, 0.3, 1.0], [0.3, 0.9, 1.0]]])
    alpha = render_silhouettes(verts, torch.tensor([[0, 1, 2]]), 16, 1e-5)[0]
    assert alpha[:8, :8].sum() > 0.99 * alpha.sum() > 0


@pytest.mark.parametrize("size", [64, 256])
@pytest.mark.parametrize("sigma", [1e-4, 3e-5])
def test_dilation_of_product_mode(size, sigma):
    """Where two faces meet at the rim the 0.5 contour lies 0.47 W sqrt(sigma) px outside it, the 0.75 contour on it."""
    verts = torch.tensor([[[-0.5, -2.0, 1.0], [0.5, -2.0, 1.0], [0.5, 2.0, 1.0], [-0.5, 2.0, 1.0]]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [2, 1, 0], [3, 2, 0]])  # a bar, front and back
    row = render_silhouettes(verts, faces, size, sigma)[0, size // 3].double()
    x = 1 - (2 * torch.arange(size).double() + 1) / size
    outside = x.abs() > 0.5
    # Two equal factors: their logit gives the distance back.
    share = 1 - (1 - row).sqrt()
    distance = torch.sqrt(-sigma * torch.logit(share))[outside & (row > 1e-3)]
    torch.testing.assert_close(distance, (x.abs() - 0.5)[outside & (row > 1e-3)], rtol=0, atol=1e-3 * 2 / size)
    dilation = size / 2 * math.sqrt(-sigma * math.log((1 - math.sqrt(0.5)) / math.sqrt(0.5)))
    assert dilation == pytest.approx(0.47 * size * math.sqrt(sigma), rel=2e-3)
    over = (row >= 0.5).sum() - (~outside).sum()
    assert abs(over / 2 - dilation) <= 0.5
    assert (row >= 0.75).sum() == (~outside).sum()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_faces_that_do_not_count(mode, backend):
    """Behind the camera, not finite, edge-on, of repeated vertices: the image without them, and no gradient to them."""
    good, faces = bumpy(1)
    V = good.shape[1]
    verts, more = with_bad_faces(good, faces)
    alpha, grad = render_with_gradient(verts, more, 32, 1e-3, mode, backend)
    expected, expected_grad = render_with_gradient(good, faces, 32, 1e-3, mode, backend)
    torch.testing.assert_close(alpha, expected, rtol=0, atol=1e-6)
    assert grad.isfinite().all()
    assert (grad[:, V:] == 0).all()
    torch.testing.assert_close(grad[:, :V], expected_grad, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("far", [1e4, 1e10, 1e17, 1e25, 3e38])
def test_far_vertices_leave_no_nan(mode, backend, far):
    verts = torch.tensor([[[-far, -0.3, 1.0], [far, -0.2, 1.0], [0.1, 0.6, 1.0], [0.3, far, 1.0]]])
    alpha, grad = render_with_gradient(verts, torch.tensor([[0, 1, 2], [2, 1, 3]]), 16, 1e-3, mode, backend)
    assert ((alpha >= 0) & (alpha <= 1)).all()
    assert grad.isfinite().all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("repeated", [[0, 1, 1], [0, 1, 0], [0, 0, 1]])
def test_faces_of_repeated_vertices(repeated, backend, mode):
    """Their area is zero whatever the numbers: a product fused with a sum would leave a rest of its rounding."""
    verts = 3 * torch.randn(64, 2, 3, generator=torch.Generator().manual_seed(0))
    verts[..., 2] = 1
    alpha, grad = render_with_gradient(verts, torch.tensor([repeated]), 8, 1e-3, mode, backend)
    assert (alpha == 0).all()
    assert (grad == 0).all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_needles_to_the_far_end_of_the_world(mode, backend):
    """So thin that their width squared is no number, so long that they have an area."""
    verts = torch.tensor([[[0.0, 0.0, 1.0], [1e-23, 0.0, 1.0], [0.0, 1e17, 1.0]]])
    for order in ([0, 1, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]):
        alpha, grad = render_with_gradient(verts, torch.tensor([order]), 8, 1e-3, mode, backend)
        assert (alpha == 0).all()
        assert (grad == 0).all()


def test_pytorch3d_backend_ignores_vertices_that_are_not_finite():
    verts, faces = bumpy(1, level=1)
    verts[0, 3, 0] = float("nan")
    verts[0, 4, 2] = -1
    alpha, grad = render_with_gradient(verts, faces, 16, 1e-3, "product", "pytorch3d")
    expected, expected_grad = render_with_gradient(verts, faces, 16, 1e-3, "product", "cpu")
    assert_images_agree(alpha, expected, tolerance=1e-4)
    assert_gradients_agree(grad, expected_grad)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_ties(mode, backend):
    """Pixels on edges and on bisectors: finite, repeatable, and in the image without any jump between backends."""
    verts = torch.tensor([[[-0.5, -0.5, 1.0], [0.5, -0.5, 1.0], [0.5, 0.5, 1.0], [-0.5, 0.5, 1.0]]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    alpha, grad = render_with_gradient(verts, faces, 9, 1e-2, mode, backend)
    again, grad_again = render_with_gradient(verts, faces, 9, 1e-2, mode, backend)
    expected, _ = render_with_gradient(verts, faces, 9, 1e-2, mode, "reference", torch.float64)
    assert torch.equal(alpha, again)
    assert torch.equal(grad, grad_again)
    assert grad.isfinite().all()
    assert_images_agree(alpha, expected)


@pytest.mark.usefixtures("restored_threads")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("threads", [2, 4])
def test_threads_do_not_change_a_bit(mode, threads):
    verts, faces = bumpy(7)
    torch.set_num_threads(1)
    alpha, grad = render_with_gradient(verts, faces, 40, 1e-3, mode, "cpu")
    torch.set_num_threads(threads)
    again, grad_again = render_with_gradient(verts, faces, 40, 1e-3, mode, "cpu")
    assert torch.equal(alpha, again)
    assert torch.equal(grad, grad_again)


@pytest.mark.usefixtures("restored_threads")
def test_forked_processes_have_threads_of_their_own():
    """As in a loader's workers: the parent's threads do not live in the child, which must not wait for them."""
    torch.set_num_threads(2)
    verts, faces = bumpy(4)
    expected = render_silhouettes(verts, faces, 16, 1e-3)
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=lambda: queue.put(render_silhouettes(verts, faces, 16, 1e-3).numpy()))
    child.start()
    child.join(timeout=60)
    assert child.exitcode == 0
    assert np.array_equal(queue.get(), expected.numpy())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_faces_of_each_image(mode, backend):
    verts, faces = bumpy(2)
    each = torch.stack([faces, faces.flip(0)])
    each[1, :100] = each[1, 100]  # the second image lacks faces
    alpha, grad = render_with_gradient(verts, each, 32, 1e-3, mode, backend)
    for b in range(2):
        weights = torch.randn(2, 32, 32, generator=torch.Generator().manual_seed(7))[b]
        single = verts[b : b + 1].clone().requires_grad_()
        image = render(single, each[b], 32, 1e-3, mode, backend)
        (image[0] * weights).sum().backward()
        torch.testing.assert_close(alpha[b], image[0], rtol=0, atol=1e-6)
        torch.testing.assert_close(grad[b], single.grad[0], rtol=1e-4, atol=1e-4)
    same, _ = render_with_gradient(verts, faces.expand(2, -1, -1), 32, 1e-3, mode, backend)
    shared, _ = render_with_gradient(verts, faces, 32, 1e-3, mode, backend)
    torch.testing.assert_close(same, shared, rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_to_draw(mode, backend):
    verts, faces = bumpy(3)
    assert render(verts[:0], faces, 8, 1e-3, mode, backend).shape == (0, 8, 8)
    for few in (faces[:0], faces[:1]):
        lone = verts.clone().requires_grad_()
        alpha = render(lone, few, 8, 1e-6, mode, backend)
        alpha.sum().backward()
        assert alpha.shape == (3, 8, 8)
        assert lone.grad.isfinite().all()
    behind = (verts * torch.tensor([1.0, 1.0, -1.0])).requires_grad_()
    alpha = render(behind, faces, 8, 1e-3, mode, backend)
    alpha.sum().backward()
    assert (alpha == 0).all()
    assert (behind.grad == 0).all()


def test_pytorch3d_backend_with_nothing_to_draw():
    verts, faces = bumpy(2, level=1)
    assert render_silhouettes(verts[:0], faces, 8, 1e-3, backend="pytorch3d").shape == (0, 8, 8)
    assert (render_silhouettes(verts, faces[:0], 8, 1e-3, backend="pytorch3d") == 0).all()


@pytest.mark.parametrize("mode", MODES)
def test_layout_and_precision_of_the_input(mode):
    verts, faces = bumpy(2)
    expected = render_silhouettes(verts, faces, 24, 1e-3, mode)
    strided = verts.transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(render_silhouettes(strided, faces, 24, 1e-3, mode), expected)
    assert torch.equal(render_silhouettes(verts, faces.t().contiguous().t(), 24, 1e-3, mode), expected)
    assert render_silhouettes(verts.double(), faces, 24, 1e-3, mode).dtype == torch.float64
    half = verts.half()
    assert torch.equal(
        render_silhouettes(half, faces, 24, 1e-3, mode), render_silhouettes(half.float(), faces, 24, 1e-3, mode)
    )
    with torch.inference_mode():
        assert torch.equal(render_silhouettes(verts.clone(), faces.clone(), 24, 1e-3, mode), expected)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("sigma", [1e-30, 1e30, 1, np.float32(1e-3)])
def test_extreme_blurs(sigma, backend, mode):
    """Finite also where a pixel's centre lies on an edge."""
    verts = torch.tensor([[[-0.5, -0.5, 1.0], [0.5, -0.5, 1.0], [0.5, 0.5, 1.0]]])
    alpha, grad = render_with_gradient(verts, torch.tensor([[0, 1, 2]]), 6, sigma, mode, backend)
    assert ((alpha >= 0) & (alpha <= 1)).all()
    assert grad.isfinite().all()
    if sigma <= 1e-30:
        assert alpha[0, 3, 2] == 1
        assert alpha[0, 0].max() == 0


def test_soup_is_drawn_like_the_welded_mesh():
    """Product mode does not ask who shares a vertex."""
    verts, faces = bumpy(1)
    apart, triangles = soup()
    alpha = render_silhouettes(verts, faces, 32, 1e-3)
    assert torch.equal(render_silhouettes(apart, triangles, 32, 1e-3), alpha)


def test_no_gradient_keeps_nothing():
    verts, faces = bumpy(1)
    verts.requires_grad_()
    with torch.no_grad():
        assert not render_silhouettes(verts, faces, 16, 1e-3).requires_grad
    alpha = render_silhouettes(verts, faces, 16, 1e-3)
    saved = alpha.grad_fn.saved_tensors
    assert [tensor.data_ptr() for tensor in saved] == [verts.data_ptr(), faces.data_ptr(), alpha.data_ptr()]


def test_blur_sigma():
    assert blur_sigma(1.0, 2) == 1.0
    assert blur_sigma(0.64, 128) == pytest.approx(1e-4)
    assert blur_sigma(0.32, 64) == pytest.approx(1e-4)
    for pixels, size in ((0.0, 64), (-1.0, 64), (1.0, 0), (float("nan"), 64), (float("inf"), 64)):
        with pytest.raises(ValueError, match="positive blur"):
            blur_sigma(pixels, size)


V3, F1 = torch.zeros(2, 4, 3), torch.tensor([[0, 1, 2]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"verts_ndc": V3[0]}, r"verts_ndc: expected a float \[B,V,3\]"),
        ({"verts_ndc": V3[..., :2]}, "verts_ndc"),
        ({"verts_ndc": V3.long()}, "verts_ndc"),
        ({"verts_ndc": V3.numpy()}, "verts_ndc: expected a tensor, got ndarray"),
        ({"verts_ndc": V3.to(torch.float8_e4m3fn)}, r"a float \[B,V,3\] tensor, got torch.float8_e4m3fn"),
        ({"faces": [[0, 1, 2]]}, "faces: expected a tensor, got list"),
        ({"faces": F1.to("meta")}, "faces: expected the vertices' device cpu, got meta"),
        ({"faces": F1.to("meta"), "verts_ndc": V3.to("meta")}, "verts_ndc: expected a tensor with numbers"),
        ({"verts_ndc": V3.to_sparse()}, "verts_ndc: expected a tensor with numbers"),
        ({"faces": F1.int()}, "faces: expected an int64"),
        ({"faces": F1.float()}, "faces"),
        ({"faces": F1[:, :2]}, "faces"),
        ({"faces": F1[0]}, "faces"),
        ({"faces": F1.expand(3, 1, 3)}, "one set of faces for each of 2"),
        ({"faces": torch.tensor([[0, 1, 4]])}, "vertex indices in 0..3, got 0..4"),
        ({"faces": torch.tensor([[0, 1, -1]])}, "vertex indices in 0..3"),
        ({"image_size": 0}, "image_size"),
        ({"image_size": 8.0}, "image_size"),
        ({"image_size": True}, "image_size"),
        ({"sigma": 0.0}, "sigma"),
        ({"sigma": -1e-4}, "sigma"),
        ({"sigma": float("nan")}, "sigma"),
        ({"sigma": "0.1"}, "sigma: expected a number from 1e-30 to 1e30, the blur in NDC squared, got '0.1'"),
        ({"sigma": torch.tensor(1e-3)}, "sigma"),
        ({"sigma": True}, "sigma"),
        ({"sigma": 1e-40}, "sigma"),
        ({"sigma": 1e40}, "sigma"),
        ({"mode": "soft"}, "mode: expected one of product, edge, got 'soft'"),
        ({"backend": "cuda"}, "backend: expected one of auto"),
        ({"backend": "gpu", "verts_ndc": V3.double()}, "use backend='auto'"),
        ({"backend": "cpu", "verts_ndc": V3.double()}, "use backend='auto'"),
        ({"backend": "pytorch3d", "verts_ndc": V3.double()}, "takes float32 vertices, got torch.float64"),
        ({"backend": "pytorch3d", "mode": "edge"}, "mode 'product' only"),
    ],
)
def test_wrong_input(changes, message):
    arguments = {"verts_ndc": V3, "faces": F1, "image_size": 8, "sigma": 1e-3} | changes
    with pytest.raises(ValueError, match=message):
        render_silhouettes(**arguments)
