"""Images without any annotation: stage 1 finds the objects, stages 2 to 5 complete them.

Visible masks that stage 1 predicts are not exact, and so the background is not known for certain. Therefore the amodal
mask of stage 1 is kept, and stages 2 to 5 add to it. docs/systems.md compares stage 1 alone with all stages.

predictor = ImagePredictor.from_pretrained()
for one in predictor.predict("room.jpg"):
    one.category, one.score, one.amodal, one.completed
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.array_fields import ArrayFields
from shape3d_amodal.crops.given import GivenImage, given_image
from shape3d_amodal.crops.pasting import CompletedObject
from shape3d_amodal.errors import UsageError, check_path
from shape3d_amodal.methods.rcnn import check_shared
from shape3d_amodal.methods.results import to_result
from shape3d_amodal.pipeline import ShapePriorPipeline
from shape3d_amodal.structures import OCCLUDER, AmodalImage, Intrinsics, category_number

if TYPE_CHECKING:  # a detector of another library needs nothing of ours
    from shape3d_amodal.segmentation.detector import DetectedObject, Detector

Mask = NDArray[np.bool_]
_OWN_SHARE = 0.5
"""Share of its visible mask that must remain when the pixels of objects with higher scores are taken away; this drops
objects that were detected twice."""


@dataclass(frozen=True, eq=False, repr=False)
class PredictedObject(ArrayFields):
    """An object in an image.

    Attributes:
        category: its name.
        score: 0..1, of stage 1.
        box: [4] float32, (x0, y0, x1, y1) of the whole object in pixels, by stage 1.
        visible: [H,W] bool; the masks of an image do not overlap, except those of alternatives.
        amodal: [H,W] bool, contains ``visible`` and the whole mask of stage 1.
        completed: the result of stages 2 to 5; None where they do not know the category, then ``amodal`` is stage 1's.
        alternative: a detection that overlaps objects with higher scores.
    """

    category: str
    score: float
    box: NDArray[np.float32]
    visible: Mask
    amodal: Mask
    completed: CompletedObject | None
    alternative: bool = False

    def __repr__(self) -> str:
        height, width = self.amodal.shape
        hidden = int((self.amodal & ~self.visible).sum())
        pixels = f"{int(self.visible.sum())} visible and {hidden} hidden pixels of {height} x {width}"
        by = "stage 1 alone" if self.completed is None else "all stages"
        kind = ", alternative" if self.alternative else ""
        return f"PredictedObject({self.category!r}, score {self.score:.2f}, {pixels}, by {by}{kind})"


class ImagePredictor:
    """Finds the objects in images and completes them: all stages, from the image alone.

    ``from_pretrained`` loads the shipped weights, or yours; the constructor takes any detector, also one of another
    library behind the same few members (docs/architecture.md)::

        predictor = ImagePredictor.from_pretrained(min_score=0.3)
        for one in predictor.predict("room.jpg"):
            one.category, one.score, one.visible, one.amodal, one.completed

    Args:
        detector: stage 1; it must predict visible masks.
        pipeline: stages 2 to 5.
        min_score: lowest score of an object, 0..1.

    Raises:
        UsageError: ``min_score`` is no score, or stage 1 predicts no visible masks.
    """

    def __init__(self, detector: Detector, pipeline: ShapePriorPipeline, *, min_score: float = 0.5) -> None:
        number: object = min_score
        if not isinstance(number, (int, float, np.number)) or isinstance(number, bool) or not 0 <= min_score <= 1:
            raise UsageError(f"min_score: expected a score from 0 to 1, got {min_score!r}")
        if not detector.has_visible:
            raise UsageError("detector: it predicts no visible masks; train it with options.masks=both or visible")
        self.detector, self.pipeline, self.min_score = detector, pipeline, min_score

    @classmethod
    def from_pretrained(
        cls,
        detector: str | Path = "open13_detector",
        weights: str | Path = "open13",
        *,
        device: str = "auto",
        min_score: float = 0.5,
        gap_px: int = 1,
    ) -> ImagePredictor:
        """Load both parts by the names of shipped weights, or from folders.

        Args:
            detector: weights of stage 1.
            weights: weights of stages 2 to 5; for other options of theirs make a ``ShapePriorPipeline`` and give it to
                the constructor.
            device: auto (a GPU where there is one), cpu, cuda or cuda:N.
            min_score: as for the class.
            gap_px: width in pixels of gaps between the masks of stage 1 that are closed.

        Raises:
            WeightsError: they are missing or damaged.
            UsageError: they are of other stages, or an argument is wrong.
            MissingBackendError: the device is not on this machine.
        """
        from shape3d_amodal.segmentation.detector import Detector

        check_path("detector", detector)
        check_path("weights", weights)
        pipeline = ShapePriorPipeline.from_pretrained(weights, device=device, gap_px=gap_px)
        return cls(Detector.from_pretrained(detector, device=device), pipeline, min_score=min_score)

    def __repr__(self) -> str:
        names = self.detector.categories
        return f"ImagePredictor({len(names)} categories of stage 1, {self.pipeline!r}, min_score {self.min_score})"

    def predict(
        self, image: GivenImage, *, alternatives: bool = False, intrinsics: Intrinsics | None = None
    ) -> list[PredictedObject]:
        """The objects in an image, highest score first.

        Args:
            image: [H,W,3] uint8, RGB; or another form of an image that ``crops.given.given_image`` knows: grey, RGBA,
                floats from 0 to 1, a PIL image, the path of a PNG or JPEG file.
            alternatives: also return lower-scoring overlapping detections, such as the same pixels as another category;
                average precision counts them. Each is completed as if it were right.
            intrinsics: the camera, as for ``ShapePriorPipeline.complete``.

        Raises:
            UsageError: the image is none.
            DataError: its file cannot be read.
        """
        image = given_image(image)
        found = self.detector.detect(image, min_score=self.min_score)
        kept = apart(found)
        objects = self._completed(image, kept, len(kept), intrinsics)
        if alternatives:
            chosen = {id(one) for one, _ in kept}
            for one in found:
                if id(one) not in chosen and one.visible is not None and one.visible.any():
                    beside = [(other, mask & ~one.visible) for other, mask in kept]
                    given = [(one, one.visible), *((other, mask) for other, mask in beside if mask.any())]
                    objects += [replace(self._completed(image, given, 1, intrinsics)[0], alternative=True)]
        return sorted(objects, key=lambda one: -one.score)

    def _completed(
        self,
        image: NDArray[np.uint8],
        given: list[tuple[DetectedObject, Mask]],
        count: int,
        intrinsics: Intrinsics | None,
    ) -> list[PredictedObject]:
        """The first ``count`` of the objects ``given`` in an image, completed; the others only hide them."""
        wanted, known = given[:count], self.pipeline.categories
        names = [OCCLUDER if category_number(one.category, known) is None else one.category for one, _ in wanted]
        names += [OCCLUDER] * (len(given) - count)
        visible_masks = [visible for _, visible in given]
        completed = iter(self.pipeline.complete(image, visible_masks, names, intrinsics=intrinsics))
        objects = []
        for (one, visible), name in zip(wanted, names[:count], strict=True):
            whole = None if name == OCCLUDER else next(completed)
            amodal = one.amodal | visible
            if whole is not None:
                amodal |= whole.amodal
            objects.append(PredictedObject(one.category, one.score, one.box, visible, amodal, whole))
        return objects


def apart(found: list[DetectedObject]) -> list[tuple[DetectedObject, Mask]]:
    """The detected objects, highest score first, with visible masks that do not overlap.

    Objects that lose most of their mask are dropped.
    """
    kept: list[tuple[DetectedObject, Mask]] = []
    taken: Mask | None = None
    for one in found:
        if one.visible is None:
            raise UsageError("expected objects with visible masks, got no visible masks; take another detector")
        taken = np.zeros_like(one.visible) if taken is None else taken
        own = one.visible & ~taken
        if own.any() and own.sum() >= _OWN_SHARE * one.visible.sum():
            kept.append((one, own))
            taken = taken | own
    return kept


def predicted_result(image_id: int, category_id: int, one: PredictedObject, mesh: str | None = None) -> AmodalResult:
    """A predicted object in the results format."""
    whole = one.completed
    return to_result(
        image_id,
        category_id,
        one.amodal,
        one.visible,
        score=one.score,
        viewpoint=None if whole is None else whole.viewpoint,
        mesh=mesh,
        pose=None if whole is None else whole.pose,
        model=None if whole is None else whole.model,
    )


class PredictorMethod:
    """All stages as a method of the instance track (``methods.interface.FindsObjects``).

    Args:
        names: category names by id; what is found of other categories is left out.
    """

    def __init__(self, predictor: ImagePredictor, names: Mapping[int, str], *, name: str = "ours") -> None:
        check_shared(predictor.detector.categories, names.values())
        self.name = name
        self.parameters = predictor.detector.parameters + predictor.pipeline.parameters
        self._predictor = predictor
        self._ids = {category: key for key, category in names.items()}

    def find(self, image: NDArray[np.uint8], record: AmodalImage, /) -> list[AmodalResult]:
        """See ``interface.FindsObjects``."""
        predicted = self._predictor.predict(image, alternatives=True, intrinsics=record.intrinsics)
        found = [one for one in predicted if one.category in self._ids]
        return [predicted_result(record.id, self._ids[one.category], one) for one in found]
