"""What a benchmark is: data, methods, and which of them meet in which table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from shape3d_amodal.benchmarking.methods import MethodOptions, method_options
from shape3d_amodal.config import configuration, load_config
from shape3d_amodal.errors import UsageError
from shape3d_amodal.evaluation.tracks import TRACKS
from shape3d_amodal.files.assets import find_config
from shape3d_amodal.methods.ground_truth import Given
from shape3d_amodal.scenes.sets import SceneSetConfig


@configuration
class DataConfig:
    """Annotated images: either ``scenes``, which are made, or ``annotations`` with ``images``."""

    scenes: Path | None = None
    """YAML file of a scene set, such as configs/open13/test.yaml."""
    set: tuple[str, ...] = ()
    """Options of the scene set to change, such as per_category=2."""
    annotations: Path | None = None
    """COCO JSON with visible and amodal masks."""
    images: Path | None = None
    """Folder that the annotations' file names are relative to."""


@configuration
class MarginConfig:
    """How far one method is ahead of the best of others: in the mean, and in the category where it is least."""

    of: str
    """Name of the method."""
    over: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names of the others."""
    metrics: tuple[str, ...] = ()
    """Names of metrics; none names all shares that the track shows by category."""
    by_category: bool = False
    """Show all categories on the results page, too."""


@configuration
class AimConfig:
    """What a method was meant to reach: a number of its own, or a margin over the best of others."""

    text: str
    """What is aimed at, without the number."""
    run: str
    """Title of the run that tells."""
    of: str
    """Name of the method."""
    metric: str
    """Name of the metric, a share that the track shows by category."""
    at_least: float
    """What to reach, in percent, or in points over others."""
    over: tuple[str, ...] = ()
    """Names of the others; none asks for the method's own number."""
    categories: tuple[str, ...] = ()
    """Of these categories alone; none names all."""
    least: bool = False
    """Whether each of the categories has to reach it, and not their mean."""


@configuration
class KnownCamerasRun:
    """3D IoU of a reconstruction with known cameras, on the test split of NMR's files or of renders of their form."""

    data: Path
    """Folder of <synset>_<split>_{images,voxels}.npz."""
    weights: Path
    """Folder of weights of the stage known_cameras."""
    title: str = "Known cameras"
    """Heading."""
    note: str = ""
    """What a reader of the table should know."""


@configuration
class RunConfig:
    """One data set, one track, some methods: what shares a table."""

    data: str
    """Name of the data."""
    track: str = "completion"
    """completion, order, multimodal or shape: visible masks are given; instance: the image alone is given."""
    methods: tuple[str, ...] = ()
    """Names of the methods in the order of the table; none names all."""
    title: str = ""
    """Heading; by default the name of the data, and the track where it is not completion."""
    focus: str = ""
    """The method that charts emphasise and whose cases are shown; by default the last."""
    without: tuple[str, ...] = ()
    """Categories that a second mean leaves out."""
    margins: tuple[MarginConfig, ...] = ()
    """How far methods are ahead of others: tables with intervals over paired instances."""
    pictured: tuple[str, ...] = ()
    """completion: what the results page shows of the focus' best and worst cases, the focus among them; none shows
    no pictures."""
    align: str = ""
    """shape: name of the data on which each category's turn is found, beside the turn found on the scored data."""
    class_agnostic: bool = False
    """instance: score as if all objects were of one category."""


@configuration
class BenchmarkConfig:
    """A benchmark as its YAML file says it."""

    title: str = "Benchmark"
    """Heading of the report."""
    intro: str = ""
    """What a reader should know first, in plain text."""
    data: dict[str, DataConfig]
    """Data by name."""
    methods: dict[str, dict[str, Any]]
    """Methods by name: ``kind`` and that kind's options (``methods.KINDS``)."""
    runs: tuple[RunConfig, ...]
    """The tables."""
    known_cameras: KnownCamerasRun | None = None
    """One more table, of a model of its own."""
    aims: tuple[AimConfig, ...] = ()
    """The checklist at the top of the results page."""
    device: str = "cpu"
    """cpu or cuda."""
    threads: Annotated[int, Field(ge=0)] = 1
    """Threads of each process, for comparable times; 0 is torch's own choice."""


@dataclass(frozen=True)
class Benchmark:
    """A benchmark whose names are resolved: everything that runs, run by run."""

    config: BenchmarkConfig
    scenes: dict[str, SceneSetConfig]
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Run:
    """One table: methods by their names, in its order."""

    data: str
    track: str
    title: str
    focus: str
    without: tuple[str, ...]
    methods: dict[str, MethodOptions]
    margins: tuple[MarginConfig, ...] = ()
    pictured: tuple[str, ...] = ()
    align: str = ""
    class_agnostic: bool = False


def load_benchmark(path: Path, *, overrides: Sequence[str] = ()) -> Benchmark:
    """Read and check the YAML file ``path``, with ``overrides`` such as ``threads=2`` put over it.

    Raises:
        UsageError: as for ``load_config`` and ``resolve``.
    """
    return resolve(load_config(path, BenchmarkConfig, overrides=overrides), source=str(path))


def resolve(config: BenchmarkConfig, *, source: str) -> Benchmark:
    """Look up all names; ``source`` names the configuration in errors.

    Raises:
        UsageError: an unknown kind, option or name, or a method in a track that it cannot take part in.
    """
    for name, data in config.data.items():
        if (data.scenes is None) == (data.annotations is None) or (data.annotations is None) != (data.images is None):
            raise UsageError(f"{source}: data.{name}: expected either scenes, or annotations and images")
    scenes = {
        name: load_config(find_config(data.scenes), SceneSetConfig, overrides=data.set)
        for name, data in config.data.items()
        if data.scenes is not None
    }
    methods = {name: method_options(raw, source=f"{source}: methods.{name}") for name, raw in config.methods.items()}
    for names in (config.data, config.methods):
        _check_file_names(list(names), source)
    if not config.runs and config.known_cameras is None:
        raise UsageError(f"{source}: runs: expected one or more tables, got none")
    runs = tuple(_run(run, config, methods, f"{source}: runs[{i}]") for i, run in enumerate(config.runs))
    if len({(run.data, run.track) for run in runs}) < len(runs):
        raise UsageError(f"{source}: runs: two of them have the same data and track; put their methods into one")
    titles = [run.title for run in runs]
    for title in titles:
        if titles.count(title) > 1:
            raise UsageError(f"{source}: runs: two of them have the title {title!r}; change one")
    for i, aim in enumerate(config.aims):
        _check_aim(aim, {run.title: run for run in runs}, f"{source}: aims[{i}]")
    return Benchmark(config, scenes, runs)


def given(track: str) -> Given:
    """What methods are given in ``track``."""
    return "masks" if TRACKS[track].matched else "image"


def shares(track: str) -> tuple[str, ...]:
    """Names of the metrics of ``track`` that are shown by category and whose differences are points."""
    return tuple(name for name in TRACKS[track].by_category if TRACKS[track].metrics[name].unit == "share")


def file_stem(name: str) -> str:
    """A name as a part of file names."""
    return re.sub(r"\W+", "_", name.lower()).strip("_")


def _run(run: RunConfig, config: BenchmarkConfig, methods: dict[str, MethodOptions], place: str) -> Run:
    _known(run.data, config.data, f"{place}.data")
    _known(run.track, TRACKS, f"{place}.track")
    chosen = run.methods or tuple(methods)
    for name in chosen:
        _known(name, methods, f"{place}.methods")
        if given(run.track) not in methods[name].takes:
            problem = (
                f"{name!r} takes no part in the {run.track} track, for it takes {' or '.join(methods[name].takes)}"
            )
            raise UsageError(f"{place}.methods: {problem}")
    focus = run.focus or chosen[-1]
    _known(focus, chosen, f"{place}.focus")
    for name in [*run.pictured, *(name for one in run.margins for name in (one.of, *one.over))]:
        _known(name, chosen, f"{place}.margins" if name not in run.pictured else f"{place}.pictured")
    for name in [name for one in run.margins for name in one.metrics]:
        _known(name, shares(run.track), f"{place}.margins.metrics")
    if run.pictured and run.track != "completion":
        raise UsageError(f"{place}.pictured: cases are of the track completion, got {run.track}; leave it out")
    if run.pictured:
        _known(focus, run.pictured, f"{place}.focus, which pictured must name")
    if run.align:
        _known(run.align, config.data, f"{place}.align")
        if run.track != "shape":
            raise UsageError(f"{place}.align: is of the track shape, got {run.track}; leave it out")
    if run.class_agnostic and run.track != "instance":
        raise UsageError(f"{place}.class_agnostic: is of the track instance, got {run.track}; leave it out")
    title = run.title or (run.data if run.track == "completion" else f"{run.data}, {run.track}")
    own = {name: methods[name] for name in chosen}
    return Run(
        run.data,
        run.track,
        title,
        focus,
        run.without,
        own,
        run.margins,
        run.pictured,
        run.align,
        run.class_agnostic,
    )


def _check_aim(aim: AimConfig, runs: Mapping[str, Run], place: str) -> None:
    _known(aim.run, runs, f"{place}.run")
    for name in (aim.of, *aim.over):
        _known(name, runs[aim.run].methods, place)
    _known(aim.metric, shares(runs[aim.run].track), f"{place}.metric")


def _known(name: str, names: Sequence[str] | Mapping[str, object], place: str) -> None:
    if name not in names:
        raise UsageError(f"{place}: expected one of {', '.join(names)}, got {name!r}")


def _check_file_names(names: list[str], source: str) -> None:
    """Each name becomes a file name."""
    stems: dict[str, str] = {}
    for name in names:
        stem = file_stem(name)
        if not stem or stem in stems:
            other = f", which is too much like {stems[stem]!r}" if stem in stems else ""
            raise UsageError(f"{source}: expected names of letters and digits that differ in them, got {name!r}{other}")
        stems[stem] = name
