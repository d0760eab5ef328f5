"""Assign the meshes of assets/open13 to train, val and test, and write split and clusters into its index.

    python scripts/split_open13.py            # rewrite the columns `split` and `cluster` of assets/open13/index.tsv
    python scripts/split_open13.py --print    # show the clusters of near-duplicates as well

The rule, with fixed seeds, so that it gives the same split again:

1. *Near-duplicates stay together.* Each mesh is stretched to the unit cube. Two meshes of a category are alike when, at
   the best of the four quarter turns about the vertical axis, the mean IoU of their three orthographic silhouettes
   exceeds ``SILHOUETTES_ALIKE`` and the surfaces overlap by more than ``SURFACES_ALIKE``. Silhouettes alone would make
   one cluster of all cabinets, since every box fills its bounding box; the surfaces tell a restyled copy from another
   box. Clusters are the connected components (single linkage).
2. *Clusters are dealt by hash.* In the order of the SHA-256 of ``open13/<category>/<first name of the cluster>`` a
   cluster goes to test while it fits into test's share (20 %), then the next ones to val while they fit into val's
   (10 %), and all the others to train. A category of fewer than ``MIN_FOR_VAL`` meshes has one test mesh and no val.
   The smallest cluster is taken where none fits, so that every category has a test mesh.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parent.parent / "assets" / "open13"
SILHOUETTES_ALIKE = 0.8
SURFACES_ALIKE = 0.75
TEST_SHARE, VAL_SHARE = 0.2, 0.1
MIN_FOR_VAL = 10
SIZE = 96  # pixels of a silhouette
POINTS = 2500  # samples of a surface
REACH = 0.04  # two surfaces overlap at a point of one that lies this near to the other, in sides of the unit cube


@dataclass(frozen=True)
class Shape:
    """A mesh stretched to the unit cube: silhouettes [3,SIZE,SIZE] bool along x, y, z and surface points [POINTS,3]."""

    views: np.ndarray
    points: torch.Tensor

    @classmethod
    def load(cls, path: Path) -> Shape:
        with np.load(path, allow_pickle=False) as mesh:
            verts, faces = mesh["v"].astype(np.float64), mesh["f"].astype(np.int64)
        used = verts[np.unique(faces)]
        low, high = used.min(axis=0), used.max(axis=0)
        triangles = ((verts - low) / np.maximum(high - low, 1e-9))[faces]  # [F,3,3] in 0..1
        return cls(draw(triangles), sample(triangles))

    def turned(self) -> Shape:
        """The same mesh after a quarter turn about y: (x, z) becomes (z, 1 - x)."""
        along_x, along_y, along_z = self.views
        x, y, z = self.points.unbind(dim=1)
        return Shape(
            np.stack([along_z[:, ::-1], np.rot90(along_y), along_x]), torch.stack([z, y, 1 - x], dim=1).contiguous()
        )


def draw(triangles: np.ndarray) -> np.ndarray:
    """Orthographic silhouettes, [3,SIZE,SIZE] bool, of triangles [F,3,3] in the unit cube; columns are z, x, x."""
    views = []
    for u, v in ((2, 1), (0, 2), (0, 1)):  # seen along x, y, z
        image = Image.new("1", (SIZE, SIZE))
        pen = ImageDraw.Draw(image)
        for corners in (triangles[:, :, (u, v)] * (SIZE - 1)).reshape(-1, 6):
            pen.polygon(corners.tolist(), fill=1, outline=1)
        views.append(np.asarray(image))
    return np.stack(views)


def sample(triangles: np.ndarray) -> torch.Tensor:
    """Points [POINTS,3] spread evenly over the surface of triangles [F,3,3]."""
    generator = np.random.default_rng(0)
    area = np.linalg.norm(np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]), axis=1)
    chosen = triangles[generator.choice(len(area), POINTS, p=area / area.sum())]
    weights = generator.dirichlet([1, 1, 1], POINTS)
    return torch.from_numpy((chosen * weights[:, :, None]).sum(axis=1)).float()


def silhouette_iou(first: Shape, second: Shape) -> float:
    shared = (first.views & second.views).sum(axis=(1, 2))
    either = (first.views | second.views).sum(axis=(1, 2))
    return float((shared / either).mean())


def surface_overlap(first: Shape, second: Shape) -> float:
    """The share of one surface's points within ``REACH`` of the other's, the smaller of both ways."""
    distance = torch.cdist(first.points, second.points)
    return min(float((distance.amin(dim=axis) < REACH).float().mean()) for axis in (0, 1))


def alike(first: Shape, second: Shape) -> bool:
    turns = [second]
    while len(turns) < 4:
        turns.append(turns[-1].turned())
    best = max(turns, key=lambda turn: silhouette_iou(first, turn))
    return silhouette_iou(first, best) > SILHOUETTES_ALIKE and surface_overlap(first, best) > SURFACES_ALIKE


def clusters_of(names: list[str], shapes: dict[str, Shape]) -> list[list[str]]:
    """Connected components of the graph that joins meshes that are alike; each sorted by name."""
    component = {name: {name} for name in names}
    for i, first in enumerate(names):
        for second in names[:i]:
            if second not in component[first] and alike(shapes[first], shapes[second]):
                joined = component[first] | component[second]
                component.update((name, joined) for name in joined)
    return sorted({min(joined): sorted(joined) for joined in component.values()}.values())


def deal(category: str, clusters: list[list[str]]) -> dict[str, str]:
    """Split of every mesh of a category: whole clusters, in the order of their hashes."""
    total = sum(map(len, clusters))
    remaining = sorted(clusters, key=lambda names: hashlib.sha256(f"open13/{category}/{names[0]}".encode()).digest())
    room = {"test": max(1, round(TEST_SHARE * total)), "val": round(VAL_SHARE * total) if total >= MIN_FOR_VAL else 0}
    split = {}
    for part, places in room.items():
        chosen = []
        for names in remaining:
            if len(names) <= places:
                chosen.append(names)
                places -= len(names)
        if not chosen and part == "test":
            chosen = [min(remaining, key=len)]
        remaining = [names for names in remaining if names not in chosen]
        split.update((name, part) for names in chosen for name in names)
    split.update((name, "train") for names in remaining for name in names)
    return split


def main() -> None:
    parser = argparse.ArgumentParser(description="Assign the open13 meshes to train, val and test.")
    parser.add_argument("--print", action="store_true", help="show each cluster of near-duplicates")
    show = parser.parse_args().print
    index = ROOT / "index.tsv"
    with index.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    by_category = defaultdict(list)
    for row in rows:
        by_category[row["category"]].append(row)
    for category, members in sorted(by_category.items()):
        shapes = {row["name"]: Shape.load(ROOT / row["path"]) for row in members}
        clusters = clusters_of(sorted(shapes), shapes)
        split = deal(category, clusters)
        for row in members:
            row["split"] = split[row["name"]]
            row["cluster"] = next(names[0] for names in clusters if row["name"] in names)
        counts = ", ".join(f"{part} {list(split.values()).count(part)}" for part in ("train", "val", "test"))
        print(f"{category}: {len(members)} meshes in {len(clusters)} clusters: {counts}")
        for names in clusters:
            if show and len(names) > 1:
                print(f"    {split[names[0]]}: {' '.join(names)}")
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), delimiter="\t", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    temporary = index.with_suffix(".tmp")
    temporary.write_text(text.getvalue(), encoding="utf-8")
    temporary.replace(index)


if __name__ == "__main__":
    main()
