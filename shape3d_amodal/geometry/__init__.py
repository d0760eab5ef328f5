"""Cameras, windows and templates: pure functions on tensors."""
