"""What every system must be able to do: images without an object, with one, with 40, and with a fully hidden one."""

from __future__ import annotations

import pytest
import torch
from rcnn_small import CATEGORIES, batched, drawn_sample, drawn_samples, small_rcnn

from shape3d_amodal.errors import UsageError
from shape3d_amodal.segmentation.detector import Detector
from shape3d_amodal.segmentation.samples import Samples
from shape3d_amodal.segmentation.systems import SYSTEMS, system_config

HIDDEN = batched(drawn_sample(2, 5, fully_hidden=True))


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize(
    "samples",
    [drawn_samples(0), drawn_samples(1), drawn_samples(3, 0), drawn_samples(40), HIDDEN],
    ids=["none", "one", "some", "40", "hidden"],
)
def test_losses_are_finite_and_reach_every_parameter_that_can_learn(system: str, samples: Samples) -> None:
    model = small_rcnn(system).train()
    losses = model.losses(samples)
    assert all(loss.ndim == 0 and loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    if any(len(targets) for targets in samples.targets):
        missed = [name for name, p in model.mask_head.named_parameters() if p.requires_grad and p.grad is None]
        assert not missed


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_names_of_the_losses_do_not_depend_on_the_images(system: str) -> None:
    model = small_rcnn(system).train()
    assert model.losses(drawn_samples(0)).keys() == model.losses(drawn_samples(2, 3)).keys()


@pytest.mark.parametrize("system", SYSTEMS)
def test_one_mask_a_detection(system: str) -> None:
    model = small_rcnn(system).eval()
    with torch.no_grad():
        images = model.normalized(drawn_samples(2, 0).images)
        features = model.features(images)
        detections = model.detect(features, images.image_sizes)
        prediction = model.masks(features, detections)
        nothing = model.masks(features, [one[:0] for one in detections])
    count = sum(len(one) for one in detections)
    assert count > 0
    for masks in (prediction.amodal, prediction.visible):
        if masks is not None:
            assert masks.shape == (count, 28, 28)
            assert masks.min() >= 0 and masks.max() <= 1
    assert prediction.factor is None or prediction.factor.shape == (count,)
    assert prediction.samples is None or prediction.samples.shape[::2] == (count, 28)
    assert nothing.amodal.shape == (0, 28, 28)


@pytest.mark.parametrize("count", [0, 1, 40])
@pytest.mark.parametrize("system", SYSTEMS)
def test_any_number_of_given_masks_is_completed(system: str, count: int) -> None:
    drawn, targets = drawn_sample(count, 7)
    image = drawn.permute(1, 2, 0).numpy()
    visible = [mask.numpy() for mask in targets.visible if mask.any()]
    assert len(visible) >= count / 2
    names = [CATEGORIES[i % len(CATEGORIES)] for i in range(len(visible))]
    found = Detector(small_rcnn(system)).complete(image, visible, names)
    assert [one.category for one in found] == names
    assert all(one.amodal.shape == image.shape[:2] and one.amodal.dtype == bool for one in found)


def test_unknown_systems_and_options_are_refused() -> None:
    with pytest.raises(UsageError, match=r"system: expected one of mask_rcnn.*got 'fast'"):
        system_config("fast", {})
    with pytest.raises(UsageError, match=r"options: size: .*not known"):
        system_config("mask_rcnn", {"size": 3})
