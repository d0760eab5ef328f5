"""PCNet-M (Zhan et al., Self-Supervised Scene De-occlusion, CVPR 2020): learned from visible masks alone.

Another instance's mask is cut out of a visible mask, and the network restores the part that was cut out (``crops``,
``network``). Of two neighbours the one whose completion enters the other one more is behind; an object is
completed where the objects in front of it, directly or through others, may hide it (``method``).

===========================  ==========================================  ==============================================
the paper and its code say    here                                        why
===========================  ==========================================  ==============================================
SGD 1e-3, momentum 0.9        SGD for KINS and COCOA; AdamW on open13     a schedule of 2,000 steps
nearest resampling            the mean over crop pixels, at least half    edges lie where they are; what is thinner than
                                                                          half a crop pixel is lost
pairwise order may be cyclic  the surest pairs first, none that closes    ranks for the order track; an object is never
                              a cycle (``method.in_front``)                its own ancestor
the completed mask as it is   visible mask, and the completion inside     outside of both the object would be visible
                              the eraser
mask scaled by category       mask of ones                                categories differ between data sets
===========================  ==========================================  ==============================================
"""
