"""C2F-Seg: codebook, schedule, drawing, shapes and losses, against brute force, formulas and literals."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from c2f_seg_small import BOOK, crops, tiny
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.transforms.functional import normalize

from shape3d_amodal.baselines.c2f_seg.codebook import CodebookConfig, MaskCodebook, nearest
from shape3d_amodal.baselines.c2f_seg.features import FeaturesConfig, ImageFeatures, load_resnet
from shape3d_amodal.baselines.c2f_seg.model import C2FSeg
from shape3d_amodal.baselines.c2f_seg.refinement import RefinementModule, attention
from shape3d_amodal.baselines.c2f_seg.transformer import (
    MaskedTransformer,
    TransformerConfig,
    complete_tokens,
    draw,
    mask_tokens,
    seeded,
    unknown_after,
)
from shape3d_amodal.errors import UsageError, WeightsError
from shape3d_amodal.structures import SupervisedCrops

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
    masks = torch.rand(4, 32, 32)
    losses = book.losses(masks)
    shown = book.mask(book.tokens(masks))  # of the nearest codes, not of the encodings
    entropy = -(masks * shown.log() + (1 - masks) * (1 - shown).log()).mean()
    assert float(losses["reconstruction"]) == pytest.approx(float(entropy), rel=1e-4)
    losses["unused"].backward(retain_graph=True)
    assert all(one.grad is None for one in book.encoder.parameters()), "codes move to encodings, not the reverse"
    book.codes.grad = None
    losses["reconstruction"].backward()
    first = next(book.encoder.parameters())
    assert first.grad is not None and first.grad.abs().sum() > 0
    assert book.codes.grad is None or book.codes.grad.abs().sum() == 0


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (
            lambda: CodebookConfig(size=50),
            r"^size: expected a multiple of 8, what 4 widths divide it by, got 50; change size or widths$",
        ),
        (
            lambda: CodebookConfig(size=72, widths=(4, 4, 4, 4, 4)),
            r"^size: expected a multiple of 16, what 5 widths divide it by, got 72; change size or widths$",
        ),
        (
            lambda: TransformerConfig(width=64, heads=6),
            r"^heads: expected a divisor of width \(64\), got 6; change one$",
        ),
    ],
)
def test_sizes_that_do_not_fit_each_other_are_refused(make: Callable[[], object], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        make()


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
    generators = [seeded(i) for i in range(5)]
    found = complete_tokens(oracle, torch.zeros(5, 1, 8, 8), truth, 3, generators)  # type: ignore[arg-type]
    assert torch.equal(found, truth)
    assert [(one == 9).sum(dim=1).tolist() for one in oracle.asked] == [[64] * 5, [55] * 5, [32] * 5]
    known = oracle.asked[1] != 9
    assert torch.equal(oracle.asked[1][known], truth[known])
    assert (oracle.asked[2] != 9)[known].all(), "what is known stays known"


class Undecided(nn.Module):
    """Has several answers for every token, whatever it is shown; remembers what it was asked."""

    unknown = 8

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits, self.asked = logits, []

    def forward(self, features: Tensor, visible: Tensor, amodal: Tensor) -> Tensor:  # noqa: ARG002
        self.asked.append(amodal.tolist())
        return self.logits


def plain_rounds(logits: np.ndarray, rounds: int, generator: torch.Generator) -> list[list[int]]:
    """What is asked in each round, and the answer, of one mask with logits [L,8], one token after the other.

    The noise is what the generator gives: in each round first the draws, then the noise.
    """
    count = len(logits)
    likeliest = np.argsort(-logits, axis=1)[:, :3]
    share = np.exp(np.take_along_axis(logits, likeliest, axis=1).astype(np.float64))
    share /= share.sum(axis=1, keepdims=True)
    tokens = [8] * count
    history = []
    for i in range(rounds):
        history.append(list(tokens))
        places = torch.multinomial(torch.from_numpy(share).float(), 1, generator=generator)[:, 0].tolist()
        uniform = torch.rand(1, count, generator=generator)[0].tolist()
        sureness = {
            k: math.log(share[k, places[k]]) + 4.5 * (rounds - 1 - i) / rounds * -math.log(-math.log(uniform[k]))
            for k in range(count)
            if tokens[k] == 8
        }
        left = 0 if i == rounds - 1 else math.floor(count * math.cos(math.pi / 2 * (i + 1) / rounds))
        for k in sorted(sureness, key=sureness.__getitem__)[left:]:
            tokens[k] = int(likeliest[k, places[k]])
    return [*history, tokens]


def test_rounds_by_the_plain_algorithm() -> None:
    logits = torch.randn(2, 64, 8, generator=torch.Generator().manual_seed(2))
    network = Undecided(logits)
    generators = [seeded(7, 0), seeded(7, 1)]
    found = complete_tokens(network, torch.zeros(2, 1, 8, 8), torch.zeros(2, 64).long(), 3, generators)  # type: ignore[arg-type]
    for row in range(2):
        expected = plain_rounds(logits[row].numpy(), 3, seeded(7, row))
        assert [one[row] for one in (*network.asked, found.tolist())] == expected


def test_seeds_of_rows_differ_by_any_of_their_numbers() -> None:
    first = {torch.rand(1, generator=seeded(*numbers)).item() for numbers in ((0, 1, 2), (0, 2, 1), (1, 1, 2), (0, 1))}
    assert len(first) == 4
    assert torch.equal(torch.rand(4, generator=seeded(3, -1)), torch.rand(4, generator=seeded(3, -1)))


# The network


def test_the_published_sizes() -> None:
    net = ImageFeatures(FeaturesConfig(blocks=(3, 4, 6, 3), bottleneck=True), 16).eval()
    with torch.no_grad():
        shapes = [tuple(one.shape) for one in net(torch.zeros(1, 3, 64, 64))]
    assert shapes == [(1, 256, 16, 16), (1, 512, 8, 8), (1, 1024, 4, 4), (1, 2048, 4, 4)]
    transformer = MaskedTransformer(TransformerConfig(width=768, layers=12, heads=12), 256, 256, 2048)
    layer = sum(parameter.numel() for parameter in transformer.layers.layers[0].parameters())
    assert (len(transformer.layers.layers), layer) == (12, 12 * 768**2 + 13 * 768)


@pytest.fixture
def resnet() -> ResNet:
    """torchvision's own, with a block a stage and statistics that are not those of its making."""
    torch.manual_seed(1)
    net = ResNet(BasicBlock, [1, 1, 1, 1]).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net


@torch.no_grad()
def test_the_image_encoder_starts_from_a_resnet_of_torchvision(resnet: ResNet, tmp_path: Path) -> None:
    save_file(resnet.state_dict(), tmp_path / "resnet.safetensors")
    features = ImageFeatures(FeaturesConfig(), 16).eval()
    load_resnet(features, tmp_path / "resnet.safetensors")
    rgb = torch.rand(2, 3, 64, 64)
    theirs = resnet.bn1(resnet.conv1(normalize(rgb, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))).relu()
    ours = features.stem[:3](rgb - 0.5)
    inner = slice(2, -2)  # both see nothing beyond the border, but their nothing is another colour
    torch.testing.assert_close(ours[..., inner, inner], theirs[..., inner, inner], rtol=1e-4, atol=1e-5)
    for name, tensor in features.stages.state_dict().items():
        number, rest = name.split(".", 1)
        assert torch.equal(tensor, resnet.state_dict()[f"layer{int(number) + 1}.{rest}"]), name


def test_weights_that_are_no_such_resnet_are_refused(resnet: ResNet, tmp_path: Path) -> None:
    save_file(resnet.state_dict(), tmp_path / "resnet.safetensors")
    problem = (
        r"resnet.safetensors: expected the weights of a ResNet of the configured blocks, layer1\.1\.conv1\.weight is"
    )
    with pytest.raises(WeightsError, match=problem):
        load_resnet(ImageFeatures(FeaturesConfig(blocks=(2, 1, 1, 1)), 8), tmp_path / "resnet.safetensors")


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


def given_tokens(net: C2FSeg, batch: SupervisedCrops, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Tensor]:
    """Random tokens [N,16] of the visible and of the amodal masks, which the codebook then says are theirs."""
    visible, amodal = torch.randint(16, (2, len(batch.amodal), 16), generator=torch.manual_seed(3))
    monkeypatch.setattr(
        net.codebook, "tokens", lambda mask: {id(batch.crops.visible): visible, id(batch.amodal): amodal}[id(mask)]
    )
    return visible, amodal


def test_the_token_loss_asks_for_the_amodal_mask_given_the_visible_one(monkeypatch: pytest.MonkeyPatch) -> None:
    net, batch, asked = tiny(), crops(3), []
    visible, amodal = given_tokens(net, batch, monkeypatch)
    logits = torch.randn(3, 16, 16, generator=torch.manual_seed(1))
    monkeypatch.setattr(net.transformer, "forward", lambda *given: asked.append(given) or logits)
    loss = float(net.losses(batch)["tokens"])
    rows = [(logits[i, j], int(amodal[i, j])) for i in range(3) for j in range(16)]
    by_hand = [math.log(sum(math.exp(value) for value in row.tolist())) - float(row[right]) for row, right in rows]
    assert loss == pytest.approx(sum(by_hand) / len(by_hand), rel=1e-5)
    _, condition, partly = asked[0]
    assert torch.equal(condition, visible)
    unknown = partly == net.transformer.unknown
    assert (unknown.float().mean(dim=1) >= 0.5).all(), "half of the tokens or more are asked for"
    assert torch.equal(partly[~unknown], amodal[~unknown])


def test_a_completion_is_the_amodal_branch_given_the_visible_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    net, batch, asked = tiny(), crops(2), []
    visible, _ = given_tokens(net, batch, monkeypatch)
    monkeypatch.setattr(net.transformer, "forward", lambda *given: asked.append(given) or torch.zeros(2, 16, 16))
    sure = torch.full((2, 32, 32), 9.0)
    monkeypatch.setattr(net.refinement, "forward", lambda *_: (-sure, sure))
    generators = [seeded(0, row) for row in range(2)]
    assert (net.complete(batch.crops.rgb, batch.crops.visible, generators)[1] > 0.9).all()
    assert len(asked) == net.config.rounds and all(torch.equal(given[1], visible) for given in asked)
    assert (asked[0][2] == net.transformer.unknown).all(), "nothing is known at first"


def test_in_training_the_coarse_mask_is_drawn_among_the_five_likeliest(monkeypatch: pytest.MonkeyPatch) -> None:
    net, drawn = tiny(), []
    logits = torch.linspace(0, -1, 16)[torch.arange(16) * 5 % 16].expand(40, 16, 16)
    monkeypatch.setattr(net.transformer, "forward", lambda *_: logits)
    monkeypatch.setattr(net.codebook, "mask", lambda tokens: drawn.append(tokens) or torch.zeros(40, 32, 32))
    net.losses(crops(40))
    assert set(drawn[0].flatten().tolist()) == set(logits[0, 0].argsort(descending=True)[:5].tolist())


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
