"""The whole network: losses of everything but the codebook, and inference."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from shape3d_amodal.baselines.c2f_seg.codebook import CodebookConfig, MaskCodebook
from shape3d_amodal.baselines.c2f_seg.features import FeaturesConfig, ImageFeatures
from shape3d_amodal.baselines.c2f_seg.refinement import RefinementModule
from shape3d_amodal.baselines.c2f_seg.transformer import (
    TRAINING_CHOICES,
    MaskedTransformer,
    TransformerConfig,
    complete_tokens,
    draw,
    mask_tokens,
)
from shape3d_amodal.config import Count, configuration
from shape3d_amodal.structures import SupervisedCrops


@configuration
class C2FSegConfig:
    """Sizes of the whole network."""

    codebook: CodebookConfig = CodebookConfig()
    """The masks' autoencoder."""
    features: FeaturesConfig = FeaturesConfig()
    """The image encoder."""
    transformer: TransformerConfig = TransformerConfig()
    """The transformer."""
    rounds: Count = 3
    """Rounds in which the tokens are predicted."""


class C2FSeg(nn.Module):
    """Colours and visible mask to the amodal mask. The codebook is trained before and fixed here."""

    def __init__(self, config: C2FSegConfig) -> None:
        super().__init__()
        book = config.codebook
        self.config = config
        self.codebook = MaskCodebook(book).requires_grad_(False)
        self.features = ImageFeatures(config.features, book.stride)
        widths = self.features.widths
        self.transformer = MaskedTransformer(config.transformer, book.codes, book.grid**2, widths[3])
        self.refinement = RefinementModule(widths)

    def train(self, mode: bool = True) -> C2FSeg:
        """As for any module, but the codebook stays in evaluation mode, so that its batch statistics are fixed."""
        super().train(mode)
        self.codebook.eval()
        return self

    def losses(self, batch: SupervisedCrops) -> dict[str, Tensor]:
        """Scalar losses: cross-entropy of the tokens, and of the refined visible and amodal masks."""
        crops = batch.crops
        visible, amodal = self.codebook.tokens(crops.visible), self.codebook.tokens(batch.amodal)
        features = self.features(crops.rgb)
        logits = self.transformer(features[3], visible, mask_tokens(amodal, self.transformer.unknown))
        with torch.no_grad():
            coarse = self.codebook.mask(draw(logits, TRAINING_CHOICES)[0])
        fine_visible, fine = self.refinement(features, coarse)
        return {
            "tokens": cross_entropy(logits.flatten(0, 1), amodal.flatten()),
            "visible": binary_cross_entropy_with_logits(fine_visible, crops.visible),
            "amodal": binary_cross_entropy_with_logits(fine, batch.amodal),
        }

    def complete(self, rgb: Tensor, visible: Tensor, generators: Sequence[torch.Generator]) -> tuple[Tensor, Tensor]:
        """The coarse and the refined amodal mask, [N,S,S] in 0..1 each.

        Args:
            rgb: [N,3,S,S] in 0..1, N > 0.
            visible: [N,S,S] in 0..1.
            generators: one for each row, on the CPU.
        """
        features = self.features(rgb)
        known = self.codebook.tokens(visible)
        tokens = complete_tokens(self.transformer, features[3], known, self.config.rounds, generators)
        coarse = self.codebook.mask(tokens)
        return coarse, self.refinement(features, coarse)[1].sigmoid()
