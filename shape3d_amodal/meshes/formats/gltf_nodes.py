"""The nodes of a glTF file: which meshes its scene shows, and where (EXT_mesh_gpu_instancing included)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from shape3d_amodal.errors import DataError
from shape3d_amodal.meshes.formats.gltf_arrays import Arrays, entry_of

MAX_DEPTH = 64
MAX_NODES = 100_000
MAX_PLACES = 500_000
"""Meshes and instances of meshes that a scene may show."""
INSTANCING = "EXT_mesh_gpu_instancing"
VISIBILITY = "KHR_node_visibility"


def placed_meshes(gltf: dict[str, Any], arrays: Arrays, left_out: Counter[str]) -> Iterator[tuple[int, np.ndarray]]:
    """The meshes that the scene shows, by number, each with its places [K,4,4] (points as columns).

    Args:
        left_out: counts what is not read, as texts.

    Raises:
        DataError: the nodes are no trees, too deep or too many, or show more than ``MAX_PLACES`` meshes.
    """
    nodes = gltf.get("nodes", [])
    if len(nodes) > MAX_NODES:
        raise DataError(f"expected at most {MAX_NODES} nodes, got {len(nodes)}; join the scene's meshes", field="nodes")
    _check_tree([node.get("children", []) for node in nodes])
    if not nodes:
        yield from ((number, np.eye(4)[None]) for number in range(len(gltf.get("meshes", []))))
        return
    places = 0
    reached: set[int] = set()
    todo = [(root, np.eye(4), False) for root in reversed(_roots(gltf, nodes))]
    while todo:
        number, parent, hidden = todo.pop()
        node = entry_of(nodes, number)
        hidden = hidden or node.get("extensions", {}).get(VISIBILITY, {}).get("visible") is False
        reached.add(number)
        with np.errstate(over="ignore", invalid="ignore"):
            world = parent @ _local(node)
        todo.extend((child, world, hidden) for child in reversed(node.get("children", [])))
        if (mesh := node.get("mesh")) is not None:
            if hidden:
                left_out[f"what {VISIBILITY} hides is read, too"] += 1
            if node.get("skin") is not None:
                left_out["the skin is not applied: the mesh is read as it was before it was posed"] += 1
            instances = _instances(node, arrays, MAX_PLACES - places)
            places += len(instances)
            with np.errstate(over="ignore", invalid="ignore"):
                placed = world @ instances
            yield mesh, placed
    _tell_hidden(gltf, reached, left_out)


def _tell_hidden(gltf: dict[str, Any], reached: set[int], left_out: Counter[str]) -> None:
    """Count the nodes with a mesh that are not ``reached``, and the meshes that no node names."""
    nodes = gltf["nodes"]
    if hidden := sum(node.get("mesh") is not None for number, node in enumerate(nodes) if number not in reached):
        left_out["node outside of the scene|nodes outside of the scene"] += hidden
    named = {node.get("mesh") for node in nodes}
    if unnamed := sum(mesh not in named for mesh in range(len(gltf.get("meshes", [])))):
        left_out["mesh that no node names|meshes that no node names"] += unnamed


def _roots(gltf: dict[str, Any], nodes: list[dict[str, Any]]) -> list[int]:
    """The nodes at which the scene starts: the default scene, the first, or all that are no children."""
    if scenes := gltf.get("scenes", []):
        roots = entry_of(scenes, gltf.get("scene", 0)).get("nodes", [])
        if len(set(roots)) != len(roots):
            raise DataError("expected each node once in a scene; export the mesh anew", field="scenes")
        return list(roots)
    children = {child for node in nodes for child in node.get("children", [])}
    return [number for number in range(len(nodes)) if number not in children]


def _local(node: dict[str, Any]) -> np.ndarray:
    """The transform [4,4] of a node in its parent."""
    if (matrix := node.get("matrix")) is not None:
        return np.array(matrix, np.float64).reshape(4, 4).T
    shift = np.array(node.get("translation", (0, 0, 0)), np.float64).reshape(1, 3)
    turn = np.array(node.get("rotation", (0, 0, 0, 1)), np.float64).reshape(1, 4)
    scale = np.array(node.get("scale", (1, 1, 1)), np.float64).reshape(1, 3)
    composed: np.ndarray = _compose(shift, turn, scale)[0]
    return composed


def _instances(node: dict[str, Any], arrays: Arrays, most: int) -> np.ndarray:
    """The places [K,4,4], at most ``most``, of a node's mesh within the node; one without the extension."""
    extension = node.get("extensions", {}).get(INSTANCING)
    attributes = {} if extension is None else extension.get("attributes", {})
    largest = max((arrays.count(number) for number in attributes.values()), default=1)
    if largest > most:
        problem = f"expected at most {MAX_PLACES} places of meshes, got {MAX_PLACES - most + largest} or more"
        raise DataError(f"{problem}; simplify the scene", field="nodes")
    if extension is None:
        return np.eye(4)[None]
    read = {
        name: arrays.read(attributes[name], (kind,), name)
        for name, kind in (("TRANSLATION", "VEC3"), ("ROTATION", "VEC4"), ("SCALE", "VEC3"))
        if name in attributes
    }
    counts = {len(values) for values in read.values()}
    if len(counts) != 1:
        problem = "expected the same number of TRANSLATION, ROTATION and SCALE, at least one of them"
        raise DataError(f"{problem}; export the mesh anew", field=INSTANCING)
    (count,) = counts
    return _compose(
        read.get("TRANSLATION", np.zeros((count, 3))),
        read.get("ROTATION", np.tile([0.0, 0, 0, 1], (count, 1))),
        read.get("SCALE", np.ones((count, 3))),
    )


def _compose(shift: np.ndarray, turn: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Transforms [K,4,4] of translations [K,3], unit quaternions x y z w [K,4] and scales [K,3]."""
    length = np.linalg.norm(turn, axis=1, keepdims=True)
    x, y, z, w = (turn / np.where(length > 0, length, 1)).T
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    composed = np.zeros((len(shift), 4, 4))
    composed[:, :3, :3] = np.moveaxis(np.array(rows), 2, 0) * scale[:, None, :]
    composed[:, :3, 3] = shift
    composed[:, 3, 3] = 1
    return composed


def _check_tree(children: list[list[int]]) -> None:
    """Refuse nodes that are no trees, or too deep ones."""
    parents = [0] * len(children)
    for child in (child for row in children for child in row):
        if type(child) is not int or not 0 <= child < len(children):
            raise IndexError(f"there is no node {str(child)[:20]}")
        parents[child] += 1
    level = [node for node, count in enumerate(parents) if count == 0]
    depth = reached = 0
    while level and depth <= MAX_DEPTH and max(parents, default=0) <= 1:
        depth += 1
        reached += len(level)
        level = [child for node in level for child in children[node]]
    if reached != len(children) or depth > MAX_DEPTH:
        problem = f"expected a tree of nodes of at most {MAX_DEPTH} levels; flatten the scene"
        raise DataError(problem, field="nodes")
