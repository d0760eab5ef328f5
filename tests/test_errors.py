"""Words of messages: what a mistyped name may have meant, and numbers."""

from __future__ import annotations

import json
import struct

import pytest

from shape3d_amodal.cli import main
from shape3d_amodal.crops.given import given_names
from shape3d_amodal.errors import DataError, UsageError, meant
from shape3d_amodal.meshes.formats.glb import parse_glb
from shape3d_amodal.meshes.formats.off import parse_off
from shape3d_amodal.meshes.sources import mesh_source
from shape3d_amodal.pipeline import ShapePriorPipeline


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Chair", " (did you mean 'chair'?)"),
        ("chair ", " (did you mean 'chair'?)"),
        ("CHAIR", " (did you mean 'chair'?)"),
        ("chiar", " (did you mean 'chair'?)"),
        ("dragon", ""),
    ],
)
def test_what_a_name_may_have_meant(name: str, told: str) -> None:
    assert meant(name, ["table", "chair"]) == told
    with pytest.raises(UsageError) as caught:
        given_names([name], ["table", "chair"])
    assert str(caught.value) == f"categories[0]: unknown category {name!r}{told}; known are table, chair"


def test_a_source_of_meshes_that_is_mistyped() -> None:
    with pytest.raises(DataError, match=r"there is none \(did you mean 'open13'\?\)"):
        mesh_source("open14")
    with pytest.raises(DataError, match=r"there is none$"):
        mesh_source("nothing/like/it")


def test_a_prior_is_given_in_a_list() -> None:
    with pytest.raises(UsageError, match=r"^priors: expected a list with names of priors, such as \['learned'\], got"):
        ShapePriorPipeline.from_pretrained(priors="learned")


def test_one_pixel_is_one() -> None:
    assert ", gaps of 1 pixel closed, " in repr(ShapePriorPipeline.from_pretrained(gap_px=1))


def test_predict_without_a_path(capsys) -> None:
    assert main(["predict"]) == 2
    line = "error: expected the path of an image file or of a folder of images, got none; name one or more\n"
    assert capsys.readouterr().err == line


def test_colours_that_are_missing_are_told_with_a_remedy() -> None:
    with pytest.raises(DataError, match="vertex 0: expected 6 numbers, got 3; export the mesh anew"):
        parse_off(b"COFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n")


@pytest.mark.parametrize(("mode", "told"), [("4", "'4'"), (7, "7")])
def test_a_mode_that_is_a_text_is_shown_as_one(mode: object, told: str) -> None:
    primitives = [{"attributes": {"POSITION": 0}, "mode": mode}]
    document = {"asset": {"version": "2.0"}, "scenes": [{"nodes": [0]}], "scene": 0, "nodes": [{"mesh": 0}]}
    arrays = {
        "buffers": [{"byteLength": 36}],
        "bufferViews": [{"buffer": 0, "byteLength": 36}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}],
    }
    text = json.dumps({**document, **arrays, "meshes": [{"primitives": primitives}]}).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", 36, 0x004E4942) + bytes(36)
    with pytest.raises(DataError, match=f"expected a mode from 0 to 6, got {told}; export the mesh anew"):
        parse_glb(struct.pack("<III", 0x46546C67, 2, 12 + len(chunks)) + chunks)
