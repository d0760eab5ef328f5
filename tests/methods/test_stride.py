"""Found masks on the grid of a set of shapes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rcnn_small import CATEGORIES, drawn_sample, small_config, small_rcnn

from shape3d_amodal import masks
from shape3d_amodal.benchmarking.methods import RcnnOptions
from shape3d_amodal.config import dump_config
from shape3d_amodal.files.weights import save_weights
from shape3d_amodal.methods.rcnn import RcnnMethod, on_grid
from shape3d_amodal.papers.layered.sets import CATEGORIES as SHAPES
from shape3d_amodal.papers.layered.sets import Shapes2dSetConfig, annotated_scenes, rgb
from shape3d_amodal.papers.layered.shapes2d import CLASSES, Shapes2dConfig, ShapeScene, visible_parts
from shape3d_amodal.segmentation.detector import DetectedObject, Detector
from shape3d_amodal.structures import AmodalImage


class Perfect:
    """Finds all that is visible in a scene, at full resolution."""

    categories, parameters = CLASSES, 0
    model = SimpleNamespace(config=SimpleNamespace(system="perfect"))
    scene: ShapeScene

    def detect(self, _image: np.ndarray) -> list[DetectedObject]:
        objects = zip(self.scene.classes, self.scene.masks, visible_parts(self.scene.masks), strict=True)
        box = np.zeros(4, np.float32)
        return [DetectedObject(CLASSES[kind], 1.0, box, amodal, visible) for kind, amodal, visible in objects]


@pytest.mark.parametrize("stride", [1, 4])
def test_perfect_masks_are_the_truth_of_a_set_with_the_same_stride(stride: int) -> None:
    detector = Perfect()
    names = {category.id: category.name for category in SHAPES}
    method = RcnnMethod(detector, names, stride=stride)  # type: ignore[arg-type]
    config = Shapes2dSetConfig(shapes=Shapes2dConfig(size=64, per_class=2), count=4, stride=stride)
    for scene, image in annotated_scenes(config):
        detector.scene = scene
        found = [one for one in method.find(rgb(scene), image) if masks.area(one.visible)]
        truth = [(one.category_id, one.amodal, one.visible) for one in image.instances]
        assert [(one.category_id, one.segmentation, one.visible) for one in found] == truth
        for one in found:
            amodal, visible = masks.decode(one.segmentation), masks.decode(one.visible)
            np.testing.assert_array_equal(masks.decode(one.occluded), amodal & ~visible)


def test_a_benchmark_hands_the_stride_on(tmp_path: Path) -> None:
    model = small_rcnn(masks="both")
    save_weights(tmp_path / "w", dump_config(small_config(masks="both")), model.state_dict())
    names = dict(enumerate(CATEGORIES))
    image = drawn_sample(3, seed=2)[0].permute(1, 2, 0).numpy()
    record = AmodalImage(id=3, file_name="a.png", width=image.shape[1], height=image.shape[0], instances=())
    plain, built = (RcnnOptions(weights=str(tmp_path / "w"), stride=stride).build(names, "cpu") for stride in (1, 4))
    expected = RcnnMethod(Detector(model), names, stride=4).find(image, record)
    assert built.find(image, record) == expected != plain.find(image, record)


def test_masks_of_any_size_go_on_the_grid() -> None:
    mask = np.arange(7 * 5).reshape(7, 5) % 3 == 0
    assert np.array_equal(on_grid(mask, 1), mask)
    # In squares of 4 x 4 pixels the third ones count: rows 2 and 6, columns 2 and, as there is no sixth, the last, 4.
    squares = mask[[2, 2, 2, 2, 6, 6, 6]][:, [2, 2, 2, 2, 4]]
    assert np.array_equal(on_grid(mask, 4), squares)
