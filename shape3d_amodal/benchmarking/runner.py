"""Running the methods of a benchmark whose results are missing, and scoring all of them."""

from __future__ import annotations

import logging
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from shape3d_amodal.annotations.results import AmodalResult, read_results
from shape3d_amodal.benchmarking import provenance
from shape3d_amodal.benchmarking.config import Benchmark, RunConfig, file_stem, given
from shape3d_amodal.benchmarking.data import BenchmarkData, open_data
from shape3d_amodal.benchmarking.execution import Job, Workers, workers
from shape3d_amodal.benchmarking.methods import BuiltOptions, MethodOptions, ResultsOptions
from shape3d_amodal.benchmarking.store import ResultFiles, RunRecord
from shape3d_amodal.device import torch_device
from shape3d_amodal.errors import DataError, MissingBackendError, UsageError
from shape3d_amodal.evaluation.given_masks.evaluator import is_scored, refuse_missing
from shape3d_amodal.evaluation.given_masks.shape import ShapeTable
from shape3d_amodal.evaluation.interface import ScoreTable
from shape3d_amodal.evaluation.tracks import TRACKS, TrackOptions
from shape3d_amodal.files.cache import alone
from shape3d_amodal.files.progress import duration, progress
from shape3d_amodal.meshes.sources import mesh_source
from shape3d_amodal.methods.ground_truth import shown

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class MethodScore:
    """One method in one table.

    Attributes:
        options: its kind and options.
        record: how its results were made; None for a results file that was made elsewhere.
        results: its results.
        table: their scores.
    """

    options: MethodOptions
    record: RunRecord | None
    results: list[AmodalResult]
    table: ScoreTable

    @property
    def seconds(self) -> float | None:
        """Seconds per instance, as measured or, for results that were made elsewhere, as stated by their makers."""
        if isinstance(self.options, ResultsOptions):
            return self.options.seconds
        return None if self.record is None else self.record.seconds

    @property
    def parameters(self) -> int | None:
        """Number of learned parameters, as counted or as stated by the makers of the results."""
        if isinstance(self.options, ResultsOptions):
            return self.options.parameters
        return None if self.record is None else self.record.parameters


@dataclass(frozen=True)
class RunScores:
    """One table: a run, its data, and the scores of its methods by name, in the order of the run."""

    run: RunConfig
    data: BenchmarkData
    methods: dict[str, MethodScore]
    aligned: BenchmarkData | None = None
    """The data on which the held-out turns of azimuths were found."""

    @property
    def tables(self) -> dict[str, ScoreTable]:
        return {name: method.table for name, method in self.methods.items()}

    @cached_property
    def meshes(self) -> dict[int, str]:
        """The mesh of every scored instance by the instance's id; empty if one of them is not known."""
        scored = [one for image in self.data.dataset.images for one in image.instances if is_scored(one)]
        known = {one.id: one.mesh for one in scored if one.mesh is not None}
        return known if len(known) == len(scored) else {}

    @cached_property
    def mesh_counts(self) -> dict[str, int]:
        """The number of different meshes among the scored instances of each category; empty if they are not known."""
        dataset = self.data.dataset
        scored = [one for image in dataset.images for one in image.instances if one.id in self.meshes]
        different = dict.fromkeys((one.category_id, one.mesh) for one in scored)
        return Counter(dataset.category_names[category] for category, _ in different)


def run_benchmark(benchmark: Benchmark, out: Path, *, processes: int = 1) -> list[RunScores]:
    """Run the methods whose results are not in ``out`` yet, and score all methods.

    An interrupted run is continued where it stopped. Results are made again if something changed that they depend on:
    options, weights, data or the code of the methods.

    Args:
        out: folder for the scenes, the results and the records of how they were made.
        processes: number of processes; the results do not depend on it.

    Returns:
        The scores of each run, in the order of the runs.

    Raises:
        UsageError: another process works in ``out``, or a method does not know a category of the data.
        DataError: data or results cannot be used, or ``out`` cannot be made.
        MissingBackendError: the benchmark's device is not there.
    """
    torch_device(benchmark.config.device)
    with alone(out), workers(processes, benchmark.config.threads) as pool:
        names = [name for run in benchmark.runs for name in (run.data, run.align) if name]
        data = {name: open_data(benchmark, name, out / "data" / file_stem(name)) for name in dict.fromkeys(names)}
        # Build all methods first, so that a mistake in one is found before hours are spent on the others.
        sources = [_sources(benchmark, run, data[run.data], out) for run in benchmark.runs]
        for run, own in zip(benchmark.runs, sources, strict=True):
            _try(run, own, pool)
        _announce(benchmark.runs, sources)
        turns = [_turns(benchmark, run, data, out, pool) for run in benchmark.runs]
        return [
            replace(_score_run(benchmark, run, data[run.data], own, pool, found), aligned=data.get(run.align))
            for run, own, found in zip(benchmark.runs, sources, turns, strict=True)
        ]


@dataclass(frozen=True)
class _Computed:
    """Results that are made here."""

    job: Job
    files: ResultFiles
    images: int
    """How many it is shown."""


def _sources(benchmark: Benchmark, run: RunConfig, data: BenchmarkData, out: Path) -> dict[str, _Computed | Path]:
    """The source of the results of each method: a run here, or a file that was made elsewhere."""
    folder = out / "results" / f"{file_stem(run.data)}-{given(run.track)}"
    folder.mkdir(parents=True, exist_ok=True)
    present = {instance.category_id for image in data.dataset.images for instance in image.instances}
    names = tuple((key, name) for key, name in data.dataset.category_names.items() if key in present)
    # Tracks whose methods are given the same share their results; these hold meshes if the shape track is one of them.
    shape_runs = [other for other in benchmark.runs if other.track == "shape" and other.data == run.data]
    sources: dict[str, _Computed | Path] = {}
    for name in run.methods:
        options = benchmark.methods[name]
        if isinstance(options, ResultsOptions):
            if run.data not in options.file:
                raise UsageError(f"methods.{name}.file: expected a results file for the data {run.data!r}, got none")
            sources[name] = options.file[run.data]
            if not options.file[run.data].is_file():
                raise DataError("no such results file; check the path", file=options.file[run.data])
        else:
            assert isinstance(options, BuiltOptions), "all other kinds are run here"
            stem = file_stem(name)
            meshes = folder / f"{stem}-meshes" if any(name in other.methods for other in shape_runs) else None
            device = str(torch_device(benchmark.config.device))
            job = Job(options, names, device, data.files, meshes, given(run.track))
            files = ResultFiles(folder, stem, fingerprint(job, run, data))
            sources[name] = _Computed(job, files, len(data.dataset.images))
    return sources


def _try(run: RunConfig, sources: dict[str, _Computed | Path], pool: Workers) -> None:
    """Build every method whose results are not finished, once."""
    for name, source in sources.items():
        if isinstance(source, _Computed) and source.files.finished() is None:
            try:
                pool.parameters(source.job)
            except (UsageError, MissingBackendError) as error:
                raise type(error)(f"{name} on {run.data}: {error}") from error


def _announce(runs: Sequence[RunConfig], sources: Sequence[Mapping[str, _Computed | Path]]) -> None:
    """Say what is to be run, before it is; tracks whose methods are given the same share their results."""
    todo: dict[Path, tuple[str, int]] = {}
    for run, own in zip(runs, sources, strict=True):
        for name, source in own.items():
            if isinstance(source, _Computed) and source.files.finished() is None:
                images = len(source.files.answers())
                todo[source.files.results] = (f"{name} on {run.data}", source.images - images)
    total = len({source.files.results for own in sources for source in own.values() if isinstance(source, _Computed)})
    images = sum(count for _, count in todo.values())
    logger.info(
        "%d of %d methods are to be run, on %d images in all; the others have their results", len(todo), total, images
    )
    for name, count in todo.values():
        logger.info("  %s: %d images", name, count)


def _score_run(
    benchmark: Benchmark,
    run: RunConfig,
    data: BenchmarkData,
    sources: dict[str, _Computed | Path],
    pool: Workers,
    turns: Mapping[str, Mapping[str, float]],
) -> RunScores:
    methods = {}
    for name, source in sources.items():
        if isinstance(source, Path):
            file, record = source, None
        else:
            file, record = source.files.results, source.files.finished() or _make(source, run, data, pool, name)
        results = read_results(file)
        options = benchmark.methods[name]
        if isinstance(options, ResultsOptions) and TRACKS[run.track].given_masks and not options.allow_missing:
            refuse_missing(data.dataset, results, file=file, option="allow_missing: true")
        methods[name] = MethodScore(options, record, results, _score(run, data, results, file, turns.get(name)))
    return RunScores(run, data, methods)


def _turns(
    benchmark: Benchmark, run: RunConfig, data: Mapping[str, BenchmarkData], out: Path, pool: Workers
) -> dict[str, dict[str, float]]:
    """The turns of azimuths in degrees, by method and category, that are best on the data ``run.align``."""
    if not run.align:
        return {}
    options = {name: benchmark.methods[name] for name in run.methods}
    known = [name for name, own in options.items() if not isinstance(own, ResultsOptions) or run.align in own.file]
    other = replace(run, data=run.align, methods=tuple(known), align="")
    sources = _sources(benchmark, other, data[run.align], out)
    scores = _score_run(benchmark, other, replace(data[run.align], meshes=None), sources, pool, {})
    tables = {name: method.table for name, method in scores.methods.items()}
    return {name: table.offsets for name, table in tables.items() if isinstance(table, ShapeTable)}


def fingerprint(job: Job, run: RunConfig, data: BenchmarkData) -> dict[str, Any]:
    """Everything that the results of a method depend on, as JSON values."""
    options = to_jsonable_python(job.options)
    return {
        "kind": type(job.options).__name__,
        "options": {key: value for key, value in options.items() if key not in job.options.TOLD},
        "inputs": list(job.options.inputs()),
        "given": given(run.track),
        "meshes": job.meshes is not None,
        "data": data.sha256,
        "device": job.device,
        "code": provenance.methods_hash(),
        "versions": provenance.versions(),
    }


def _make(source: _Computed, run: RunConfig, data: BenchmarkData, pool: Workers, name: str) -> RunRecord:
    """Run the method on every image that has no answer yet."""
    job, files = source.job, source.files
    known = files.answers()
    missing = [image for image in data.dataset.images if image.id not in known]
    count = len(data.dataset.images)
    logger.info("%s on %s: %d images, %d of them answered before", name, data.name, count, len(known))
    records = [shown(image, given(run.track), depth_order=job.options.depth_order) for image in missing]
    begin = time.monotonic()
    with files.recording() as record_answer:
        for answer in progress(pool.answers(job, records), name, count, done=len(known)):
            record_answer(answer)
            known[answer.image_id] = answer
    ordered = [known[image.id] for image in data.dataset.images]
    # The median, for the first image and a busy machine take longer.
    times = [answer.seconds / answer.objects for answer in ordered if answer.objects]
    record = RunRecord(
        seconds=statistics.median(times) if times else None,
        parameters=pool.parameters(job),
        instances=sum(answer.objects for answer in ordered),
        commit=provenance.commit(),
        versions=provenance.versions(),
        machine=provenance.machine(),
        threads=pool.threads,
        device=job.device,
        processes=pool.count,
    )
    files.finish(ordered, record)
    logger.info("%s on %s: took %s", name, data.name, duration(time.monotonic() - begin))
    return record


def _score(
    run: RunConfig, data: BenchmarkData, results: list[AmodalResult], file: Path, turns: Mapping[str, float] | None
) -> ScoreTable:
    meshes = None if data.meshes is None else mesh_source(data.meshes)
    options = TrackOptions(meshes=meshes, folder=file.parent, turns=turns, class_agnostic=run.class_agnostic)
    evaluator = TRACKS[run.track].make(data.dataset, options)
    evaluator.process(results, file=file)
    try:
        return evaluator.evaluate()
    except DataError as error:  # it concerns the annotations, whose file the evaluator does not know
        raise DataError(error.problem, file=data.files.annotations) from error
