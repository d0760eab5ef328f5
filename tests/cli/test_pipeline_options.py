"""``--weights``, ``--prior``, ``--meshes`` and ``--refine`` together: what each combination does, or its one line."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rcnn_small import small_config, small_rcnn
from tiny import tiny_config

from shape3d_amodal.cli.shared.options import PipelineOptions
from shape3d_amodal.config import dump_config
from shape3d_amodal.errors import AmodalError, DataError, UsageError, WeightsError
from shape3d_amodal.files.weights import save_weights
from shape3d_amodal.model import AmodalModel
from shape3d_amodal.pipeline import ShapePriorPipeline


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, box_folder: Path) -> Path:
    """Weights of every kind; the meshes of a bank are in the folder ``shapes``."""
    root = tmp_path_factory.mktemp("options")
    (root / "shapes").symlink_to(box_folder)
    config = tiny_config()
    for name, priors in {
        "learned": ("learned",),
        "both": ("learned", "bank"),
        "known": ("bank",),
        "flat": (),
    }.items():
        meshes = str(box_folder) if "bank" in priors else None
        refinement = replace(config.refinement, priors=priors)
        AmodalModel(replace(config, refinement=refinement, meshes=meshes)).save(root / name)
    save_weights(root / "detector", dump_config(small_config()), small_rcnn().state_dict())
    save_weights(root / "method", "size: 64\n", {})
    return root


BANK_OF_WEIGHTS = "give --meshes FOLDER, or --weights open13_bank"
TABLE = [
    # weights, prior, meshes, refine -> priors that are asked and how they are refined, or a line
    (None, None, None, None, ("learned", "full")),
    (None, None, None, "none", ("learned", "none")),
    (None, None, None, "2d", ("", "2d")),
    (None, "learned", None, None, ("learned", "full")),
    (None, "bank", None, None, f"--prior bank: the weights open13 know no bank; {BANK_OF_WEIGHTS}"),
    (None, "learned", None, "2d", "--prior learned and --refine 2d: it asks no prior; leave out one of the two"),
    (None, None, "shapes", None, ("shapes", "visible-union")),
    (None, "bank", "shapes", None, ("shapes", "visible-union")),
    (None, "bank", "shapes", "none", ("shapes", "none")),
    (None, None, "shapes", "full", "give --weights open13_bank, or --refine visible-union"),
    (None, None, "shapes", "2d", "leave out --meshes, or give --refine visible-union"),
    (None, "learned", "shapes", None, "leave out --meshes, or give --prior bank"),
    ("learned", None, None, None, ("learned", "full")),
    ("learned", None, None, "visible-union", ("learned", "visible-union")),
    ("learned", "learned", None, "full", ("learned", "full")),
    ("learned", "bank", None, None, f"the weights learned know no bank; {BANK_OF_WEIGHTS}"),
    ("learned", None, "shapes", None, "give --weights open13_bank, or leave out --weights"),
    ("learned", None, "shapes", "full", "give --weights open13_bank, or leave out --weights"),
    ("learned", "bank", "shapes", "visible-union", "leave out --weights, or give --refine full"),
    ("learned", None, None, "2d", ("", "2d")),
    ("both", None, None, None, ("learned own", "full")),
    ("both", "learned", None, None, ("learned", "full")),
    ("both", "bank", None, None, ("learned own", "full")),
    ("both", "bank", None, "visible-union", ("own", "visible-union")),
    ("both", "bank", None, "2d", "--prior bank and --refine 2d: it asks no prior; leave out one of the two"),
    ("both", None, "shapes", None, ("learned shapes", "full")),
    ("both", None, "shapes", "full", ("learned shapes", "full")),
    ("both", "bank", "shapes", None, ("learned shapes", "full")),
    ("both", "bank", "shapes", "full", ("learned shapes", "full")),
    ("both", None, "shapes", "none", "leave out --weights, or give --refine full"),
    ("both", "learned", "shapes", None, "leave out --meshes, or give --prior bank"),
    ("known", None, None, None, ("own", "full")),
    ("known", None, "shapes", None, ("shapes", "full")),
    ("known", "learned", None, None, "have not learned to use it; leave it out, or give --weights open13"),
    ("flat", None, None, None, ("", "2d")),
    ("flat", None, None, "2d", ("", "2d")),
    ("flat", None, None, "full", "--refine full and --weights flat: .* leave out --refine, or give --weights open13"),
    ("flat", None, None, "none", "leave out --refine, or give --weights open13"),
    ("flat", "learned", None, None, "--prior learned and --weights flat: .* or give --weights open13"),
    ("flat", "bank", None, "2d", "leave out --prior, or give --weights open13_bank"),
    ("flat", None, "shapes", None, "give --weights open13_bank, or leave out --weights"),
    ("detector", None, None, None, "--weights detector: these are weights of stage 1, a detector; give them to"),
    ("detector", None, "shapes", None, "--weights detector: these are weights of stage 1"),
    ("method", None, None, None, "--weights method: these are weights of another method"),
]


@pytest.mark.parametrize(("weights", "prior", "meshes", "refine", "expected"), TABLE)
def test_what_options_ask_for_together(root: Path, monkeypatch, weights, prior, meshes, refine, expected) -> None:
    monkeypatch.chdir(root)
    options = PipelineOptions(weights=weights, prior=prior, meshes=meshes, refine=refine)
    if isinstance(expected, str):
        for refuse in (options.check, options.open):
            with pytest.raises(UsageError, match=expected) as caught:
                refuse()
            assert "\n" not in str(caught.value) and len(str(caught.value)) < 200
        return
    options.check()
    banks: list[str] = []
    monkeypatch.setattr("shape3d_amodal.meshes.sources.mesh_source", banks.append)
    asked, how = expected
    monkeypatch.setattr("shape3d_amodal.priors.bank.shapes.ShapeBank", _Bank)
    monkeypatch.setattr("shape3d_amodal.priors.bank.prior.BankPrior", _BankPrior)
    pipeline = options.open()
    assert pipeline.refine == how
    names = {"learned": "learned", "shapes": "bank", "own": "bank"}
    if how != "2d":
        assert set(pipeline.priors) == {names[one] for one in asked.split()}
    own = str((root / "shapes").resolve())
    assert banks == ["shapes" if one == "shapes" else own for one in asked.split() if one != "learned"]


class _Bank:
    """Takes the place of a bank, whose shapes take seconds to make."""

    categories = ("chair",)

    def __init__(self, _: object, cache: object) -> None: ...


class _BankPrior:
    parameters, known, device = 0, ("chair",), "cpu"
    categories = tuple(tiny_config().categories)

    def __init__(self, *_: object) -> None: ...


@pytest.mark.parametrize("combination", list(itertools.product(
    (None, "learned", "both", "known", "flat", "detector", "method"),
    (None, "learned", "bank"),
    (None, "shapes"),
    (None, "full", "2d", "visible-union", "none"),
)))  # fmt: skip
def test_every_combination_is_checked_without_loading(root: Path, monkeypatch, combination) -> None:
    """No combination ends in anything but a choice or one line of two options, whose remedy is among the options."""
    monkeypatch.chdir(root)
    weights, prior, meshes, refine = combination
    options = PipelineOptions(weights=weights, prior=prior, meshes=meshes, refine=refine)
    try:
        options.check()
    except UsageError as error:
        assert str(error).startswith("--") and "\n" not in str(error)
        assert str(error).count("--") >= 2 or "method" in str(error)
        return
    chosen = options.chosen()
    assert chosen.meshes == meshes
    assert refine in (None, chosen.refine)
    assert weights in (None, chosen.weights)
    assert prior != "learned" or chosen.priors == ("learned",)
    assert prior != "bank" or meshes is not None or "bank" in chosen.priors


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"gap_px": -1}, UsageError, "--gap-px: expected a number of pixels, 0 or more, got -1"),
        ({"gap_px": 100_000}, UsageError, "--gap-px: expected a number of pixels, 1000 or fewer, got 100000"),
        ({"fit_steps": -1}, UsageError, "--fit-steps: expected a number of steps, 0 or more, got -1"),
        (
            {"views": "all"},
            UsageError,
            "--views: it is about the known shapes of --meshes; give --meshes FOLDER too, or",
        ),
        ({"exact_shapes": True, "weights": "both"}, UsageError, "--exact-shapes: it is about the known shapes"),
        ({"intrinsics": "500,500,320,240"}, UsageError, "--intrinsics: it is about the known shapes of --meshes; give"),
        (
            {"exact_shapes": True, "fit_steps": 5, "meshes": "shapes"},
            UsageError,
            "--exact-shapes and --fit-steps: exact",
        ),
        *(
            (
                {"intrinsics": wrong, "meshes": "shapes"},
                UsageError,
                "--intrinsics: expected fx,fy,cx,cy in pixels",
            )
            for wrong in ("500", "500,500,9", "a,b,c,d", "0,500,320,240", "500,-500,320,240", "nan,500,320,240", "")
        ),
        ({"device": "toaster"}, UsageError, "device: expected auto, cpu, cuda or cuda:N, got 'toaster'"),
        ({"weights": "nothing"}, WeightsError, "nothing: no such folder of weights"),
        ({"meshes": "nowhere"}, DataError, "nowhere: expected a folder of meshes"),
        ({"meshes": "open13:tset"}, AmodalError, "open13"),
    ],
)
def test_wrong_options_are_seen_before_anything_is_loaded(root: Path, monkeypatch, changes, error, message) -> None:
    monkeypatch.chdir(root)
    monkeypatch.setattr(ShapePriorPipeline, "from_pretrained", None)
    monkeypatch.setattr(ShapePriorPipeline, "from_meshes", None)
    with pytest.raises(error, match=message):
        PipelineOptions(**changes).check()


@pytest.mark.parametrize(
    ("changes", "hypotheses", "message"),
    [
        ({}, 3, "--hypotheses: it is about the known shapes of --meshes; give --meshes FOLDER too, or leave it out"),
        ({"meshes": "shapes"}, -1, "--hypotheses: expected a number of answers, 0 or more, got -1"),
    ],
)
def test_answers_that_none_will_give(root: Path, monkeypatch, changes, hypotheses: int, message: str) -> None:
    monkeypatch.chdir(root)
    with pytest.raises(UsageError) as caught:
        PipelineOptions(**changes).check(hypotheses=hypotheses)
    assert str(caught.value) == message
    PipelineOptions(**changes).check()


def test_a_camera_is_typed_as_in_opencv() -> None:
    """There the middle of the first pixel is 0, here 0.5."""
    assert PipelineOptions(intrinsics="572.4,573.5, 325,242.25").camera() == (572.4, 573.5, 325.5, 242.75)
    assert PipelineOptions().camera() is None


def test_what_is_said_of_known_shapes_reaches_the_bank(root: Path, monkeypatch) -> None:
    monkeypatch.chdir(root)
    for options, expected in (
        (PipelineOptions(meshes="shapes"), ("upright", False, 0, 30)),
        (PipelineOptions(meshes="shapes", views="all", exact_shapes=True, fit_steps=0), ("all", True, 2, 0)),
        (PipelineOptions(meshes="shapes", weights="both", views="tabletop"), ("tabletop", False, 2, 0)),
    ):
        config = options.open(hypotheses=expected[2]).priors["bank"].config
        assert (config.search.views, config.exact, config.hypotheses, config.fit_steps) == expected


def test_meshes_that_none_will_be_made_of(root: Path, monkeypatch) -> None:
    monkeypatch.chdir(root)
    message = "--save-meshes and --refine 2d: it makes no meshes; leave out one of the two"
    for options in (PipelineOptions(refine="2d"), PipelineOptions(weights="flat")):
        options.check()
        with pytest.raises(UsageError, match=message):
            options.check(needs_meshes="--save-meshes")
    PipelineOptions().check(needs_meshes="--save-meshes")


def test_the_check_imports_nothing_heavy() -> None:
    code = (
        "import sys; from shape3d_amodal.cli.shared.options import PipelineOptions; PipelineOptions().check(); "
        "PipelineOptions(weights='open13_bank', prior='bank').check(); "
        "PipelineOptions(meshes='.', views='all', intrinsics='500,500,320,240').check(hypotheses=3); "
        "print(*sorted({'torch', 'numba', 'scipy', 'kornia', 'trimesh', 'torchvision', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("\n", "")
