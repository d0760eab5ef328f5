"""The shipped meshes: whole, licensed, and split without a leak."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from shape3d_amodal.meshes.sources import mesh_source

ROOT = Path(__file__).resolve().parents[2] / "assets" / "open13"
FOLDERS = {
    "CC0-1.0": "cc0",
    "CC-BY-3.0": "cc-by",
    "CC-BY-3.0-US": "cc-by",
    "GPL-2.0-or-later": "gpl",
    "FAL-1.x": "free-art",
}


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with (ROOT / "index.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_index_names_every_file_and_nothing_else(rows):
    assert len(rows) == 271
    assert sorted(row["path"] for row in rows) == sorted(
        path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.npz")
    )


def test_files_are_the_ones_that_were_indexed(rows):
    damaged = [r["path"] for r in rows if hashlib.sha256((ROOT / r["path"]).read_bytes()).hexdigest() != r["sha256"]]
    assert damaged == []


def test_meshes_have_the_documented_layout(rows):
    for row in rows:
        with np.load(ROOT / row["path"], allow_pickle=False) as mesh:
            verts, faces, colors = mesh["v"], mesh["f"], mesh["rgb"]
        assert verts.dtype == np.int16, row["path"]
        assert verts.shape[1:] == (3,), row["path"]
        assert faces.shape == (int(row["faces"]), 3), row["path"]
        assert faces.dtype.kind == "u" and faces.max() < len(verts), row["path"]
        assert colors.shape == faces.shape and colors.dtype == np.uint8, row["path"]
        extent = (verts.max(axis=0).astype(float) - verts.min(axis=0)) / 32767
        assert np.linalg.norm(extent) == pytest.approx(1, abs=2e-3), row["path"]


def test_names_are_unique_in_a_category(rows):
    assert max(Counter((row["category"], row["name"]) for row in rows).values()) == 1


def test_each_category_has_train_and_test_and_the_larger_ones_val(rows):
    splits = defaultdict(Counter)
    for row in rows:
        splits[row["category"]][row["split"]] += 1
    assert len(splits) == 13
    for category, counts in splits.items():
        assert set(counts) <= {"train", "val", "test"}, category
        assert counts["test"] >= 1 and counts["train"] >= 2, category
        assert (counts["val"] > 0) == (counts.total() >= 10), category


def test_no_mesh_is_in_two_splits(rows):
    """Neither the same bytes nor the same triangles in another order or another frame."""
    for key in (lambda row: row["sha256"], _shape_key):
        splits = defaultdict(set)
        for row in rows:
            splits[key(row)].add(row["split"])
        assert all(len(found) == 1 for found in splits.values())


def _shape_key(row: dict[str, str]) -> tuple[object, ...]:
    """Equal for the same triangles in any order, mirrored, turned by quarters or differently coloured."""
    with np.load(ROOT / row["path"], allow_pickle=False) as mesh:
        triangles = mesh["v"].astype(np.float64)[mesh["f"].astype(np.int64)] / 32767
    areas = np.linalg.norm(np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]), axis=1)
    return len(areas), round(float(areas.sum()), 4), round(float((areas**2).sum()), 5)


def test_near_duplicates_share_a_split(rows):
    """Variants of one model that a person can name from the list."""
    split = {(row["category"], row["name"]): row["split"] for row in rows}
    for category, names in (
        ("airplane", ("A319", "A320", "A321")),
        ("airplane", ("A332", "A342", "A343", "A345", "A346")),
        ("airplane", ("E70", "E90", "E95")),
        ("airplane", ("736", "738", "739")),
        ("airplane", ("Fokker_70", "Fokker_100")),
        ("airplane", ("Bae146_200", "BAE146_300")),
        ("car", ("Concept_Sedan_01", "Concept_Sedan_01_1")),
        ("car", ("Concept_Sedan_02", "Concept_Sedan_02_Sport")),
        ("dresser", ("Drawers_cabinet", "Lower_cabinet")),
    ):
        assert len({split[category, name] for name in names}) == 1, names


def test_each_licence_stands_in_a_folder_of_its_own(rows):
    for row in rows:
        folder, category, file = row["path"].split("/")
        assert (folder, category, file) == (FOLDERS[row["licence"]], row["category"], f"{row['name']}.npz")
    for folder in set(FOLDERS.values()):
        assert list((ROOT / folder).glob("LICENSE*.txt")), folder
        attribution = (ROOT / folder / "ATTRIBUTION.md").read_text(encoding="utf-8")
        missing = [
            r["path"]
            for r in rows
            if r["path"].startswith(f"{folder}/") and r["path"][len(folder) + 1 :] not in attribution
        ]
        assert missing == [], folder


def test_near_duplicates_are_in_one_split_and_found_by_name(rows):
    splits = defaultdict(set)
    members = defaultdict(set)
    for row in rows:
        splits[row["category"], row["cluster"]].add(row["split"])
        members[row["category"], row["cluster"]].add(f"{row['category']}/{row['name']}")
        assert f"{row['category']}/{row['cluster']}" in members[row["category"], row["cluster"]]
    assert {len(parts) for parts in splits.values()} == {1}
    train = mesh_source("open13:train")
    assert (
        set(train.near_duplicates("airplane/A310")) == members["airplane", "A300"]
        and len(members["airplane", "A300"]) > 1
    )
    assert train.near_duplicates("chair/none") == ("chair/none",)
