"""Amodal systems of the R-CNN family: one frame (``frame``, ``model``), and one file a system over it."""
