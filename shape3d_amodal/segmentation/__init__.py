"""Stage 1: a detector of the R-CNN family, its training samples and its pretrained weights.

The backbone, the proposals and the box predictor are built in ``parts``, the RoI heads of a system follow the interface
of ``roi_heads``, ``model`` is the network of all of them, and ``detector`` applies it to images. Only this room and
``baselines.rcnn``, which has the RoI heads, import detectron2.
"""
