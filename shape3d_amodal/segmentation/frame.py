"""What a system of the R-CNN family is: the parts in which it differs from Mask R-CNN, and what these are given.

A system is a class of options that builds these parts, entered into ``systems``; nothing else knows it by name::

    @configuration
    class OrcnnConfig(SystemConfig):
        def mask_head(self, shape):
            return OrcnnHead(shape)

    class OrcnnHead(MaskHead):
        def __init__(self, shape):
            super().__init__()
            self.amodal, self.visible = MaskBranch(shape), MaskBranch(shape)

        def forward(self, rois):  # named logits [R,28,28]
            ...
        def losses(self, rois, targets):
            ...
        def predict(self, rois):
            ...

R is the number of regions of a batch and may be 0. Boxes are (x0, y0, x1, y1) in pixels of the network's input.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from torch import Tensor, nn

from shape3d_amodal.config import configuration
from shape3d_amodal.structures import TensorBatch

BOX_SIZE = 7
"""Side of the features that class and box are predicted from."""
ROI_SIZE = 14
"""Side of the features that masks are predicted from."""
MASK_SIZE = 28
"""Side of the masks."""


@dataclass(frozen=True)
class FrameShape:
    """Sizes that the parts of a system have to fit.

    Attributes:
        classes: number of categories.
        channels: channels of the pyramid.
        mask_channels, mask_convs: of the mask heads.
        box_width: width of the vector that class and box are predicted from.
    """

    classes: int
    channels: int = 256
    mask_channels: int = 256
    mask_convs: int = 4
    box_width: int = 1024


@dataclass(frozen=True)
class BoxOutput:
    """What a box head makes of R regions.

    Attributes:
        vector: [R,box_width], what class and box are predicted from.
        maps: features or logits [R,...] by name, for the mask head or for the box head's own losses.
    """

    vector: Tensor
    maps: dict[str, Tensor] = field(default_factory=dict)

    def __getitem__(self, rows: Tensor) -> BoxOutput:
        return BoxOutput(self.vector[rows], {name: one[rows] for name, one in self.maps.items()})


@dataclass(frozen=True)
class Rois:
    """R regions as a mask head sees them.

    Attributes:
        features: [R,C,14,14], or whatever the system's own pooler gives.
        category: [R] int64, the true category in training, the predicted one at inference.
        boxes: [R,4] float32.
        box: what the box head makes of the same boxes, where the head ``needs_box``: of proposals in training, of the
            refined boxes (a second pass) at inference.
    """

    features: Tensor
    category: Tensor
    boxes: Tensor
    box: BoxOutput | None = None

    def __len__(self) -> int:
        return len(self.category)

    def with_box(self, box: BoxOutput) -> Rois:
        return replace(self, box=box)


@dataclass(frozen=True)
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
        """[R,28,28], the hidden part: amodal and not visible."""
        return self.amodal * (1 - self.visible)

    @property
    def has_occluder(self) -> Tensor:
        """[R] bool, whether anything inside the region's box may hide the object."""
        return self.occluder.flatten(1).any(dim=1)


@dataclass(frozen=True)
class BoxTargets:
    """What the box head's own losses may look at, for all R sampled regions.

    Attributes:
        category: [R] int64; ``classes`` (one more than the last category) is background.
        hidden: [R] float32, hidden share of the object; 0 for background.
    """

    category: Tensor
    hidden: Tensor


@dataclass(frozen=True)
class MaskPrediction:
    """What a mask head says of R regions.

    Attributes:
        amodal: [R,28,28] in 0..1.
        visible: [R,28,28] in 0..1; None where the system predicts none.
        factor: [R], what the detections' scores are multiplied by; None leaves them.
        samples: [R,K,28,28] in 0..1, several plausible amodal masks; None where there is one answer.
    """

    amodal: Tensor
    visible: Tensor | None = None
    factor: Tensor | None = None
    samples: Tensor | None = None


class MaskHead(nn.Module, ABC):
    """From regions to masks."""

    needs_box: ClassVar[bool] = False
    """Whether ``Rois.box`` is looked at; then the box head runs once more on the refined boxes at inference."""

    @property
    def has_visible(self) -> bool:
        """Whether visible masks are predicted."""
        return True

    @abstractmethod
    def forward(self, rois: Rois) -> dict[str, Tensor]:
        """Named logits [R,28,28], of the regions' own category."""

    @abstractmethod
    def losses(self, rois: Rois, targets: RoiTargets) -> dict[str, Tensor]:
        """Named scalar losses, weighted; always the same names, and zero (with a gradient) of no regions."""

    @abstractmethod
    def predict(self, rois: Rois) -> MaskPrediction:
        """Masks at inference; called without gradients, in evaluation mode."""


class BoxHead(nn.Module, ABC):
    """From the pooled features of regions to what their class and box are predicted from."""

    @abstractmethod
    def forward(self, features: Tensor) -> BoxOutput:
        """Features [R,C,7,7], or whatever the system's own pooler gives, to a vector (and more) a region."""

    def losses(self, output: BoxOutput, targets: BoxTargets) -> dict[str, Tensor]:  # noqa: ARG002
        """Losses beside those of class and box; none by default."""
        return {}


class TwoLayerBoxHead(BoxHead):
    """Mask R-CNN's: two fully connected layers."""

    def __init__(self, shape: FrameShape) -> None:
        super().__init__()
        self.fc1 = nn.Linear(shape.channels * BOX_SIZE**2, shape.box_width)
        self.fc2 = nn.Linear(shape.box_width, shape.box_width)
        for layer in (self.fc1, self.fc2):
            nn.init.kaiming_uniform_(layer.weight, a=1)
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor) -> BoxOutput:
        return BoxOutput(self.fc2(self.fc1(features.flatten(1)).relu()).relu())


@configuration
class SystemConfig(ABC):
    """The options of a system, and what it makes of the frame: a ``@configuration`` class."""

    files: ClassVar[tuple[str, ...]] = ()
    """Options that name files which a training starts from; they do not stand beside its weights."""

    @abstractmethod
    def mask_head(self, shape: FrameShape) -> MaskHead: ...

    def start(self, head: MaskHead, categories: Sequence[str]) -> None:  # noqa: B027
        """Fill what of ``head`` is trained beforehand; called once, when a training begins. By default nothing is.

        Raises:
            UsageError, WeightsError: it is missing, or does not fit.
        """

    def box_head(self, shape: FrameShape) -> BoxHead:
        """By default two fully connected layers."""
        return TwoLayerBoxHead(shape)

    def neck(self, shape: FrameShape) -> nn.Module:  # noqa: ARG002
        """From the pyramid's levels by name to levels of the same names and sizes; by default nothing is done."""
        return nn.Identity()

    def pooler(self, size: int) -> nn.Module:
        """Takes the levels p2 to p5 and one ``Boxes`` an image; by default RoIAlign from the level that fits.

        A system whose heads shall see all levels returns [R,4,C,size,size] here, and its heads take that.
        """
        from shape3d_amodal.segmentation.detector import build_pooler

        return build_pooler(size)
