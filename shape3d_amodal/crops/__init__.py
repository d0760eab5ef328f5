"""From any source of images to ``InstanceCrops``: cutting, pools on disk, augmentation, re-occlusion."""
