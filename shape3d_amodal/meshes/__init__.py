"""Meshes: where they come from, how files are read, checked, simplified and voxelised."""
