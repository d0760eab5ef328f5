"""``complete`` in shards, lines and worker processes, and ``evaluate`` of their files: as of one run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import tiny_model

from shape3d_amodal import masks
from shape3d_amodal.annotations.results import read_results, results_files, shard_file
from shape3d_amodal.cli import main
from shape3d_amodal.errors import DataError
from shape3d_amodal.pipeline import ShapePriorPipeline

IMAGES = 5


def rle(rows: slice, columns: slice) -> dict:
    mask = np.zeros((40, 60), bool)
    mask[rows, columns] = True
    return masks.encode(mask).to_coco()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights, five images with two objects each, one of them damaged, and their annotations."""
    root = tmp_path_factory.mktemp("set")
    ShapePriorPipeline.from_model(tiny_model()).save_pretrained(root / "weights")
    (root / "images").mkdir()
    generator, annotations = np.random.default_rng(0), []
    for number in range(IMAGES):
        Image.fromarray(generator.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(root / f"images/{number}.png")
        left, right = slice(5 + number, 20 + number), slice(20 + number, 35 + number)
        for place, (seen, whole) in enumerate([(left, slice(5 + number, 25 + number)), (right, right)]):
            one = {"id": 10 * number + place, "image_id": number, "category_id": 1 + place}
            shown = {"visible_mask": rle(slice(10, 30), seen), "segmentation": rle(slice(10, 30), whole)}
            annotations.append({**one, **shown})
    (root / "images/3.png").write_bytes(b"no picture")
    images = [{"id": i, "file_name": f"{i}.png", "width": 60, "height": 40} for i in range(IMAGES)]
    categories = [{"id": 1, "name": "chair"}, {"id": 2, "name": "table"}]
    content = {"images": images, "categories": categories, "annotations": annotations}
    (root / "annotations.json").write_text(json.dumps(content))
    return root


def complete(root: Path, out: Path, *more: str) -> int:
    given = ["--images", str(root / "images"), "--annotations", str(root / "annotations.json")]
    return main(["complete", *given, "--weights", str(root / "weights"), "--out", str(out), *more])


@pytest.fixture(scope="module")
def whole(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of one run, in batches of two images."""
    out = tmp_path_factory.mktemp("whole") / "whole.json"
    assert complete(root, out, "--batch", "2") == 0
    return out


@pytest.mark.parametrize("ending", [".json", ".jsonl"])
def test_shards_hold_what_one_run_holds(root: Path, tmp_path: Path, whole: Path, ending: str, monkeypatch) -> None:
    """Two images see the networks together, the same two in any shard; the second shard's number is srun's."""
    out = tmp_path / f"found{ending}"
    assert complete(root, out, "--batch", "2", "--shard", "0/2") == 0
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert complete(root, out, "--batch", "2") == 0
    monkeypatch.delenv("RANK")
    shards = [shard_file(out, (i, 2)) for i in range(2)]
    assert sorted(path.name for path in tmp_path.iterdir() if "skipped" not in path.name) == [
        f"found-00000-of-00002{ending}",
        f"found-00001-of-00002{ending}",
    ]
    found = [one for path in shards for one in read_results(path)]
    assert sorted(found, key=lambda one: one.annotation_id) == read_results(whole)  # scores to the last bit
    assert [[one.image_id for one in read_results(path)] for path in shards] == [[0, 0, 1, 1, 4, 4], [2, 2]]
    assert json.loads((tmp_path / "found-00001-of-00002.skipped.json").read_text())[0]["image_id"] == 3
    tables = []
    for name, files in (("one", [whole]), ("many", shards)):
        score = ["evaluate", *map(str, files), "--annotations", str(root / "annotations.json"), "--allow-missing"]
        assert main([*score, "--out", str(tmp_path / name)]) == 0
        tables.append(list(json.loads((tmp_path / name / "completion.json").read_text()).values()))
    assert tables[0] == tables[1] and len(tables[0]) == 1


def test_workers_change_nothing(root: Path, tmp_path: Path, whole: Path) -> None:
    assert complete(root, tmp_path / "out.json", "--batch", "2", "--workers", "2") == 0
    assert (tmp_path / "out.json").read_bytes() == whole.read_bytes()


def test_lines_are_the_records_of_the_list(root: Path, tmp_path: Path, whole: Path) -> None:
    assert complete(root, tmp_path / "out.jsonl", "--batch", "2") == 0
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert list(map(json.loads, lines)) == json.loads(whole.read_text())


def test_a_shard_that_is_missing_is_named(tmp_path: Path) -> None:
    some = [tmp_path / f"a-0000{i}-of-00003.jsonl" for i in (0, 2)]
    with pytest.raises(DataError, match=r"expected all 3 shards, 1 are missing \(a-00001-of-00003.jsonl\)"):
        results_files([*some, tmp_path / "b.json"])
    with pytest.raises(DataError, match="shards of one number, got of 3 and 4"):
        results_files([*some, tmp_path / "a-00001-of-00004.jsonl"])
    every = [*some, tmp_path / "a-00001-of-00003.jsonl"]
    assert results_files([tmp_path / "b.json", *every]) == {
        tmp_path / "b.json": [tmp_path / "b.json"],
        tmp_path / "a.jsonl": sorted(every),
    }
