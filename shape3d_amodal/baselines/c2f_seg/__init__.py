"""C2F-Seg: coarse-to-fine amodal segmentation with a shape prior (Gao et al., ICCV 2023).

An autoencoder turns a mask into a grid of tokens from a learned codebook (``codebook``). A transformer takes image
features, the tokens of the visible mask and the known tokens of the amodal mask, and predicts the others in three
rounds, the most certain ones first (``transformer``). The decoded coarse mask is refined with image features
(``refinement``).

=====================================  ==========================================  =====================================
the paper and its code say             here                                        why
=====================================  ==========================================  =====================================
256 px crops, 16 x 16 tokens           configs/kins; 64 px, 8 x 8 on open13        an hour of one core
VQ-GAN: adversarial and VGG losses     cross-entropy                               masks have no texture
group norm; codes start near 0         batch norm, before the codebook too;        more of the codes are used
                                       unused codes follow the nearest encoding
ResNet-50 with ImageNet weights        the same, from a file (``weights``); else   no weights of others are shipped
                                       random weights
one mask rate a batch                  one a row                                   losses are means over rows
refinement sees the coarse mask at     at each resolution                          8 x 8 pixels of a 64 px crop hold
the tokens' resolution                                                             too little of it
its attention is over the 2,048        over 256, to which they are brought first   one module for all encoders
channels of the encoder
rate falls linearly; Adam beta 0.95    cosine; 0.999                               one loop for all trainings
crop of twice the visible box          ``geometry.windows.instance_window``          the same for all methods
Gumbel noise from one generator        from (seed, image, annotation)              results depend on nothing else
=====================================  ==========================================  =====================================
"""
