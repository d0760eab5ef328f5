"""What travels between the stages. Frozen dataclasses, checked once where they are made.

Frames. Image pixels: x right, y down, (0, 0) is the upper left corner of the upper left pixel, so that pixel
(row, column) has its centre at (column + 0.5, row + 0.5). Crop NDC: PyTorch3D's frame on a square crop, x left, y up, z
into the scene, the crop's borders at -1 and 1. Object frame: y up, front +z, mirror plane x = 0, bounding box centred,
its diagonal about 1. Camera frame (OpenCV's and BOP's): x right, y down, z forward, the origin at the optical centre.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from shape3d_amodal.array_fields import ArrayFields, short

if TYPE_CHECKING:
    import torch
    from torch import Tensor

OCCLUDER = "occluder"
"""Category of things that only hide others (an erased region, an unknown object): they are not completed themselves."""

ANYTHING = "anything"
"""Category of a model that takes every object whose own category the model has no name for."""

Intrinsics: TypeAlias = tuple[float, float, float, float]
"""A pinhole camera: fx, fy, cx, cy in pixels of the image frame above."""

Batch = TypeVar("Batch", bound="TensorBatch")


def category_number(name: str, categories: Sequence[str]) -> int | None:
    """The place of a category among a model's names, or that of ``ANYTHING`` there; None where it has neither."""
    for known in (name, ANYTHING):
        if known in categories and name != OCCLUDER:
            return categories.index(known)
    return None


def resized_masks(masks: Tensor, size: int) -> Tensor:
    """Masks or logits [N,S,S] in ``size`` x ``size`` pixels: means over the old pixels, or between them."""
    from torch.nn.functional import adaptive_avg_pool2d, interpolate

    if masks.shape[-1] == size:
        return masks
    if masks.shape[-1] > size:
        return adaptive_avg_pool2d(masks, size)
    return interpolate(masks[:, None], size=(size, size), mode="bilinear", align_corners=False)[:, 0]


class TensorBatch(ArrayFields):
    """Dataclasses of tensors that share their first dimension (N), with row selection and device moves."""

    def _map(self: Batch, function) -> Batch:  # type: ignore[no-untyped-def]
        changed = {}
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if value is not None:
                changed[field.name] = value._map(function) if isinstance(value, TensorBatch) else function(value)
        return replace(self, **changed)  # type: ignore[type-var]

    def __getitem__(self: Batch, index: Tensor | slice | list[int]) -> Batch:
        """The rows ``index`` (a slice, a list or a tensor of indices or booleans) of every tensor."""
        return self._map(lambda tensor: tensor[index])

    @classmethod
    def join(cls: type[Batch], parts: Sequence[Batch]) -> Batch:
        """The rows of all parts (at least one) one after another."""
        import torch

        joined = {}
        for field in fields(cls):  # type: ignore[arg-type]
            values = [getattr(part, field.name) for part in parts]
            if any(value is None for value in values):
                continue  # what some parts lack, all do
            kind = type(values[0])
            joined[field.name] = kind.join(values) if issubclass(kind, TensorBatch) else torch.cat(values)
        return cls(**joined)

    def to(self: Batch, device: torch.device | str) -> Batch:
        return self._map(lambda tensor: tensor.to(device))

    def detach(self: Batch) -> Batch:
        return self._map(lambda tensor: tensor.detach())


@dataclass(frozen=True, slots=True, repr=False)
class Rle:
    """A binary mask as a COCO compressed run-length code (column-major, LEB-like text)."""

    height: int
    width: int
    counts: str

    def __repr__(self) -> str:
        return f"Rle(height={self.height}, width={self.width}, counts={short(self.counts)})"

    def to_coco(self) -> dict[str, object]:
        return {"size": [self.height, self.width], "counts": self.counts}


@dataclass(frozen=True, slots=True)
class Pose:
    """Where an object stands in the camera frame: x_camera = R x_model + t, as BOP writes it.

    x_model is a point in the coordinates of the model's own file, not in the object frame.

    Attributes:
        rotation: R, 9 numbers, row by row.
        translation: t, in the units of the model file, which are millimetres in BOP.

    Raises:
        ValueError: other counts of numbers, a number that is not finite, or an R that is no rotation.
    """

    rotation: tuple[float, ...]
    translation: tuple[float, ...]

    def __post_init__(self) -> None:
        counts = len(self.rotation), len(self.translation)
        if counts != (9, 3) or not all(map(math.isfinite, (*self.rotation, *self.translation))):
            raise ValueError(
                f"expected 9 and 3 finite numbers of a pose, got {counts[0]} and {counts[1]}; correct them"
            )
        if not _is_rotation(self.rotation):
            raise ValueError("expected a rotation (orthogonal rows of length 1, determinant 1), got another matrix")


def _is_rotation(matrix: Sequence[float]) -> bool:
    """Whether 9 numbers, row by row, are a rotation up to the rounding of published poses."""
    x, y, z = matrix[:3], matrix[3:6], matrix[6:]
    # The rows of a rotation are unit vectors, and each is the cross product of the other two.
    cross = [x[1] * y[2] - x[2] * y[1], x[2] * y[0] - x[0] * y[2], x[0] * y[1] - x[1] * y[0]]
    products = (sum(a * b for a, b in zip(*pair, strict=True)) for pair in ((x, x), (y, y), (x, y)))
    errors = [product - wanted for product, wanted in zip(products, (1, 1, 0), strict=True)]
    return max(map(abs, [*errors, *(a - b for a, b in zip(cross, z, strict=True))])) < _ROTATION_ERROR


_ROTATION_ERROR = 0.01


@dataclass(frozen=True, kw_only=True, slots=True)
class AmodalInstance:
    """One annotated object.

    Attributes:
        id: annotation id, unique in the data set.
        category_id: id of a ``Category`` of the data set.
        visible: visible mask, never empty unless the object is fully hidden.
        amodal: whole mask, or None where only visible masks are known.
        occlude_rate: hidden area / amodal area in 0..1, or None where ``amodal`` is None.
        depth_order: rank from near (0) to far among the objects of ``cluster``, or of the image where that is None; of
            two that overlap, the smaller is in front. None where unknown.
        cluster: which of the image's groups of overlapping objects it belongs to; None where the image is not divided.
        ignore: present in the image but not scored; it is learned from, unless it is a crowd.
        crowd: several objects under one mask (COCO's ``iscrowd``), which is ignored, too, and not learned from.
        is_stuff: an amorphous region such as sky, no countable thing.
        track: equal for what is the same object in several images (of a video, or of several cameras); None where
            unknown.
        mesh: name of the source mesh, for scenes made from meshes; never given to a model.
        viewpoint: azimuth_deg and elevation_deg of the camera as it lies from the middle of the object, in the
            object's frame (``Viewpoint``); likewise.
        pose: of the object's CAD model; likewise.
    """

    id: int
    category_id: int
    visible: Rle
    amodal: Rle | None = None
    occlude_rate: float | None = None
    depth_order: int | None = None
    cluster: int | None = None
    ignore: bool = False
    crowd: bool = False
    is_stuff: bool = False
    track: int | None = None
    mesh: str | None = None
    viewpoint: dict[str, float] | None = None
    pose: Pose | None = None


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class AmodalImage:
    """One image with its instances.

    Attributes:
        depth_constraint: pairs of instance ids (in front, behind): an order that says nothing of other pairs.
        camera: kept for inspection and never given to a model.
        intrinsics: (fx, fy, cx, cy) of a pinhole camera, in pixels of the image frame above, in which pixel centres lie
            at halves: a point (x, y, z) of the camera frame is seen at (fx x / z + cx, fy y / z + cy). In files (key
            ``cam_K``) and in BOP and OpenCV centres lie at whole numbers, so that cx and cy there are 0.5 less.
    """

    id: int
    file_name: str
    width: int
    height: int
    instances: tuple[AmodalInstance, ...]
    depth_constraint: tuple[tuple[int, int], ...] = ()
    camera: dict[str, float] | None = None
    intrinsics: Intrinsics | None = None

    def __repr__(self) -> str:
        size = f"width={self.width}, height={self.height}"
        return f"AmodalImage(id={self.id}, file_name={self.file_name!r}, {size}, {len(self.instances)} instances)"


@dataclass(frozen=True, slots=True)
class Category:
    id: int
    name: str
    supercategory: str | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class AmodalDataset:
    """A whole data set: what every reader returns and every method and evaluator takes."""

    images: tuple[AmodalImage, ...]
    categories: tuple[Category, ...]

    def __repr__(self) -> str:
        instances = sum(len(image.instances) for image in self.images)
        return f"AmodalDataset({len(self.images)} images, {instances} instances, {len(self.categories)} categories)"

    @property
    def category_names(self) -> dict[int, str]:
        return {category.id: category.name for category in self.categories}


@dataclass(frozen=True, eq=False, repr=False)
class InstanceCrops(TensorBatch):
    """N instances, each cut out by a square window: the whole input of stages 2 to 5.

    It holds no camera, no mesh and no amodal mask on purpose: what is learned from it is learned without such labels.

    Attributes:
        rgb: [N,3,S,S] float32 in 0..1.
        visible: [N,S,S] float32 in 0..1, share of each crop pixel that the visible mask covers.
        occluder: [N,S,S] float32 in 0..1, pixels that may hide the instance: other instances (less those known to be
            behind it) and everything beyond the image's border. What is neither visible nor occluder is *known
            background*.
        category: [N] int64, index into the model's category names.
        window: [N,4] float32, (x0, y0, x1, y1) of the square crop in image pixels.
        doubt: [N,S,S] float32 in 0..1, the part of ``occluder`` that is background whose certainty is in doubt
            (``crops.doubt``); None for none.
    """

    rgb: Tensor
    visible: Tensor
    occluder: Tensor
    category: Tensor
    window: Tensor
    doubt: Tensor | None = None

    def __len__(self) -> int:
        return len(self.category)

    @property
    def size(self) -> int:
        return int(self.visible.shape[-1])

    def resized(self, size: int) -> InstanceCrops:
        """The same windows in ``size`` x ``size`` pixels, each the mean of those that it covers."""
        from torch.nn.functional import adaptive_avg_pool2d

        if size == self.size:
            return self
        rgb, visible, occluder = (adaptive_avg_pool2d(t, size) for t in (self.rgb, self.visible, self.occluder))
        doubt = None if self.doubt is None else adaptive_avg_pool2d(self.doubt, size)
        return replace(self, rgb=rgb, visible=visible, occluder=occluder, doubt=doubt)

    def mirrored(self) -> InstanceCrops:
        """The crops with left and right exchanged; the windows stay those of the crops as they were."""
        visible, occluder = self.visible.flip(-1), self.occluder.flip(-1)
        doubt = None if self.doubt is None else self.doubt.flip(-1)
        return replace(self, rgb=self.rgb.flip(-1), visible=visible, occluder=occluder, doubt=doubt)


@dataclass(frozen=True, eq=False, repr=False)
class SupervisedCrops(TensorBatch):
    """Crops with what a completion learns from, for the refinement stage and the baselines alone.

    Attributes:
        crops: the instances.
        amodal: [N,S,S] float32 in 0..1, the whole masks.
        known: [N,S,S] float32 in 0..1, the pixels where ``amodal`` is known; None for all of them.
        silhouette: [N,S,S] float32 in 0..1, silhouettes from a bank of known shapes; None without a bank.
        fit: [N] float32, certain-pixel IoU of ``silhouette``, 0 where there is none; None with it.
    """

    crops: InstanceCrops
    amodal: Tensor
    known: Tensor | None = None
    silhouette: Tensor | None = None
    fit: Tensor | None = None

    def channels(self) -> Tensor:
        """Colours and masks of the crops in one tensor, [N,C,S,S], for transforms that move all of them alike."""
        import torch

        given = [self.crops.visible, self.crops.occluder, self.amodal, self.known, self.silhouette]
        return torch.cat([self.crops.rgb, *(mask[:, None] for mask in given if mask is not None)], dim=1)

    def with_channels(self, channels: Tensor) -> SupervisedCrops:
        """The same batch with other ``channels``, in their order."""
        rgb, (visible, occluder, amodal, *rest) = channels[:, :3], channels[:, 3:].unbind(dim=1)
        known = None if self.known is None else rest.pop(0)
        silhouette = None if self.silhouette is None else rest.pop(0)
        crops = replace(self.crops, rgb=rgb, visible=visible, occluder=occluder)
        return replace(self, crops=crops, amodal=amodal, known=known, silhouette=silhouette)


@dataclass(frozen=True, eq=False, repr=False)
class Viewpoint(TensorBatch):
    """Camera of each object, in its crop. Shapes [N], or [N,K] for K hypotheses (``offset`` has a last dimension of 2).

    The camera looks at the origin of the object frame from distance ``cameras.DISTANCE`` with PyTorch3D's azimuth and
    elevation; the projection is then scaled by ``scale`` and shifted by ``offset`` in crop NDC.

    Attributes:
        azimuth, elevation, roll: radians.
        scale: positive, 1 is an object of diagonal 1 at the nominal distance.
        offset: crop NDC, x left, y up.
    """

    azimuth: Tensor
    elevation: Tensor
    roll: Tensor
    scale: Tensor
    offset: Tensor


@dataclass(frozen=True, eq=False, repr=False)
class ViewpointHypotheses(TensorBatch):
    """K candidate viewpoints an instance ([N,K]) and the selection head's probabilities [N,K] (rows sum to 1)."""

    viewpoint: Viewpoint
    probability: Tensor

    def pick(self, index: Tensor) -> Viewpoint:
        """The ``index``-th [N] hypothesis of every instance, as a viewpoint of shape [N]."""
        import torch

        rows = torch.arange(len(index), device=index.device)
        return self.viewpoint._map(lambda tensor: tensor[rows, index])

    def best(self) -> Viewpoint:
        return self.pick(self.probability.argmax(dim=1))


@dataclass(frozen=True, eq=False, repr=False)
class MeshEstimate(ArrayFields):
    """Reconstructed meshes.

    Attributes:
        verts: [N,V,3] float32, object frame.
        faces: [F,3] int64, shared by the batch.
        code: [N,D] float32 shape code.
    """

    verts: Tensor
    faces: Tensor
    code: Tensor


@dataclass(frozen=True, eq=False, repr=False)
class Estimate(TensorBatch):
    """A prior's output for N crops: the coarse amodal mask, and the mesh and viewpoint that it was rendered from.

    Attributes:
        verts: [N,V,3] float32, object frame.
        faces: [N,F,3] int64; rows of equal indices are padding.
        viewpoint: shapes [N].
        silhouette: [N,S,S] float32 in 0..1.
        fit: [N] float32 in 0..1, how well the silhouette explains the certain pixels (their soft IoU).
        expected: [N] float32 in 0..1, the IoU with the whole mask that is to be expected; None where none is said.
        model: [N] int64, which mesh of its category in the bank it is; None where no bank was asked.
        pose: [N,12] float64, rotation (9) and translation (3) of the mesh's file in the camera frame, as in ``Pose``;
            None, or NaN in a row, where none is known.
        hypotheses: [N,K,S,S] float32 in 0..1, silhouettes of several answers, the likeliest first, empty behind the
            last; None where they were not asked for.
        chance: [N,K] float32, how likely each is; rows sum to 1 at most.
        window: [N,4] float32, where all of it is seen, in image pixels; None for the windows of the crops. What a bank
            finds may reach beyond these.
    """

    verts: Tensor
    faces: Tensor
    viewpoint: Viewpoint
    silhouette: Tensor
    fit: Tensor
    expected: Tensor | None = None
    model: Tensor | None = None
    pose: Tensor | None = None
    hypotheses: Tensor | None = None
    chance: Tensor | None = None
    window: Tensor | None = None

    def resized(self, size: int) -> Estimate:
        """The same with silhouettes of ``size`` x ``size`` pixels."""
        return replace(self, silhouette=resized_masks(self.silhouette, size))

    @property
    def evidence(self) -> tuple[Tensor, Tensor]:
        """The part that is an input of the refinement: silhouette and fit."""
        return self.silhouette, self.fit

    @classmethod
    def join(cls, parts: Sequence[Estimate]) -> Estimate:
        """The rows of all parts (at least one) one after another, their meshes padded with zeros to the largest."""
        from torch.nn.functional import pad

        verts, faces = (max(getattr(part, name).shape[1] for part in parts) for name in ("verts", "faces"))

        def padded(tensor: Tensor, length: int) -> Tensor:
            return pad(tensor, (0, 0, 0, length - tensor.shape[1]))

        return super().join(
            [replace(part, verts=padded(part.verts, verts), faces=padded(part.faces, faces)) for part in parts]
        )


@dataclass(frozen=True, eq=False, repr=False)
class AmodalPrediction(TensorBatch):
    """The pipeline's output for N crops.

    Attributes:
        probability: [N,S,S] float32 in 0..1, share of each crop pixel that the amodal mask covers.
        estimate: the prior's, of several priors the one with the best fit.
    """

    probability: Tensor
    estimate: Estimate
