"""The bank: which shapes of a source it holds, and that each is drawn once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from boxes import PARTS, BoxMeshes, box_mesh

from shape3d_amodal.errors import DataError
from shape3d_amodal.meshes.mesh import Mesh, UnusableMeshError
from shape3d_amodal.priors.bank.shapes import BankConfig, ShapeBank
from shape3d_amodal.priors.bank.templates import draw_templates, views_of


def triangles(verts: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """[F,9], whatever the order of vertices and faces."""
    corners = np.array([sorted(map(tuple, one)) for one in verts[faces].tolist()]).reshape(-1, 9)
    return corners[np.lexsort(corners.T)]


def test_categories_and_shapes() -> None:
    bank = ShapeBank(BoxMeshes())
    assert bank.categories == ("chair", "dresser", "lamp", "sofa", "table")
    shapes = bank.shapes("chair", "upright")
    assert shapes.names == ("chair/four_legs", "chair/one_arm") and len(shapes.templates) == 2
    mesh = box_mesh(PARTS["chair/one_arm"])
    for verts, faces in (shapes.coarse(1), shapes.fine(1)):
        np.testing.assert_array_equal(triangles(verts, faces), triangles(mesh.verts, mesh.faces))
        assert verts.dtype == np.float32 and faces.dtype == np.int64
    expected = draw_templates(*shapes.coarse(1), views_of("upright"))
    np.testing.assert_array_equal(shapes.templates[1].bits, expected.bits)
    assert bank.shapes("chair", "upright") is shapes, "drawn once"
    assert len(bank.shapes("chair", "tabletop").templates[0].views) != len(shapes.templates[0].views)


def test_meshes_of_many_faces_are_simplified() -> None:
    """For templates and for fits each by its own limit; the chair has 84 faces."""

    def counts(faces: int, fine_faces: int) -> list[int]:
        bank = ShapeBank(BoxMeshes(["chair/one_arm"]), BankConfig(faces=faces, fine_faces=fine_faces))
        shapes = bank.shapes("chair", "upright")
        return [len(shapes.coarse(0)[1]), len(shapes.fine(0)[1])]

    assert counts(84, 84) == [84, 84]
    coarse, fine = counts(50, 84)
    assert coarse < 60 and fine == 84
    coarse, fine = counts(84, 50)
    assert coarse == 84 and fine < 60


@pytest.mark.parametrize("most", [1, 2])
def test_of_many_meshes_an_even_selection_and_a_word_of_it(most: int, caplog: pytest.LogCaptureFixture) -> None:
    source = BoxMeshes(["chair/four_legs", "chair/one_arm"])
    shapes = ShapeBank(source, BankConfig(meshes=most)).shapes("chair", "upright")
    assert shapes.names == source.names[:most]
    assert ("chair: the bank takes 1 of 2 meshes" in caplog.text) == (most == 1)


def test_unknown_category() -> None:
    with pytest.raises(DataError, match="no mesh of category 'car'; the bank knows chair"):
        ShapeBank(BoxMeshes(["chair/one_arm"])).shapes("car", "upright")


def test_templates_are_kept_in_the_cache(tmp_path: Path) -> None:
    """A second bank draws nothing again, and has the same."""
    banks = [ShapeBank(BoxMeshes(), cache=tmp_path).shapes("chair", "upright") for _ in range(2)]
    assert len(list(tmp_path.glob("templates-*/"))) == 2
    for one, other in zip(*(bank.templates for bank in banks), strict=True):
        np.testing.assert_array_equal(one.bits, other.bits)


class SomeBroken(BoxMeshes):
    """A source of which some meshes cannot be used."""

    broken: tuple[str, ...] = ("chair/four_legs", "dresser/box")

    def load(self, name: str) -> Mesh:
        if name in self.broken:
            raise UnusableMeshError("expected at least one face, got none", file=Path(name))
        return super().load(name)


def test_meshes_that_cannot_be_used_are_left_out() -> None:
    bank = ShapeBank(SomeBroken(), BankConfig(faces=100))
    shapes = bank.shapes("chair", "upright")
    assert shapes.names == ("chair/one_arm",) and len(shapes.templates) == 1
    with pytest.raises(DataError, match=r"dresser/box: expected at least one face, got none \(none of 1 meshes"):
        bank.shapes("dresser", "upright")
