"""What stage 5 and a bank say of objects of scenes, made once: from it stage 5 learns how far to trust a bank.

The bank holds the very mesh of an object, or others of its category, or only meshes of another category, by chance; so
trust is learned for all three.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from typing_extensions import Self

from shape3d_amodal.array_fields import ArrayFields
from shape3d_amodal.config import Count, Share, configuration, dump_config
from shape3d_amodal.crops.cutting import instance_crops, mask_crops
from shape3d_amodal.crops.parts import in_parts, joined
from shape3d_amodal.crops.pixels import pixel_windows
from shape3d_amodal.crops.pool import kept_arrays
from shape3d_amodal.crops.scenes import as_bytes
from shape3d_amodal.files.cache import user_cache
from shape3d_amodal.files.pretrained import load_network, read_config, weights_folder
from shape3d_amodal.files.processes import spread
from shape3d_amodal.files.safe_io import sha256
from shape3d_amodal.files.weights import CONFIG_FILE, MANIFEST, read_sealed
from shape3d_amodal.masks.occlusion import occluders
from shape3d_amodal.meshes.sources import mesh_source
from shape3d_amodal.model import AmodalModel, AmodalModelConfig
from shape3d_amodal.priors.bank.prior import BankPrior, BankPriorConfig
from shape3d_amodal.priors.bank.shapes import ShapeBank
from shape3d_amodal.priors.interface import PriorName, seen_through
from shape3d_amodal.refinement.trust import SIGNS, signs
from shape3d_amodal.scenes.compose import SceneConfig, make_scene
from shape3d_amodal.stages import FINE
from shape3d_amodal.structures import InstanceCrops, SupervisedCrops, resized_masks

EVIDENCE_VERSION = 2
"""To be raised when the same configuration gives other arrays."""
_KEPT = 64
"""Side of the crops that are kept to learn from."""
_CHUNK = 4
_PART = 16
_PURPOSE = 1_003

log = logging.getLogger(__name__)


@configuration
class EvidenceConfig:
    """Objects of scenes, and what the bank holds of them."""

    meshes: str = "open13:val"
    """Mesh source of the scenes: meshes that the weights have not learned from."""
    bank: str = "open13:train+val"
    """Mesh source of the bank; it holds those of the scenes."""
    scenes: SceneConfig = SceneConfig()
    """How scenes are made; the target of each is learned from."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the scenes."""
    count: Count = 600
    """Number of scenes."""
    own: Share = 0.4
    """Share of the objects whose very mesh the bank holds."""
    others: Share = 0.4
    """Share of those of whose category the bank holds only other meshes; for the rest it holds another category."""
    prior: BankPriorConfig = BankPriorConfig()
    """The bank's search and fit; at test time the defaults are used."""

    def smaller(self) -> Self:
        return replace(self, count=min(self.count, 6))

    def at_most(self, count: int) -> Self:
        return replace(self, count=min(self.count, count))


@dataclass(frozen=True, eq=False, repr=False)
class Evidence(ArrayFields):
    """What is said of M objects.

    Attributes:
        logits: [M,S,S] float32, of stage 5 without the bank.
        silhouette, visible, occluder, amodal: [M,S,S] uint8, times 255.
        signs: [M,SIGNS] float32, as ``refinement.trust.signs`` tells them.
        hidden: [M] float32, hidden share of each object.
    """

    logits: NDArray[np.float32]
    silhouette: NDArray[np.uint8]
    visible: NDArray[np.uint8]
    occluder: NDArray[np.uint8]
    amodal: NDArray[np.uint8]
    signs: NDArray[np.float32]
    hidden: NDArray[np.float32]

    def supervised(self, rows: NDArray[np.int64]) -> SupervisedCrops:
        """Some rows as crops without colours, with the silhouettes."""
        visible, occluder, amodal, silhouette = (
            torch.from_numpy(array[rows]).float() / 255
            for array in (self.visible, self.occluder, self.amodal, self.silhouette)
        )
        count = len(rows)
        crops = InstanceCrops(
            rgb=visible.new_zeros(count, 3, *visible.shape[1:]),
            visible=visible,
            occluder=occluder,
            category=torch.zeros(count, dtype=torch.int64),
            window=torch.zeros(count, 4),
        )
        return SupervisedCrops(crops, amodal, silhouette=silhouette, fit=torch.zeros(count))

    @classmethod
    def join(cls, parts: list[Evidence]) -> Evidence:
        return joined(parts)


def open_evidence(config: EvidenceConfig, weights: str, cache: Path, *, workers: int) -> Evidence:
    """The evidence of ``config`` and of the stage 5 of ``weights``, made where ``cache`` lacks it; if that is stopped,
    it goes on the next time.

    Raises:
        DataError: the meshes cannot be used, or ``cache`` cannot be made.
        WeightsError: the weights cannot be used.
        TrainingError: the disk is full.
    """
    digest = hashlib.sha256(dump_config(config).encode())
    for source in (config.meshes, config.bank):
        digest.update(mesh_source(source).fingerprint().encode())
    digest.update(sha256(weights_folder(weights) / MANIFEST).encode())
    digest.update(str(EVIDENCE_VERSION).encode())
    folder = cache / f"evidence-{digest.hexdigest()[:16]}"

    def make(parts: Path) -> Evidence:
        log.info("asking the bank of %s about %d objects", config.bank, config.count)
        chunks = [range(i, min(i + _CHUNK, config.count)) for i in range(0, config.count, _CHUNK)]
        with spread(_asker, (config, weights), workers) as ask:

            def run(asked: Iterable[range]) -> Iterator[Evidence]:
                return ask(iter(asked))

            words = {"description": "evidence", "unit": f"groups of {_CHUNK} scenes"}
            kept = parts / f"{_PART}x{_CHUNK}"  # parts of other sizes hold other scenes
            return Evidence.join(in_parts(kept, Evidence, chunks, run, Evidence.join, size=_PART, **words))

    return kept_arrays(folder, Evidence, dump_config(config), make)


def _asker(config: EvidenceConfig, weights: str) -> Callable[[range], Evidence]:
    torch.set_num_threads(1)  # as in worker processes, so that their number does not show in the last digits
    witness = _Witness(config, weights)
    return lambda scenes: Evidence.join([witness(index) for index in scenes])


class _Witness:
    """Makes scenes, and asks stage 5 and the bank about their targets."""

    def __init__(self, config: EvidenceConfig, weights: str) -> None:
        self._config, self._meshes, self._source = config, mesh_source(config.meshes), mesh_source(config.bank)
        model, _ = load_network(weights, AmodalModelConfig, AmodalModel)
        self._model = model.eval()
        bank = ShapeBank(self._source, cache=user_cache())
        self._names = self._model.config.categories
        self._prior = BankPrior(bank, self._names, config.prior)
        known = {self._meshes.category(name) for name in self._meshes.names}
        self._targets = [name for name in self._names if name in known and name in bank.categories]

    @torch.no_grad()
    def __call__(self, index: int) -> Evidence:
        config, rng = self._config, np.random.default_rng((self._config.seed, _PURPOSE, index))
        target = self._targets[index % len(self._targets)]
        scene = make_scene(self._meshes, config.scenes, config.seed, index, target_category=target)
        masks = [one.visible for one in scene.instances]
        hiding, one = occluders(masks)[:1], scene.instances[0]
        if scene.erased is not None:
            hiding = [hiding[0] | scene.erased]
        number = self._names.index(target)
        crops = instance_crops(scene.image, masks[:1], hiding, [number], FINE)
        windows = pixel_windows(masks[:1], hiding, crops.window.numpy())
        small = crops.resized(self._model.config.crop_size)
        shown: dict[PriorName, tuple[torch.Tensor, torch.Tensor]] = {}
        if "learned" in self._model.refinement.priors:
            shown["learned"] = self._model.prior.estimate(small).evidence
        logits = resized_masks(self._model.refine_both_ways(small, shown), FINE)
        asked, without = crops, [tuple[str, ...]()]
        draw, alike = rng.random(), self._source.near_duplicates(one.mesh)
        alone = all(self._source.category(name) != target for name in self._source.names if name not in alike)
        if draw >= config.own + config.others or (alone and draw >= config.own):  # another category
            other = rng.choice([name for name in self._targets if name != target])
            asked = replace(crops, category=torch.tensor([self._names.index(str(other))]))
        elif draw >= config.own:
            without = [alike]
        estimate = seen_through(self._prior.estimate(asked, windows=windows, without=without), crops.window)
        kept = crops.resized(_KEPT)
        return Evidence(
            logits=resized_masks(logits, _KEPT).numpy(),
            silhouette=as_bytes(resized_masks(estimate.silhouette, _KEPT)),
            visible=as_bytes(kept.visible),
            occluder=as_bytes(kept.occluder),
            amodal=as_bytes(resized_masks(mask_crops([one.amodal], crops.window, FINE), _KEPT)),
            signs=signs(logits, estimate, crops).numpy().reshape(1, SIGNS),
            hidden=np.array([1 - one.visible.sum() / one.amodal.sum()], np.float32),
        )


def model_config(weights: str) -> AmodalModelConfig:
    """The configuration of weights.

    Raises:
        WeightsError: they are missing, damaged, or of something else.
    """
    folder = weights_folder(weights)
    return read_config(folder, read_sealed(folder, (CONFIG_FILE,))[CONFIG_FILE].decode(), AmodalModelConfig)
