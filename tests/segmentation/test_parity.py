"""Our detector with Mask R-CNN's heads gives the results of detectron2's own, built through its own configuration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetMapper
from detectron2.data import transforms as T
from detectron2.modeling import build_model
from detectron2.structures import BoxMode
from detectron2.utils.events import EventStorage
from PIL import Image
from rcnn_small import CATEGORIES, SIZE, batched, small_rcnn, write_drawn
from torch import nn

from shape3d_amodal import masks
from shape3d_amodal.annotations.images import ImageFiles
from shape3d_amodal.segmentation.config import AugmentConfig, InputConfig
from shape3d_amodal.segmentation.detector import Detector
from shape3d_amodal.segmentation.images import AnnotationFile
from shape3d_amodal.segmentation.mapper import Mapper
from shape3d_amodal.segmentation.model import Rcnn
from shape3d_amodal.segmentation.samples import Samples

COUNTS = (3, 0, 7)
WIDE = InputConfig(short_side=72, long_side=SIZE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_drawn(tmp_path_factory.mktemp("drawn"), COUNTS)


def oracle_config() -> CfgNode:
    """detectron2's configuration of what ``rcnn_small.small_config`` says."""
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.META_ARCHITECTURE = "GeneralizedRCNN"
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
    cfg.INPUT.FORMAT = "RGB"
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.FREEZE_AT = "build_resnet_fpn_backbone", 0
    resnet = cfg.MODEL.RESNETS
    resnet.DEPTH, resnet.NORM, resnet.RES2_OUT_CHANNELS = 18, "GN", 64
    resnet.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.FPN.IN_FEATURES, cfg.MODEL.FPN.OUT_CHANNELS, cfg.MODEL.FPN.NORM = resnet.OUT_FEATURES, 32, "GN"
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[8], [16], [32], [64], [96]]
    rpn = cfg.MODEL.RPN
    rpn.IN_FEATURES, rpn.BATCH_SIZE_PER_IMAGE = ["p2", "p3", "p4", "p5", "p6"], 32
    rpn.PRE_NMS_TOPK_TRAIN = rpn.PRE_NMS_TOPK_TEST = 60
    rpn.POST_NMS_TOPK_TRAIN = rpn.POST_NMS_TOPK_TEST = 40
    heads = cfg.MODEL.ROI_HEADS
    heads.NAME, heads.IN_FEATURES = "StandardROIHeads", ["p2", "p3", "p4", "p5"]
    heads.NUM_CLASSES, heads.BATCH_SIZE_PER_IMAGE = len(CATEGORIES), 24
    box, mask = cfg.MODEL.ROI_BOX_HEAD, cfg.MODEL.ROI_MASK_HEAD
    box.NAME, box.NUM_FC, box.FC_DIM, box.POOLER_RESOLUTION = "FastRCNNConvFCHead", 2, 16, 7
    cfg.MODEL.MASK_ON = True
    mask.NAME, mask.NUM_CONV, mask.CONV_DIM, mask.POOLER_RESOLUTION = "MaskRCNNConvUpsampleHead", 4, 8, 14
    cfg.TEST.DETECTIONS_PER_IMAGE = 10
    return cfg


def oracle_name(name: str) -> str:
    """detectron2's name of one of our tensors."""
    if name.startswith("rpn."):
        return name.replace("rpn.", "proposal_generator.", 1)
    for part in ("box_head", "box_predictor"):
        name = name.replace(f"{part}.", f"roi_heads.{part}.") if name.startswith(part) else name
    for i in range(4):
        name = name.replace(f"mask_head.branches.amodal.convs.{i}.0.", f"roi_heads.mask_head.mask_fcn{i + 1}.")
    name = name.replace("mask_head.branches.amodal.up.0.", "roi_heads.mask_head.deconv.")
    return name.replace("mask_head.branches.amodal.predictor.", "roi_heads.mask_head.predictor.")


@pytest.fixture(scope="module")
def models() -> tuple[Rcnn, nn.Module]:
    """Ours and detectron2's, of the same weights."""
    ours = small_rcnn(masks="amodal")
    with torch.no_grad():  # so that there are detections and masks to compare
        ours.box_predictor.cls_score.weight.mul_(30)
        ours.mask_head.branches["amodal"].predictor.weight.mul_(300)
    theirs = build_model(oracle_config())
    theirs.load_state_dict({oracle_name(name): tensor for name, tensor in ours.state_dict().items()})
    return ours, theirs


def their_samples(folder: Path, flip: bool) -> list[dict]:
    """What detectron2's mapper makes of the images."""
    resize = T.ResizeShortestEdge(WIDE.short_side, WIDE.long_side)
    mapper = DatasetMapper(
        is_train=True,
        augmentations=[resize, T.RandomFlip(prob=float(flip))],
        image_format="RGB",
        use_instance_mask=True,
        instance_mask_format="bitmask",
    )
    records = []
    for image in AnnotationFile(ImageFiles(folder, folder / "annotations.json")).dataset.images:
        annotations = [
            {
                "bbox": masks.bbox(one.amodal),
                "bbox_mode": BoxMode.XYWH_ABS,
                "segmentation": one.amodal.to_coco(),
                "category_id": one.category_id - 1,
            }
            for one in image.instances
        ]
        file = str(folder / image.file_name)
        records.append(
            {"file_name": file, "height": SIZE, "width": 80, "image_id": image.id, "annotations": annotations}
        )
    return [mapper(record) for record in records]


def our_samples(folder: Path, flip: bool) -> Samples:
    mapper = Mapper(AnnotationFile(ImageFiles(folder, folder / "annotations.json")), CATEGORIES, WIDE, AugmentConfig())
    return batched(*(mapper.sample(row, flip, 1.0) for row in range(len(COUNTS))))


@pytest.mark.parametrize("flip", [False, True])
def test_the_mapper(folder: Path, flip: bool) -> None:
    ours = our_samples(folder, flip)
    for image, targets, theirs in zip(ours.images, ours.targets, their_samples(folder, flip), strict=True):
        assert image.shape[1:] == (86, 72)
        torch.testing.assert_close(image, theirs["image"], rtol=0, atol=0)
        instances = theirs["instances"]
        torch.testing.assert_close(targets.boxes, instances.gt_boxes.tensor, rtol=0, atol=1e-5)
        assert targets.category.tolist() == instances.gt_classes.tolist()
        if len(instances):
            torch.testing.assert_close(targets.amodal, instances.gt_masks.tensor, rtol=0, atol=0)


def test_the_losses_and_their_gradients(folder: Path, models: tuple[Rcnn, nn.Module]) -> None:
    ours, theirs = models
    torch.manual_seed(3)
    losses = ours.train().losses(our_samples(folder, True))
    torch.manual_seed(3)
    with EventStorage():
        expected = theirs.train()(their_samples(folder, True))
    expected["mask_amodal"] = expected.pop("loss_mask")
    assert losses.keys() == expected.keys()
    for name, loss in losses.items():
        torch.testing.assert_close(loss, expected[name], rtol=0, atol=1e-5, msg=name)
        assert loss > 0, name
    sum(losses.values()).backward()
    sum(expected.values()).backward()
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[oracle_name(name)], rtol=1e-4, atol=1e-5, msg=name)


@torch.no_grad()
def test_the_regions_features(folder: Path, models: tuple[Rcnn, nn.Module]) -> None:
    ours, theirs = (model.eval() for model in models)
    images = ours.normalized(our_samples(folder, False).images)
    their_images = theirs.preprocess_image(their_samples(folder, False))
    features, their_features = ours.features(images), theirs.backbone(their_images.tensor)
    proposals, _ = theirs.proposal_generator(their_images, their_features, None)
    boxes = [one.proposal_boxes for one in proposals]
    for pooler, their_pooler in (
        (ours.box_pooler, theirs.roi_heads.box_pooler),
        (ours.mask_pooler, theirs.roi_heads.mask_pooler),
    ):
        levels = ["p2", "p3", "p4", "p5"]
        found = pooler([features[name] for name in levels], boxes)
        expected = their_pooler([their_features[name] for name in levels], boxes)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_detections_in_the_pixels_of_the_image(folder: Path, models: tuple[Rcnn, nn.Module]) -> None:
    ours, theirs = (model.eval() for model in models)
    images = AnnotationFile(ImageFiles(folder, folder / "annotations.json"))
    detector = Detector(ours)
    for record in images.dataset.images:
        image = images.image(record)
        found = detector.detect(image)
        tensor = torch.from_numpy(np.array(Image.fromarray(image).resize((80, 96)))).permute(2, 0, 1)
        (expected,) = theirs([{"image": tensor, "height": SIZE, "width": 80}])
        instances = expected["instances"]
        assert len(found) == len(instances) > 0
        np.testing.assert_allclose([one.score for one in found], instances.scores, atol=1e-5)
        np.testing.assert_allclose([one.box for one in found], instances.pred_boxes.tensor, atol=1e-3)
        np.testing.assert_array_equal([one.amodal for one in found], instances.pred_masks)
