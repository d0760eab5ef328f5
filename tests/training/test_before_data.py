"""What is wrong with a training is said before its data are made, in one line that names the option."""

from __future__ import annotations

import fcntl
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from shape3d_amodal.cli import main
from shape3d_amodal.config import check_file, configuration
from shape3d_amodal.crops import pool
from shape3d_amodal.crops.config import CropsConfig
from shape3d_amodal.crops.scenes import CropArrays, SceneCrops
from shape3d_amodal.errors import AmodalError, UsageError
from shape3d_amodal.scenes.compose import SceneConfig
from shape3d_amodal.training.registry import load_training
from shape3d_amodal.training.tasks.trials import try_out

CONFIGS = Path(__file__).parents[2] / "configs"
HEADS = "open13/mask_rcnn_small.yaml"
STAGE = "open13/stage5_a_2d.yaml"


@pytest.fixture
def no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder in which no data are made."""

    def made(*_: object, **__: object) -> None:
        raise AssertionError("data are made")

    for place in ("training.tasks.stages.open_crops", "training.tasks.rcnn.open_images", "crops.pool.SceneCrops"):
        monkeypatch.setattr(f"shape3d_amodal.{place}", made)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("config", "options", "words"),
    [
        (HEADS, ["detector.backbone.channels=16"], ["detector.backbone.channels=16", "norm=GN", "divisible"]),
        (HEADS, ["detector.backbone.channels=0"], ["detector.backbone.channels", "greater than or equal to 1"]),
        (HEADS, ["detector.backbone.channels=1000000"], ["detector.backbone.channels", "less than or equal to"]),
        (HEADS, ["detector.backbone.norm=LN"], ["detector.backbone.norm"]),
        (HEADS, ["detector.proposals.sizes=[0,1,2,3,4]"], ["detector.proposals.sizes.0"]),
        (HEADS, ["detector.proposals.sizes=[.inf,1,2,3,4]"], ["detector.proposals.sizes.0"]),
        (HEADS, ["detector.proposals.ratios=[]"], ["detector.proposals.ratios"]),
        (HEADS, ["detector.proposals.ratios=[-1]"], ["detector.proposals.ratios.0"]),
        (HEADS, ["detector.regions.mask_convs=100000"], ["detector.regions.mask_convs"]),
        (HEADS, ["detector.input.std=[0,1,1]"], ["detector.input.std.0"]),
        (HEADS, ["detector.input.mean=[.nan,1,1]"], ["detector.input.mean.0"]),
        (HEADS, ["detector.input.short_side=10000000"], ["detector.input.short_side"]),
        (HEADS, ["detector.categories=[car,car]"], ["detector.categories", "'car' twice"]),
        (HEADS, ["system=aisformer", "options={heads: 7}"], ["options.heads", "mask_channels"]),
        (HEADS, ["system=aisformer", "options={}", "detector.regions.mask_channels=63"], ["mask_channels", "even"]),
        (HEADS, ["system=imle", "options={code: 100000000}"], ["options: code"]),
        (HEADS, ["loop.accumulate=3"], ["loop.batch_size", "3 accumulated parts"]),
        (STAGE, ["model.crop_size=1"], ["model.crop_size"]),
        (STAGE, ["train.size=1"], ["train.size"]),
        (STAGE, ["train.size=33", "model.refinement.patch=2"], ["train.size=33", "divisible"]),
        (STAGE, ["model.refinement.patch=3"], ["model.refinement.patch=3", "divisible by"]),
        (STAGE, ["model.refinement.widths=[]"], ["model.refinement.widths"]),
        (STAGE, ["model.refinement.widths=[4,4,4,4,4,4,4,4]"], ["model.refinement.widths"]),
        (STAGE, ["model.categories=[]"], ["model.categories"]),
        (STAGE, ["model.categories=[car,anything,anything]"], ["model.categories", "'anything' twice"]),
        (STAGE, ["loop.workers=1000000"], ["loop.workers", "less than or equal to"]),
        (STAGE, ["loop.final_rate=.nan"], ["loop.final_rate", "finite"]),
        (STAGE, ["train.scenes.deform=1000"], ["train.scenes.deform", "less than or equal to"]),
        (STAGE, ["model.prior.reconstruction.level=9"], ["model.prior.reconstruction.level"]),
    ],
)
@pytest.mark.usefixtures("no_data")
def test_options_that_cannot_be_used_are_named(capsys, config, options, words) -> None:
    if options[0].startswith("model"):
        assert main(["train", config, "--dry-run", "--set", *options]) == 2
        assert capsys.readouterr().err.startswith("error: ")
    assert main(["train", config, "--set", *options]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1
    assert all(word in err for word in words), err


@pytest.mark.parametrize(
    ("name", "system"), [(HEADS, None), *((f"open13/{one}_small.yaml", one) for one in ("aisformer", "panet", "vrsp"))]
)
def test_shipped_systems_pass_the_trial(name: str, system: str | None) -> None:
    from shape3d_amodal.segmentation.model import Rcnn
    from shape3d_amodal.training.tasks import rcnn

    training = load_training(CONFIGS / name)
    assert isinstance(training, rcnn.RcnnTraining) and system in (None, training.system)
    before = torch.random.get_rng_state()
    try_out(training, lambda one: rcnn._pass_through(Rcnn(one.network())), ("detector", "options"))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("name", ["shape_prior", "stage5_a_2d", "stage5_b_learned", "stage5_c_bank", "end_to_end"])
def test_shipped_stages_pass_the_trial(name: str) -> None:
    from shape3d_amodal.training.tasks import stages

    training = load_training(CONFIGS / "open13" / f"{name}.yaml")
    assert isinstance(training, stages.StageConfig)
    try_out(training, stages._pass_through, ("model", "train"))


@configuration
class Inner:
    """Two numbers."""

    a: int = 1
    """One."""
    b: int = 1
    """Another."""


@configuration
class Outer:
    """What is tried."""

    inner: Inner = Inner()
    """Numbers."""
    c: int = 1
    """A third one."""


def needing(total: int):
    def attempt(config: Outer) -> None:
        if config.inner.a + config.inner.b + config.c > total:
            raise ValueError("too much\nof it")

    return attempt


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (Outer(), None),
        (Outer(inner=Inner(a=9)), "inner.a=9 cannot be used (too much); change it"),
        (Outer(inner=Inner(a=3), c=3), "inner.a=3, c=3 cannot be used together (too much); change one of them"),
        (Outer(inner=Inner(a=3, b=2), c=8), "c=8 cannot be used (too much); change it"),
        (Outer(inner=Inner(a=9), c=9), "inner or c: these options cannot be used together (too much); change some"),
    ],
)
def test_the_option_at_fault_is_the_one_whose_default_helps(config: Outer, line: str | None) -> None:
    if line is None:
        try_out(config, needing(6), ("inner", "c"))
        return
    with pytest.raises(UsageError) as caught:
        try_out(config, needing(6), ("inner", "c"))
    assert str(caught.value) == line


def test_an_error_of_ours_is_passed_on() -> None:
    def attempt(_: Outer) -> None:
        raise AmodalError("as it is")

    with pytest.raises(AmodalError, match=r"^as it is$"):
        try_out(Outer(), attempt, ("inner",))


@pytest.mark.usefixtures("no_data")
@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--out", "file"], 2, "--out: expected a folder to write to, got the file file"),
        (["--out", "file/below"], 3, "file/below: "),
        (["--out", "/proc/new"], 3, "cannot write in the folder"),
        (["--device", "cuda"], 4, "--device: this machine has 0 CUDA devices, not cuda; use cpu"),
        (["--device", "tpu"], 2, "--device: expected auto, cpu, cuda or cuda:N, got 'tpu'"),
        (["--set", "loop.device=cuda"], 4, "expected a CUDA device for 'cuda', found none"),
        (["--set", "loop.device=tpu"], 2, "loop.device"),
        (["--set", "init.prior=a", "init.refinement=b"], 3, "init.prior=a and init.refinement=b: no such folder"),
        (["--set", "init.prior=open13_detector"], 3, "expected weights of stages 2 to 5, got those of a detector"),
        (["--set", "init.prior=baselines/pcnet_m"], 3, "expected weights of stages 2 to 5, got those of PCNet-M"),
    ],
)
def test_what_is_said_before_data_are_made(no_data: Path, capsys, arguments, status, words) -> None:
    (no_data / "file").touch()
    assert main(["train", STAGE, *arguments]) == status
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1
    assert [path.name for path in no_data.iterdir()] == ["file"], "nothing stays"


def test_a_second_training_in_a_folder_is_refused(no_data: Path, capsys) -> None:
    (no_data / "out").mkdir()
    with (no_data / "out" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert main(["train", STAGE, "--out", "out"]) == 2
    assert (
        capsys.readouterr().err == "error: out: another process works in this folder; wait for it or choose another\n"
    )


def test_a_folder_with_checkpoints_is_refused_before_data_are_made(no_data: Path, capsys) -> None:
    (no_data / "out" / "step-00000001").mkdir(parents=True)
    assert main(["train", STAGE, "--out", "out", "--no-resume"]) == 2
    assert "out: holds checkpoints of an earlier training" in capsys.readouterr().err


SHIPPED = [path for path in sorted(CONFIGS.rglob("*.yaml")) if path.name[0] != "_" and "stage" in check_file(path)]


@pytest.mark.parametrize(
    ("name", "steps", "count"),
    [
        ("shape_prior", 100, 6400),
        ("shape_prior", 10**6, 30_000),
        ("pcnet_m", 1, None),
        ("c2f_codebook", 2, None),
        ("mask_rcnn_small", 100, 400),  # less than a tenth of 8,000
        ("mask_rcnn_small", 201, 8000),
        ("vrsp_shapes_small", 1, 8000),
    ],
)
def test_a_short_training_makes_what_it_looks_at(name: str, steps: int, count: int | None) -> None:
    training = load_training(CONFIGS / "open13" / f"{name}.yaml", overrides=[f"loop.steps={steps}"])
    train = training.for_its_steps().train
    made = train.scenes.count if hasattr(train, "scenes") and hasattr(train.scenes, "count") else train.count
    assert made == (steps * training.loop.batch_size if count is None else count)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.relative_to(CONFIGS).as_posix())
def test_shipped_trainings_make_all_of_their_scenes(path: Path) -> None:
    training = load_training(path)
    made = training.for_its_steps()
    if getattr(getattr(training, "train", None), "annotations", None) is not None:
        made = replace(made, train=training.train)
    assert made == training


def test_crops_are_cut_on_where_it_was_stopped_to_the_same_bits(
    tmp_path: Path, box_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CropsConfig(meshes=str(box_folder), count=18, scenes=SceneConfig(image_size=64), size=16)
    categories = sorted(path.name for path in box_folder.iterdir())
    asked: list[int] = []

    def cut(cache: str, stop: int) -> list[int]:
        class Stopping(SceneCrops):
            def __call__(self, indices: range) -> CropArrays:
                asked.append(indices.start)
                if len(asked) > stop:
                    raise KeyboardInterrupt
                return super().__call__(indices)

        asked.clear()
        monkeypatch.setattr(pool, "SceneCrops", Stopping)
        with suppress(KeyboardInterrupt):
            pool.open_pool(config, tmp_path / cache, categories=categories, workers=1)
        return list(asked)

    monkeypatch.setattr(pool, "_CHUNK", 2)
    monkeypatch.setattr(pool, "_PART", 2)
    assert cut("whole", 99) == [*range(0, 18, 2)]
    assert cut("stopped", 5) == [0, 2, 4, 6, 8, 10]  # two parts of two chunks are kept, the fifth chunk is lost
    assert cut("stopped", 3) == [8, 10, 12, 14]  # and now the third part
    (damaged,) = (tmp_path / "stopped").glob("*.parts/*/00001.npz")
    damaged.write_bytes(damaged.read_bytes()[:-40])
    assert cut("stopped", 99) == [4, 6, 12, 14, 16]
    folders = [next(path for path in (tmp_path / name).iterdir() if path.is_dir()) for name in ("whole", "stopped")]
    assert [path.suffix for path in (tmp_path / "stopped").iterdir() if path.is_dir()] == [""]
    for file in folders[0].glob("*.npy"):
        one, other = (np.load(folder / file.name) for folder in folders)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def test_parts_of_another_size_are_not_taken_over(
    tmp_path: Path, box_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CropsConfig(meshes=str(box_folder), count=8, scenes=SceneConfig(image_size=64), size=16)
    categories = sorted(path.name for path in box_folder.iterdir())

    class Stopping(SceneCrops):
        def __call__(self, indices: range) -> CropArrays:
            if indices.start >= 4:
                raise KeyboardInterrupt
            return super().__call__(indices)

    whole = pool.open_pool(config, tmp_path / "whole", categories=categories, workers=1)
    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(pool, "SceneCrops", Stopping)
        patch.setattr(pool, "_CHUNK", 2)
        patch.setattr(pool, "_PART", 1)
        pool.open_pool(config, tmp_path / "stopped", categories=categories, workers=1)
    assert list((tmp_path / "stopped").rglob("00001.npz"))
    monkeypatch.setattr(pool, "_CHUNK", 4)
    monkeypatch.setattr(pool, "_PART", 1)
    other = pool.open_pool(config, tmp_path / "stopped", categories=categories, workers=1)
    np.testing.assert_array_equal(other.hidden, whole.hidden)


@pytest.mark.parametrize(
    "error", [MemoryError(), ImportError("no x"), OSError(28, "full"), torch.cuda.OutOfMemoryError()]
)
def test_what_the_machine_lacks_is_no_fault_of_an_option(error: Exception) -> None:
    def attempt(_: CropsConfig) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        try_out(CropsConfig(count=3), attempt, ["count"])
    assert caught.value is error


def test_the_cause_of_a_wrong_option_is_kept() -> None:
    def attempt(config: CropsConfig) -> None:
        if config.count == 3:
            raise RuntimeError("shapes differ")

    with pytest.raises(UsageError, match=r"^count=3 cannot be used .shapes differ.") as caught:
        try_out(CropsConfig(count=3), attempt, ["count"])
    assert isinstance(caught.value.__cause__, RuntimeError)
