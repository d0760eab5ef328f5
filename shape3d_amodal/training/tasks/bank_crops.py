"""Silhouettes of a shape bank for training crops, computed once, since search and fit are too slow for every step.

The mesh of a crop and its near-duplicates are left out of the bank. So the refinement learns from a bank as it is at
test time for an unknown object.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from shape3d_amodal.config import Count, Share, configuration, dump_config
from shape3d_amodal.crops.config import CropsConfig
from shape3d_amodal.crops.parts import arrays_of, in_parts, joined
from shape3d_amodal.crops.pool import kept_arrays
from shape3d_amodal.crops.scenes import CropArrays, as_bytes
from shape3d_amodal.crops.sources import crops_name
from shape3d_amodal.files.processes import spread
from shape3d_amodal.meshes.sources import CATEGORIES, mesh_source
from shape3d_amodal.priors.bank.prior import BankPrior, BankPriorConfig
from shape3d_amodal.priors.bank.shapes import BankConfig, ShapeBank
from shape3d_amodal.training.tasks.scores import partly_hidden, with_amodal

BANK_VERSION = 4
"""To be raised when the same configuration gives other silhouettes."""
_CHUNK = 32
"""Crops that a worker asks about at a time."""
_PART = 8
"""Chunks after which the answers are kept on disk."""

log = logging.getLogger(__name__)


@configuration
class BankCropsConfig:
    """A bank, and the number of training crops that get its silhouettes."""

    meshes: str = "open13:train"
    """Mesh source of the bank. A crop's own mesh is left out by its name, so this must be the source of the crops."""
    bank: BankConfig = BankConfig()
    """How finely the bank keeps its shapes; at test time the defaults are used."""
    prior: BankPriorConfig = BankPriorConfig(fit_steps=15)
    """Search for poses, in the crops' own pixels, and fit; at test time the defaults are used, except for the number of
    fit steps, and poses are found in the image's pixels."""
    crops: Count = 10_000
    """Largest number of crops that get a silhouette."""
    hidden_share: Share = 0.85
    """Share of them that have a hidden part. The others are fully visible, so that a silhouette does not by itself tell
    the refinement that something is hidden."""


@dataclass(frozen=True)
class BankArrays:
    """Silhouettes of a bank for M of the training crops.

    Attributes:
        row: [M] int64, the crops' rows in the pool, rising.
        silhouette: [M,S,S] uint8, the silhouette times 255.
        fit: [M] float32, its certain-pixel IoU.
    """

    row: NDArray[np.int64]
    silhouette: NDArray[np.uint8]
    fit: NDArray[np.float32]

    def of(self, rows: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
        """Silhouettes [N,S,S] in 0..1 and fits [N] of the pool's ``rows`` [N]; both 0 for rows without a silhouette."""
        place = np.minimum(np.searchsorted(self.row, rows), len(self.row) - 1)
        asked = self.row[place] == rows
        silhouette = torch.from_numpy(self.silhouette[place] * asked[:, None, None]).float() / 255
        return silhouette, torch.from_numpy(self.fit[place] * asked)


def open_bank(
    config: BankCropsConfig,
    pool_config: CropsConfig,
    pool: CropArrays,
    cache: Path,
    *,
    categories: tuple[str, ...] = CATEGORIES,
    workers: int,
) -> BankArrays:
    """The bank's silhouettes for the crops of ``pool``, computed unless they are in ``cache``.

    Args:
        config: bank and number of crops.
        pool_config: the configuration that ``pool`` was opened with.
        pool: the crops.
        cache: folder of all pools.
        categories: names that the crops' categories count.
        workers: processes; the result does not depend on it.

    Raises:
        DataError: the mesh source cannot be used, or ``cache`` cannot be made.
        UsageError: no crop has a hidden part.
        TrainingError: the disk is full.
    """
    origin = f"{mesh_source(config.meshes).fingerprint()} {crops_name(pool_config, categories)} {BANK_VERSION}"
    name = hashlib.sha256(f"{dump_config(config)}{origin}".encode()).hexdigest()[:16]
    return kept_arrays(
        cache / f"bank-{name}",
        BankArrays,
        dump_config(config),
        lambda parts: _ask(config, categories, pool, parts, workers),
    )


def asked_rows(hidden: NDArray[np.float32], config: BankCropsConfig) -> NDArray[np.int64]:
    """The rows, rising, that the bank is asked about: the first with a hidden part, and the first of the others
    of which it is known that they have none.

    ``hidden`` [M] has the shares of the crops' objects that are hidden, in 0..1; NaN where no amodal mask is known.
    """
    with_part = partly_hidden(hidden, "bank")
    others = np.setdiff1d(with_amodal(hidden), with_part)
    count = round(config.crops * config.hidden_share)
    return np.sort(np.concatenate([with_part[:count], others[: config.crops - count]]))


@dataclass(frozen=True)
class _Answers:
    """Silhouettes [N,S,S] uint8 and fits [N] float32."""

    silhouette: NDArray[np.uint8]
    fit: NDArray[np.float32]


def _join(answers: list[_Answers]) -> _Answers:
    return joined(answers)


def _ask(
    config: BankCropsConfig, categories: tuple[str, ...], pool: CropArrays, parts: Path, workers: int
) -> BankArrays:
    rows = asked_rows(pool.hidden, config)
    log.info("asking the bank of %s about %d crops", config.meshes, len(rows))
    chunks = [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]
    with spread(_asker, (config, categories, parts.parent), workers) as ask:

        def run(asked: Iterable[NDArray[np.int64]]) -> Iterator[_Answers]:
            return ask(_rows_of(pool, chunk) for chunk in asked)

        words = {"description": "bank", "unit": f"groups of {_CHUNK} crops"}
        kept = parts / f"{_PART}x{_CHUNK}"  # parts of other sizes hold other crops
        found = _join(in_parts(kept, _Answers, chunks, run, _join, size=_PART, **words))
    return BankArrays(rows, found.silhouette, found.fit)


def _rows_of(pool: CropArrays, rows: NDArray[np.int64]) -> CropArrays:
    return CropArrays(**{name: np.asarray(array[rows]) for name, array in arrays_of(pool).items()})


def _asker(config: BankCropsConfig, categories: tuple[str, ...], cache: Path) -> Callable[[CropArrays], _Answers]:
    torch.set_num_threads(1)  # as in worker processes, so that their number does not show in the last digits
    source = mesh_source(config.meshes)
    prior = BankPrior(ShapeBank(source, config.bank, cache), categories, config.prior)

    def ask(part: CropArrays) -> _Answers:
        crops = part.supervised(np.arange(len(part.category))).crops
        own = [source.near_duplicates(name) if name else () for name in part.mesh.tolist()]
        found = prior.estimate(crops, without=own)
        return _Answers(as_bytes(found.silhouette), found.fit.numpy())

    return ask
