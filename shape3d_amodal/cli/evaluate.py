"""``shape3d-amodal evaluate``: results files against annotations."""

from __future__ import annotations

from pathlib import Path

import tyro


def evaluate(
    results: tyro.conf.Positional[tuple[Path, ...]],
    /,
    *,
    annotations: Path,
    out: Path | None = None,
) -> None:
    """Score results files in the completion track: mIoU and occluded mIoU by category.

    Args:
        results: one or more results files; each is a row of the tables, named by its file name.
        annotations: annotation file with visible and amodal masks; instances marked ignore are not scored.
        out: folder to write completion.md and completion.json to; with neither, the tables are only printed.
    """
    import json

    from shape3d_amodal.data.atomic import write_atomic
    from shape3d_amodal.data.formats.detect import read_dataset
    from shape3d_amodal.data.formats.results import read_results
    from shape3d_amodal.errors import UsageError
    from shape3d_amodal.evaluation.completion import evaluate_completion
    from shape3d_amodal.evaluation.tables import category_table, summary_table

    names = [path.stem for path in results]
    if not names or len(set(names)) < len(names):
        raise UsageError(f"expected one or more results files of different names, got {', '.join(names) or 'none'}")
    dataset = read_dataset(annotations)
    scores = {path.stem: evaluate_completion(dataset, read_results(path), file=path) for path in results}
    tables = [
        category_table(scores, "miou", title="mIoU, %").transposed(),
        category_table(scores, "occluded_miou", title="occluded mIoU, %").transposed(),
        summary_table(scores, title="means, %"),
    ]
    text = "\n".join(f"{table.title}\n\n{table.to_markdown()}" for table in tables)
    print(text)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        content = {name: table.to_dict() for name, table in scores.items()}
        write_atomic(out / "completion.json", json.dumps(content, indent=1).encode())
        write_atomic(out / "completion.md", text.encode())
