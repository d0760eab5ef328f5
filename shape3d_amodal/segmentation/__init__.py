"""Stage 1: finding objects. What a detector of detectron2's parts is made of, and what it is trained with.

Beside ``baselines.rcnn``, which puts mask heads on it, this is the only room that imports detectron2.
"""
