"""Known cameras: data, training and 3D IoU of Neural 3D Mesh Renderer (Kato et al., CVPR 2018)."""
