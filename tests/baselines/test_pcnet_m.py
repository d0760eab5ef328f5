"""PCNet-M: crops, erasing, loss, order and completion, against literals, brute force and drawn cases."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from shape3d_amodal import masks
from shape3d_amodal.baselines.convex_hull import convex_hull
from shape3d_amodal.baselines.pcnet_m.crops import (
    ErasingConfig,
    erase,
    look,
    moved,
    object_window,
    random_offset,
    tight_box,
)
from shape3d_amodal.baselines.pcnet_m.method import PcnetM, in_front, neighbours
from shape3d_amodal.baselines.pcnet_m.network import CompletionNetwork, PcnetMConfig, completion_loss
from shape3d_amodal.config import dump_config, from_mapping
from shape3d_amodal.errors import MissingBackendError, UsageError, WeightsError
from shape3d_amodal.files.weights import save_weights
from shape3d_amodal.structures import AmodalImage, AmodalInstance
from shape3d_amodal.training.tasks.pcnet_m import PcnetMTraining

SIDE = 96
IMAGE = np.zeros((SIDE, SIDE, 3), np.uint8)
NAMES = {1: "chair", 9: "occluder"}
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE]
DISC = (ROWS - 45.5) ** 2 + (COLUMNS - 40.5) ** 2 < 22**2
SQUARE = (abs(ROWS - 45.5) < 16) & (abs(COLUMNS - 64.5) < 16)
BITTEN = DISC & ~SQUARE


def rectangle(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def record(*visible: np.ndarray, category: tuple[int, ...] = (), order: tuple[int | None, ...] = ()) -> AmodalImage:
    instances = tuple(
        AmodalInstance(
            id=10 + i,
            category_id=category[i] if category else 1,
            visible=masks.encode(mask),
            depth_order=order[i] if order else None,
        )
        for i, mask in enumerate(visible)
    )
    return AmodalImage(id=3, file_name="a.png", height=SIDE, width=SIDE, instances=instances)


class HullNetwork(nn.Module):
    """Completes to the convex hull: what of it lies in the eraser is surely the object's."""

    config = PcnetMConfig(size=64)

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(9.0))
        self.seen: list[tuple[Tensor, Tensor]] = []

    def forward(self, visible: Tensor, eraser: Tensor) -> Tensor:
        self.seen += list(zip(visible, eraser, strict=True))
        hulls = torch.stack([torch.from_numpy(convex_hull(mask.numpy())) for mask in visible])
        return torch.stack([torch.zeros(hulls.shape), (2.0 * hulls - 1) * self.scale], dim=1)


class Evenly(nn.Module):
    """Gives every pixel the same probability of being the object's."""

    config = PcnetMConfig(size=64)

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.tensor(math.log(probability / (1 - probability))))

    def forward(self, visible: Tensor, eraser: Tensor) -> Tensor:  # noqa: ARG002
        return torch.stack([torch.zeros(visible.shape), self.logit.expand(visible.shape)], dim=1)


def evenly(probability: float, **options: object) -> PcnetM:
    return PcnetM(Evenly(probability), NAMES, **options)  # type: ignore[arg-type]


def hull_method(**options: object) -> tuple[PcnetM, HullNetwork]:
    network = HullNetwork()
    return PcnetM(network, NAMES, **options), network  # type: ignore[arg-type]


# Windows


def test_window_of_a_box() -> None:
    mask = rectangle(5, 7, 15, 27)  # 10 wide, 20 high: sqrt(3 * 200) is more than 1.1 * 20
    assert tight_box(mask) == (5, 7, 10, 20)
    side = math.sqrt(600)
    assert object_window(mask) == pytest.approx((10 - side / 2, 17 - side / 2, side))
    assert object_window(rectangle(0, 0, 4, 80))[2] == pytest.approx(88)  # long: 1.1 * 80


def test_look_enlarges_reduces_and_sees_nothing_beyond_the_image() -> None:
    mask = np.array([[1, 0], [1, 1]], bool)
    np.testing.assert_array_equal(look(mask, (0, 0, 2), 4), np.kron(mask, np.ones((2, 2), bool)))
    np.testing.assert_array_equal(look(mask, (-1, -1, 4), 4), np.pad(mask, 1))
    blocks = np.kron(np.array([[1, 0], [0, 1]]), np.ones((4, 4))).astype(bool)
    blocks[0, :2] = False  # 14 of the 16 pixels of its block remain
    np.testing.assert_array_equal(look(blocks, (0, 0, 8), 2), np.eye(2, dtype=bool))


# Erasing


def test_moved() -> None:
    mask = np.arange(16).reshape(4, 4) > 0
    np.testing.assert_array_equal(moved(mask, 0.25, -0.5)[:2, 1:], mask[2:, :3])
    assert moved(mask, 0.25, -0.5)[2:].sum() == moved(mask, 0.25, -0.5)[:, 0].sum() == 0
    np.testing.assert_array_equal(moved(mask, 0.0, 0.0), mask)


def test_offsets_share_what_is_asked_for() -> None:
    generator = np.random.default_rng(0)
    offsets = np.array([random_offset((0.4, 1.0), generator) for _ in range(500)])
    share = (1 - abs(offsets[:, 0])) * (1 - abs(offsets[:, 1]))
    assert share.min() > 0.4 - 1e-9 and share.max() <= 1 and share.std() > 0.1
    assert (offsets < 0).mean(axis=0) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("front", [1.0, 0.0])
def test_both_cases_of_erasing(front: float) -> None:
    config = ErasingConfig(front=front)
    generator = np.random.default_rng(1)
    cuts = []
    for _ in range(100):
        visible, eraser, target = erase(DISC, SQUARE, 64, config, generator)
        assert not (visible & eraser).any()
        if front:
            np.testing.assert_array_equal(visible, target & ~eraser)
            cuts.append((target & eraser).sum() / target.sum())
        else:
            np.testing.assert_array_equal(visible, target)
    if front:
        assert 0.001 <= min(cuts) < 0.2 < 0.6 < max(cuts) < 0.9


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"overlap": [1, 2]}, r"erasing\.overlap\.1: input should be less than or equal to 1, got 2"),
        ({"cut": [0.9, 0.1]}, r"erasing\.cut: expected the lower end before the upper one, got 0\.9, 0\.1; swap them"),
        ({"scale": [0, 1]}, r"erasing\.scale\.0: input should be greater than 0, got 0"),
        (
            {"scale": [1.2, 0.8]},
            r"erasing\.scale: expected the lower end before the upper one, got 1\.2, 0\.8; swap them",
        ),
    ],
)
def test_ranges_that_are_none_are_refused(options: dict[str, object], problem: str) -> None:
    with pytest.raises(UsageError, match=rf"^a\.yaml: {problem}$"):
        from_mapping({"stage": "pcnet_m", "erasing": options}, PcnetMTraining, source="a.yaml")


# Network and loss


def test_the_published_network() -> None:
    """unet2: 2 -> 32, then 64, 128, 256, 256 channels, and back by 512 -> 128, 256 -> 64, 128 -> 32, 64 -> 32."""
    network = CompletionNetwork(PcnetMConfig())
    convolutions = [one for one in network.modules() if isinstance(one, nn.Conv2d)]
    pairs = [(2, 32), (32, 64), (64, 128), (128, 256), (256, 256), (512, 128), (256, 64), (128, 32), (64, 32)]
    expected = [pair for first, last in pairs for pair in ((first, last), (last, last))]
    assert [(one.in_channels, one.out_channels) for one in convolutions] == [*expected, (32, 2)]
    masks_ = torch.zeros(3, 32, 32, dtype=torch.bool)
    assert network(masks_, masks_).shape == (3, 2, 32, 32)


def test_loss_by_hand() -> None:
    # Softmax of (0, ln 3) is (1/4, 3/4); the first pixel is in the eraser.
    logits = torch.tensor([[[[0.0, 0.0]], [[math.log(3), 0.0]]]])
    target = torch.tensor([[[True, False]]])
    eraser = torch.tensor([[[True, False]]])
    expected = (5 * -math.log(0.75) + math.log(2)) / 2
    assert float(completion_loss(logits, target, eraser, 5.0)) == pytest.approx(expected)


# Order


@pytest.mark.parametrize(
    ("masks_", "gap", "pairs"),
    [
        ([rectangle(0, 0, 5, 5), rectangle(5, 0, 9, 5)], 0, [(0, 1)]),
        ([rectangle(0, 0, 5, 5), rectangle(5, 5, 9, 9)], 0, []),  # they meet in a corner
        ([rectangle(0, 0, 5, 5), rectangle(7, 0, 9, 5)], 1, []),
        ([rectangle(0, 0, 5, 5), rectangle(7, 0, 9, 5)], 2, [(0, 1)]),
        ([rectangle(90, 90, 96, 96), rectangle(80, 80, 91, 91), rectangle(0, 0, 3, 96)], 0, [(0, 1)]),
        ([rectangle(3, 3, 9, 9)], 0, []),
    ],
)
def test_neighbours(masks_, gap, pairs) -> None:
    assert neighbours(masks_, gap) == pairs


def test_order_is_transitive_and_has_no_cycle() -> None:
    behind = np.zeros((4, 4))
    behind[1, 0], behind[2, 1], behind[0, 2] = 9, 5, 3  # the last one would close a cycle
    behind[2, 3], behind[3, 2] = 4, 6
    front = in_front(behind)
    expected = np.zeros((4, 4), bool)
    expected[1, 0] = expected[2, [0, 1]] = expected[3, [0, 1, 2]] = True
    np.testing.assert_array_equal(front, expected)
    assert front.sum(axis=1).tolist() == [0, 1, 2, 3]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("growth", [2.0, np.inf])
def test_equal_growth_says_nothing(growth: float) -> None:
    assert not in_front(np.full((3, 3), growth)).any()


def test_disc_behind_square() -> None:
    method, _ = hull_method()
    for places in ((0, 1), (1, 0)):
        objects = [(BITTEN, SQUARE)[place] for place in places]
        results = method.complete(IMAGE, record(*objects))
        disc, square = (results[places.index(which)] for which in (0, 1))
        assert (disc.depth_order, square.depth_order) == (1, 0)
        np.testing.assert_array_equal(masks.decode(square.segmentation), SQUARE)
        found = masks.decode(disc.segmentation)
        # The hull of the bitten disc: all of it up to the chord between the square's corners.
        hull = convex_hull(BITTEN)
        assert (found & ~SQUARE == BITTEN).all()
        assert (found ^ hull).sum() < 0.03 * hull.sum()


def test_a_known_order_is_believed() -> None:
    method, network = hull_method()
    bitten, square = method.complete(IMAGE, record(BITTEN, SQUARE, order=(0, 1)))
    assert (bitten.depth_order, square.depth_order) == (0, 1)
    np.testing.assert_array_equal(masks.decode(bitten.segmentation), BITTEN)
    assert len(network.seen) == 1, "nothing is asked about the order"


def test_all_ancestors_are_the_eraser() -> None:
    """The farthest touches the middle one alone, and yet goes on behind the nearest."""
    near, middle, far = rectangle(40, 40, 60, 60), rectangle(30, 30, 70, 70), rectangle(10, 10, 80, 80)
    far, middle = far & ~middle, middle & ~near
    method, network = hull_method()
    method.complete(IMAGE, record(near, middle, far, order=(0, 1, 2)))
    of_middle, of_far = (eraser for _, eraser in network.seen)
    for eraser, expected, window in ((of_middle, near, middle), (of_far, near | middle, far)):
        np.testing.assert_array_equal(eraser.numpy(), look(expected, object_window(window), 64))


def test_gaps_are_bridged() -> None:
    apart = DISC & ~((abs(ROWS - 45.5) < 18) & (abs(COLUMNS - 64.5) < 18))  # two pixels less than what is hidden
    assert not neighbours([apart, SQUARE])
    method, _ = hull_method(gap_px=3)
    found, square = method.complete(IMAGE, record(apart, SQUARE))
    assert (found.depth_order, square.depth_order) == (1, 0)
    grown = masks.decode(found.segmentation) & ~apart
    assert (grown & SQUARE).sum() > 0.2 * (DISC & SQUARE).sum()
    without, _ = hull_method()
    assert masks.decode(without.complete(IMAGE, record(apart, SQUARE))[0].segmentation).sum() == apart.sum()


@pytest.mark.parametrize(("probability", "completed"), [(0.15, False), (0.3, True)])
def test_one_in_five_is_enough_to_be_completed(probability: float, completed: bool) -> None:
    found, _ = evenly(probability).complete(IMAGE, record(BITTEN, SQUARE, order=(1, 0)))
    assert bool((masks.decode(found.segmentation) & SQUARE).any()) is completed


@pytest.mark.parametrize(("probability", "ordered"), [(0.05, False), (0.15, True)])
def test_one_in_ten_is_enough_to_count_for_the_order(probability: float, ordered: bool) -> None:
    small, large = rectangle(70, 30, 80, 40), rectangle(10, 10, 70, 70)
    results = evenly(probability).complete(IMAGE, record(small, large))
    assert ({result.depth_order for result in results} == {0, 1}) is ordered


def test_growth_is_counted_in_pixels_of_the_image() -> None:
    """Both claim all of the other that they see.

    The large one's window, 60 sqrt(3) wide, holds the whole small one: 144 pixels, but 144 (64 / 103.9)^2 = 55 of its
    crop. The small one's, 12 sqrt(3) = 20.8 wide, holds 4.4 x 20.8 = 91 pixels of the large one, but 866 of its crop.
    """
    large, small = rectangle(10, 10, 70, 70), rectangle(70, 30, 82, 42)
    results = evenly(0.9).complete(IMAGE, record(small, large))
    assert [result.depth_order for result in results] == [0, 1]


def test_a_negative_gap_is_refused() -> None:
    with pytest.raises(UsageError, match=r"gap_px: expected a number of pixels, 0 or more, got -1"):
        hull_method(gap_px=-1)


def test_what_a_grown_eraser_covers_is_not_seen() -> None:
    method, network = hull_method(gap_px=3)
    method.complete(IMAGE, record(BITTEN, SQUARE))
    assert len(network.seen) == 3, "twice for the order, once for the disc's completion"
    for visible, eraser in network.seen:
        assert not (visible & eraser).any()
    own = look(BITTEN, object_window(BITTEN), 64)
    for visible, eraser in (network.seen[0], network.seen[2]):
        assert (own & eraser.numpy()).any()
        np.testing.assert_array_equal(visible.numpy(), own & ~eraser.numpy())


@pytest.mark.parametrize("gap", [0, 4])
def test_nothing_is_completed_over_what_lies_behind(gap: int) -> None:
    """An eraser that is grown reaches over the visible pixels of an object behind both, and of one on neither side."""
    middle, near = rectangle(10, 10, 40, 40), rectangle(40, 10, 60, 40)
    far, beside = rectangle(10, 40, 60, 70), rectangle(40, 0, 60, 10)
    method = evenly(0.9, gap_px=gap)
    found = method._complete(
        [near, middle, far, beside], in_front(np.array([[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]], float))
    )[1]
    grown = rectangle(40 - gap, 10 - gap, 60 + gap, 40 + gap) & ~far & ~beside
    seen = rectangle(0, 0, SIDE, SIDE) if gap else near
    assert (found & near).sum() > 0.2 * near.sum()
    assert not (found & ~(middle | grown & seen)).any()
    assert not (found & (far | beside)).any()


@pytest.mark.parametrize("occluders", [True, False])
def test_an_erased_region_is_an_eraser_only_if_asked_for(occluders: bool) -> None:
    bar = rectangle(44, 0, 56, SIDE)
    method, _ = hull_method(occluders=occluders)
    disc, region = method.complete(IMAGE, record(DISC & ~bar, bar, category=(1, 9)))
    found = masks.decode(disc.segmentation)
    assert (found & bar).any() == occluders
    assert (found & ~bar == DISC & ~bar).all()
    np.testing.assert_array_equal(masks.decode(region.segmentation), bar)


def tiny_weights(folder: Path) -> Path:
    torch.manual_seed(0)
    config = PcnetMConfig(size=32, width=1)
    save_weights(folder, dump_config(config), CompletionNetwork(config).state_dict())
    return folder


@pytest.mark.parametrize("count", [0, 1, 40])
def test_any_number_of_instances(count: int, tmp_path: Path) -> None:
    method = PcnetM.from_pretrained(tiny_weights(tmp_path / "weights"), NAMES)
    boxes = [rectangle(2 * i, i % 7, 2 * i + 9, 40 + i) for i in range(count)]
    visible = [box & ~np.logical_or.reduce([np.zeros_like(box), *boxes[:i]]) for i, box in enumerate(boxes)]
    image = record(*visible) if count else AmodalImage(id=1, file_name="a", height=9, width=9, instances=())
    results = method.complete(IMAGE, image)
    assert [result.annotation_id for result in results] == [10 + i for i in range(count)]
    for result, mask in zip(results, visible, strict=True):
        found = masks.decode(result.segmentation)
        assert (found & mask == mask).all()
        assert not (found & ~np.logical_or.reduce(visible)).any(), "nothing is completed on known background"
    assert method.parameters == sum(tensor.numel() for tensor in CompletionNetwork(PcnetMConfig(width=1)).parameters())
    if count == 40:
        assert len({result.depth_order for result in results}) > 5


def test_what_is_not_visible_has_no_result(tmp_path: Path) -> None:
    method = PcnetM.from_pretrained(tiny_weights(tmp_path / "weights"), NAMES)
    nothing = np.zeros_like(DISC)
    results = method.complete(IMAGE, record(nothing, BITTEN, nothing, SQUARE))
    assert [result.annotation_id for result in results] == [11, 13]
    alone = method.complete(IMAGE, record(BITTEN, SQUARE))
    assert [result.segmentation for result in results] == [result.segmentation for result in alone]
    assert method.complete(IMAGE, record(nothing)) == []


def test_devices_that_are_not_there_are_refused(tmp_path: Path) -> None:
    weights = tiny_weights(tmp_path / "weights")
    with pytest.raises(UsageError, match="device: expected auto, cpu, cuda or cuda:N, got 'toaster'"):
        PcnetM.from_pretrained(weights, NAMES, device="toaster")
    with pytest.raises(MissingBackendError, match=r"device: this machine has .* not cuda:63; use cpu"):
        PcnetM.from_pretrained(weights, NAMES, device="cuda:63")


def test_weights_of_other_sizes_are_refused(tmp_path: Path) -> None:
    network = CompletionNetwork(PcnetMConfig(width=1))
    save_weights(tmp_path / "weights", dump_config(PcnetMConfig(width=2)), network.state_dict())
    with pytest.raises(WeightsError, match=r"weights: the tensors do not fit the configuration beside them: size mis"):
        PcnetM.from_pretrained(tmp_path / "weights", NAMES)
