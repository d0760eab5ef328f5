"""What every training makes its batches of: any part is as in the whole, and made in a worker it is the same."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from dataclasses import fields, replace
from functools import cache as kept
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_masks import drawn_dataset, write_drawn
from rcnn_small import small_config
from rcnn_small import write_drawn as write_images
from tiny import tiny_config, tiny_model

from shape3d_amodal.baselines.pcnet_m.network import PcnetMConfig
from shape3d_amodal.crops.augmentation import AugmentationConfig
from shape3d_amodal.crops.config import CropsConfig
from shape3d_amodal.crops.doubt import DoubtConfig
from shape3d_amodal.crops.pool import open_pool
from shape3d_amodal.crops.scenes import CropArrays
from shape3d_amodal.crops.sources import open_crops
from shape3d_amodal.papers.layered.shapes2d import Shapes2dConfig
from shape3d_amodal.papers.layered.training import LayeredTraining
from shape3d_amodal.papers.layered.training import ShapesMaker as LayersMaker
from shape3d_amodal.papers.nmr.training import PairsMaker
from shape3d_amodal.priors.learned.criterion import PriorLossConfig
from shape3d_amodal.refinement.trust import SIGNS
from shape3d_amodal.segmentation.images import ImagesConfig, open_images
from shape3d_amodal.segmentation.mapper import Mapper
from shape3d_amodal.training.loop.interface import BatchMaker, LoopConfig, TrainingConfig
from shape3d_amodal.training.loop.loader import StepBatches, StepLoader
from shape3d_amodal.training.loop.packing import map_tensors, rows_of
from shape3d_amodal.training.run import run_training
from shape3d_amodal.training.tasks.c2f_seg import C2FSegMaker, CodebookMaker
from shape3d_amodal.training.tasks.evidence import Evidence
from shape3d_amodal.training.tasks.pcnet_m import ErasedMaker, PcnetMTraining, open_masks
from shape3d_amodal.training.tasks.prior import PriorMaker
from shape3d_amodal.training.tasks.rcnn import ImagesMaker, RcnnTraining
from shape3d_amodal.training.tasks.refinement import RefinementMaker
from shape3d_amodal.training.tasks.stages import StageConfig
from shape3d_amodal.training.tasks.trust import TrustMaker
from shape3d_amodal.training.tasks.vrsp_shapes import ShapesMaker, VrspShapesTraining, amodal_masks

SIZE = 16
LOOP = LoopConfig(steps=4, batch_size=8, warmup_steps=0, precision="float32", threads=1, log_every=1, device="cpu")
POOL = CropsConfig(size=32, meshes="open13:train", count=6)
PCNET = PcnetMConfig(size=32, width=1)


class Data:
    """Pools, annotations and images, each made once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pool = kept(lambda: open_pool(POOL, folder, workers=0))
        self.annotated = kept(self._annotated)
        self.images = kept(self._images)

    def _annotated(self) -> CropsConfig:
        annotations = write_drawn(self.folder / "drawn", drawn_dataset())
        images = str(annotations.parent / "images")
        return CropsConfig(annotations=str(annotations), images=images, size=32, on_demand=True)

    def _images(self) -> ImagesConfig:
        folder = write_images(self.folder, (3, 0, 5, 2))
        return ImagesConfig(annotations=str(folder / "annotations.json"), images=str(folder))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return Data(tmp_path_factory.mktemp("data"))


def stage(name: str, crops: CropsConfig = POOL, **changes: object) -> StageConfig:
    loss = PriorLossConfig(choose_px=16)
    config = StageConfig(stage=name, model=tiny_config(), train=crops, validation=crops, prior_loss=loss, loop=LOOP)
    return replace(config, **changes)


def switched(name: str) -> StageConfig:
    """Sloppy masks, doubtful background and balanced categories."""
    sloppy = AugmentationConfig(sloppy=0.7)
    model = replace(tiny_config(), doubt=DoubtConfig())
    return stage(name, supervision="visible", augmentation=sloppy, model=model, balance=0.5)


def of_annotations(data: Data) -> BatchMaker:
    source = open_crops(data.annotated(), data.folder, categories=tiny_config().categories, workers=0)
    return RefinementMaker(stage("completion2d", data.annotated()), source, None)


def of_images(data: Data) -> BatchMaker:
    detector = small_config().detector
    images = open_images(data.images(), data.folder, workers=0)
    return ImagesMaker(Mapper(images, detector.categories, detector.input, RcnnTraining(stage="rcnn").augment))


def of_shapes(data: Data) -> BatchMaker:
    config = VrspShapesTraining(stage="vrsp_shapes", train=data.images())
    dataset = open_images(data.images(), data.folder, workers=0).dataset
    return ShapesMaker(config, amodal_masks(dataset, config.shapes().categories))


def of_evidence(_: Data) -> BatchMaker:
    draw = np.random.default_rng(0)
    arrays = {field.name: draw.integers(0, 255, (9, 8, 8), dtype=np.uint8) for field in fields(Evidence)}
    arrays |= {"logits": draw.normal(size=(9, 8, 8)), "signs": draw.normal(size=(9, SIGNS)), "hidden": draw.random(9)}
    return TrustMaker(Evidence(**arrays))


def of_pairs(_: Data) -> BatchMaker:
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 24, 4, 8, 8), dtype=np.uint8)
    return PairsMaker(["a", "b"], list(images))


MAKERS: dict[str, Callable[[Data], BatchMaker]] = {
    "prior": lambda data: PriorMaker(stage("prior"), data.pool()),
    "prior, amodal": lambda data: PriorMaker(stage("prior", supervision="amodal"), data.pool()),
    "refinement": lambda data: RefinementMaker(stage("refinement"), data.pool(), None),
    "visible": lambda data: RefinementMaker(stage("completion2d", supervision="visible"), data.pool(), None),
    "visible, with every switch": lambda data: RefinementMaker(switched("completion2d"), data.pool(), None),
    "prior, with every switch": lambda data: PriorMaker(switched("prior"), data.pool()),
    "annotations": of_annotations,
    "codebook": lambda data: CodebookMaker(data.pool()),
    "c2f_seg": lambda data: C2FSegMaker(data.pool(), 0.85),
    "pcnet_m": lambda data: ErasedMaker(
        PcnetMTraining(stage="pcnet_m", model=PCNET), open_masks(POOL, data.folder, workers=0)
    ),
    "pcnet_m, annotations": lambda data: ErasedMaker(
        PcnetMTraining(stage="pcnet_m", model=PCNET), open_masks(data.annotated(), data.folder, workers=0)
    ),
    "rcnn": of_images,
    "vrsp_shapes": of_shapes,
    "trust": of_evidence,
    "known_cameras": of_pairs,
}


def tensors(batch: object) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    map_tensors(batch, lambda tensor: found.append(tensor) or tensor)
    assert found
    return found


def assert_same(one: object, other: object) -> None:
    for a, b in zip(tensors(one), tensors(other), strict=True):
        assert a.dtype == b.dtype and torch.equal(a, b)


@pytest.mark.parametrize("name", MAKERS)
def test_a_part_is_as_in_the_whole_also_in_another_process(name: str, data: Data) -> None:
    maker = MAKERS[name](data)
    plan = maker.plan(3, np.random.default_rng(3), SIZE)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    whole, ids = maker.make(plan), maker.ids(plan)
    torch.set_num_threads(threads)
    there = ForkingPickler.loads(bytes(ForkingPickler.dumps(maker)))  # as a worker gets it
    assert len(ids) == SIZE
    for rows in (slice(0, 8), slice(8, 16), slice(5, 6)):
        own = rows_of(plan, rows)
        assert_same(there.make(own), rows_of(whole, rows))
        assert there.ids(own) == ids[rows]


def test_shapes_in_layers_are_drawn_by_their_numbers() -> None:
    maker = LayersMaker(LayeredTraining(stage="layered_embeddings", shapes=Shapes2dConfig(size=64, per_class=1)))
    plan = maker.plan(3, np.random.default_rng(0), 4)
    assert torch.equal(maker.make(plan[2:])["images"], maker.make(plan)["images"][2:])
    assert maker.ids(plan[2:]) == maker.ids(plan)[2:]


@pytest.mark.parametrize("supervision", ["amodal", "visible"])
def test_a_rank_of_four_reads_its_quarter(supervision: str, data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows that are read for a rank; crops that cover others are among the eight that stand together."""
    maker = RefinementMaker(stage("completion2d", supervision=supervision), data.pool(), None)
    read: list[int] = []
    plain = CropArrays.supervised

    def supervised(self: CropArrays, rows: np.ndarray) -> object:
        read.append(len(rows))
        return plain(self, rows)

    monkeypatch.setattr(CropArrays, "supervised", supervised)
    for rank in range(4):
        assert len(StepBatches(maker, 0, 32, rank, 4)[7].batch()[1]) == 8
    assert len(read) == 4 and max(read) <= 8


def losses(folder: Path) -> list[object]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").open()]
    return [(line["step"], line.get("losses"), line.get("validation")) for line in lines]


def training(name: str, data: Data) -> TrainingConfig:
    if name == "pool":
        return stage("end_to_end")
    if name == "annotations":
        return stage("completion2d", data.annotated())
    if name == "pcnet_m":
        return PcnetMTraining(stage="pcnet_m", model=PCNET, train=POOL, validation=POOL, loop=LOOP)
    images, loop = data.images(), replace(LOOP, batch_size=2)
    detector, options = small_config().detector, {"masks": "both"}
    return RcnnTraining(stage="rcnn", options=options, detector=detector, train=images, validation=images, loop=loop)


def own_memory() -> float:
    """MiB that this process and its workers have for themselves, or for what they hand over; not of mapped files."""
    total = 0
    for process in ("self", *(str(child.pid) for child in multiprocessing.active_children())):
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
        values = {line.split()[0]: int(line.split()[1]) for line in lines}
        total += values["Anonymous:"] + values["Pss_Shmem:"]
    return total / 1024


@pytest.mark.slow
@pytest.mark.parametrize("name", ["refinement", "visible", "annotations", "pcnet_m"])
@pytest.mark.parametrize("workers", [0, 2])
def test_memory_stays_level_over_20_000_crops(workers: int, name: str, data: Data) -> None:
    size, steps = 32, 625
    batches = StepLoader(StepBatches(MAKERS[name](data), 0, size), steps, workers, torch.device("cpu"))
    taken = []
    for step in range(steps):
        batches(step)
        if step % 125 == 124:
            taken.append(own_memory())
    batches.close()
    assert taken[-1] < 1.02 * taken[1] + 4, taken  # after 8,000 crops all is there that is kept


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pool", "annotations", "rcnn", "pcnet_m"])
def test_trainings_do_not_depend_on_workers(name: str, data: Data, tmp_path: Path) -> None:
    """0, 1 and 2 workers, and 1 after 2 in the middle: the same log and weights, to the bit."""
    config = training(name, data)

    def run(folder: str, **loop: object) -> dict[str, torch.Tensor]:
        changed = replace(config, loop=replace(config.loop, **loop))  # type: ignore[type-var]
        return run_training(changed, tmp_path / folder, cache=data.folder).weights

    alone = run("0", workers=0)
    run("resumed", workers=2, max_minutes=1e-9)  # it stops after a step
    others = {"1": run("1", workers=1), "2": run("2", workers=2), "resumed": run("resumed", workers=1)}
    for folder, weights in others.items():
        assert all(torch.equal(tensor, weights[key]) for key, tensor in alone.items()), folder
        found = [one for one in losses(tmp_path / folder) if one[1] or one[0] == config.loop.steps]
        assert found == [one for one in losses(tmp_path / "0") if one[1] or one[0] == config.loop.steps], folder
    assert not multiprocessing.active_children()


def test_no_maker_holds_a_network(data: Data) -> None:
    """Networks may lie on a GPU, which workers must not touch, and are large."""
    task = stage("refinement").task(data.folder, workers=0)
    assert len(bytes(ForkingPickler.dumps(task.maker))) < sum(
        tensor.numel() * 4 for tensor in tiny_model().state_dict().values()
    )
