"""Edges and the faces at them."""

from __future__ import annotations

import torch
from silhouette_cases import book, sphere

from shape3d_amodal.rendering.topology import topology_of


def sides(topology, edge):
    part = slice(int(topology.first_side[edge]), int(topology.first_side[edge + 1]))
    return sorted(zip(topology.face[part].tolist(), topology.along[part].tolist(), strict=True))


def test_two_triangles():
    topology = topology_of(torch.tensor([[0, 1, 2], [2, 1, 3]]))
    assert topology.edges.tolist() == [[0, 1], [0, 2], [1, 2], [1, 3], [2, 3]]
    assert [sides(topology, e) for e in range(5)] == [[(0, 1)], [(0, -1)], [(0, 1), (1, -1)], [(1, 1)], [(1, -1)]]


def test_closed_mesh_obeys_euler():
    verts, faces = sphere(2)
    topology = topology_of(faces)
    assert verts.shape[1] - len(topology.edges) + len(faces) == 2
    assert (topology.first_side.diff() == 2).all()
    assert all(sum(along for _, along in sides(topology, e)) == 0 for e in range(len(topology.edges)))


def test_spine_of_a_book_has_five_sides():
    _, faces = book()
    assert sides(topology_of(faces), 0) == [(0, 1), (1, -1), (2, 1), (3, 1), (4, -1)]


def test_each_mesh_of_a_batch_has_its_own_edges():
    a = torch.tensor([[0, 1, 2], [2, 1, 3]])
    b = torch.tensor([[3, 1, 0], [0, 0, 0]])
    both = topology_of(torch.stack([a, b]))
    assert both.first_edge.tolist() == [0, 5, 9]
    assert both.edges[:5].tolist() == topology_of(a).edges.tolist()
    assert both.edges[5:].tolist() == [[0, 0], [0, 1], [0, 3], [1, 3]]
    assert [sides(both, e) for e in (6, 7, 8)] == [[(0, -1)], [(0, 1)], [(0, -1)]]


def test_known_until_the_faces_change():
    faces = torch.tensor([[0, 1, 2], [2, 1, 3]])
    first = topology_of(faces)
    assert topology_of(faces) is first
    faces[1, 2] = 0
    assert topology_of(faces) is not first
    assert topology_of(faces).edges.tolist() == [[0, 1], [0, 2], [1, 2]]


def test_no_faces():
    assert topology_of(torch.zeros(0, 3, dtype=torch.int64)).edges.shape == (0, 2)
