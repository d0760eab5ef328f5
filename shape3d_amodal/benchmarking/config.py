"""The configuration of a benchmark: data, methods, and the tables (runs) that compare methods on data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from shape3d_amodal.annotations.images import ImageReading
from shape3d_amodal.benchmarking.methods import MethodOptions, method_options
from shape3d_amodal.config import configuration, load_config
from shape3d_amodal.errors import UsageError
from shape3d_amodal.evaluation.tracks import TRACKS
from shape3d_amodal.files.assets import find_config
from shape3d_amodal.methods.ground_truth import Given
from shape3d_amodal.scenes.sets import SceneSetConfig


@configuration
class DataConfig(ImageReading):
    """Annotated images: either ``scenes`` that the benchmark makes, or ``annotations`` with ``images``."""

    scenes: Path | None = None
    """YAML file of a scene set, such as configs/open13/test.yaml."""
    set: tuple[str, ...] = ()
    """Options of the scene set to change, such as per_category=2."""
    annotations: Path | None = None
    """COCO JSON with visible and amodal masks."""
    images: Path | None = None
    """Folder that the annotations' file names are relative to."""
    categories: tuple[str, ...] = ()
    """Names of the annotations' categories that are scored; objects of others only hide. Empty means all."""
    meshes: str | None = None
    """Source of the meshes of the annotations' objects, for the tracks pose (the CAD models of the poses) and shape."""


@configuration
class MarginConfig:
    """The margin of one method over the best of some others, in the mean and in each category."""

    of: str
    """Name of the method."""
    over: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names of the others."""
    metrics: tuple[str, ...] = ()
    """Names of metrics; empty means all shares that the track shows by category."""
    by_category: bool = False
    """Also show all categories on the results page."""


@configuration
class AimConfig:
    """A goal of a method: a number of its own, or a margin over the best of some others."""

    text: str
    """The goal in words, without the number."""
    run: str
    """Title of the run that decides it."""
    of: str
    """Name of the method."""
    metric: str
    """Name of the metric, a share that the track shows by category."""
    at_least: float
    """The number to reach: in percent, or in percentage points over the others."""
    over: tuple[str, ...] = ()
    """Names of the others; none compares the method's own number."""
    categories: tuple[str, ...] = ()
    """Only these categories; empty means all."""
    least: bool = False
    """Whether each of the categories has to reach the number, instead of their mean."""


@configuration
class KnownCamerasRun:
    """3D IoU of a reconstruction with known cameras, on the test split of NMR's files or of renders in their format."""

    data: Path
    """Folder of <synset>_<split>_{images,voxels}.npz."""
    weights: Path
    """Folder of weights of the stage known_cameras."""
    title: str = "Known cameras"
    """Heading."""
    note: str = ""
    """A note for the readers of the table."""


@configuration
class RunConfig:
    """One table: methods that are compared on one data set in one track."""

    data: str
    """Name of the data."""
    track: str = "completion"
    """completion, order, multimodal, shape or pose: visible masks are given; instance: the image alone is given."""
    methods: tuple[str, ...] = ()
    """Names of the methods in the order of the table; empty means all."""
    title: str = ""
    """Heading; by default the name of the data, and the track where it is not completion."""
    focus: str = ""
    """Name of the method that charts emphasise and whose cases are shown; by default the last one."""
    without: tuple[str, ...] = ()
    """Categories that a second mean leaves out."""
    margins: tuple[MarginConfig, ...] = ()
    """Tables of the margins of methods over others, with intervals over paired instances."""
    pictured: tuple[str, ...] = ()
    """completion: the methods, the focus among them, whose masks the results page shows for the best and worst cases of
    the focus; none shows no cases."""
    align: str = ""
    """shape: name of other data on which the turn of each category's azimuths is found, for the held-out accuracy."""
    class_agnostic: bool = False
    """instance: give all objects the same category."""


@configuration
class BenchmarkConfig:
    """A benchmark, as its YAML file describes it."""

    title: str = "Benchmark"
    """Heading of the report."""
    intro: str = ""
    """Introduction of the report, in plain text."""
    data: dict[str, DataConfig]
    """Data by name."""
    methods: dict[str, dict[str, Any]]
    """Methods by name, each with its ``kind`` and the options of that kind (``methods.KINDS``)."""
    runs: tuple[RunConfig, ...]
    """The tables."""
    known_cameras: KnownCamerasRun | None = None
    """One more table, of a separate model."""
    aims: tuple[AimConfig, ...] = ()
    """The goals in the checklist at the top of the results page."""
    device: str = "auto"
    """auto (a GPU where there is one), cpu, cuda or cuda:N."""
    threads: Annotated[int, Field(ge=0)] = 1
    """Threads of each process, for comparable times; 0 leaves the number to torch."""


@dataclass(frozen=True)
class Benchmark:
    """A benchmark whose names have been checked.

    Attributes:
        config: as it was read.
        scenes: configurations of the scene sets by the name of the data.
        methods: options of the methods by their names.
        runs: the runs with their defaults filled in: ``methods``, ``title`` and ``focus`` are never empty.
        scene_files: YAML files of the scene sets.
    """

    config: BenchmarkConfig
    scenes: dict[str, SceneSetConfig]
    methods: dict[str, MethodOptions]
    runs: tuple[RunConfig, ...]
    scene_files: tuple[Path, ...]


def load_benchmark(path: Path, *, overrides: Sequence[str] = ()) -> Benchmark:
    """``resolve`` the YAML file ``path``; ``overrides`` such as ``threads=2`` replace single values."""
    return resolve(load_config(path, BenchmarkConfig, overrides=overrides), source=str(path))


def resolve(config: BenchmarkConfig, *, source: str) -> Benchmark:
    """Check all names and fill in the defaults; ``source`` names the configuration in error messages.

    Raises:
        UsageError: an unknown kind, option or name, or a method in a track in which it cannot take part.
    """
    for name, data in config.data.items():
        if (data.scenes is None) == (data.annotations is None) or (data.annotations is None) != (data.images is None):
            raise UsageError(f"{source}: data.{name}: expected either scenes, or annotations and images")
        if data.scenes is not None and data.categories:
            raise UsageError(f"{source}: data.{name}.categories: scenes choose their own; leave it out")
        if data.scenes is not None and data.meshes is not None:
            raise UsageError(f"{source}: data.{name}.meshes: scenes have their own; leave it out")
    files = {name: _beside(data.scenes, source) for name, data in config.data.items() if data.scenes is not None}
    scenes = {name: load_config(file, SceneSetConfig, overrides=config.data[name].set) for name, file in files.items()}
    methods = {name: method_options(raw, source=f"{source}: methods.{name}") for name, raw in config.methods.items()}
    _check_file_names(config.data, source)
    _check_file_names(config.methods, source)
    if not config.runs and config.known_cameras is None:
        raise UsageError(f"{source}: runs: expected one or more tables, got none")
    runs = tuple(_run(run, config, methods, f"{source}: runs[{i}]") for i, run in enumerate(config.runs))
    if len({(run.data, run.track) for run in runs}) < len(runs):
        raise UsageError(f"{source}: runs: two of them have the same data and track; put their methods into one")
    by_title = {run.title: run for run in runs}
    for run in runs:
        if by_title[run.title] is not run:
            raise UsageError(f"{source}: runs: two of them have the title {run.title!r}; change one")
    for i, aim in enumerate(config.aims):
        place = f"{source}: aims[{i}]"
        _known(aim.run, by_title, f"{place}.run")
        for name in (aim.of, *aim.over):
            _known(name, by_title[aim.run].methods, place)
        _known(aim.metric, shares(by_title[aim.run].track), f"{place}.metric")
    return Benchmark(config, scenes, methods, runs, tuple(files.values()))


def _beside(scenes: Path, source: str) -> Path:
    """The file of a scene set: a shipped one, one of the working folder, or one beside the benchmark ``source``."""
    found, beside = find_config(scenes), Path(source).parent / scenes
    return beside if beside.is_file() and not found.is_file() else found


def given(track: str) -> Given:
    """What methods are given in ``track``: visible masks or the image alone."""
    return "masks" if TRACKS[track].given_masks else "image"


def shares(track: str) -> tuple[str, ...]:
    """Names of the metrics of ``track`` that are shares and that reports show by category."""
    return tuple(name for name in TRACKS[track].by_category if TRACKS[track].metrics[name].unit == "share")


def file_stem(name: str) -> str:
    """``name`` in the form in which it is part of file names: lower case, letters, digits and underscores."""
    return re.sub(r"\W+", "_", name.lower()).strip("_")


def _run(run: RunConfig, config: BenchmarkConfig, methods: dict[str, MethodOptions], place: str) -> RunConfig:
    """``run`` with its defaults filled in; ``place`` names it in error messages."""
    _known(run.data, config.data, f"{place}.data")
    _known(run.track, TRACKS, f"{place}.track")
    chosen = run.methods or tuple(methods)
    for name in chosen:
        _known(name, methods, f"{place}.methods")
        takes = methods[name].takes
        if given(run.track) not in takes:
            problem = f"{name!r} takes no part in the {run.track} track, for it takes {' or '.join(takes)}"
            raise UsageError(f"{place}.methods: {problem}")
    focus = run.focus or chosen[-1]
    _known(focus, chosen, f"{place}.focus")
    for name in run.pictured:
        _known(name, chosen, f"{place}.pictured")
    for one in run.margins:
        for name in (one.of, *one.over):
            _known(name, chosen, f"{place}.margins")
        for name in one.metrics:
            _known(name, shares(run.track), f"{place}.margins.metrics")
    homes = (("pictured", "cases are", "completion"), ("align", "is", "shape"), ("class_agnostic", "is", "instance"))
    for option, verb, track in homes:
        if getattr(run, option) and run.track != track:
            raise UsageError(f"{place}.{option}: {verb} of the track {track}, got {run.track}; leave it out")
    if run.track == "pose" and config.data[run.data].meshes is None:
        problem = "the track pose compares CAD models, got none"
        raise UsageError(f"{place}.track: {problem}; name the models of the poses in data.{run.data}.meshes")
    if run.pictured:
        _known(focus, run.pictured, f"{place}.focus, which pictured must name")
    if run.align:
        _known(run.align, config.data, f"{place}.align")
    title = run.title or (run.data if run.track == "completion" else f"{run.data}, {run.track}")
    return replace(run, methods=chosen, title=title, focus=focus)


def _known(name: str, names: Sequence[str] | Mapping[str, object], place: str) -> None:
    if name not in names:
        raise UsageError(f"{place}: expected one of {', '.join(names)}, got {name!r}")


def _check_file_names(names: Iterable[str], source: str) -> None:
    """Refuse names that would give the same file names, or empty ones."""
    stems: dict[str, str] = {}
    for name in names:
        stem = file_stem(name)
        if not stem or stem in stems:
            other = f", which is too much like {stems[stem]!r}" if stem in stems else ""
            raise UsageError(f"{source}: expected names of letters and digits that differ in them, got {name!r}{other}")
        stems[stem] = name
