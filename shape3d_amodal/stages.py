"""Stages 2 to 5 on crops: what priors say, what stage 5 makes of it, and where only a bank has an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from shape3d_amodal.crops.cutting import masks_through
from shape3d_amodal.crops.pixels import PixelWindow
from shape3d_amodal.geometry.windows import through
from shape3d_amodal.model import AmodalModel
from shape3d_amodal.priors.interface import Prior, PriorName, best_of, no_estimate, seen_through
from shape3d_amodal.refinement.modes import Refine
from shape3d_amodal.refinement.regions import compose, composed
from shape3d_amodal.refinement.trust import expected_iou, signs
from shape3d_amodal.structures import AmodalPrediction, Estimate, InstanceCrops, category_number, resized_masks

_BATCH = 32
_CROP = 64
"""Side of the crops in pixels where no networks ask for another."""
FINE = 256
"""Side of the crops in pixels where a bank is asked."""


class Stages:
    """Priors and refinement, as they shall run together.

    Args:
        priors: by name, one or more, on the same device; they count the same categories, a bank others behind them.
        model: the networks; None for priors without a refinement.
        refine: see ``refinement.modes``.
    """

    def __init__(self, priors: Mapping[PriorName, Prior], model: AmodalModel | None, refine: Refine) -> None:
        self.priors, self.model, self.refine = priors, model, refine
        self._device = next(iter(priors.values())).device

    @property
    def counted(self) -> tuple[str, ...]:
        """The names that crops' categories count."""
        return max((prior.categories for prior in self.priors.values()), key=len)

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of what can be completed: what all priors know, and what a bank knows and no network."""
        first, *others = self.priors.values()
        shared = [name for name in first.known if all(name in other.known for other in others)]
        if self.model is not None and "bank" in self.priors and self.refine != "2d":
            shared += [name for name in self.priors["bank"].known if name not in self.model.config.categories]
        return tuple(dict.fromkeys(shared))

    def number(self, name: str) -> int:
        """How crops count the category ``name``, which can be completed."""
        number = category_number(name, self.counted)
        assert number is not None
        return number

    @property
    def parameters(self) -> int:
        """How many trained numbers a completion depends on."""
        count = 0
        if self.model is not None and self.refine in ("full", "2d"):
            count += sum(parameter.numel() for parameter in self.model.refinement.parameters())
            if self.model.trust is not None and "bank" in self.priors and self.refine == "full":
                count += sum(parameter.numel() for parameter in self.model.trust.parameters())
        if self.refine != "2d":
            count += sum(prior.parameters for prior in self.priors.values())
        return count

    @property
    def size(self) -> int:
        """Side of the crops in pixels: known shapes are exact, and would lose by coarse pixels."""
        if "bank" in self.priors and self.refine != "2d":
            return FINE
        return _CROP if self.model is None else self.model.config.crop_size

    @torch.no_grad()
    def predict(
        self,
        crops: InstanceCrops,
        windows: Sequence[PixelWindow] | None = None,
        *,
        settled: Sequence[bool] | None = None,
    ) -> AmodalPrediction:
        """Stages 2 to 5 on N crops, in batches.

        Args:
            crops: of ``size`` pixels, with categories as ``counted`` counts them.
            windows: the same objects at the image's own resolution, for a bank; else the crops' pixels stand for these.
            settled: the objects of which nothing in the image can be hidden. Without a bank their whole mask is the
                visible one, whatever stage 5 would say, and it is not asked; None is none of them.
        """
        if settled is None or "bank" in self.priors:
            settled = [False] * len(crops)
        crops = crops.to(self._device)
        networks = [True] * len(crops)
        if self.model is not None:
            networks = (crops.category < len(self.model.config.categories)).tolist()
        parts, order = [], []
        for known in (True, False):
            own = [i for i, answer in enumerate(networks) if answer == known]
            for rows in (own[i : i + _BATCH] for i in range(0, len(own), _BATCH)):
                shown = None if windows is None else [windows[i] for i in rows]
                asked = [i for i, row in enumerate(rows) if not settled[row]]
                parts.append(self._predict(crops[rows], shown, asked) if known else self._by_bank(crops[rows], shown))
                order += rows
        joined = AmodalPrediction.join(parts)
        return joined if order == sorted(order) else joined[[order.index(i) for i in range(len(order))]]

    def _by_bank(self, crops: InstanceCrops, windows: Sequence[PixelWindow] | None) -> AmodalPrediction:
        """Stages 2 to 4 on objects that no network knows."""
        estimate = self.priors["bank"].estimate(crops, windows=windows)
        return self._composed(estimate.silhouette, estimate, _shown(crops, windows, estimate))

    def _predict(
        self, crops: InstanceCrops, windows: Sequence[PixelWindow] | None, asked: list[int]
    ) -> AmodalPrediction:
        """Stages 2 to 5 on one batch; stage 5 sees its rows ``asked`` alone."""
        small = crops if self.model is None else crops.resized(self.model.config.crop_size)
        estimates: dict[PriorName, Estimate] = {}
        if self.refine != "2d":
            for name, prior in self.priors.items():
                own = small if name == "learned" else crops
                estimate = prior.estimate(own, windows=windows)
                estimates[name] = replace(estimate, window=crops.window) if estimate.window is None else estimate
        known = estimates.get("bank")
        window = crops.window if known is None or known.window is None else known.window
        alike = [seen_through(estimate.resized(crops.size), window) for estimate in estimates.values()]
        coarse = best_of(alike) if alike else no_estimate(crops)
        if len(alike) > 1 and known is not None:  # what only a bank can say
            coarse = replace(
                coarse, model=known.model, pose=known.pose, hypotheses=known.hypotheses, chance=known.chance
            )
        if coarse.expected is None:  # else objects that only a bank knows would lose theirs when rows are joined
            coarse = replace(coarse, expected=coarse.fit)
        probability = coarse.silhouette
        if self.refine in ("full", "2d") and self.model is not None:
            seen = {name: seen_through(estimate, crops.window) for name, estimate in estimates.items()}
            evidence = {name: estimate.resized(small.size).evidence for name, estimate in seen.items()}
            logits = crops.visible.new_full(crops.visible.shape, -torch.inf)
            if asked:
                shown = {name: (silhouette[asked], fit[asked]) for name, (silhouette, fit) in evidence.items()}
                refined = self.model.refine_both_ways(small[asked], shown)
                logits[asked] = resized_masks(refined, crops.size)
            coarse = replace(coarse, expected=coarse.fit)  # what a bank expects is of its own masks
            probability = logits.sigmoid()
            if known is not None:
                probability = self._weighed(logits, seen["bank"], known, crops)
        result = self._composed(probability, coarse, _shown(crops, windows, coarse))
        if self.refine == "full" and self.model is not None and self.model.trust is not None and known is not None:
            coarse = replace(result.estimate, expected=expected_iou(result.probability, known))
            return replace(result, estimate=coarse)
        return result

    def _weighed(self, logits: Tensor, seen: Estimate, known: Estimate, crops: InstanceCrops) -> Tensor:
        """Stage 5's answer and the bank's, as far as the bank's reaches; ``seen``: the latter within the crops."""
        assert self.model is not None and known.window is not None
        inside = through(torch.ones_like(logits)[:, None], crops.window, known.window)[:, 0]
        wide = through(logits[:, None], crops.window, known.window)[:, 0]
        if self.model.trust is not None:
            weighed: Tensor = self.model.trust(wide, known.silhouette, signs(logits, seen, crops)).sigmoid()
            return weighed
        return inside * wide.sigmoid() + (1 - inside) * known.silhouette

    def _composed(self, probability: Tensor, coarse: Estimate, crops: InstanceCrops) -> AmodalPrediction:
        """What is visible stays, and known background stays out, unless bare silhouettes are asked for."""
        if self.refine != "none":
            probability = composed(probability, crops)
        if coarse.hypotheses is not None:
            whole = compose(coarse.hypotheses, crops.visible[:, None], crops.occluder[:, None])
            coarse = replace(coarse, hypotheses=whole)
        return AmodalPrediction(probability, coarse)


def _shown(crops: InstanceCrops, windows: Sequence[PixelWindow] | None, estimate: Estimate) -> InstanceCrops:
    """The crops as far as the estimate reaches."""
    if windows is None or estimate.window is None:
        return crops
    return masks_through(crops, estimate.window, [window.masks for window in windows])
