"""Options that several commands share, each with its help, and what the commands do with them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias, TypeVar

import tyro

from shape3d_amodal.device import check_device_early
from shape3d_amodal.errors import DataError, UsageError, check_whole
from shape3d_amodal.priors.interface import PriorName, ViewsName
from shape3d_amodal.refinement.modes import Refine

if TYPE_CHECKING:
    from shape3d_amodal.pipeline import ShapePriorPipeline
    from shape3d_amodal.structures import Intrinsics

T = TypeVar("T")

Overrides: TypeAlias = Annotated[
    tuple[tuple[str, ...], ...], tyro.conf.arg(name="set", metavar="KEY=VALUE [...]"), tyro.conf.UseAppendAction
]
"""``--set``: changes of a configuration, several at once (``--set a=1 b=2``) or in several ``--set``."""
ImageFolder: TypeAlias = Annotated[
    Path, tyro.conf.arg(help="folder that the file names in the annotations are relative to.")
]
Device: TypeAlias = Annotated[str, tyro.conf.arg(help="auto (a GPU where there is one), cpu, cuda or cuda:N.")]
_DEPTH_ORDER = """use the annotations' depth order where they have one; with --no-depth-order every object may hide
every other."""
DepthOrder: TypeAlias = Annotated[bool, tyro.conf.arg(help=_DEPTH_ORDER)]
_PRINT_CONFIG = """print the whole configuration, with a comment above each option, and stop; the output can be used as
a configuration file."""
PrintConfig: TypeAlias = Annotated[bool, tyro.conf.arg(help=_PRINT_CONFIG)]


class Chosen(NamedTuple):
    """The pipeline that ``PipelineOptions`` ask for; of ``priors``, None stands for those that the weights know."""

    weights: str | None
    priors: tuple[PriorName, ...] | None
    meshes: str | None
    refine: Refine


@dataclass(frozen=True)
class PipelineOptions:
    """The options of the pipeline that completes visible masks (stages 2 to 5).

    Attributes:
        weights: name of shipped weights, or a folder of weights; the default is open13. With --meshes they bring stage
            5 and must have learned to use a bank, as open13_bank has; without them a bank needs no training.
        prior: where the shapes come from: learned (the networks of the weights), or bank (known shapes: those of
            --meshes, else those that the weights were trained with; beside the networks where stage 5 has learned to
            use both). The default is bank with --meshes, else all that stage 5 has learned to use.
        meshes: the shapes of the bank: a folder <category>/.../<mesh>.obj (.ply, .off, .glb, .npz), y up, or
            open13 (all its meshes) or open13:train (val, test).
        views: how the objects of --meshes may stand before the camera: upright (on the ground, seen from the side or
            above; default), tabletop (seen from anywhere above), or all (any rotation).
        exact_shapes: --meshes are the very shapes, so that none is deformed.
        intrinsics: fx,fy,cx,cy of the camera in pixels, as in OpenCV's matrix, for all images whose annotations have no
            camera (cam_K) of their own. --meshes then give poses of the CAD files (cam_R_m2c, cam_t_m2c in the
            results).
        fit_steps: gradient steps that fit shape and viewpoint to each object at test time. By default as in training:
            none for the learned prior. Of --meshes 30 by default without weights: shapes are only fitted to objects
            that none of them explains as it is.
        refine: full (stage 5; default with weights that have learned it), 2d (stage 5 without the rendered silhouette:
            no meshes; default of weights of the stage completion2d), visible-union (silhouette joined with the visible
            mask; default of a bank without weights), or none (bare silhouette).
        gap_px: close gaps of up to this many pixels between masks; use 1 for predicted masks, 0 for exact ones.
    """

    weights: str | None = None
    prior: PriorName | None = None
    meshes: str | None = None
    views: ViewsName | None = None
    exact_shapes: bool = False
    intrinsics: str | None = None
    fit_steps: int | None = None
    refine: Refine | None = None
    gap_px: int = 0
    device: Device = "auto"

    def check(self, *, needs_meshes: str | None = None, hypotheses: int = 0) -> None:
        """Refuse what cannot be done, within a moment: nothing heavy is imported, and no weights are read.

        Args:
            needs_meshes: what the command makes of meshes, such as --save-meshes; None where it can do without.
            hypotheses: answers that are asked for beside each mask.

        Raises:
            UsageError: options that are wrong or do not fit each other.
            WeightsError, DataError: there are no such weights or meshes.
        """
        from shape3d_amodal.refinement.regions import MAX_GAP_PX

        check_whole("--gap-px", self.gap_px, "number of pixels", most=MAX_GAP_PX)
        if self.fit_steps is not None:
            check_whole("--fit-steps", self.fit_steps, "number of steps")
        check_whole("--hypotheses", hypotheses, "number of answers")
        self.camera()
        self._check_known_shapes(hypotheses)
        check_device_early(self.device)
        chosen = self.chosen()
        if chosen.refine == "2d" and self.fit_steps:
            raise UsageError("--fit-steps and --refine 2d: it fits no shapes; leave out one of the two")
        if needs_meshes is not None and chosen.refine == "2d":
            raise UsageError(f"{needs_meshes} and --refine 2d: it makes no meshes; leave out one of the two")
        if chosen.meshes is not None and not Path(chosen.meshes).is_dir():
            from shape3d_amodal.meshes.sources import mesh_source

            mesh_source(chosen.meshes)

    def _check_known_shapes(self, hypotheses: int) -> None:
        """Refuse options that say something of known shapes, or ask for it, where there are none."""
        given = {"views": self.views, "exact-shapes": self.exact_shapes, "intrinsics": self.intrinsics}
        for name, value in {**given, "hypotheses": hypotheses}.items():
            if value and self.meshes is None:
                raise UsageError(
                    f"--{name}: it is about the known shapes of --meshes; give --meshes FOLDER too, or leave it out"
                )
        if self.exact_shapes and self.fit_steps:
            raise UsageError("--exact-shapes and --fit-steps: exact shapes are not deformed; leave out one of the two")

    def camera(self) -> Intrinsics | None:
        """``intrinsics`` in the image frame; None where they are not given."""
        if self.intrinsics is None:
            return None
        from shape3d_amodal.annotations.formats.poses import CENTRE

        try:
            fx, fy, cx, cy = map(float, self.intrinsics.split(","))
        except ValueError:
            fx = fy = cx = cy = math.nan
        if not (all(map(math.isfinite, (fx, fy, cx, cy))) and min(fx, fy) > 0):
            expected = "expected fx,fy,cx,cy in pixels, fx and fy positive, such as 572.4,573.6,325.3,242.0"
            raise UsageError(f"--intrinsics: {expected}, got {self.intrinsics!r:.60}")
        return fx, fy, cx + CENTRE, cy + CENTRE

    def chosen(self) -> Chosen:
        """What the options ask for together.

        Raises:
            UsageError: they do not fit each other; the message says what to give.
            WeightsError: there are no such weights.
        """
        if self.meshes is not None:
            return self._with_meshes(self.meshes)
        weights = self.weights or "open13"
        learned = _learned(weights)
        if not learned:
            return self._without_prior(weights)
        if self.prior is None:
            return Chosen(weights, None, None, self.refine or "full")
        if self.refine == "2d":
            raise UsageError(f"--prior {self.prior} and --refine 2d: it asks no prior; leave out one of the two")
        if self.prior not in learned:
            if self.prior == "bank":
                problem = f"the weights {weights} know no bank; give --meshes FOLDER, or --weights open13_bank"
            else:
                problem = f"the weights {weights} have not learned to use it; leave it out, or give --weights open13"
            raise UsageError(f"--prior {self.prior}: {problem}")
        both = self.prior == "bank" and self.refine in (None, "full")  # stage 5 gets all that it has learned to use
        return Chosen(weights, learned if both else (self.prior,), None, self.refine or "full")

    def _with_meshes(self, meshes: str) -> Chosen:
        if self.prior == "learned":
            raise UsageError("--prior learned and --meshes: leave out --meshes, or give --prior bank")
        if self.refine == "2d":
            raise UsageError(
                "--refine 2d and --meshes: 2d looks at no shapes; leave out --meshes, or give --refine visible-union"
            )
        if self.weights is None:
            if self.refine == "full":
                raise UsageError(
                    "--refine full and --meshes: stage 5 needs weights that have learned to use a bank; give --weights "
                    "open13_bank, or --refine visible-union"
                )
            return Chosen(None, None, meshes, self.refine or "visible-union")
        if self.refine in ("visible-union", "none"):
            raise UsageError(
                f"--weights and --refine {self.refine}: a bank of --meshes needs no weights for it; leave out "
                "--weights, or give --refine full"
            )
        if "bank" not in _learned(self.weights):
            raise UsageError(
                f"--weights {self.weights} and --meshes: stage 5 of these weights has not learned to use a bank; give "
                "--weights open13_bank, or leave out --weights"
            )
        return Chosen(self.weights, None, meshes, "full")

    def _without_prior(self, weights: str) -> Chosen:
        """Weights whose stage 5 has learned to use no prior, and so make no meshes."""
        for name, value in (("prior", self.prior), ("refine", self.refine)):
            if value not in (None, "2d"):
                other = "open13_bank" if value == "bank" else "open13"
                raise UsageError(
                    f"--{name} {value} and --weights {weights}: these complete masks in 2D alone; leave out --{name}, "
                    f"or give --weights {other}"
                )
        return Chosen(weights, None, None, "2d")

    def open(self, *, hypotheses: int = 0) -> ShapePriorPipeline:
        """The pipeline that these options ask for; errors as for ``check``, and those of ``ShapePriorPipeline``."""
        from shape3d_amodal.pipeline import ShapePriorPipeline

        self.check(hypotheses=hypotheses)
        chosen = self.chosen()
        shared: dict[str, Any] = {"device": self.device, "fit_steps": self.fit_steps, "gap_px": self.gap_px}
        shared |= {"refine": chosen.refine}
        if chosen.meshes is not None:
            shared |= {"views": self.views or "upright", "exact_shapes": self.exact_shapes, "hypotheses": hypotheses}
            return ShapePriorPipeline.from_meshes(chosen.meshes, weights=chosen.weights, **shared)
        assert chosen.weights is not None, "without meshes there are weights"
        return ShapePriorPipeline.from_pretrained(chosen.weights, priors=chosen.priors, **shared)


def _learned(weights: str) -> tuple[PriorName, ...]:
    """The priors that stage 5 of weights has learned to use, by their configuration.

    Raises:
        UsageError: they are of something else than stages 2 to 5.
    """
    from shape3d_amodal.files.pretrained import trained_config

    said = trained_config(weights)
    if "detector" in said:
        raise UsageError(
            f"--weights {weights}: these are weights of stage 1, a detector; give them to `predict --detector`, and "
            "those of the other stages, such as open13, to --weights"
        )
    if "categories" not in said:
        raise UsageError(f"--weights {weights}: these are weights of another method; give others, such as open13")
    priors = tuple((said.get("refinement") or {}).get("priors", ("learned",)))
    return priors if said.get("trust") is None or "bank" in priors else (*priors, "bank")


Pipeline: TypeAlias = Annotated[PipelineOptions, tyro.conf.arg(name="")]
"""The fields of ``PipelineOptions`` as options of a command."""


def flat(overrides: Overrides) -> tuple[str, ...]:
    """All changes in the order in which they were given."""
    return tuple(change for group in overrides for change in group)


def load(config: Path | None, kind: type[T], overrides: Sequence[str]) -> T:
    """The configuration ``kind`` of the file ``config``, or its defaults, with ``overrides``."""
    from shape3d_amodal.config import load_config, parse_config
    from shape3d_amodal.files.assets import find_config

    if config is None:
        return parse_config("{}", kind, overrides=overrides)
    return load_config(find_config(config), kind, overrides=overrides)


def default_folder(config: Path) -> Path:
    """outputs/<folder of the config>/<name of the config>."""
    return Path("outputs") / config.resolve().parent.name / config.stem


def check_share(**options: float) -> None:
    """Refuse options that are not from 0 to 1."""
    for name, value in options.items():
        if not 0 <= value <= 1:
            raise UsageError(f"--{name.replace('_', '-')}: expected a number from 0 to 1, got {value}")


def check_positive(**options: int) -> None:
    """Refuse options below 1."""
    for name, value in options.items():
        if value < 1:
            raise UsageError(f"--{name.replace('_', '-')}: expected 1 or more, got {value}")


def check_there(*paths: Path | None) -> None:
    """Refuse a file or folder that is not there, before anything heavy is imported; None is one that was not given."""
    for path in paths:
        if path is not None and not path.exists():
            raise DataError("there is no such file or folder; check the path", file=path)


def check_folders(**options: Path | None) -> None:
    """Refuse options that name no folder, before anything heavy is imported; None is one that was not given."""
    for name, path in options.items():
        check_there(path)
        if path is not None and not path.is_dir():
            raise UsageError(f"--{name.replace('_', '-')}: expected a folder, got the file {path}")


def refuse_existing(annotations: Path) -> None:
    """Refuse to write scenes into a folder that holds some already."""
    if annotations.exists():
        raise UsageError(f"{annotations.parent}: holds scenes already; choose another folder or remove it")
