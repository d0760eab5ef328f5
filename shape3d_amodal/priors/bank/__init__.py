"""Stages 2 and 3 by known shapes: silhouettes of stored meshes are matched to the visible pixels."""
