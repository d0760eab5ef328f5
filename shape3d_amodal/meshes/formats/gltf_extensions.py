"""glTF extensions that a file needs to be understood: which of them we understand, or may ignore for the geometry."""

from __future__ import annotations

from typing import Any

from shape3d_amodal.errors import DataError

COMPRESSED = ("KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_meshopt_compression", "MESHOPT_compression")
_UNDERSTOOD = ("KHR_mesh_quantization", "EXT_mesh_gpu_instancing")
_NOT_GEOMETRY = (
    "KHR_materials_", "KHR_texture_", "KHR_lights_", "KHR_xmp", "KHR_techniques_webgl", "KHR_animation_pointer",
    "KHR_audio", "EXT_texture_", "EXT_lights_", "EXT_materials_", "EXT_structural_metadata", "EXT_mesh_features",
    "EXT_instance_features", "EXT_feature_metadata", "EXT_mesh_manifold", "MSFT_texture_", "MSFT_packing_",
    "ADOBE_materials_", "AGI_", "CESIUM_primitive_outline", "FB_ngon_encoding", "VRMC_materials_",
    "VRMC_springBone", "VRMC_vrm",
)  # fmt: skip
"""Beginnings of the names of extensions about materials, textures, lights, metadata and the like."""


def check_required(gltf: dict[str, Any]) -> None:
    """Refuse a file that requires an extension which changes the geometry and is not understood.

    Raises:
        DataError: it does; the message names the extension.
    """
    required = gltf.get("extensionsRequired", [])
    if type(required) is not list or not all(isinstance(name, str) for name in required):
        raise DataError("expected a list of names; export the mesh anew", field="extensionsRequired")
    for name in required:
        if name in COMPRESSED:
            raise compressed(name)
        if name not in _UNDERSTOOD and not name.startswith(_NOT_GEOMETRY):
            problem = f"the file requires the extension {name[:60]}, which is not understood; export it without"
            raise DataError(problem, field="extensionsRequired")


def compressed(name: str) -> DataError:
    """The error about arrays that the extension ``name`` compresses."""
    return DataError(f"the arrays are compressed ({name}); export the mesh uncompressed", field="extensions")
