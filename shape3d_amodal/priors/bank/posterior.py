"""What the poses that were found say together: how likely each is, the mask that follows, and how good it will be.

Each pose's certain-pixel IoU tells its chance, which falls off by exp(score / temperature). What the best pose leaves
unexplained is noise, of the masks or of a shape that is not the very one: the more of it, the higher the temperature.
The mask is the mean under these chances. How much the poses agree on it, how well the best one explains what is
certain, and how much is visible tell the IoU that is to be expected.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.array_fields import ArrayFields
from shape3d_amodal.crops.pixels import UNKNOWN, VISIBLE, PixelWindow
from shape3d_amodal.priors.bank import bits
from shape3d_amodal.priors.bank.finding import Found
from shape3d_amodal.priors.bank.poses import Level

NOISE = 0.5
"""Temperature for each unit of certain-pixel IoU that the best pose lacks; by benchmarks/calibration.py."""
_COLDEST, _WARMEST = 0.001, 0.05
"""Its bounds."""
_LEAST = 1e-3
"""Poses of a smaller chance, relative to the best one's, are left out."""
_WIDENS = 0.02
"""Poses of a smaller chance are drawn no farther than the likelier ones reach."""


@dataclass(frozen=True, eq=False, repr=False)
class Posterior(ArrayFields):
    """The poses that are likely, the likeliest first.

    Attributes:
        window: the object's, or a larger one where silhouettes reach beyond it.
        drawn: [K,G,words] uint64, their silhouettes in the window's G x G pixels (``bits``).
        chance: [K] float32, sums to 1.
        agreement: expected IoU, 0..1, of a pose's whole mask in the image, drawn by chance, with that of the mean.
        seen: visible share, 0..1, of the mean's whole mask in the image.
    """

    window: PixelWindow
    drawn: NDArray[np.uint64]
    chance: NDArray[np.float32]
    agreement: float
    seen: float

    def mask(self, index: int) -> NDArray[np.bool_]:
        """[G,G], of one pose."""
        return bits.unpack(self.drawn[index], self.window.side)

    def signs(self, score: float) -> NDArray[np.float64]:
        """What tells the IoU of the mean, where the best pose has the certain-pixel IoU ``score``."""
        return signs(score, self.agreement, self.seen)

    @property
    def mean(self) -> NDArray[np.float32]:
        """[G,G] in 0..1."""
        return _mean(self.drawn, self.chance, self.window.side)


def posterior(found: Found, noise: float | None = None) -> Posterior:
    """The likely poses of ``found``; ``noise`` as ``NOISE``, which is the default."""
    poses = found.poses
    temperature = min(max((NOISE if noise is None else noise) * (1 - float(poses.score[0])), _COLDEST), _WARMEST)
    weight = np.exp((poses.score - poses.score[0]) / temperature)
    kept = np.nonzero(weight > _LEAST)[0]
    chance = (weight[kept] / weight[kept].sum()).astype(np.float32)
    # An unlikely pose that reaches far would only make all masks coarser.
    window = found.window.holding(found.meshes.boxes(poses[kept[chance >= _WIDENS]]))
    drawn = Level(window, 1).drawn(found.meshes, poses.mesh[kept], poses.rows[kept])
    # Masks end with the image, and so does what is said of them.
    visible, hidden = bits.pack(window.state == VISIBLE), bits.pack((window.state == UNKNOWN) & window.inside)
    whole = visible | (drawn & hidden)
    mean = visible | (bits.pack(_mean(drawn, chance, window.side) > 0.5) & hidden)
    shared, either = (np.bitwise_count(both).sum(axis=(1, 2)) for both in (whole & mean, whole | mean))
    agreement = float((chance * shared / np.maximum(either, 1)).sum())
    seen = int(np.bitwise_count(visible).sum()) / max(int(np.bitwise_count(mean).sum()), 1)
    return Posterior(window, drawn, chance, agreement, seen)


def _mean(drawn: NDArray[np.uint64], chance: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    result = np.zeros((side, side), np.float32)
    for own, share in zip(drawn, chance, strict=True):  # one after another, for windows may be large
        result += share * bits.unpack(own, side)
    return result


def signs(score: float, agreement: float, seen: float) -> NDArray[np.float64]:
    """What the IoU with the true whole mask depends on, [5]: 1, the logits of these shares, and the product of the
    first and the last: where little is seen, a good score says less.

    Args:
        score: certain-pixel IoU of the best answer.
        agreement, seen: as of ``Posterior``.
    """
    told = [_logit(share) for share in (score, agreement, seen)]
    return np.array([1, *told, told[0] * told[2]])


def expected_iou(of: NDArray[np.float64]) -> float:
    """The IoU with the true whole mask that is to be expected, 0..1, by logistic regression on ``signs``."""
    return float(1 / (1 + np.exp(-EXPECTED @ of)))


EXPECTED = np.array([-0.564, 0.209, 0.459, 0.183, 0.062])
"""Weights of ``signs``; by benchmarks/calibration.py."""


def _logit(share: float) -> float:
    inside = min(max(share, 1e-3), 1 - 1e-3)
    return float(np.log(inside / (1 - inside)))
