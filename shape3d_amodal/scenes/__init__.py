"""Rendered scenes with exact ground truth: composed, shaded, and kept in sets and shards."""
