"""RoI heads of amodal systems of the R-CNN family, one file a system, on the detector of ``segmentation``."""
