"""Readers of mesh files, one file for each format: from bytes to triangles that are not yet checked."""
