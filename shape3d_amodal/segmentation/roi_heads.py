"""The interface of RoI heads: what a system of the R-CNN family adds to the detector.

The detector (``model.Rcnn``) finds regions of interest (RoIs), cuts their features out of the pyramid and asks the
heads of its system. A system is a class of options that builds these heads, for example::

    @configuration
    class OrcnnConfig(SystemConfig):
        def mask_head(self, shape):
            return OrcnnHead(shape)

    class OrcnnHead(MaskHead):
        def __init__(self, shape):
            super().__init__()
            self.branches = nn.ModuleDict({name: MaskBranch(shape) for name in ("amodal", "visible")})

        def forward(self, rois):  # named logits [R,28,28]
            return {name: of_category(branch(rois.features), rois.category) for name, branch in self.branches.items()}

``systems`` says how to register one. R is the number of regions of a batch of images and may be 0. Boxes are
(x0, y0, x1, y1) in pixels of the network's input.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from fvcore.nn.weight_init import c2_xavier_fill
from torch import Tensor, nn

from shape3d_amodal.config import configuration
from shape3d_amodal.segmentation.layers import HeadShape, mask_loss
from shape3d_amodal.segmentation.parts import build_pooler
from shape3d_amodal.structures import TensorBatch

BOX_SIZE = 7
"""Side of the features that class and box are predicted from."""
ROI_SIZE = 14
"""Side of the features that masks are predicted from."""
MASK_SIZE = 28
"""Side of the masks."""


@dataclass(frozen=True)
class BoxOutput:
    """What a box head computes of R regions.

    Attributes:
        vector: [R,box_width] float, from which class and box are predicted.
        maps: further features or logits [R,...] by name, for the mask head or for the box head's own losses.
    """

    vector: Tensor
    maps: dict[str, Tensor] = field(default_factory=dict)

    def __getitem__(self, rows: Tensor) -> BoxOutput:
        return BoxOutput(self.vector[rows], {name: one[rows] for name, one in self.maps.items()})


@dataclass(frozen=True)
class Rois:
    """R regions, as the input of a mask head.

    Attributes:
        features: [R,C,14,14] float32, or whatever the system's own pooler returns.
        category: [R] int64, the true category in training, the predicted one at inference.
        boxes: [R,4] float32.
        box: output of the box head for the same boxes, where the head ``needs_box``: those of the proposals in
            training, those of the refined boxes (a second pass) at inference.
    """

    features: Tensor
    category: Tensor
    boxes: Tensor
    box: BoxOutput | None = None

    def __len__(self) -> int:
        return len(self.category)


@dataclass(frozen=True, eq=False, repr=False)
class RoiTargets(TensorBatch):
    """The objects that R regions were matched with.

    Attributes:
        amodal, visible: [R,28,28] float32, 0 or 1, the masks inside the region's box.
        occluder: [R,28,28] float32, 0 or 1, pixels of other instances that may hide the object, inside the box.
        hidden: [R] float32 in 0..1, hidden share of the whole amodal mask.
        category: [R] int64.
        annotation: [R] int64, id of the object's annotation: regions of one object share it.
    """

    amodal: Tensor
    visible: Tensor
    occluder: Tensor
    hidden: Tensor
    category: Tensor
    annotation: Tensor

    @property
    def occluded(self) -> Tensor:
        """[R,28,28] float32, 0 or 1, the hidden part: amodal and not visible."""
        return self.amodal * (1 - self.visible)

    @property
    def has_occluder(self) -> Tensor:
        """[R] bool, whether anything inside the region's box may hide the object."""
        return self.occluder.flatten(1).any(dim=1)


@dataclass(frozen=True)
class MaskPrediction:
    """Masks that a mask head predicts for R regions.

    Attributes:
        amodal: [R,28,28] in 0..1.
        visible: [R,28,28] in 0..1; None where the system predicts none.
        factor: [R], by which the detections' scores are multiplied; None leaves them as they are.
        samples: [R,K,28,28] in 0..1, several plausible amodal masks; None where the system has one answer.
    """

    amodal: Tensor
    visible: Tensor | None = None
    factor: Tensor | None = None
    samples: Tensor | None = None


class MaskHead(nn.Module, ABC):
    """From regions to masks. The default losses and masks are those of a head with one branch for each kind of mask."""

    needs_box: ClassVar[bool] = False
    """Whether the head uses ``Rois.box``; then the box head runs a second time, on the refined boxes, at inference."""

    @property
    def has_visible(self) -> bool:
        """Whether visible masks are predicted."""
        return True

    @abstractmethod
    def forward(self, rois: Rois) -> dict[str, Tensor]:
        """Named logits [R,28,28] float32, of each region's own category."""

    def losses(self, rois: Rois, targets: RoiTargets) -> dict[str, Tensor]:
        """Named scalar losses, weighted; always the same names, and zero (with a gradient) where R is 0.

        By default the cross-entropy of every mask that ``forward`` names (amodal, visible, occluded).
        """
        return {f"mask_{name}": mask_loss(logits, getattr(targets, name)) for name, logits in self(rois).items()}

    def predict(self, rois: Rois) -> MaskPrediction:
        """Masks at inference; called without gradients, in evaluation mode.

        By default the amodal and the visible ones of ``forward``; visible masks stand for amodal ones that are missing.
        """
        logits = self(rois)
        masks = {name: logits[name].sigmoid() for name in ("amodal", "visible") if name in logits}
        return MaskPrediction(next(iter(masks.values())), masks.get("visible"))


class BoxHead(nn.Module, ABC):
    """From the pooled features of regions to what their class and box are predicted from."""

    @abstractmethod
    def forward(self, features: Tensor) -> BoxOutput:
        """Features [R,C,7,7] float32, or whatever the system's own pooler returns, to one ``BoxOutput``."""

    def losses(self, output: BoxOutput, hidden: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """Named losses in addition to those of class and box; none by default.

        Args:
            output: of all sampled regions, background among them.
            hidden: [R] float32 in 0..1, hidden share of each region's object; 0 for background.
        """
        return {}


class TwoLayerBoxHead(BoxHead):
    """Mask R-CNN's box head: two fully connected layers."""

    def __init__(self, shape: HeadShape) -> None:
        super().__init__()
        self.fc1 = nn.Linear(shape.channels * BOX_SIZE**2, shape.box_width)
        self.fc2 = nn.Linear(shape.box_width, shape.box_width)
        for layer in (self.fc1, self.fc2):
            c2_xavier_fill(layer)

    def forward(self, features: Tensor) -> BoxOutput:
        return BoxOutput(self.fc2(self.fc1(features.flatten(1)).relu()).relu())


@configuration
class SystemConfig(ABC):
    """The options of a system, which build its parts: a ``@configuration`` class."""

    files: ClassVar[tuple[str, ...]] = ()
    """Options that name files which a training starts from; they are not saved beside the weights."""

    @abstractmethod
    def mask_head(self, shape: HeadShape) -> MaskHead:
        """From regions to masks. An option that does not fit ``shape`` is a UsageError."""

    def start(self, head: MaskHead, categories: Sequence[str]) -> None:  # noqa: B027
        """Load those parts of ``head`` that were trained beforehand; called once, when a training begins.

        By default there are none.

        Raises:
            UsageError, WeightsError: they are missing, or do not fit.
        """

    def box_head(self, shape: HeadShape) -> BoxHead:
        """By default two fully connected layers."""
        return TwoLayerBoxHead(shape)

    def neck(self, shape: HeadShape) -> nn.Module:  # noqa: ARG002
        """Maps the pyramid's levels by name to levels of the same names and sizes; by default the identity."""
        return nn.Identity()

    def pooler(self, size: int) -> nn.Module:
        """Cuts regions out of the levels p2 to p5, given one ``Boxes`` an image; by default RoIAlign from one level,
        which is chosen by the region's size: [R,C,size,size].

        A system whose heads need all levels returns a pooler to [R,4,C,size,size], and heads that take that.
        """
        return build_pooler(size)
