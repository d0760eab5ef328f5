"""``shape3d-amodal demo``: scenes of unseen meshes through all stages, with a report."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shape3d_amodal.comparison import Comparison
    from shape3d_amodal.data.scene_sets import SceneSetConfig
    from shape3d_amodal.evaluation.tables import Table
    from shape3d_amodal.structures import AmodalDataset
    from shape3d_amodal.visualization.report import ReportCase

_UNSEEN = "None of these meshes was seen in training."


def demo(
    *,
    out: Path = Path("outputs/demo"),
    config: Path | None = None,
    per_category: int = 2,
    weights: str = "open13",
    fit_steps: int = 0,
    depth_order: bool = False,
    device: str = "cpu",
) -> None:
    """Make scenes of meshes that no training has seen, complete every target, and show what came out.

    Args:
        out: folder for the scenes, results, tables and report.html; an earlier demo in it is replaced.
        config: YAML file of a scene set; by default the test split's, configs/open13/test.yaml.
        per_category: targets of each category; 20 is the whole test split.
        weights: name of shipped weights, or a folder of weights.
        fit_steps: gradient steps that fit shape and viewpoint to each object.
        depth_order: tell the methods which object is in front of which; by default every object may hide every other.
        device: cpu or cuda.
    """
    import time

    from shape3d_amodal.comparison import FINAL, compare
    from shape3d_amodal.completion import without_depth_order
    from shape3d_amodal.config import load_config
    from shape3d_amodal.data.atomic import write_atomic
    from shape3d_amodal.data.formats.results import write_results
    from shape3d_amodal.data.scene_sets import SceneSetConfig, png_bytes, write_scene_set
    from shape3d_amodal.pipeline import ShapePriorPipeline
    from shape3d_amodal.visualization.cases import gallery

    default = Path(__file__).resolve().parents[2] / "configs" / "open13" / "test.yaml"
    scenes = load_config(config or default, SceneSetConfig, overrides=[f"per_category={per_category}"])
    pipeline = ShapePriorPipeline.from_pretrained(weights, device=device)
    folder = out / "scenes"
    _clear(out)
    start = time.monotonic()
    dataset = write_scene_set(scenes, folder)
    made = time.monotonic()
    print(f"{len(dataset.images)} scenes in {made - start:.1f} s")
    given = dataset if depth_order else without_depth_order(dataset)
    annotations = folder / "annotations.json"
    comparison = compare(pipeline, given, folder / "images", annotations=annotations, fit_steps=fit_steps)
    print(f"{len(comparison.results[FINAL])} objects completed in {time.monotonic() - made:.1f} s")
    for name, results in comparison.results.items():
        write_results(out / f"{name.replace(' ', '_')}.json", results)
    tables = _tables(comparison)
    text = "\n".join(f"{table.title}\n\n{table.to_markdown()}" for table in tables)
    write_atomic(out / "tables.md", text.encode())
    options = f"--per-category {per_category} --fit-steps {fit_steps} --weights {weights}"
    options += f" --config {config}" * (config is not None) + " --depth-order" * depth_order
    cases = _cases(comparison, dataset, folder / "images")
    write_atomic(out / "gallery.png", png_bytes(gallery(cases[: len(dataset.category_names) - 1 : 2])))
    _report(out / "report.html", comparison, cases, scenes, tables, f"shape3d-amodal demo {options}")
    print(f"\n{text}\nreport: {out / 'report.html'}")


def _clear(out: Path) -> None:
    """Remove an earlier demo from ``out``, and nothing else."""
    import shutil

    from shape3d_amodal.errors import UsageError

    scenes = out / "scenes"
    if scenes.exists():
        foreign = [path for path in scenes.iterdir() if path.name not in ("annotations.json", "images")]
        foreign += [path for path in scenes.glob("images/*") if not re.fullmatch(r"\d{6}\.png", path.name)]
        if foreign:
            raise UsageError(f"{foreign[0]}: not of an earlier demo; choose another --out or move it away")
        shutil.rmtree(scenes)
    for name in ("report.html", "tables.md", "gallery.png"):
        (out / name).unlink(missing_ok=True)


def _tables(comparison: Comparison) -> list[Table]:
    from shape3d_amodal.evaluation.tables import category_table, level_table, summary_table

    scores = comparison.tables
    return [
        category_table(scores, "miou", title="mIoU, %").transposed(),
        category_table(scores, "occluded_miou", title="occluded mIoU, %").transposed(),
        summary_table(scores, title="means, %"),
        level_table(scores, title="mIoU by occlusion, %"),
    ]


def _report(
    path: Path,
    comparison: Comparison,
    cases: list[ReportCase],
    scenes: SceneSetConfig,
    tables: list[Table],
    command: str,
) -> None:
    from shape3d_amodal import __version__
    from shape3d_amodal.comparison import FINAL
    from shape3d_amodal.evaluation.metrics import METRICS
    from shape3d_amodal.visualization.charts import BarChart, Series
    from shape3d_amodal.visualization.report import Figure, best_and_worst, write_report

    ours, visible = comparison.tables[FINAL], comparison.tables["visible only"]
    hull = comparison.tables["convex hull"]
    figures = [
        Figure(
            label=label,
            value=f"{100 * ours.score[field]:.1f}",
            note=f"visible only {100 * visible.score[field]:.1f}, convex hull {100 * hull.score[field]:.1f}",
        )
        for label, field in (("mIoU", "miou"), ("occluded mIoU", "occluded_miou"))
    ]
    charts = []
    for title, field in (("mIoU by category", "miou"), ("Occluded mIoU by category", "occluded_miou")):
        series = tuple(
            Series(
                name=name,
                values=tuple(100 * score[field] for score in table.by_category().values()),
            )
            for name, table in comparison.tables.items()
        )
        charts.append(BarChart(title=title, groups=tuple(ours.by_category()), series=series))
    write_report(
        path,
        title="Amodal completion",
        intro="Each picture shows objects that hide each other. Given are the visible masks; asked for is the whole "
        f"mask of every target. {_UNSEEN if scenes.meshes == 'open13:test' else ''}",
        figures=figures,
        tables=tables,
        charts=charts,
        groups=best_and_worst(cases),
        metrics=[METRICS["miou"], METRICS["occluded_miou"]],
        facts=[
            ("command", command),
            ("scenes", f"{scenes.meshes}, seed {scenes.seed}, {len(comparison.completed)} pictures"),
            ("version", __version__),
        ],
    )


def _cases(comparison: Comparison, dataset: AmodalDataset, images: Path) -> list[ReportCase]:
    from shape3d_amodal.data import masks
    from shape3d_amodal.data.safe_io import read_image
    from shape3d_amodal.visualization.cases import completion_case

    names = dataset.category_names
    cases = []
    for image, objects in comparison.completed:
        picture = read_image(images / image.file_name)
        for instance, one in objects:
            if instance.ignore or instance.amodal is None:
                continue
            cases.append(
                completion_case(
                    f"{names[instance.category_id]}, picture {image.id}",
                    picture,
                    visible=one.visible,
                    silhouette=one.silhouette,
                    final=one.amodal,
                    truth=masks.decode(instance.amodal),
                )
            )
    return cases
