"""Options that several commands share, each with its help, and what the commands do with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, TypeVar

import tyro

from shape3d_amodal.errors import UsageError

if TYPE_CHECKING:
    from shape3d_amodal.pipeline import ShapePriorPipeline

T = TypeVar("T")

Overrides: TypeAlias = Annotated[
    tuple[tuple[str, ...], ...], tyro.conf.arg(name="set", metavar="KEY=VALUE [...]"), tyro.conf.UseAppendAction
]
"""``--set``: changes of a configuration, several at once (``--set a=1 b=2``) or in several ``--set``."""
ImageFolder: TypeAlias = Annotated[
    Path, tyro.conf.arg(help="folder that the file names in the annotations are relative to.")
]
Device: TypeAlias = Annotated[str, tyro.conf.arg(help="cpu or cuda.")]
_DEPTH_ORDER = """use the annotations' depth order where they have one; with --no-depth-order every object may hide
every other."""
DepthOrder: TypeAlias = Annotated[bool, tyro.conf.arg(help=_DEPTH_ORDER)]
_PRINT_CONFIG = """print the whole configuration, with a comment above each option, and stop; the output can be used as
a configuration file."""
PrintConfig: TypeAlias = Annotated[bool, tyro.conf.arg(help=_PRINT_CONFIG)]


@dataclass(frozen=True)
class PipelineOptions:
    """The options of the pipeline that completes visible masks (stages 2 to 5).

    Attributes:
        weights: name of shipped weights, or a folder of weights; the default is open13. A bank needs weights only with
            --refine full or 2d.
        meshes: use a bank of these shapes as the prior in place of the learned one: a folder
            <category>/.../<mesh>.obj (.ply, .off, .glb, .npz), y up, or open13:train.
        fit_steps: gradient steps that fit shape and viewpoint to each object at test time. By default as in training:
            none for the learned prior. 30 improve a bank without weights, and bare silhouettes.
        refine: full (default of the learned prior), 2d (without the rendered silhouette, for weights of the stage
            completion2d), visible-union (silhouette joined with the visible mask; default of the bank), or none (bare
            silhouette).
        gap_px: close gaps of up to this many pixels between masks; use 1 for predicted masks, 0 for exact ones.
    """

    weights: str | None = None
    meshes: str | None = None
    fit_steps: int | None = None
    refine: Literal["full", "2d", "visible-union", "none"] | None = None
    gap_px: int = 0
    device: Device = "cpu"

    def open(self) -> ShapePriorPipeline:
        """The pipeline that these options ask for."""
        from shape3d_amodal.pipeline import ShapePriorPipeline

        shared: dict[str, Any] = {"device": self.device, "fit_steps": self.fit_steps, "gap_px": self.gap_px}
        if self.meshes is None:
            return ShapePriorPipeline.from_pretrained(self.weights or "open13", refine=self.refine or "full", **shared)
        refine = self.refine or "visible-union"
        weights = self.weights or ("open13" if refine in ("full", "2d") else None)
        return ShapePriorPipeline.from_meshes(self.meshes, weights=weights, refine=refine, **shared)


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


def check_positive(**options: int) -> None:
    """Refuse options below 1."""
    for name, value in options.items():
        if value < 1:
            raise UsageError(f"--{name}: expected 1 or more, got {value}")


def refuse_existing(annotations: Path) -> None:
    """Refuse to write scenes into a folder that holds some already."""
    if annotations.exists():
        raise UsageError(f"{annotations.parent}: holds scenes already; choose another folder or remove it")
