"""Polygons, strips and fans to triangles, the same way for every format."""
