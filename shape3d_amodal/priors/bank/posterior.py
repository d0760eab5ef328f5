"""What the poses that were found say together: how likely each is, the mask that follows, and how good it will be.

Each pose's certain-pixel IoU tells its chance, which falls off by exp(score / temperature). What the best pose leaves
unexplained is noise, of the masks or of a shape that is not the very one: the more of it, the higher the temperature.
The mask is the mean under these chances. How much the poses agree on it, and how well the
best one explains what is certain, tell the IoU that is to be expected.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.array_fields import ArrayFields
from shape3d_amodal.crops.pixels import UNKNOWN, VISIBLE
from shape3d_amodal.priors.bank.finding import Found
from shape3d_amodal.priors.bank.poses import Level

_NOISE, _COLDEST, _WARMEST = 0.5, 0.001, 0.05
"""Temperature for each unit of certain-pixel IoU that the best pose lacks, and its bounds; found on val scenes."""
_LEAST = 1e-3
"""Poses of a smaller chance, relative to the best one's, are left out."""


@dataclass(frozen=True, eq=False, repr=False)
class Posterior(ArrayFields):
    """The poses that are likely, the likeliest first.

    Attributes:
        masks: [K,G,G] bool, their silhouettes in the window's pixels.
        chance: [K] float32, sums to 1.
        agreement: expected IoU, 0..1, of a pose's whole mask, drawn by chance, with that of the mean.
        seen: visible share, 0..1, of the mean's whole mask.
    """

    masks: NDArray[np.bool_]
    chance: NDArray[np.float32]
    agreement: float
    seen: float

    @property
    def mean(self) -> NDArray[np.float32]:
        """[G,G] in 0..1."""
        return np.einsum("k,kij->ij", self.chance, self.masks.astype(np.float32))


def posterior(found: Found) -> Posterior:
    """The likely poses of ``found``."""
    poses = found.poses
    temperature = min(max(_NOISE * (1 - float(poses.score[0])), _COLDEST), _WARMEST)
    weight = np.exp((poses.score - poses.score[0]) / temperature)
    kept = np.nonzero(weight > _LEAST)[0]
    level = Level(found.level.window, 1)
    masks = level.masks(found.meshes, poses.mesh[kept], poses.rows[kept])
    chance = (weight[kept] / weight[kept].sum()).astype(np.float32)
    visible, hidden = level.state == VISIBLE, level.state == UNKNOWN
    whole = visible | (masks & hidden)
    mean = visible | ((np.einsum("k,kij->ij", chance, masks.astype(np.float32)) > 0.5) & hidden)
    shared, either = (whole & mean).sum(axis=(1, 2)), (whole | mean).sum(axis=(1, 2))
    agreement = float((chance * shared / np.maximum(either, 1)).sum())
    return Posterior(masks, chance, agreement, float(visible.sum() / max(mean.sum(), 1)))


def expected_iou(score: float, likely: Posterior) -> float:
    """The IoU with the true whole mask that is to be expected, 0..1, of poses whose best has the certain-pixel IoU
    ``score``: a logistic regression."""
    value = _EXPECTED @ [1, _logit(score), _logit(likely.agreement), _logit(likely.seen)]
    return float(1 / (1 + np.exp(-value)))


_EXPECTED = np.array([-0.036, 0.267, 0.373, 0.302])
"""For 1 and the logits of score, agreement and visible share: on scenes of open13's train and val meshes, with these
meshes in the bank and without, and on photographs of LM-O."""


def _logit(share: float) -> float:
    inside = min(max(share, 1e-3), 1 - 1e-3)
    return float(np.log(inside / (1 - inside)))
