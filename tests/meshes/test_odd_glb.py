"""GLB files that are written oddly, or leave something out; expected values are counted by hand."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest

from shape3d_amodal.errors import DataError
from shape3d_amodal.meshes.formats.glb import parse_glb
from shape3d_amodal.meshes.formats.mesh_data import MeshData, checked

TRIANGLE = np.array([[0, 0, 0], [2, 0, 0], [0, 2, 0]], "<f4")
MESH = {"primitives": [{"attributes": {"POSITION": 0}}]}
CODECS = ("EXT_meshopt_compression", "KHR_meshopt_compression", "MESHOPT_compression")


def packed(text: str, binary: bytes = TRIANGLE.tobytes()) -> bytes:
    body = text.encode()
    body += b" " * (-len(body) % 4)
    chunks = struct.pack("<I4s", len(body), b"JSON") + body + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def document(**changes: Any) -> dict[str, Any]:
    """A triangle, with other entries."""
    return {
        "asset": {"version": "2.0"},
        "buffers": [{"byteLength": 36}],
        "bufferViews": [{"buffer": 0, "byteLength": 36}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}],
        "meshes": [MESH],
        "nodes": [{"mesh": 0}],
        "scenes": [{"nodes": [0]}],
        **changes,
    }


def read(binary: bytes = TRIANGLE.tobytes(), **changes: Any) -> MeshData:
    return checked(parse_glb(packed(json.dumps(document(**changes)), binary)))


HARMLESS = """
    KHR_animation_pointer KHR_lights_punctual KHR_materials_anisotropy KHR_materials_clearcoat KHR_materials_dispersion
    KHR_materials_emissive_strength KHR_materials_ior KHR_materials_iridescence KHR_materials_sheen
    KHR_materials_specular KHR_materials_transmission KHR_materials_unlit KHR_materials_variants KHR_materials_volume
    KHR_mesh_quantization KHR_texture_basisu KHR_texture_transform KHR_xmp_json_ld EXT_mesh_gpu_instancing
    EXT_texture_webp KHR_materials_pbrSpecularGlossiness EXT_lights_image_based MSFT_texture_dds EXT_lights_ies
"""
"""Ratified extensions that leave the geometry alone or are understood, and some that are well known."""


@pytest.mark.parametrize("name", HARMLESS.split())
def test_required_extensions_that_leave_the_shape_alone(name: str) -> None:
    np.testing.assert_array_equal(read(extensionsUsed=[name], extensionsRequired=[name]).verts, TRIANGLE)


UNKNOWN = """
    KHR_materials_displacement KHR_materials_ KHR_texture_displaced KHR_lights_ KHR_xmp_shape KHR_node_visibility
    KHR_audio_shape EXT_texture_shape EXT_lights_shape EXT_materials_displacement EXT_mesh_primitive_restart
    EXT_mesh_manifold_2 EXT_mesh_features_shape MSFT_texture_ MSFT_lod ADOBE_materials_shape AGI_shape CESIUM_RTC
    KHR_gaussian_splatting VRMC_vrm_shape VRMC_node_constraint MPEG_accessor_timed khr_materials_unlit
"""


@pytest.mark.parametrize("name", UNKNOWN.split())
def test_other_required_extensions_are_refused_by_name(name: str) -> None:
    with pytest.raises(DataError, match=rf"requires the extension {name}, which is not understood"):
        read(extensionsRequired=["KHR_materials_unlit", name])


def test_a_mesh_that_no_node_names_is_told() -> None:
    assert read(meshes=[MESH, MESH]).notes == ("1 mesh that no node names left out",)
    assert read(meshes=[MESH] * 4).notes == ("3 meshes that no node names left out",)
    assert read(meshes=[MESH, MESH], nodes=[{"mesh": 0}, {"mesh": 1}]).notes == (
        "1 node outside of the scene left out",
    )
    with pytest.raises(DataError, match="got none \\(1 mesh that no node names left out\\)"):
        read(nodes=[{"name": "empty"}])


def test_without_nodes_all_meshes_are_read() -> None:
    mesh = read(meshes=[MESH, MESH], nodes=[], scenes=[])
    assert (len(mesh.faces), mesh.notes) == (2, ())


@pytest.mark.parametrize(
    "changes",
    [
        {"nodes": [{"mesh": -1}]},
        {"nodes": [{"mesh": 1}]},
        {"scene": -1},
        {"scene": True},
        {"scenes": [{"nodes": [-1]}]},
        {"accessors": [{"bufferView": -1, "componentType": 5126, "count": 3, "type": "VEC3"}]},
    ],
)
def test_numbers_of_entries_that_do_not_exist_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="damaged glTF structure"):
        read(**changes)


NULLS = {
    "byteOffset": None, "byteStride": None, "mode": None, "children": None, "extensions": None, "translation": None,
    "rotation": None, "scale": None, "matrix": None, "skin": None, "indices": None, "targets": None, "sparse": None,
    "normalized": None, "uri": None, "extras": None,
}  # fmt: skip


def test_null_is_as_good_as_nothing() -> None:
    """In every place where a key may be missing."""
    mesh = read(
        buffers=[{"byteLength": 36, **NULLS}],
        bufferViews=[{"buffer": 0, "byteLength": 36, **NULLS}],
        accessors=[{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3", **NULLS}],
        meshes=[{"primitives": [{"attributes": {"POSITION": 0, "COLOR_0": None}, **NULLS}], "weights": None}],
        nodes=[{"mesh": 0, **NULLS}, {"mesh": None, "extensions": {"EXT_mesh_gpu_instancing": None}}],
        extensionsRequired=None,
        extensionsUsed=None,
        extensions=None,
        scene=None,
    )
    np.testing.assert_array_equal(mesh.verts, TRIANGLE)
    assert (mesh.faces.tolist(), mesh.colors, mesh.notes) == ([[0, 1, 2]], None, ())
    np.testing.assert_array_equal(read(nodes=None, scenes=None).verts, TRIANGLE)


def test_null_instead_of_a_needed_value_is_refused() -> None:
    with pytest.raises(DataError, match="damaged glTF structure \\('count'\\)"):
        read(accessors=[{"bufferView": 0, "componentType": 5126, "count": None, "type": "VEC3"}])


def whole_floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: whole_floats(one) for key, one in value.items()}
    if isinstance(value, list):
        return [whole_floats(one) for one in value]
    return float(value) if type(value) is int else value


def test_whole_numbers_may_be_written_as_floats() -> None:
    """3.0 is an integer of JSON; here every number of the file is written so."""
    order = np.array([2, 1, 0], "<u2").tobytes() + b"\0\0"
    parts = document(
        buffers=[{"byteLength": 80}],
        bufferViews=[
            {"buffer": 0, "byteOffset": 4, "byteLength": 36, "byteStride": 12},
            {"buffer": 0, "byteOffset": 40, "byteLength": 6},
        ],
        accessors=[
            {"bufferView": 0, "byteOffset": 0, "componentType": 5126, "count": 3, "type": "VEC3"},
            {"bufferView": 1, "componentType": 5123, "count": 3, "type": "SCALAR"},
        ],
        meshes=[{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1, "mode": 4}]}],
        nodes=[{"children": [1], "translation": [1, 0, 0]}, {"mesh": 0}],
        scene=0,
    )
    text = json.dumps(whole_floats(parts))
    assert '"count": 3.0' in text and '"children": [1.0]' in text
    mesh = parse_glb(packed(text, bytes(4) + TRIANGLE.tobytes() + order))
    np.testing.assert_array_equal(mesh.verts, TRIANGLE + np.array([1, 0, 0]))
    assert mesh.faces.tolist() == [[2, 1, 0]]


@pytest.mark.parametrize("count", ["2.5", "-3.0", "1e300", "true", '"3"'])
def test_other_counts_are_refused(count: str) -> None:
    text = json.dumps(document()).replace('"count": 3', f'"count": {count}')
    with pytest.raises(DataError, match="damaged glTF structure"):
        parse_glb(packed(text))


def test_another_length_than_the_header_states_is_told_with_both() -> None:
    whole = packed(json.dumps(document()))
    with pytest.raises(DataError, match=f"header states, {len(whole)} bytes, got {len(whole) - 5}; replace"):
        parse_glb(whole[:-5])


def compressed(codec: str, view: dict[str, Any], by: dict[str, Any], *buffers: dict[str, Any], **more: Any) -> MeshData:
    """The triangle behind 36 other bytes, in a view that ``codec`` also holds compressed."""
    packed_view = {"byteLength": 20, "byteStride": 12, "count": 3, "mode": "ATTRIBUTES", **by}
    return read(
        b"\7" * 36 + TRIANGLE.tobytes(),
        buffers=[{"byteLength": 72}, *buffers],
        bufferViews=[{"byteLength": 36, "byteStride": 12, **view, "extensions": {codec: packed_view}}],
        extensionsUsed=[codec],
        **more,
    )


PLAIN = {"buffer": 0, "byteOffset": 36}
PLACEHOLDER = {"byteLength": 36, "extensions": {codec: {"fallback": True} for codec in CODECS}}


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    ("by", "buffers"),
    [
        ({"buffer": 0}, ()),
        ({"buffer": 0, "byteOffset": 16}, ()),
        ({"buffer": 1}, ({"byteLength": 20, "uri": "packed.bin"},)),
    ],
)
def test_a_plain_copy_of_compressed_arrays_is_read(codec: str, by: dict[str, Any], buffers: tuple[Any, ...]) -> None:
    np.testing.assert_array_equal(compressed(codec, PLAIN, by, *buffers).verts, TRIANGLE)


@pytest.mark.parametrize("codec", CODECS)
def test_a_copy_that_is_marked_as_such_is_read_where_it_has_bytes(codec: str) -> None:
    """A buffer without a URI may be the binary chunk."""
    marked = {"byteLength": 72, "extensions": {codec: {"fallback": True}}}
    packed_view = {"buffer": 1, "byteLength": 20, "byteStride": 12, "count": 3, "mode": "ATTRIBUTES"}
    mesh = read(
        bytes(36) + TRIANGLE.tobytes(),
        buffers=[marked, {"byteLength": 20, "uri": "packed.bin"}],
        bufferViews=[{**PLAIN, "byteLength": 36, "extensions": {codec: packed_view}}],
    )
    np.testing.assert_array_equal(mesh.verts, TRIANGLE)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    ("view", "by", "buffers"),
    [
        ({"buffer": 1}, {"buffer": 0}, (PLACEHOLDER,)),
        ({"buffer": 1}, {"buffer": 0}, ({"byteLength": 36},)),
        ({"buffer": 1}, {"buffer": 0}, ({"byteLength": 36, "uri": "plain.bin"},)),
        (PLAIN, {"buffer": 0, "byteOffset": 30}, ()),
        ({"buffer": 0}, {"buffer": 0}, ()),
        ({"buffer": 0, "byteOffset": 72}, {"buffer": 0}, ()),
    ],
    ids=["marked", "no bytes", "outside", "ends in its copy", "in the place of its copy", "behind the end"],
)
def test_without_a_plain_copy_in_the_file_the_codec_is_named(
    codec: str, view: dict[str, Any], by: dict[str, Any], buffers: tuple[Any, ...]
) -> None:
    with pytest.raises(DataError, match=rf"the arrays are compressed \({codec}\)"):
        compressed(codec, view, by, *buffers)


@pytest.mark.parametrize("codec", CODECS)
def test_a_buffer_that_is_marked_as_copy_cannot_hold_packed_arrays_too(codec: str) -> None:
    packed_view = {"buffer": 0, "byteLength": 20, "byteStride": 12, "count": 3, "mode": "ATTRIBUTES"}
    with pytest.raises(DataError, match=rf"the arrays are compressed \({codec}\)"):
        read(
            bytes(36) + TRIANGLE.tobytes(),
            buffers=[{"byteLength": 72, "extensions": {codec: {"fallback": True}}}],
            bufferViews=[{**PLAIN, "byteLength": 36, "extensions": {codec: packed_view}}],
        )


@pytest.mark.parametrize("codec", CODECS)
def test_a_codec_that_is_required_is_refused_by_name(codec: str) -> None:
    with pytest.raises(DataError, match=rf"the arrays are compressed \({codec}\)"):
        compressed(codec, PLAIN, {"buffer": 0}, extensionsRequired=[codec])


HIDDEN = {"extensions": {"KHR_node_visibility": {"visible": False}}}


@pytest.mark.parametrize(
    ("nodes", "noted"),
    [
        ([{"mesh": 0, **HIDDEN}], True),
        ([{"mesh": 0, "children": [1], **HIDDEN}, {"mesh": 0, **HIDDEN}], True),
        ([{"children": [1], **HIDDEN}, {"children": [2]}, {"mesh": 0}], True),  # with all below it
        ([{"mesh": 0, "children": [1]}, HIDDEN], False),
        ([{"mesh": 0, "extensions": {"KHR_node_visibility": {"visible": True}}}], False),
        ([{"mesh": 0, "extensions": {"KHR_node_visibility": {}}}], False),
    ],
)
def test_hidden_nodes_are_read_with_a_note(nodes: list[dict[str, Any]], noted: bool) -> None:
    mesh = read(nodes=nodes, extensionsUsed=["KHR_node_visibility"])
    assert len(mesh.faces) == sum("mesh" in node for node in nodes)
    assert mesh.notes == (("what KHR_node_visibility hides is read, too",) if noted else ())


def test_animations_are_told() -> None:
    animation = {
        "channels": [{"sampler": 0, "target": {"node": 0, "path": "scale"}}],
        "samplers": [{"input": 0, "output": 0}],
    }
    assert read(animations=[animation] * 2).notes == ("2 animations left out",)
    assert read(animations=[animation]).notes == ("1 animation left out",)
    assert read(animations=[]).notes == ()
