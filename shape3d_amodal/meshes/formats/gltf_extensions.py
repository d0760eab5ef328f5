"""glTF extensions that a file needs to be understood: which of them we understand, or may ignore for the geometry."""

from __future__ import annotations

from typing import Any

from shape3d_amodal.errors import DataError

COMPRESSED = ("KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_meshopt_compression", "MESHOPT_compression")
_UNDERSTOOD = ("KHR_mesh_quantization", "EXT_mesh_gpu_instancing")
_NOT_GEOMETRY = frozenset(
    {
        # ratified by Khronos, or a candidate for that
        "KHR_animation_pointer", "KHR_lights_punctual", "KHR_materials_anisotropy", "KHR_materials_clearcoat",
        "KHR_materials_diffuse_transmission", "KHR_materials_dispersion", "KHR_materials_emissive_strength",
        "KHR_materials_ior", "KHR_materials_iridescence", "KHR_materials_sheen", "KHR_materials_specular",
        "KHR_materials_transmission", "KHR_materials_unlit", "KHR_materials_variants", "KHR_materials_volume",
        "KHR_node_hoverability", "KHR_node_selectability", "KHR_texture_basisu", "KHR_texture_transform",
        "KHR_xmp_json_ld",
        # of Khronos, archived
        "KHR_materials_pbrSpecularGlossiness", "KHR_techniques_webgl", "KHR_xmp",
        # of several vendors
        "EXT_feature_metadata", "EXT_instance_features", "EXT_lights_ies", "EXT_lights_image_based",
        "EXT_materials_bump", "EXT_mesh_features", "EXT_mesh_manifold", "EXT_structural_metadata", "EXT_texture_astc",
        "EXT_texture_avif", "EXT_texture_webp",
        # of one vendor
        "ADOBE_materials_clearcoat_specular", "ADOBE_materials_clearcoat_tint", "ADOBE_materials_thin_transparency",
        "AGI_articulations", "AGI_stk_metadata", "CESIUM_primitive_outline", "FB_geometry_metadata", "FB_ngon_encoding",
        "GODOT_single_root", "GRIFFEL_bim_data", "MSFT_packing_normalRoughnessMetallic",
        "MSFT_packing_occlusionRoughnessMetallic", "MSFT_texture_dds", "NV_materials_mdl",
        "VRMC_materials_hdr_emissiveMultiplier", "VRMC_materials_mtoon", "VRMC_springBone",
        "VRMC_springBone_extended_collider", "VRMC_vrm",
    }
)  # fmt: skip
"""Extensions about materials, textures, lights, metadata and the like. By name, since the next one of a family of names
may move vertices."""


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
        if name not in _UNDERSTOOD and name not in _NOT_GEOMETRY:
            problem = f"the file requires the extension {name[:60]}, which is not understood; export it without"
            raise DataError(problem, field="extensionsRequired")


def compressed(name: str) -> DataError:
    """The error about arrays that the extension ``name`` compresses."""
    return DataError(f"the arrays are compressed ({name}); export the mesh uncompressed", field="extensions")
