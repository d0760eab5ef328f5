"""``shape3d-amodal demo``: scenes of unseen meshes through all stages, with a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shape3d_amodal.cli.shared.inputs import refuse_configured
from shape3d_amodal.cli.shared.options import Device, check_positive
from shape3d_amodal.cli.shared.stopping import keeps
from shape3d_amodal.device import check_device_early

_SILHOUETTE, _OURS = "silhouette", "ours"


def demo(
    *,
    out: Path = Path("outputs/demo"),
    config: Path | None = None,
    per_category: int = 2,
    weights: str = "open13",
    fit_steps: int | None = None,
    depth_order: bool = False,
    device: Device = "auto",
) -> None:
    """Make scenes of meshes that were not used in training, complete every target object, and write a report.

    Args:
        out: folder for scenes, results, tables and report.html; files of an earlier demo in it are reused or replaced.
        config: YAML file of a scene set; by default the test split's, configs/open13/test.yaml.
        per_category: target objects of each category; 20 is the whole test split.
        weights: name of shipped weights, or a folder of weights.
        fit_steps: gradient steps that fit shape and viewpoint to each object at test time; by default as in training.
        depth_order: give the methods the order in depth; by default every object may hide every other.
    """
    import time

    from shape3d_amodal.cli.benchmark import WRITTEN
    from shape3d_amodal.cli.shared.kinds import check_kind
    from shape3d_amodal.files.outputs import output_folder

    check_positive(per_category=per_category)
    check_device_early(device)
    check_kind(config, "scenes --config")
    output_folder(out)
    refuse_configured(out, writes=(*WRITTEN, "gallery.png"), files=[config])

    from shape3d_amodal.benchmarking.config import BenchmarkConfig, DataConfig, RunConfig, resolve
    from shape3d_amodal.benchmarking.provenance import command
    from shape3d_amodal.benchmarking.runner import run_benchmark
    from shape3d_amodal.evaluation.tables import counted
    from shape3d_amodal.files.assets import CONFIGS
    from shape3d_amodal.files.atomic import write_atomic
    from shape3d_amodal.reports.benchmark.completion_cases import cases, scored_objects
    from shape3d_amodal.reports.benchmark.report import write_reports
    from shape3d_amodal.reports.cases import gallery
    from shape3d_amodal.scenes.sets import png_bytes

    scenes = config or CONFIGS / "open13" / "test.yaml"
    benchmark = resolve(
        BenchmarkConfig(
            data={"scenes": DataConfig(scenes=scenes, set=(f"per_category={per_category}",))},
            methods=_methods(weights, fit_steps, depth_order),
            runs=(RunConfig(data="scenes", title="Results"),),
            device=device,
            threads=0,
        ),
        source="demo",
    )
    read = [benchmark.config, *benchmark.scenes.values()]
    refuse_configured(out, writes=(*WRITTEN, "gallery.png"), files=[config], configs=read)
    start = time.monotonic()
    with keeps(f"what is done is kept in {out}"):
        (scores,) = run_benchmark(benchmark, out)
    print(f"{counted(len(scores.methods[_OURS].results), 'object')} completed in {time.monotonic() - start:.1f} s")
    unseen = "None of these meshes was used in training." if benchmark.scenes["scenes"].meshes == "open13:test" else ""
    intro = (
        "Each image shows objects that hide each other. The methods are given the visible masks and predict the whole "
        f"mask of every target object. {unseen}"
    )
    write_reports(out, [scores], title="Amodal completion", intro=intro, command=command())
    one_a_category = scored_objects(scores)[: len(scores.tables[_OURS].names)]
    rows = cases(scores, one_a_category[::2], (_SILHOUETTE, _OURS))
    write_atomic(out / "gallery.png", png_bytes(gallery(rows, titles=True)))
    print((out / "tables.md").read_text(encoding="utf-8"))
    print(f"report: {out / 'report.html'}")


def _methods(weights: str, fit_steps: int | None, depth_order: bool) -> dict[str, dict[str, Any]]:
    fit = None if fit_steps is None else {"steps": fit_steps}
    pipeline = {"kind": "pipeline", "weights": weights, "fit": fit}
    methods: dict[str, dict[str, Any]] = {
        "visible only": {"kind": "visible_only"},
        "convex hull": {"kind": "convex_hull"},
        _SILHOUETTE: {**pipeline, "refine": "none", "note": "the bare rendered mesh"},
        _OURS: {**pipeline, "note": "all stages"},
    }
    return {name: {**options, "depth_order": depth_order} for name, options in methods.items()}
