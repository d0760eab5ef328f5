"""AISFormer (Tran et al., BMVC 2022): a transformer with a learned query for each kind of mask.

The region's features, upsampled to 28 x 28, are the tokens of an encoder. Four queries of a decoder attend to them: for
the visible mask, the occluder, the amodal mask and the hidden mask. A mask is the product of the decoded query and the
embedded tokens. The embedding of the hidden mask is computed from those of the amodal and the visible one. Masks are
class-agnostic.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from shape3d_amodal.config import Count, Depth, Weight, Width, configuration
from shape3d_amodal.errors import UsageError
from shape3d_amodal.segmentation.layers import HeadShape, convs, mask_loss, upsample
from shape3d_amodal.segmentation.roi_heads import MASK_SIZE, MaskHead, Rois, RoiTargets, SystemConfig

NAMES = ("visible", "occluder", "amodal", "hidden")
"""The masks, in the order of the queries."""


@configuration
class AisformerConfig(SystemConfig):
    convs: Depth = 1
    """Convolutions before the upsampling."""
    layers: Depth = 1
    """Layers of the encoder, and of the decoder."""
    heads: Count = 2
    """Attention heads; they divide the channels of the mask head."""
    feedforward: Width = 2048
    """Width inside the layers of the transformer."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Dropout of the transformer's layers."""
    hidden: Literal["relation", "query"] = "relation"
    """Whether the hidden mask's embedding is made from the amodal and visible ones, or is the fourth query's own."""
    visible_weight: Weight = 1.0
    """Weight of the visible mask; the amodal one has 1."""
    occluder_weight: Weight = 0.25
    """Weight of the occluder's mask."""
    hidden_weight: Weight = 0.25
    """Weight of the hidden mask."""

    def mask_head(self, shape: HeadShape) -> MaskHead:
        if shape.mask_channels % 2:  # half of them tell the row, half the column
            problem = f"expected an even number for aisformer, got {shape.mask_channels}"
            raise UsageError(f"detector.regions.mask_channels: {problem}; change it")
        if shape.mask_channels % self.heads:
            problem = f"expected a divisor of the {shape.mask_channels} channels (detector.regions.mask_channels)"
            raise UsageError(f"options.heads: {problem}, got {self.heads}")
        return AisformerHead(shape, self)


class AisformerHead(MaskHead):
    def __init__(self, shape: HeadShape, config: AisformerConfig) -> None:
        super().__init__()
        self.config = config
        width = shape.mask_channels
        self.convs = convs(shape.channels, *[width] * config.convs)
        self.up = upsample(width, width)
        self.rows, self.columns = (nn.Parameter(torch.rand(MASK_SIZE, width // 2)) for _ in range(2))
        self.queries = nn.Parameter(torch.randn(len(NAMES), width))
        sizes = (width, config.heads, config.feedforward, config.dropout)
        self.encoder = nn.ModuleList(EncoderLayer(*sizes) for _ in range(config.layers))
        self.decoder = nn.ModuleList(DecoderLayer(*sizes) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.embed_pixels = nn.Linear(width, width)
        nn.init.normal_(self.embed_pixels.weight, std=0.001)
        nn.init.zeros_(self.embed_pixels.bias)
        self.embed_masks = perceptron(width, width, width, width)
        self.relate = perceptron(2 * width, width, width) if config.hidden == "relation" else None

    def forward(self, rois: Rois) -> dict[str, Tensor]:
        """The logits [R,28,28] of ``NAMES``."""
        local = self.up(self.convs(rois.features)).flatten(2).transpose(1, 2)  # [R,784,C]
        places = self.places()
        tokens = local
        for encode in self.encoder:
            tokens = encode(tokens, places)
        found = torch.zeros_like(self.queries).expand(len(rois), -1, -1)  # [R,4,C]
        for decode in self.decoder:
            found = decode(found, self.queries, tokens, places)
        pixels = self.embed_pixels(self.norm(tokens + local))
        return dict(zip(NAMES, masks_of(self.embeddings(found), pixels).unbind(dim=1), strict=True))

    def places(self) -> Tensor:
        """The learned embedding [784,C] of each position: half of the channels for its column, half for its row."""
        size = (MASK_SIZE, MASK_SIZE, -1)
        return torch.cat([self.columns.expand(size), self.rows[:, None].expand(size)], dim=2).flatten(0, 1)

    def embeddings(self, found: Tensor) -> Tensor:
        """Decoded queries [R,4,C] to the mask embeddings [R,4,C] of ``NAMES``."""
        embedded: Tensor = self.embed_masks(found)
        if self.relate is None:
            return embedded
        visible, occluder, amodal, _ = embedded.unbind(dim=1)
        hidden = self.relate(torch.cat([amodal, visible], dim=1))
        return torch.stack([visible, occluder, amodal, hidden], dim=1)

    def losses(self, rois: Rois, targets: RoiTargets) -> dict[str, Tensor]:
        """The loss of the occluder is the mean over the regions that have one."""
        logits, config = self(rois), self.config
        behind = targets.has_occluder
        return {
            "mask_amodal": mask_loss(logits["amodal"], targets.amodal),
            "mask_visible": config.visible_weight * mask_loss(logits["visible"], targets.visible),
            "mask_occluder": config.occluder_weight * mask_loss(logits["occluder"][behind], targets.occluder[behind]),
            "mask_hidden": config.hidden_weight * mask_loss(logits["hidden"], targets.occluded),
        }


def masks_of(embeddings: Tensor, pixels: Tensor) -> Tensor:
    """The products [R,Q,28,28] of mask embeddings [R,Q,C] and embedded pixels [R,784,C] (row by row)."""
    logits = torch.einsum("rqc,rpc->rqp", embeddings, pixels)
    return logits.unflatten(2, (MASK_SIZE, MASK_SIZE)).float()


class EncoderLayer(nn.Module):
    """Self-attention of the tokens; positions are added to queries and keys but not to values (as in DETR)."""

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.feed = FeedForward(width, feedforward, dropout)

    def forward(self, tokens: Tensor, places: Tensor) -> Tensor:
        """Tokens [R,P,C] and embeddings [P,C] of their positions to tokens [R,P,C]."""
        placed = tokens + places
        attended, _ = self.attend(placed, placed, tokens, need_weights=False)
        return self.feed(self.norm(tokens + self.dropout(attended)))


class DecoderLayer(nn.Module):
    """Self-attention of the queries, then cross-attention to the tokens."""

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.attend_own, self.attend = (
            nn.MultiheadAttention(width, heads, dropout, batch_first=True) for _ in range(2)
        )
        self.norm_own, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.feed = FeedForward(width, feedforward, dropout)

    def forward(self, found: Tensor, queries: Tensor, tokens: Tensor, places: Tensor) -> Tensor:
        """States [R,Q,C] of the queries [Q,C], tokens [R,P,C] and their positions [P,C] to new states [R,Q,C]."""
        asked = found + queries
        attended, _ = self.attend_own(asked, asked, found, need_weights=False)
        found = self.norm_own(found + self.dropout(attended))
        attended, _ = self.attend(found + queries, tokens + places, tokens, need_weights=False)
        return self.feed(self.norm(found + self.dropout(attended)))


class FeedForward(nn.Module):
    """Two linear layers with a residual connection, and a norm."""

    def __init__(self, width: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, inner), nn.ReLU(), nn.Dropout(dropout), nn.Linear(inner, width), nn.Dropout(dropout)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.layers(x))


def perceptron(*widths: int) -> nn.Sequential:
    """Linear layers of these widths with ReLU between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        linear = nn.Linear(inputs, outputs)
        nn.init.xavier_uniform_(linear.weight)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])
