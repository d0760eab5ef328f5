"""``shape3d-amodal benchmark``: methods x data x track in one report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tyro

from shape3d_amodal.cli.shared.inputs import refuse_configured
from shape3d_amodal.cli.shared.options import Overrides, PrintConfig, check_positive, default_folder, flat
from shape3d_amodal.cli.shared.stopping import keeps
from shape3d_amodal.device import check_device_early
from shape3d_amodal.errors import UsageError

WRITTEN = ("report.html", "tables.md", "tables.tex", "scores.csv", "scores.json", "data", "results")
"""What is written to the folder of a benchmark."""


def benchmark(
    config: tyro.conf.Positional[Path],
    /,
    *,
    out: Path | None = None,
    device: str | None = None,
    overrides: Overrides = (),
    workers: int = 1,
    markdown: Path | None = None,
    print_config: PrintConfig = False,
) -> None:
    """Run the methods of a benchmark that have no results yet, score all, and write one report.

    A benchmark that was stopped goes on where it stood, and what did not change is not run again. The report comes as
    report.html, tables.md, tables.tex (LaTeX), scores.csv and scores.json.

    Args:
        config: YAML file of the benchmark, such as configs/open13/benchmark.yaml.
        out: folder for data, results and report; by default outputs/<folder of the config>/<name of the config>.
        device: auto, cpu, cuda or cuda:N, in place of the config's device.
        overrides: options of the config to change, such as threads=2 data.test.set=[per_category=2].
        workers: processes that run the methods; the results do not depend on it, measured times may.
        markdown: also a page of documentation, such as docs/results.md, with its images in the folder docs/results.
    """
    import logging

    from shape3d_amodal.cli.shared.kinds import check_kind
    from shape3d_amodal.files.assets import find_config
    from shape3d_amodal.files.outputs import output_folder

    check_positive(workers=workers)
    if device is not None:
        check_device_early(device)
    path, folder = find_config(config), out or default_folder(config)
    check_kind(config, "benchmark")  # before anything heavy is imported
    if not print_config:
        output_folder(folder)
        if markdown is not None:
            _check_page(markdown)

    from shape3d_amodal.benchmarking.config import load_benchmark
    from shape3d_amodal.benchmarking.provenance import command
    from shape3d_amodal.benchmarking.runner import run_benchmark
    from shape3d_amodal.config import explained_config
    from shape3d_amodal.device import torch_device
    from shape3d_amodal.papers.nmr.benchmark import score_known_cameras
    from shape3d_amodal.reports.benchmark.report import write_reports
    from shape3d_amodal.reports.benchmark.results_page import write_results_page

    changes = flat(overrides) if device is None else (*flat(overrides), f"device={device}")
    chosen = load_benchmark(path, overrides=changes)
    if print_config:
        print(explained_config(chosen.config), end="")
        return
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch_device(chosen.config.device)
    read: Any = {"files": [path, *chosen.scene_files], "configs": [chosen.config, *chosen.scenes.values()]}
    refuse_configured(folder, writes=WRITTEN, **read)
    if markdown is not None:
        refuse_configured(markdown.parent, writes=[markdown.name, markdown.stem], option="--markdown", **read)
    # This comes first, for it is short, and what it lacks is heard of at once.
    cameras = chosen.config.known_cameras
    extra = [] if cameras is None else [score_known_cameras(cameras)]
    with keeps(f"what is done is kept in {folder}"):
        scores = run_benchmark(chosen, folder, processes=workers)
    title, intro = chosen.config.title, chosen.config.intro
    write_reports(folder, scores, title=title, intro=intro, command=command(), extra=extra)
    if markdown is not None:
        aims = chosen.config.aims
        write_results_page(markdown, scores, title=title, intro=intro, command=command(), extra=extra, aims=aims)
    print((folder / "tables.md").read_text(encoding="utf-8"))
    print(f"report: {folder / 'report.html'}")


def _check_page(markdown: Path) -> None:
    """Nothing that a benchmark reads has the ending of its page."""
    from shape3d_amodal.files.outputs import output_file

    if markdown.resolve().suffix != ".md":  # the page of a link goes where that leads
        raise UsageError(f"--markdown: expected a name that ends with .md, got {markdown.name!r}")
    output_file(markdown, option="--markdown")
