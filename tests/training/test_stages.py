"""Each stage on a tiny model and a handful of scenes: what it may see and what it may change."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from boxes import CHAIR, box_mesh, write_obj
from drawn_masks import drawn_dataset, write_drawn
from tiny import tiny_config, tiny_model

from shape3d_amodal.config import parse_config
from shape3d_amodal.crops.config import CropsConfig
from shape3d_amodal.crops.doubt import DoubtConfig
from shape3d_amodal.crops.parts import arrays_of
from shape3d_amodal.crops.pool import open_pool, scenes_of
from shape3d_amodal.crops.scenes import CropArrays
from shape3d_amodal.errors import DataError, TrainingError, UsageError, WeightsError
from shape3d_amodal.meshes.sources import CATEGORIES, mesh_source
from shape3d_amodal.model import AmodalModel
from shape3d_amodal.pipeline import ShapePriorPipeline
from shape3d_amodal.priors.learned.criterion import PriorLossConfig
from shape3d_amodal.priors.learned.viewpoint import ViewpointConfig
from shape3d_amodal.scenes.compose import SceneConfig
from shape3d_amodal.scenes.shard_making import ShardsConfig, make_shards
from shape3d_amodal.structures import InstanceCrops
from shape3d_amodal.training.loop.interface import LoopConfig
from shape3d_amodal.training.run import run_training
from shape3d_amodal.training.tasks.stage_options import load_part
from shape3d_amodal.training.tasks.stages import StageConfig, build_task

POOL = CropsConfig(size=32, meshes="open13:train", count=6)
LOOP = LoopConfig(steps=2, batch_size=4, warmup_steps=0, precision="float32", threads=1, ema_decay=0, log_every=1)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def pool(cache: Path) -> CropArrays:
    return open_pool(POOL, cache, workers=0)


def stage(name: str, **changes) -> StageConfig:
    config = StageConfig(
        stage=name,
        model=tiny_config(),
        train=POOL,
        validation=POOL,
        prior_loss=PriorLossConfig(choose_px=16),
        loop=LOOP,
    )
    return replace(config, **changes)


def trained_parts(name: str, pool: CropArrays) -> tuple[set[str], set[str]]:
    """Names of the parts that this stage hands to the optimiser, and of those that get a gradient."""
    model = tiny_model().train()
    model.requires_grad_(True)
    task = build_task(stage(name), model, pool, pool)
    batch, _ = task.batch(0, np.random.default_rng(0), 8)
    sum(task.losses(batch, 0, 0.6).values()).backward()
    free = {key for key, value in model.named_parameters() if value.requires_grad}
    moved = {key for key, value in model.named_parameters() if value.grad is not None and value.grad.abs().sum() > 0}
    return parts_of(free), parts_of(moved)


def parts_of(names: set[str]) -> set[str]:
    """The parts of the model that have any of the parameters ``names``."""
    parts = ("prior.encoder", "prior.decoder", "prior.viewpoint", "refinement")
    return {part for part in parts if any(name.startswith(part) for name in names)}


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("prior", {"prior.encoder", "prior.decoder", "prior.viewpoint"}),
        ("reconstruction", {"prior.encoder", "prior.decoder"}),
        ("viewpoint", {"prior.viewpoint"}),
        ("completion2d", {"refinement"}),
        ("refinement", {"refinement"}),
        ("end_to_end", {"prior.encoder", "prior.decoder", "prior.viewpoint", "refinement"}),
    ],
)
def test_each_stage_trains_its_own_parts(name: str, parts: set[str], pool: CropArrays) -> None:
    free, moved = trained_parts(name, pool)
    assert free == parts, "weight decay and moving averages reach whatever is free"
    assert moved == parts


@pytest.mark.parametrize("name", ["prior", "reconstruction", "viewpoint"])
def test_shape_and_viewpoint_see_no_label_but_visible_masks(name: str, pool: CropArrays) -> None:
    task = build_task(stage(name), tiny_model(), pool, pool)
    batch, _ = task.batch(0, np.random.default_rng(0), 4)
    assert batch.target is None and batch.shape is None
    assert type(batch.crops) is InstanceCrops
    assert [field.name for field in fields(batch.crops)] == [
        "rgb",
        "visible",
        "occluder",
        "category",
        "window",
        "doubt",
    ]


@pytest.mark.parametrize("name", ["prior", "reconstruction", "viewpoint"])
def test_amodal_supervision_judges_the_prior_by_whole_masks(name: str, pool: CropArrays) -> None:
    """The network sees the same crops; its silhouettes are judged all over the picture."""
    batches = {}
    for supervision in ("visible", "amodal"):
        task = build_task(stage(name, supervision=supervision), tiny_model(), pool, pool)
        batch, ids = task.batch(0, np.random.default_rng(0), 16)
        batches[supervision] = batch.crops
    assert all(
        torch.equal(getattr(batches["visible"], f.name), getattr(batch.crops, f.name)) for f in fields(batch.crops)[:5]
    )
    generator = np.random.default_rng(0)
    rows, mirrored = generator.integers(len(pool.category), size=16), generator.random(16) < 0.5
    assert [int(label.split()[-1]) for label in ids] == rows.tolist()
    beyond = 0.0
    for i, row in enumerate(rows):
        x0, y0, x1, _ = pool.window[row].tolist()
        fine = (x1 - x0) * (np.arange(32 * 8) + 0.5) / (32 * 8)  # 8 x 8 samples in each pixel
        outside = [(start + fine < 0) | (start + fine > POOL.scenes.image_size) for start in (x0, y0)]
        share = (outside[1][:, None] | outside[0][None]).reshape(32, 8, 32, 8).mean(axis=(1, 3))
        amodal, step = pool.amodal[row] / 255, -1 if mirrored[i] else 1
        np.testing.assert_allclose(batch.target.visible[i], amodal[:, ::step], atol=1e-4)
        np.testing.assert_allclose(batch.target.occluder[i], share[:, ::step], atol=0.15)
        beyond += share.sum()
    assert beyond > 0
    other = replace(pool, amodal=255 - pool.amodal)
    changed = build_task(stage(name, supervision="amodal"), tiny_model(), other, pool)
    again, _ = changed.batch(0, np.random.default_rng(0), 16)
    assert task.losses(batch, 0, 1.0)["silhouette"] != changed.losses(again, 0, 1.0)["silhouette"]


def rigid(**changes) -> StageConfig:
    scenes = replace(POOL.scenes, deform=0.0)
    config = stage("prior", train=replace(POOL, scenes=scenes), **changes)
    return replace(config, prior_loss=replace(config.prior_loss, pairs=1.0))


def test_a_batch_with_pairs(pool: CropArrays) -> None:
    count = len(pool.mesh)
    meshes = np.array(["a", "b", "c"])[np.arange(count) % 3]
    meshes[0] = "alone"
    pool = replace(pool, mesh=meshes)
    task = build_task(rigid(pair_share=0.5), tiny_model(), pool, pool)
    batch, ids = task.batch(0, np.random.default_rng(0), 16)
    rows = [int(label.split()[-1]) for label in ids]
    for one, other in zip(rows[:8:2], rows[1:8:2], strict=True):
        assert one != other and meshes[one] == meshes[other]
    numbers = {name: {int(s) for r, s in zip(rows, batch.shape, strict=True) if meshes[r] == name} for name in meshes}
    assert all(len(found) <= 1 for found in numbers.values())
    assert len(set.union(*numbers.values())) == sum(map(len, numbers.values()))
    assert "pairs" in task.losses(batch, 0, 0.5)


def test_without_pairs_the_draws_are_as_they_were(pool: CropArrays) -> None:
    _, ids = build_task(stage("prior"), tiny_model(), pool, pool).batch(0, np.random.default_rng(7), 16)
    expected = np.random.default_rng(7).integers(len(pool.category), size=16)
    assert [int(label.split()[-1]) for label in ids] == expected.tolist()


def test_a_pool_without_pairs_is_refused(pool: CropArrays) -> None:
    pool = replace(pool, mesh=np.arange(len(pool.mesh)).astype(str))
    with pytest.raises(UsageError, match=r"^train: expected crops of the same mesh, none of \d+ share one; make more"):
        build_task(rigid(), tiny_model(), pool, pool)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("stage: prior\nprior_loss: {pairs: 1}", r"prior_loss\.pairs: .*set train\.scenes\.deform=0"),
        ("stage: completion2d\nprior_loss: {pairs: 1}", r"prior_loss\.pairs: goes with the stages prior"),
        (
            "stage: prior\nprior_loss: {pairs: 1}\nmodel: {prior: {reconstruction: {symmetric: false}}}",
            r"prior_loss\.pairs: needs .*symmetric",
        ),
        (
            "stage: prior\nsupervision: amodal\nprior_loss: {certain: false}",
            r"prior_loss\.certain: false cannot be combined",
        ),
        ("stage: refinement\nrestarts: {seeds: 2}", r"restarts\.seeds: more than one goes with the stages prior"),
        ("stage: prior\ninit: {prior: there}\nrestarts: {seeds: 2}", r"restarts\.seeds: .*without init\.prior"),
    ],
)
def test_options_that_do_not_go_together(options: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=problem) as caught:
        parse_config(options, StageConfig).task(tmp_path, workers=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("deform", "allowed"), [(0.0, True), (0.3, False)])
def test_pairs_of_shards_ask_how_their_scenes_were_made(deform: float, allowed: bool, tmp_path: Path) -> None:
    scenes = replace(POOL.scenes, deform=deform, image_size=64)
    make_shards(ShardsConfig(meshes="open13:train", scenes=scenes, count=1, shard_size=1), tmp_path)
    found = scenes_of(replace(POOL, shards=str(tmp_path)))
    assert (found.deform == 0) == allowed
    assert found.image_size == 64


def test_visible_supervision_sees_no_amodal_mask(pool: CropArrays) -> None:
    """Stage 5 from visible masks alone: other amodal masks change nothing."""
    other = replace(pool, amodal=255 - pool.amodal, hidden=1 - pool.hidden)
    config = stage("completion2d", supervision="visible")
    results = []
    for arrays in (pool, other):
        task = build_task(config, tiny_model().eval(), arrays, pool)
        batch, ids = task.batch(3, np.random.default_rng(0), 8)
        results.append((ids, batch.amodal, task.losses(batch, 3, 0.5)))
    assert results[0][0] == results[1][0]
    assert torch.equal(results[0][1], results[1][1])
    assert results[0][2] == results[1][2]


def test_the_refined_mask_reaches_the_shape(pool: CropArrays) -> None:
    """End to end, the refinement's own losses alone move the decoder."""
    model = tiny_model().train()
    task = build_task(stage("end_to_end"), model, pool, pool)
    batch, _ = task.batch(0, np.random.default_rng(0), 8)
    losses = task.losses(batch, 0, 1.0)
    (losses["cross_entropy"] + losses["whole_iou"] + losses["hidden_iou"]).backward()
    assert model.prior.decoder.templates.grad is not None
    assert model.prior.decoder.templates.grad.abs().sum() > 0


@pytest.mark.parametrize("name", ["prior", "completion2d", "refinement", "end_to_end"])
def test_losses_are_means_over_rows(name: str, pool: CropArrays) -> None:
    """What ranks and accumulation hang on: two halves of a batch have on average the losses of the whole.

    But for batch norm, which looks at the rows of a rank, and ``uniform``, which is about the mean over a batch.
    """
    task = build_task(stage(name, silhouette_dropout=0.0), tiny_model().eval(), pool, pool)
    batch, _ = task.batch(0, np.random.default_rng(0), 8)
    whole, first, second = (task.losses(batch[rows], 0, 0.6) for rows in (slice(None), slice(4), slice(4, None)))
    for term in whole.keys() - {"uniform"}:
        torch.testing.assert_close((first[term] + second[term]) / 2, whole[term], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("share", "expected"), [(None, 0.1), (0.0, 0.0), (0.4, 0.4), (1.0, 1.0)])
@pytest.mark.parametrize("name", ["refinement", "end_to_end"])
def test_how_many_silhouettes_are_left_out(name: str, share: float | None, expected: float, pool: CropArrays) -> None:
    """By default one in ten; mask and fit go together, the others stay as they are. 480 draws, four deviations."""
    changes = {} if share is None else {"silhouette_dropout": share}
    model = tiny_model().eval()
    task = build_task(stage(name, **changes), model, pool, pool)
    batch, _ = task.batch(0, np.random.default_rng(0), 48)
    with torch.no_grad():
        silhouette, fit = model.prior.estimate(batch.crops).evidence
    assert (fit > 0).all()
    shown = []

    def refine(crops: InstanceCrops, given: dict) -> torch.Tensor:
        shown.append(given["learned"])
        return torch.zeros_like(crops.visible).requires_grad_()

    model.refine = refine
    torch.manual_seed(0)
    for _ in range(10):
        task.losses(batch, 0, 0.5)
    left_out = 0
    for mask, its_fit in shown:
        gone = its_fit == 0
        assert not mask[gone].any()
        torch.testing.assert_close(mask[~gone], silhouette[~gone])
        torch.testing.assert_close(its_fit[~gone], fit[~gone])
        left_out += int(gone.sum())
    assert abs(left_out / 480 - expected) <= 4 * (expected * (1 - expected) / 480) ** 0.5


def test_a_run_leaves_weights_that_the_next_stage_takes(cache: Path, tmp_path: Path) -> None:
    result = run_training(stage("prior"), tmp_path / "prior", cache=cache)
    assert result.step == 2
    following = stage("refinement", init={"prior": str(tmp_path / "prior" / "weights")})
    run_training(following, tmp_path / "refinement", cache=cache)
    first, second = AmodalModel(tiny_config()), AmodalModel(tiny_config())
    load_part(first, "prior", tmp_path / "prior" / "weights")
    load_part(second, "prior", tmp_path / "refinement" / "weights")
    for a, b in zip(first.prior.parameters(), second.prior.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_weights_that_do_not_fit_on_the_disk(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")  # as a write says it, without a file name

    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr("shape3d_amodal.training.run.save_weights", full)
        with pytest.raises(TrainingError, match=r"weights: cannot save the weights: No space left on device; free"):
            run_training(stage("prior"), out, cache=cache)
    assert run_training(stage("prior"), out, cache=cache).step == 2
    assert (out / "weights" / "model.safetensors").exists()


@pytest.mark.parametrize(("name", "columns"), [("prior", 4), ("completion2d", 4), ("refinement", 5), ("end_to_end", 5)])
def test_each_stage_shows_what_it_makes(name: str, columns: int, pool: CropArrays) -> None:
    """Picture, given masks, what the stage makes of them, true mask."""
    task = build_task(stage(name), tiny_model(), pool, pool)
    with torch.no_grad():
        picture = task.sample_images(5)["samples"]
    rows = min(8, int((np.asarray(pool.hidden) > 0.1).sum()))
    assert rows > 0
    assert picture.shape[1:] == (columns * 68 - 4, 3) and picture.dtype == np.uint8
    head = picture.shape[0] - (rows * 68 - 4)
    assert head > 0, "titles above"
    assert picture[head : head + 64, :64].std() > 5, "a picture, not a plain colour"


@pytest.mark.parametrize(
    ("name", "init", "masks"),
    [
        ("prior", {}, {"silhouette"}),
        ("viewpoint", {"refinement": "somewhere"}, {"silhouette", "final"}),
        ("completion2d", {}, {"final"}),
        ("refinement", {}, {"silhouette", "final"}),
    ],
)
def test_each_stage_is_validated_by_what_has_been_trained(name, init, masks, pool: CropArrays) -> None:
    metrics = build_task(stage(name, init=init), tiny_model().eval(), pool, pool).validate(1)
    assert {key.partition("_")[0] for key in metrics} - {"certain"} == masks
    assert all(0 <= value <= 100 for value in metrics.values())


def test_a_pool_in_which_nothing_is_hidden_is_refused(pool: CropArrays) -> None:
    bare = replace(pool, hidden=np.zeros_like(pool.hidden))
    build_task(stage("prior"), tiny_model(), bare, bare)
    with pytest.raises(UsageError, match=r"^train: expected crops with a hidden part, none of .*train.count"):
        build_task(stage("refinement"), tiny_model(), bare, bare)


def test_a_pool_that_does_not_fit_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("4096 requested and 0 written")  # as numpy says it

    with monkeypatch.context() as patched:
        patched.setattr("shape3d_amodal.crops.pool.np.save", full)
        with pytest.raises(TrainingError, match=r"crops-\w+: cannot save the crops: 4096 requested.*free some space"):
            open_pool(POOL, tmp_path, workers=0)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".lock", ".parts"]  # to go on from


def test_no_scenes_are_no_pool() -> None:
    with pytest.raises(UsageError, match=r"count: .*greater than or equal to 1"):
        parse_config("count: 0", CropsConfig)


def test_dry_run_writes_no_weights(cache: Path, tmp_path: Path) -> None:
    run_training(stage("completion2d"), tmp_path / "out", cache=cache, dry_run=True)
    assert not (tmp_path / "out").exists()


def test_parts_of_another_model_are_refused(tmp_path: Path) -> None:
    from shape3d_amodal.pipeline import ShapePriorPipeline

    ShapePriorPipeline.from_model(tiny_model()).save_pretrained(tmp_path / "tiny")
    wider = replace(tiny_config(), refinement=replace(tiny_config().refinement, widths=(8, 8, 8)))
    with pytest.raises(WeightsError, match=r"refinement\..* has another shape"):
        load_part(AmodalModel(wider), "refinement", tmp_path / "tiny")


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("prior", {"categories": ("van", *CATEGORIES[1:])}),
        ("refinement", {"categories": CATEGORIES[::-1]}),
        ("prior", {"azimuth_range_deg": {"car": 180.0}}),
        ("prior", {"asymmetric": ("car",)}),
        ("prior", {"border": "background"}),
        ("prior", {"doubt": DoubtConfig(certainty=0.25)}),
        ("prior", {"prior": replace(tiny_config().prior, viewpoint=ViewpointConfig(max_roll_deg=30.0))}),
    ],
)
def test_parts_that_would_mean_something_else_are_refused(part: str, change: dict[str, object], tmp_path: Path) -> None:
    """All tensors fit, but the numbers of categories, the angles, or what may hide an object, would be others."""
    tiny_model().save(tmp_path / "tiny")
    option = "model.prior.viewpoint" if "prior" in change else f"model.{next(iter(change))}"
    with pytest.raises(WeightsError, match=f"init.{part}: expected weights that were trained with {option} .*; set"):
        load_part(AmodalModel(replace(tiny_config(), **change)), part, tmp_path / "tiny")
    if part == "prior" and "categories" not in change:  # stage 5 does not depend on it
        load_part(AmodalModel(replace(tiny_config(), **change)), "refinement", tmp_path / "tiny")


@pytest.mark.slow
def test_the_pool_is_made_once_and_is_the_same_from_any_number_of_workers(
    pool: CropArrays, cache: Path, tmp_path: Path
) -> None:
    again = open_pool(POOL, tmp_path, workers=2)
    for field in fields(CropArrays):
        np.testing.assert_array_equal(getattr(pool, field.name), getattr(again, field.name))
    assert len(list(cache.glob("crops-*.lock"))) == 1
    assert len({len(array) for array in arrays_of(pool).values()}) == 1


def test_a_pool_of_shards(pool: CropArrays, tmp_path: Path) -> None:
    config = ShardsConfig(meshes=POOL.meshes, scenes=POOL.scenes, seed=POOL.seed, count=7, shard_size=4)
    make_shards(config, tmp_path / "shards")
    stored = replace(POOL, shards=str(tmp_path / "shards"))
    for _ in range(2):  # made, then found
        again = open_pool(stored, tmp_path / "cache", workers=0)
        for field in fields(CropArrays):
            np.testing.assert_array_equal(getattr(pool, field.name), getattr(again, field.name))
    make_shards(replace(config, count=9), tmp_path / "shards")
    open_pool(stored, tmp_path / "cache", workers=0)
    assert len(list((tmp_path / "cache").glob("crops-*.lock"))) == 2


def test_a_validation_override_stays_on_the_validation_meshes() -> None:
    config = parse_config("stage: prior", StageConfig, overrides=["validation.count=16"])
    assert config.validation.meshes == "open13:val"
    assert config.validation.count == 16
    assert config.train.scenes.deform > 0


def test_scenes_of_a_category_that_the_model_lacks_are_refused(tmp_path: Path) -> None:
    model = replace(tiny_config(), categories=("car", "chair"))
    with pytest.raises(DataError, match="expected categories among car, chair, got airplane"):
        run_training(stage("prior", model=model), tmp_path / "out", cache=tmp_path, dry_run=True)


@pytest.mark.parametrize("name", ["prior", "completion2d"])
def test_another_category_needs_no_code(name: str, tmp_path: Path) -> None:
    """A folder of meshes and its name in the configuration are all that it takes."""
    for category in ("robot", "table"):
        write_obj(tmp_path / "meshes" / category / "a.obj", box_mesh(CHAIR))
    scenes = SceneConfig(image_size=64)
    crops = CropsConfig(meshes=str(tmp_path / "meshes"), scenes=scenes, count=6, size=32, min_visible_px=10)
    model = replace(tiny_config(), categories=("table", "robot"))
    config = stage(name, model=model, train=crops, validation=crops)
    run_training(config, tmp_path / "out", cache=tmp_path / "cache")
    assert ShapePriorPipeline.from_pretrained(tmp_path / "out" / "weights").categories == ("table", "robot")


@pytest.mark.parametrize("name", ["prior", "completion2d", "end_to_end"])
def test_a_stage_trains_from_annotated_images(name: str, tmp_path: Path) -> None:
    drawn = drawn_dataset()
    told = [replace(image, camera={"focal": 1.0}) for image in drawn.images]  # as scenes tell of their camera
    dataset = replace(drawn, images=tuple(told))
    annotations = write_drawn(tmp_path / "drawn", dataset)
    images = str(annotations.parent / "images")
    crops = CropsConfig(annotations=str(annotations), images=images, size=32, min_visible_px=10)
    names = tuple(category.name for category in dataset.categories)
    config = stage(name, model=replace(tiny_config(), categories=names), train=crops, validation=crops)
    result = run_training(config, tmp_path / "out", cache=tmp_path)
    assert result.step == LOOP.steps and np.isfinite(list(result.metrics.values())).all()


def test_weights_that_are_not_there_yet(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no such folder of weights, .* train them first, or take .*open13"):
        load_part(AmodalModel(tiny_config()), "prior", tmp_path / "weights")


def test_a_changed_mesh_makes_another_pool(tmp_path: Path) -> None:
    path = tmp_path / "chair" / "one.obj"
    write_obj(path, box_mesh(CHAIR))
    before = mesh_source(str(tmp_path)).fingerprint()
    assert mesh_source(str(tmp_path)).fingerprint() == before
    path.with_name("two.obj").write_bytes(path.read_bytes())
    assert mesh_source(str(tmp_path)).fingerprint() != before


def test_the_viewpoint_stage_leaves_the_encoder_as_it_is(pool: CropArrays) -> None:
    model = tiny_model().train()
    task = build_task(stage("viewpoint"), model, pool, pool)
    before = {name: tensor.clone() for name, tensor in model.prior.encoder.state_dict().items()}
    batch, _ = task.batch(0, np.random.default_rng(0), 8)
    task.losses(batch, 0, 0.6)
    for name, tensor in model.prior.encoder.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)
