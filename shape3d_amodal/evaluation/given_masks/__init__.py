"""The tracks in which visible masks are given: completion, order, multimodal, shape."""
