"""Layered embeddings: data, network, training and bounds."""
