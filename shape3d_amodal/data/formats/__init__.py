"""Annotation and result files: one format a file."""
