"""C2F-Seg: codebook, schedule, drawing, shapes and losses, against brute force, formulas and literals."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from shape3d_amodal.baselines.c2f_seg.codebook import CodebookConfig, MaskCodebook, nearest
from shape3d_amodal.baselines.c2f_seg.features import FeaturesConfig, ImageFeatures
from shape3d_amodal.baselines.c2f_seg.method import C2FSegMethod
from shape3d_amodal.baselines.c2f_seg.model import C2FSeg, C2FSegConfig
from shape3d_amodal.baselines.c2f_seg.refinement import RefinementModule, attention
from shape3d_amodal.baselines.c2f_seg.transformer import (
    MaskedTransformer,
    TransformerConfig,
    complete_tokens,
    draw,
    mask_tokens,
    unknown_after,
)
from shape3d_amodal.config import dump_config
from shape3d_amodal.data import masks
from shape3d_amodal.errors import WeightsError
from shape3d_amodal.structures import AmodalImage, AmodalInstance, InstanceCrops, SupervisedCrops
from shape3d_amodal.weights import save_weights

BOOK = CodebookConfig(size=32, widths=(4, 4, 8, 8), codes=16, code_size=4)
TINY = C2FSegConfig(codebook=BOOK, transformer=TransformerConfig(width=16, layers=1, heads=2))
NAMES = {1: "chair", 9: "occluder"}
SIDE = 64


def tiny() -> C2FSeg:
    torch.manual_seed(0)
    return C2FSeg(TINY).eval()


def crops(count: int, size: int = 32) -> SupervisedCrops:
    generator = torch.Generator().manual_seed(0)
    rgb = torch.rand(count, 3, size, size, generator=generator)
    amodal = torch.zeros(count, size, size)
    for i in range(count):
        amodal[i, 4 + i % 4 : 20 + i % 4, 6:26] = 1
    visible = amodal.clone()
    visible[:, :, 16:] = 0
    hiding = 1 - visible
    rows = torch.zeros(count, dtype=torch.int64)
    return SupervisedCrops(InstanceCrops(rgb, visible, hiding, rows, torch.zeros(count, 4)), amodal)


# Codebook


def test_nearest_code_by_brute_force() -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(3, 5, 4, generator=generator)
    codes = torch.randn(17, 4, generator=generator)
    expected = [
        [min(range(17), key=lambda k, p=point: float(((p - codes[k]) ** 2).sum())) for point in row] for row in points
    ]
    assert nearest(points, codes).tolist() == expected


def test_tokens_have_a_grid_and_give_masks_back() -> None:
    book = MaskCodebook(BOOK).eval().requires_grad_(False)
    tokens = book.tokens(torch.rand(2, 32, 32))
    assert (tokens.shape, tokens.dtype, BOOK.stride, BOOK.grid) == ((2, 16), torch.int64, 8, 4)
    back = book.mask(tokens)
    assert back.shape == (2, 32, 32) and float(back.min()) >= 0 and float(back.max()) <= 1


def test_tokens_go_row_by_row() -> None:
    """With the encoder's own answers as its words, tokens are 0, 1, 2, ...; the last rows change the last ones."""
    torch.manual_seed(0)
    book = (
        MaskCodebook(CodebookConfig(size=64, widths=(4, 4, 8, 8), codes=64, code_size=4)).eval().requires_grad_(False)
    )
    mask = torch.rand(1, 64, 64)
    book.codes.copy_(book._encoded(mask).view(64, 4))
    assert book.tokens(mask).tolist() == [list(range(64))]
    mask[:, 56:] = torch.rand(8, 64)
    changed = (book.tokens(mask)[0] != torch.arange(64)).view(8, 8)
    assert changed[7].any() and not changed[:3].any()


def test_codebook_losses_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    book = MaskCodebook(BOOK)
    with torch.no_grad():
        book.codes.copy_(torch.arange(16.0)[:, None].expand(16, 4))
    encoded = torch.full((2, 4, 4, 4), 2.25, requires_grad=True)  # nearest is code 2, at 0.25 in each coordinate
    monkeypatch.setattr(book, "_encoded", lambda _: encoded)
    monkeypatch.setattr(book, "_decoded", lambda codes: codes.sum() * torch.zeros(2, 32, 32) + 1.0)
    losses = book.losses(torch.ones(2, 32, 32))
    assert float(losses["codebook"].detach()) == pytest.approx(1.25 * 0.0625)
    assert float(losses["reconstruction"].detach()) == pytest.approx(math.log(1 + math.exp(-1)))
    # What is nearest to code k is 2.25 everywhere: the mean of (k - 2.25)^2 over k = 0 ... 15.
    assert float(losses["unused"].detach()) == pytest.approx(sum((k - 2.25) ** 2 for k in range(16)) / 16)
    losses["codebook"].backward()
    # d/de of mean (e - z)^2 over 2*4*4*4 numbers: all 32 positions push on the 4 numbers of code 2.
    assert book.codes.grad is not None and encoded.grad is not None
    assert book.codes.grad[2].tolist() == pytest.approx([2 * -0.25 * 32 / 128] * 4)
    assert float(encoded.grad[0, 0, 0, 0]) == pytest.approx(0.25 * 2 * 0.25 / 128)


def test_the_gradient_goes_straight_through_the_codebook() -> None:
    book = MaskCodebook(BOOK)
    book.losses(torch.rand(4, 32, 32))["reconstruction"].backward()
    first = next(book.encoder.parameters())
    assert first.grad is not None and first.grad.abs().sum() > 0
    assert book.codes.grad is None or book.codes.grad.abs().sum() == 0


# Rounds


@pytest.mark.parametrize(
    ("rounds", "positions", "unknown"),
    [
        (3, 256, [221, 128, 0]),  # 256 cos 30° = 221.7, 256 cos 60° = 128
        (3, 64, [55, 32, 0]),
        (1, 64, [0]),
        (4, 4, [3, 2, 1, 0]),
    ],
)
def test_schedule(rounds: int, positions: int, unknown: list[int]) -> None:
    assert [unknown_after(i, rounds, positions) for i in range(rounds)] == unknown
    for i, count in enumerate(unknown[:-1]):
        assert count == max(1, math.floor(positions * math.cos(math.pi / 2 * (i + 1) / rounds)))


def test_masked_tokens_in_training() -> None:
    torch.manual_seed(0)
    tokens = torch.arange(64).repeat(400, 1)
    masked = mask_tokens(tokens, 99)
    gone = masked == 99
    assert (masked[~gone] == tokens[~gone]).all()
    shares = gone.float().mean(dim=1)
    assert float(shares.min()) == 0.5 and float(shares.max()) > 0.98
    # P(cos(u π / 2) < 0.5) = 1/3 for uniform u: those rows have the least rate.
    assert float((shares == 0.5).float().mean()) == pytest.approx(1 / 3, abs=0.08)
    assert gone.float().mean(dim=0).std() < 0.05, "all places alike"


def test_tokens_are_drawn_among_the_likeliest() -> None:
    logits = torch.log(torch.tensor([0.1, 0.4, 0.2, 0.3])).expand(1, 6000, 4)
    drawn, probability = draw(logits, 2, torch.Generator().manual_seed(0))
    assert set(drawn.flatten().tolist()) == {1, 3}
    assert float((drawn == 1).float().mean()) == pytest.approx(4 / 7, abs=0.03)
    assert float(probability[drawn == 1][0]) == pytest.approx(4 / 7)


class Oracle(nn.Module):
    """Knows the tokens, the earlier ones more surely; remembers what it was asked."""

    unknown = 9

    def __init__(self, truth: Tensor) -> None:
        super().__init__()
        self.truth, self.asked = truth, []

    def forward(self, features: Tensor, visible: Tensor, amodal: Tensor) -> Tensor:  # noqa: ARG002
        self.asked.append(amodal)
        sure = torch.linspace(200, 50, self.truth.shape[1])
        return nn.functional.one_hot(self.truth, 9) * sure[:, None]


def test_rounds_keep_what_was_found() -> None:
    truth = torch.randint(0, 9, (5, 64), generator=torch.Generator().manual_seed(1))
    oracle = Oracle(truth)
    found = complete_tokens(oracle, torch.zeros(5, 1, 8, 8), truth, 3, torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    assert torch.equal(found, truth)
    assert [(one == 9).sum(dim=1).tolist() for one in oracle.asked] == [[64] * 5, [55] * 5, [32] * 5]
    known = oracle.asked[1] != 9
    assert torch.equal(oracle.asked[1][known], truth[known])
    assert (oracle.asked[2] != 9)[known].all(), "what is known stays known"


# The network


def test_the_published_sizes() -> None:
    net = ImageFeatures(FeaturesConfig(blocks=(3, 4, 6, 3), bottleneck=True), 16).eval()
    with torch.no_grad():
        shapes = [tuple(one.shape) for one in net(torch.zeros(1, 3, 64, 64))]
    assert shapes == [(1, 256, 16, 16), (1, 512, 8, 8), (1, 1024, 4, 4), (1, 2048, 4, 4)]
    transformer = MaskedTransformer(TransformerConfig(width=768, layers=12, heads=12), 256, 256, 2048)
    layer = sum(parameter.numel() for parameter in transformer.layers.layers[0].parameters())
    assert (len(transformer.layers.layers), layer) == (12, 12 * 768**2 + 13 * 768)


def test_attention_by_hand() -> None:
    features = torch.tensor([[[[1.0, 0.0]], [[0.0, 2.0]]]])  # two channels, positions (1, 0) and (0, 2)
    mask = torch.tensor([[[[0.0, 1.0]]]])  # the mean is (0, 2): scores 0 and 4
    expected = [1 / (1 + math.exp(4)), 1 / (1 + math.exp(-4))]
    assert attention(features, mask).flatten().tolist() == pytest.approx(expected, abs=1e-5)


def test_refined_masks_have_the_crops_size() -> None:
    module = RefinementModule((8, 8, 8, 8)).eval()
    features = [torch.zeros(2, 8, side, side) for side in (16, 8, 4, 4)]
    for size in (32, 64):  # first features at stride 2 and 4
        visible, amodal = module(features, torch.zeros(2, size, size))
        assert visible.shape == amodal.shape == (2, size, size)


def test_losses_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    net, batch = tiny(), crops(3)
    monkeypatch.setattr(net.transformer, "forward", lambda *_: torch.zeros(3, 16, 16))
    logits = torch.full((3, 32, 32), math.log(3))
    monkeypatch.setattr(net.refinement, "forward", lambda *_: (logits, -logits))
    losses = net.losses(batch)
    assert float(losses["tokens"]) == pytest.approx(math.log(16))
    for name, mask, inside in (("visible", batch.crops.visible, 0.75), ("amodal", batch.amodal, 0.25)):
        share = float(mask.mean())
        assert float(losses[name]) == pytest.approx(-share * math.log(inside) - (1 - share) * math.log(1 - inside))


def test_the_codebook_is_fixed() -> None:
    net = tiny().train()
    before = {name: tensor.clone() for name, tensor in net.codebook.state_dict().items()}
    sum(net.losses(crops(4)).values()).backward()  # type: ignore[union-attr]
    for name, tensor in net.codebook.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    trained = {name.partition(".")[0] for name, value in net.named_parameters() if value.grad is not None}
    assert trained == {"features", "transformer", "refinement"}


def test_a_batch_is_its_rows() -> None:
    net, batch = tiny(), crops(4)
    features = net.features(batch.crops.rgb)
    visible = net.codebook.tokens(batch.crops.visible)
    asked = torch.full_like(visible, net.transformer.unknown)
    logits = net.transformer(features[3], visible, asked)
    coarse = net.codebook.mask(visible)
    fine = net.refinement(features, coarse)[1]
    for i in range(4):
        own = [one[i : i + 1] for one in features]
        torch.testing.assert_close(net.transformer(own[3], visible[i : i + 1], asked[i : i + 1])[0], logits[i])
        torch.testing.assert_close(net.refinement(own, coarse[i : i + 1])[1][0], fine[i], atol=1e-5, rtol=1e-4)


# The method


def record(*visible: np.ndarray, category: tuple[int, ...] = ()) -> AmodalImage:
    instances = tuple(
        AmodalInstance(id=10 + i, category_id=category[i] if category else 1, visible=masks.encode(mask))
        for i, mask in enumerate(visible)
    )
    return AmodalImage(id=3, file_name="a.png", height=SIDE, width=SIDE, instances=instances)


def boxes(count: int) -> list[np.ndarray]:
    result: list[np.ndarray] = []
    for i in range(count):
        mask = np.zeros((SIDE, SIDE), bool)
        mask[i % 9 : i % 9 + 40, i : i + 12] = True
        result.append(mask & ~np.logical_or.reduce([np.zeros_like(mask), *result]))
    return result


@pytest.mark.parametrize("count", [0, 1, 40])
def test_any_number_of_instances(count: int) -> None:
    method = C2FSegMethod(tiny(), NAMES)
    picture = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    visible = boxes(count)
    results, again = (method.complete(picture, record(*visible)) for _ in range(2))
    assert results == again, "the random numbers hang on seed and image alone"
    assert [result.annotation_id for result in results] == [10 + i for i in range(count)]
    for result, mask in zip(results, visible, strict=True):
        found = masks.decode(result.segmentation)
        assert (found & mask == mask).all()
        assert not (found & ~np.logical_or.reduce(visible)).any(), "nothing is completed on known background"


class Everything(nn.Module):
    """Says that the object is everywhere."""

    config = TINY

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(1))

    def complete(self, rgb: Tensor, visible: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        return visible, torch.ones_like(visible)


@pytest.mark.parametrize("background", [True, False])
def test_known_background_and_bare_occluders(background: bool) -> None:
    first, bar = np.zeros((SIDE, SIDE), bool), np.zeros((SIDE, SIDE), bool)
    first[20:40, 20:30] = True
    bar[:, 30:36] = True
    method = C2FSegMethod(Everything(), NAMES, background=background)  # type: ignore[arg-type]
    found, region = method.complete(np.zeros((SIDE, SIDE, 3), np.uint8), record(first, bar, category=(1, 9)))
    grown = masks.decode(found.segmentation) & ~first
    assert (grown & bar).sum() > 100
    assert bool((grown & ~bar).any()) is not background
    np.testing.assert_array_equal(masks.decode(region.segmentation), bar)


def test_weights_go_and_come(tmp_path: Path) -> None:
    save_weights(tmp_path / "weights", dump_config(TINY), tiny().state_dict())
    method = C2FSegMethod.from_pretrained(tmp_path / "weights", NAMES)
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    assert method.complete(picture, record(*boxes(2))) == C2FSegMethod(tiny(), NAMES).complete(
        picture, record(*boxes(2))
    )
    save_weights(tmp_path / "weights", dump_config(C2FSegConfig()), tiny().state_dict())
    with pytest.raises(WeightsError, match=r"weights: the tensors do not fit the configuration beside them: size mis"):
        C2FSegMethod.from_pretrained(tmp_path / "weights", NAMES)
