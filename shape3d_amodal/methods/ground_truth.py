"""What a method may be shown of an annotated image. Everything that is shown to a method goes through ``shown``."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

from shape3d_amodal.errors import check_choice
from shape3d_amodal.masks.occlusion import with_something_visible
from shape3d_amodal.structures import AmodalImage

Given = Literal["masks", "image"]
"""What a method starts from: visible masks and categories, or the image alone."""


def shown(image: AmodalImage, given: Given, *, depth_order: bool = True) -> AmodalImage:
    """An annotated image as a method may see it, so that no method can score by looking at the ground truth.

    Args:
        given: ``image`` leaves the image's id, name, size and intrinsics (which say nothing of its objects) alone.
            ``masks`` leaves, of the instances of which something is visible, id, category, visible mask and what is
            known of their order: no amodal masks, occlusion rates, meshes, viewpoints, poses, cameras, ignore or crowd
            flags.
        depth_order: False also hides the order, in any of its forms, so that every object may hide every other.

    Raises:
        UsageError: ``given`` is neither word.
    """
    check_choice("given", given, get_args(Given))
    if given == "image":
        return replace(image, instances=(), depth_constraint=(), camera=None)
    instances = tuple(
        replace(one, amodal=None, occlude_rate=None, mesh=None, viewpoint=None, pose=None, ignore=False, crowd=False)
        for one in image.instances
    )
    record = with_something_visible(replace(image, instances=instances, camera=None))
    return record if depth_order else without_order(record)


def without_order(image: AmodalImage) -> AmodalImage:
    """The image as if nothing were known of the order of its instances."""
    instances = tuple(replace(one, depth_order=None, cluster=None) for one in image.instances)
    return replace(image, instances=instances, depth_constraint=())
