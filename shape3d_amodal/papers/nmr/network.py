"""Stage 2 with known cameras, as NMR and SoftRas train it: an image of an object to a mesh in the object frame.

Encoder and decoder are those of the learned prior; the viewpoint is given, so that 3D IoU is computed in the object
frame, as in the tables of NMR (Kato et al., CVPR 2018) and SoftRas (Liu et al., ICCV 2019).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shape3d_amodal.config import configuration
from shape3d_amodal.meshes.voxels import voxel_iou
from shape3d_amodal.papers.nmr.files import ELEVATION_DEG, VIEWS, NmrObjects, nmr_voxels
from shape3d_amodal.priors.learned.reconstruction import ImageEncoder, MeshDecoder, ReconstructionConfig
from shape3d_amodal.structures import InstanceCrops, MeshEstimate, Viewpoint


@configuration
class KnownCamerasConfig:
    """A reconstruction from images of NMR's form."""

    synsets: tuple[str, ...]
    """Names of the categories as NMR's files have them, in the order of the model's indices."""
    reconstruction: ReconstructionConfig = ReconstructionConfig()
    """Encoder and decoder."""
    told_category: bool = True
    """Whether the model is told the category; NMR and SoftRas are not."""


class KnownCamerasModel(nn.Module):
    """Images [N,4,S,S] to meshes in the object frame, whose longest side is about 1."""

    def __init__(self, config: KnownCamerasConfig) -> None:
        super().__init__()
        self.config = config
        count = len(config.synsets) if config.told_category else 1
        self.encoder = ImageEncoder(config.reconstruction, count)
        self.decoder = MeshDecoder(config.reconstruction, count)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs

    def forward(self, images: Tensor, synset: Tensor, gate: float = 1.0) -> MeshEstimate:
        """The meshes of the objects in images.

        Args:
            images: [N,4,S,S] float32 in 0..1, RGB and the share of each pixel that the object covers.
            synset: [N] int64, index into the configuration's synsets.
            gate: 0 gives every object its category's template, 1 its own shape.
        """
        category = synset if self.config.told_category else torch.zeros_like(synset)
        visible = images[:, 3]
        window = images.new_tensor([0.0, 0.0, visible.shape[-1], visible.shape[-1]]).expand(len(images), 4)
        crops = InstanceCrops(images[:, :3], visible, torch.zeros_like(visible), category, window)
        features = self.encoder(crops).float()
        with torch.autocast(features.device.type, enabled=False):  # geometry wants float32
            return self.decoder(self.decoder.encode(features), category, gate)

    @torch.no_grad()
    def voxels(self, views: NDArray[np.uint8], synset: int) -> NDArray[np.bool_]:
        """Voxels [N,32,32,32] by y, x, z, by the rule of NMR's files, of the meshes of ``views`` [N,4,S,S] uint8.

        Vertices outside the unit cube, which holds all true meshes, are moved onto its border.
        """
        device = self.decoder.templates.device
        images = torch.from_numpy(np.asarray(views)).to(device).float() / 255
        mesh = self(images, torch.full((len(views),), synset, device=device))
        faces = mesh.faces.cpu().numpy()
        return np.stack([nmr_voxels(verts, faces) for verts in mesh.verts.clamp(-0.5, 0.5).cpu().numpy()])


def view_ious(
    model: KnownCamerasModel,
    group: NmrObjects,
    *,
    views: tuple[int, ...] = tuple(range(VIEWS)),
    most: int | None = None,
) -> NDArray[np.float64]:
    """3D IoU [N,len(views)] of the reconstructions of a synset's objects, the first ``most`` of them, by view.

    Raises:
        DataError: a file is damaged.
    """
    synset = model.config.synsets.index(group.synset)
    rows: list[list[float]] = []
    for images, voxels in zip(group.images(rows=16), group.voxels(rows=16), strict=True):
        for own, truth in zip(images, voxels, strict=True):
            if len(rows) == most:
                return np.array(rows)
            rows.append([voxel_iou(found, truth) for found in model.voxels(own[list(views)], synset)])
    return np.array(rows)


def nmr_viewpoint(view: Tensor) -> Viewpoint:
    """The cameras of views [N] int64, for meshes in the object frame whose longest side, not diagonal, is 1."""
    azimuth = torch.deg2rad(view * -15.0)
    return Viewpoint(
        azimuth=azimuth,
        elevation=torch.full_like(azimuth, math.radians(ELEVATION_DEG)),
        roll=torch.zeros_like(azimuth),
        scale=torch.ones_like(azimuth),
        offset=torch.zeros(len(azimuth), 2, dtype=azimuth.dtype, device=azimuth.device),
    )
