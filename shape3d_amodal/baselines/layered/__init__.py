"""Layered Embeddings (Liu, Psota and Pérez, 2019): instances as clusters of pixel embeddings in layers of depth."""
